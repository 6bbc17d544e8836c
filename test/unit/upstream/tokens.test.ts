import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import { parseRepository } from "../../../src/oci/reference.ts";
import { Limiter } from "../../../src/concurrency/limiter.ts";
import { fetchToken } from "../../../src/upstream/tokens.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { until } from "../../support/event-loop.ts";
import { alice, manifestPath, scope, startRegistry, tokenPath } from "./scripted-registry.ts";
import { anyAsk, answer, createClock, failure, type Handler, never, repository, tag } from "./scripted.ts";

for (const status of [400, 401, 403]) {
  test(`a ${status} of the token server is denied`, async (context) => {
    const token: Handler = (_request, response) => answer(response, status, '{"errors":[{"code":"DENIED"}]}');
    const { server, upstream } = await startRegistry(context, { token });
    await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("denied"));
    assert.equal(server.asked.length, 2);
  });
}

const useless: [name: string, token: Handler][] = [
  ["429", (_request, response) => answer(response, 429, "", { "retry-after": "30" })],
  ["500", (_request, response) => answer(response, 500)],
  ["404", (_request, response) => answer(response, 404)],
  ["HTML", (_request, response) => answer(response, 200, "<html>log in: s3cret-token</html>")],
  ["no token", (_request, response) => answer(response, 200, '{"expires_in":300}')],
  ["null", (_request, response) => answer(response, 200, "null")],
  ["a token that is a number", (_request, response) => answer(response, 200, '{"token":5}')],
  ["a token with a line break", (_request, response) => answer(response, 200, '{"token":"s3cret-token\\r\\nx: y"}')],
  ["too much", (_request, response) => answer(response, 200, `{"token":"${"a".repeat(1024 * 1024)}"}`)],
  [
    "many thousand objects",
    (_request, response) => answer(response, 200, `{"token":"s3cret-token","x":[${"{},".repeat(200_000)}{}]}`),
  ],
  ["a cut connection", (_request, response) => void response.destroy()],
  ["a loop", (_request, response, path) => answer(response, 302, "", { location: path })],
  ["a realm by http", (_request, response) => answer(response, 302, "", { location: "http://auth.example.com/" })],
];

for (const [name, token] of useless) {
  test(`a token server that answers with ${name} is a failure "token" that tells no secret`, async (context) => {
    const { upstream } = await startRegistry(context, { token });
    const error = await upstream.manifest(repository, tag, anyAsk()).catch((reason: unknown) => reason);
    assert.ok(error instanceof UpstreamError);
    assert.equal(error.failure, "token");
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
      assert.doesNotMatch(cause.message, /s3cret/);
    }
    if (name === "429") {
      assert.deepEqual([error.status, error.retryAfterSeconds], [429, 30]);
    }
  });
}

test("without expires_in a token counts for 60 s, less a margin", async (context) => {
  const clock = createClock();
  const token: Handler = (_request, response) => answer(response, 200, '{"token":"one"}');
  const { server, upstream } = await startRegistry(context, { token }, { clock });
  await upstream.manifest(repository, tag, anyAsk());
  clock.time += 53_000;
  await upstream.manifest(repository, tag, anyAsk());
  assert.equal(server.asked.length, 4);
  clock.time += 2000;
  await upstream.manifest(repository, tag, anyAsk());
  assert.deepEqual(server.asked.slice(4), [manifestPath, tokenPath, manifestPath]);
});

test("requests at the same time share one token; another repository gets its own", async (context) => {
  const { server, upstream } = await startRegistry(context, { challenge: 'Bearer realm="http://HOST/token"' });
  const other = parseRepository("library/debian");
  await Promise.all([repository, repository, repository, other].map((name) => upstream.manifest(name, tag, anyAsk())));
  const tokens = server.asked.filter((line) => line.includes("/token"));
  assert.deepEqual(tokens.toSorted(), [
    `GET /token?scope=${encodeURIComponent("repository:library/alpine:pull")}`,
    `GET /token?scope=${encodeURIComponent("repository:library/debian:pull")}`,
  ]);
});

test("where the token server has no GET, credentials go by POST", async (context) => {
  const bodies: string[] = [];
  const token: Handler = (request, response) => {
    if (request.method === "GET") {
      answer(response, 405);
      return;
    }
    let body = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
    request.on("end", () => {
      bodies.push(body);
      answer(response, 200, '{"access_token":"one"}');
    });
  };
  const { upstream } = await startRegistry(context, { token }, { credentials: alice });
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.deepEqual(Object.fromEntries(new URLSearchParams(bodies[0])), {
    grant_type: "password",
    username: "alice",
    password: "s3cret",
    client_id: "entrepot",
    service: "registry",
    scope,
  });
});

test("an identity token goes by POST as a refresh token, never by Basic", async (context) => {
  const bodies: string[] = [];
  const token: Handler = (request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
    request.on("end", () => {
      bodies.push(body);
      answer(response, 200, '{"access_token":"one"}');
    });
  };
  const credentials = { username: "<token>", password: "identity" };
  const { server, upstream } = await startRegistry(context, { token }, { credentials });
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.deepEqual(server.asked, [manifestPath, "POST /token", manifestPath]);
  assert.deepEqual(server.authorizations, [undefined, undefined, "Bearer one"]);
  const form = new URLSearchParams(bodies[0]);
  assert.deepEqual([form.get("grant_type"), form.get("refresh_token")], ["refresh_token", "identity"]);
});

test("one who leaves while the token is fetched does not hurt another", async (context) => {
  const asked = Promise.withResolvers<ServerResponse>();
  const token: Handler = (_request, response) => asked.resolve(response);
  const { server, upstream } = await startRegistry(context, { token });
  const leaver = new AbortController();
  const left = upstream.manifest(repository, tag, anyAsk(leaver.signal));
  const stayed = upstream.manifest(repository, tag, anyAsk());
  const response = await asked.promise;
  leaver.abort(new Error("gone"));
  await assert.rejects(left, { message: "gone" });
  answer(response, 200, '{"token":"one"}');
  assert.ok(await stayed);
  assert.equal(server.asked.filter((line) => line.startsWith("GET /token")).length, 1);
});

test("tokens are asked for within the slots of the registry, however many names want one of their own", async (context) => {
  const limiter = new Limiter(2);
  const waiting: (() => void)[] = [];
  let isSlow = true;
  const token: Handler = (_request, response) => {
    const give = (): void => answer(response, 200, '{"token":"one"}');
    if (isSlow) waiting.push(give);
    else give();
  };
  const challenge = `Bearer realm="http://HOST/token"`;
  const { upstream } = await startRegistry(context, { challenge, token }, { limiter });
  const names = Array.from({ length: 20 }, (_, number) => parseRepository(`library/${number}`));
  const all = names.map(async (name) => upstream.manifest(name, tag, anyAsk()));
  await until(() => waiting.length >= 2 && limiter.waiting === names.length - 2);
  assert.deepEqual([limiter.running, waiting.length], [2, 2]);
  isSlow = false;
  for (const give of waiting) give();
  assert.ok((await Promise.all(all)).every((manifest) => manifest !== undefined));
});

test("a token for which too many wait is not the token server's failure", async () => {
  const upstream = new URL("https://registry.example.com");
  const full = async (): Promise<never> => {
    throw new UpstreamError(upstream.host, "busy", "too many wait");
  };
  const request = {
    realm: new URL("https://registry.example.com/token"),
    service: undefined,
    scopes: [scope],
    credentials: undefined,
    identity: undefined,
    repository,
  };
  const options = { upstream, realmHosts: [], clock: createClock(), exchange: full, foreignExchange: full };
  await assert.rejects(fetchToken(request, options, never()), failure("busy"));
});
