/*
 * Registries that hide what is there from who is not logged in: the anonymous answer is 404 or 403, and only `/v2/` tells
 * of a login (GitHub Packages, Artifactory; containerd#3291).
 */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { parseRepository, type Repository } from "../../../src/oci/reference.ts";
import type { Upstream } from "../../../src/upstream/upstream.ts";
import { createBarrier } from "../../support/barrier.ts";
import { alice, basicAlice, deny, manifestPath, scope } from "./scripted-registry.ts";
import {
  answer,
  answerIndex,
  createClock,
  failure,
  type Handler,
  indexBytes,
  anyAsk,
  repository,
  type ScriptedServer,
  someDigest,
  startServer,
  type StartOptions,
  startUpstream,
  tag,
} from "./scripted.ts";

interface Hiding {
  /** What the anonymous are told; 404. */
  status?: number;
  /** Of `/v2/`; `HOST` is replaced by the server's address. */
  challenge?: string;
  /** In place of the challenge of `/v2/`. */
  ping?: Handler;
  token?: Handler;
  /** What who is logged in is told. */
  shows?: Handler;
}

const repositoryOf = (name: string): Repository => parseRepository(`library/${name}`);
const wantsToken = 'Bearer realm="http://HOST/token",service="s",scope="repository:user/image:pull"';
const wantsBasic = 'Basic realm="x"';
const askedToken = `GET /token?service=s&scope=${encodeURIComponent(scope)}`;

/** A registry that shows nothing to the anonymous, and a client of it. */
async function startHiding(
  context: TestContext,
  script: Hiding = {},
  options: StartOptions = {},
): Promise<{ server: ScriptedServer; upstream: Upstream }> {
  const server: ScriptedServer = await startServer(context, (request, response, path) => {
    const { status = 404, challenge = wantsToken, shows = (_request, to) => answerIndex(to) } = script;
    const { authorization } = request.headers;
    if (path.startsWith("/token")) {
      const issue: Handler = (_request, to) => answer(to, 200, `{"token":"${authorization ? "full" : "none"}"}`);
      (script.token ?? issue)(request, response, path);
    } else if (authorization === basicAlice || authorization === "Bearer full") {
      shows(request, response, path);
    } else if (path === "/v2/") {
      const ping: Handler = (_request, to) => deny(to, challenge, server.host);
      (script.ping ?? ping)(request, response, path);
    } else {
      answer(response, status, '{"errors":[{"code":"NAME_UNKNOWN"}]}');
    }
  });
  return { server, ...startUpstream(context, server.host, { credentials: alice, ...options }) };
}

for (const status of [403, 404]) {
  test(`a ${status} without a login: a token is got as /v2/ says, and goes along at once from then on`, async (context) => {
    const { server, upstream } = await startHiding(context, { status });
    assert.ok(await upstream.manifest(repository, tag, anyAsk()));
    assert.deepEqual(server.asked, [manifestPath, "GET /v2/", askedToken, manifestPath]);
    assert.deepEqual(server.authorizations, [undefined, undefined, basicAlice, "Bearer full"]);
    assert.ok(await upstream.manifest(repository, tag, anyAsk()));
    assert.deepEqual(server.authorizations.slice(4), ["Bearer full"]);
  });

  test(`a ${status} without a login: so is Basic`, async (context) => {
    const { server, upstream } = await startHiding(context, { status, challenge: wantsBasic });
    assert.ok(await upstream.manifest(repository, tag, anyAsk()));
    assert.ok(await upstream.manifest(repository, tag, anyAsk()));
    assert.deepEqual(server.authorizations, [undefined, undefined, basicAlice, basicAlice]);
  });
}

const operations: Record<string, (upstream: Upstream) => Promise<unknown>> = {
  "HEAD of a manifest": (upstream) => upstream.resolve(repository, tag, anyAsk()),
  "a blob": async (upstream) => {
    const opened = await upstream.blob(repository, someDigest, { offset: 0 }, anyAsk());
    opened?.cancel();
    return opened;
  },
  "whether a blob is there": (upstream) => upstream.statBlob(repository, someDigest, anyAsk()),
  "a list of tags": (upstream) => upstream.tags(repository, "", anyAsk()),
  referrers: (upstream) => upstream.referrers(repository, someDigest, "", anyAsk()),
};

for (const [name, ask] of Object.entries(operations)) {
  test(`what is hidden is found with credentials: ${name}`, async (context) => {
    const shows: Handler = (_request, response, path) => {
      const body = path.includes("/tags/") ? '{"name":"x","tags":["1"]}' : indexBytes;
      const type = path.includes("/blobs/") ? "application/octet-stream" : "application/vnd.oci.image.index.v1+json";
      answer(response, 200, body, { "content-type": type });
    };
    const { upstream } = await startHiding(context, { shows });
    assert.ok(await ask(upstream));
  });
}

test("a 401 that asks for what nobody can give is looked into as well", async (context) => {
  const { server, upstream } = await startHiding(context, { challenge: wantsBasic });
  server.handle((request, response, path) => {
    if (request.headers.authorization === basicAlice) {
      answerIndex(response);
    } else {
      deny(response, path === "/v2/" ? wantsBasic : "Negotiate", server.host);
    }
  });
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
});

test("what is absent with credentials too is absent, and asked for once from then on", async (context) => {
  const { server, upstream } = await startHiding(context, { shows: (_request, response) => answer(response, 404) });
  assert.equal(await upstream.manifest(repository, tag, anyAsk()), undefined);
  assert.equal(await upstream.manifest(repository, tag, anyAsk()), undefined);
  assert.deepEqual(server.asked, [manifestPath, "GET /v2/", askedToken, manifestPath, manifestPath]);
});

test("without credentials a 404 is a 404, and /v2/ is not asked", async (context) => {
  const { server, upstream } = await startHiding(context, {}, { credentials: undefined });
  assert.equal(await upstream.manifest(repository, tag, anyAsk()), undefined);
  assert.deepEqual(server.asked, [manifestPath]);
});

test("where /v2/ is open, or gives the credentials no use, a 404 is a 404; it is asked once", async (context) => {
  for (const ping of [
    (_request, response) => answer(response, 200, "{}"),
    (_request, response) => answer(response, 404),
    (_request, response) => deny(response, 'Bearer realm="https://auth.example.org/token"', ""),
  ] satisfies Handler[]) {
    const { server, upstream } = await startHiding(context, { ping });
    assert.equal(await upstream.manifest(repository, tag, anyAsk()), undefined);
    assert.equal(await upstream.manifest(repository, tag, anyAsk()), undefined);
    assert.deepEqual(server.asked, [manifestPath, "GET /v2/", manifestPath]);
  }
});

test("/v2/ is asked once for all who ask at the same time, and once for all repositories", async (context) => {
  const barrier = createBarrier();
  const ping: Handler = (_request, response) => void barrier.wait().then(() => deny(response, wantsBasic, ""));
  const { server, upstream } = await startHiding(context, { ping });
  const asking = Promise.all(["a", "b", "c"].map((name) => upstream.manifest(repositoryOf(name), tag, anyAsk())));
  await barrier.reached;
  barrier.release();
  assert.ok((await asking).every((found) => found !== undefined));
  assert.ok(await upstream.manifest(repositoryOf("d"), tag, anyAsk()));
  assert.equal(server.asked.filter((line) => line === "GET /v2/").length, 1);
});

test("what /v2/ says is asked for anew after a while", async (context) => {
  const clock = createClock();
  const { server, upstream } = await startHiding(context, { challenge: wantsBasic }, { clock });
  for (const name of ["a", "b", "c"]) {
    assert.ok(await upstream.manifest(repositoryOf(name), tag, anyAsk()));
    clock.time += 360_000;
  }
  assert.equal(server.asked.filter((line) => line === "GET /v2/").length, 2);
});

test("a /v2/ that fails says nothing: neither that there is no such image, nor that there is no login", async (context) => {
  for (const status of [429, 500, 503]) {
    const script: Hiding = { ping: (_request, response) => answer(response, status) };
    const { upstream } = await startHiding(context, script);
    await assert.rejects(
      upstream.manifest(repository, tag, anyAsk()),
      failure(status === 429 ? "rate-limited" : "status"),
    );
    delete script.ping;
    assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  }
});

test("credentials that are refused: /v2/ is asked anew, and public images are still had without them", async (context) => {
  const script: Hiding = { challenge: wantsBasic, shows: (_request, response) => answer(response, 401) };
  const { server, upstream } = await startHiding(context, script);
  for (let round = 0; round < 2; round++) {
    await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("denied"));
  }
  assert.deepEqual(server.authorizations, [undefined, undefined, basicAlice, undefined, undefined, basicAlice]);
  server.handle((_request, response) => answerIndex(response));
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.equal(server.authorizations.at(-1), undefined);
});

test("a store's 403 behind a redirect is none of the registry's: nobody logs in for it", async (context) => {
  const store = await startServer(context, (_request, response) => answer(response, 403));
  const { server, upstream } = await startHiding(context);
  server.handle((_request, response) => answer(response, 307, "", { location: `${store.url}/signed` }));
  await assert.rejects(upstream.statBlob(repository, someDigest, anyAsk()), failure("status"));
  // Once with Range, once without.
  const path = `GET /v2/${repository}/blobs/${someDigest}`;
  assert.deepEqual(server.asked, [path, path]);
});
