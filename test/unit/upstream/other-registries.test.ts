/*
 * Registries that redirect to another one, which wants a token of its own (Scarf in front of lscr.io and others,
 * docker-registry-proxy#158).
 */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { digestOf } from "../../../src/oci/digest.ts";
import type { Upstream } from "../../../src/upstream/upstream.ts";
import { bearer, challenge, issue, pullScope, redirectTo, store } from "./quirk.ts";
import { alice, deny } from "./scripted-registry.ts";
import {
  answer,
  collect,
  failure,
  indexBytes,
  indexType,
  anyAsk,
  repository,
  type ScriptedServer,
  someDigest,
  startServer,
  type StartOptions,
  startUpstream,
  tag,
} from "./scripted.ts";
import { type HostHandler, startWorld } from "./world.ts";

const gateway = "gateway.example.com";
const other = "registry.example.org";
const cdn = "cdn.example.net";
const names = "/v2/library/alpine";

/** A registry that has everything, for whoever has the token `one`. */
const guarded =
  (line: (at: (host: string) => string) => string, then?: HostHandler): HostHandler =>
  (request, response, path, at) => {
    if (path.startsWith("/token")) {
      issue()(request, response, path, at);
    } else if (request.headers.authorization !== "Bearer one") {
      challenge(response, line(at));
    } else if (then !== undefined) {
      then(request, response, path, at);
    } else if (path.includes("/blobs/")) {
      answer(response, 200, "blob", { "content-type": "application/octet-stream" });
    } else {
      answer(response, 200, path.includes("/tags/") ? '{"name":"x","tags":["1"]}' : indexBytes, {
        "content-type": indexType,
        "docker-content-digest": digestOf(indexBytes),
      });
    }
  };
const ownRealm = (at: (host: string) => string): string => bearer(at(other), "/token", ',service="s"');
/** Sends all to the other registry, as it is asked. */
const passing: HostHandler = (request, response, path, at) => redirectTo(other, path)(request, response, path, at);

const start = (
  context: TestContext,
  hosts: Record<string, HostHandler>,
  options?: StartOptions,
): ReturnType<typeof startWorld> => startWorld(context, { [gateway]: passing, ...hosts }, options);

type Operation = [name: string, line: string, ask: (upstream: Upstream) => Promise<unknown>];

const operations: Operation[] = [
  ["a manifest", `GET ${other}${names}/manifests/latest`, (upstream) => upstream.manifest(repository, tag, anyAsk())],
  ["HEAD", `HEAD ${other}${names}/manifests/latest`, (upstream) => upstream.resolve(repository, tag, anyAsk())],
  ["a blob", `GET ${other}${names}/blobs/${someDigest}`, readBlob],
  ["a list of tags", `GET ${other}${names}/tags/list`, (upstream) => upstream.tags(repository, "", anyAsk())],
  [
    "referrers",
    `GET ${other}${names}/referrers/${someDigest}`,
    (upstream) => upstream.referrers(repository, someDigest, "", anyAsk()),
  ],
];

async function readBlob(upstream: Upstream): Promise<unknown> {
  const opened = await upstream.blob(repository, someDigest, { offset: 0 }, anyAsk());
  return opened && collect(opened.body);
}

for (const [name, line, ask] of operations) {
  test(`the other registry's challenge is answered, and its token kept: ${name}`, async (context) => {
    const { upstream, asked } = await start(context, { [other]: guarded(ownRealm) }, { credentials: alice });
    assert.ok(await ask(upstream));
    assert.ok(await ask(upstream));
    assert.deepEqual(
      asked.filter((request) => !request.includes(` ${gateway}/`)),
      [`${line} -`, `GET ${other}/token?service=s&scope=${pullScope} -`, `${line} Bearer one`, `${line} Bearer one`],
    );
  });
}

test("a name that is another one there is what the token is for", async (context) => {
  const renaming: Record<string, HostHandler> = {
    [gateway]: redirectTo(other, "/v2/linuxserver/x/manifests/latest"),
    [other]: guarded(ownRealm),
  };
  const { upstream, asked } = await start(context, renaming);
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  const scope = encodeURIComponent("repository:linuxserver/x:pull");
  assert.ok(asked.includes(`GET ${other}/token?service=s&scope=${scope} -`), asked.join("\n"));
});

test("a token that has ended is renewed", async (context) => {
  let good = "one";
  const { upstream } = await start(context, {
    [other]: (request, response, path, at) =>
      path.startsWith("/token")
        ? answer(response, 200, `{"token":"${good}"}`)
        : request.headers.authorization === `Bearer ${good}`
          ? answer(response, 200, indexBytes, { "content-type": indexType })
          : challenge(response, ownRealm(at)),
  });
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  good = "two";
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
});

test("a token server of another site is asked too, without credentials, and one by http is not", async (context) => {
  for (const [scheme, isAsked] of [
    ["https", true],
    ["http", false],
  ] as const) {
    const line = (at: (host: string) => string): string => `Bearer realm="${scheme}://${at("auth.example.com")}/token"`;
    const hosts = { [other]: guarded(line), "auth.example.com": issue() };
    const { upstream, asked } = await start(context, hosts, { credentials: alice });
    const asking = upstream.manifest(repository, tag, anyAsk());
    await (isAsked ? assert.doesNotReject(asking) : assert.rejects(asking, failure("token", /may be asked/)));
    const tokens = asked.filter((request) => request.includes("/token"));
    assert.deepEqual(tokens, isAsked ? [`GET auth.example.com/token?scope=${pullScope} -`] : []);
  }
});

test("its token goes no further: not to its store, nor to a third registry", async (context) => {
  const chain = (then: HostHandler): Record<string, HostHandler> => ({ [other]: guarded(ownRealm, then) });
  const storing = await start(context, { ...chain(redirectTo(cdn, "/signed")), [cdn]: store });
  assert.equal(await readBlob(storing.upstream), "blob");
  assert.equal(storing.asked.at(-1), `GET ${cdn}/signed -`);
  const third = "third.example.net";
  const passed = await start(context, {
    ...chain(redirectTo(third, `${names}/blobs/x`)),
    [third]: guarded((at) => bearer(at(third), "/token")),
  });
  assert.equal(await readBlob(passed.upstream), "blob");
  const seen = passed.asked.filter((request) => request.includes(third));
  const scope = pullScope;
  const path = `${third}${names}/blobs/x`;
  assert.deepEqual(seen, [`GET ${path} -`, `GET ${third}/token?scope=${scope} -`, `GET ${path} Bearer one`]);
});

test("nothing of the first registry's goes along: credentials, token, headers; not even back to itself", async (context) => {
  const secrets = ["s3cret", Buffer.from("alice:s3cret").toString("base64"), "first", "g4teway"];
  const line = (at: (host: string) => string): string => bearer(at(gateway), "/token-for-anybody");
  const first: HostHandler = (request, response, path, at) => {
    if (path.startsWith("/token")) {
      issue({ token: path.startsWith("/token-for-anybody") ? "one" : "first" })(request, response, path, at);
    } else if (request.headers.authorization === "Bearer first") {
      passing(request, response, path, at);
    } else {
      challenge(response, bearer(at(gateway), "/token"));
    }
  };
  const { upstream, seen } = await start(
    context,
    { [gateway]: first, [other]: guarded(line) },
    { credentials: alice, headers: { "x-gateway-key": "g4teway" } },
  );
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  const led = seen.filter(({ host, text }) => host === other || text.startsWith("GET /token-for-anybody"));
  assert.equal(led.length, 3);
  assert.deepEqual(
    led.filter(({ text }) => secrets.some((secret) => text.includes(secret))),
    [],
  );
});

test("what wants more than a token for anybody is denied: Basic, nothing at all, a token server that grants nothing", async (context) => {
  for (const line of ['Basic realm="x"', undefined]) {
    const hosts: Record<string, HostHandler> = { [other]: (_request, response) => challenge(response, line) };
    const { upstream, asked } = await start(context, hosts, { credentials: alice });
    await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("denied"));
    assert.equal(asked.filter((request) => request.includes(other)).length, 1);
  }
  const hosts: Record<string, HostHandler> = {
    [other]: (_request, response, path, at) =>
      path.startsWith("/token") ? answer(response, 403) : challenge(response, ownRealm(at)),
  };
  const { upstream } = await start(context, hosts, { credentials: alice });
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("denied"));
});

test("after a detour the registry's own challenge is not answered", async (context) => {
  const bounce = await startServer(context, (_request, response) =>
    answer(response, 307, "", { location: `http://${server.host}/home` }),
  );
  const server: ScriptedServer = await startServer(context, (_request, response, path) =>
    path === "/home"
      ? deny(response, 'Bearer realm="http://HOST/token"', server.host)
      : answer(response, 307, "", { location: `${bounce.url}/x` }),
  );
  const { upstream } = startUpstream(context, server.host, { credentials: alice });
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("denied"));
  assert.deepEqual(server.asked, [`GET ${names}/manifests/latest`, "GET /home"]);
});

test("a registry on this machine by http may lead to another one there", async (context) => {
  const second: ScriptedServer = await startServer(context, (request, response, path) => {
    if (path.startsWith("/token")) {
      answer(response, 200, '{"token":"one"}');
    } else if (request.headers.authorization === "Bearer one") {
      answer(response, 200, indexBytes, { "content-type": indexType });
    } else {
      deny(response, 'Bearer realm="http://HOST/token"', second.host);
    }
  });
  const first = await startServer(context, (_request, response, path) =>
    answer(response, 307, "", { location: `${second.url}${path}` }),
  );
  const { upstream } = startUpstream(context, first.host);
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
});
