import assert from "node:assert/strict";
import { test } from "node:test";
import {
  alice,
  basicAlice,
  deny,
  manifestPath,
  scope,
  type Script,
  startRegistry,
  tokenPath,
} from "./scripted-registry.ts";
import {
  answer,
  answerIndex,
  anyAsk,
  repository,
  type ScriptedServer,
  startServer,
  startUpstream,
  tag,
  failure,
} from "./scripted.ts";

test("anonymous: challenge, token, request; afterwards the token goes along at once", async (context) => {
  const { server, upstream, observed } = await startRegistry(context);
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.deepEqual(server.asked, [manifestPath, tokenPath, manifestPath]);
  assert.deepEqual(server.authorizations, [undefined, undefined, "Bearer one"]);
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.deepEqual(server.asked.slice(3), [manifestPath]);
  assert.deepEqual(
    observed.map(({ kind, status, host }) => [kind, status, host]),
    [401, 200, 200, 200].map((status, at) => [at === 1 ? "token" : "manifest", status, server.host]),
  );
});

test("credentials go to the token server by Basic, and to nobody else", async (context) => {
  const { server, upstream } = await startRegistry(context, {}, { credentials: alice });
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.deepEqual(server.authorizations, [undefined, basicAlice, "Bearer one"]);
});

const shapes: [name: string, challenge: string | string[], asked: string][] = [
  ["no service", `Bearer realm="http://HOST/token",scope="${scope}"`, `/token?scope=${encodeURIComponent(scope)}`],
  ["no scope", `Bearer realm="http://HOST/token",service="registry"`, tokenPath.slice(4)],
  [
    "empty service and scope",
    `Bearer realm="http://HOST/token",service="",scope=""`,
    `/token?scope=${encodeURIComponent(scope)}`,
  ],
  ["a scope of its own", `Bearer realm="http://HOST/token",service="s",scope="aws"`, "/token?service=s&scope=aws"],
  [
    "a realm with a query",
    `Bearer realm="http://HOST/token?a=b%20c",service="s",scope="aws"`,
    "/token?a=b%20c&service=s&scope=aws",
  ],
  ["several scopes", `Bearer realm="http://HOST/token",scope="aws x"`, "/token?scope=aws&scope=x"],
  [
    "a scope that asks for more",
    `Bearer realm="http://HOST/token",scope="repository:h:5000/a:pull,push"`,
    `/token?scope=${encodeURIComponent("repository:h:5000/a:pull")}`,
  ],
  ["other letters", `bearer REALM="http://HOST/token",Service="registry",SCOPE="${scope}"`, tokenPath.slice(4)],
  ["Basic beside it", `Basic realm="x",Bearer realm="http://HOST/token",scope="aws"`, "/token?scope=aws"],
  ["a line for each", [`Basic realm="x"`, `Bearer realm="http://HOST/token",scope="aws"`], "/token?scope=aws"],
];

for (const [name, challenge, asked] of shapes) {
  test(`a challenge with ${name}`, async (context) => {
    const { server, upstream } = await startRegistry(context, { challenge }, { credentials: alice });
    assert.ok(await upstream.manifest(repository, tag, anyAsk()));
    assert.deepEqual(server.asked, [manifestPath, `GET ${asked}`, manifestPath]);
  });
}

test("Basic: sent after the challenge, and at once from then on", async (context) => {
  const script = { challenge: 'Basic realm="x"', accepts: (authorization?: string) => authorization === basicAlice };
  const { server, upstream } = await startRegistry(context, script, { credentials: alice });
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.deepEqual(server.authorizations, [undefined, basicAlice, basicAlice]);
});

test("Basic that is refused is denied, without a loop", async (context) => {
  const script = { challenge: 'Basic realm="x"', accepts: () => false };
  const { server, upstream } = await startRegistry(context, script, { credentials: alice });
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("denied"));
  assert.equal(server.asked.length, 2);
});

test("a registry that asked for Basic and wants a token now gets one, a request later", async (context) => {
  const script: Script = { challenge: 'Basic realm="x"', accepts: (authorization) => authorization === basicAlice };
  const { server, upstream } = await startRegistry(context, script, { credentials: alice });
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  script.challenge = `Bearer realm="http://${server.host}/token"`;
  script.accepts = (authorization) => authorization === "Bearer one";
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("denied"));
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
});

test("Basic without credentials is denied", async (context) => {
  const { server, upstream } = await startRegistry(context, { challenge: 'Basic realm="x"' });
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("denied"));
  assert.equal(server.asked.length, 1);
});

test("a 401 without a challenge takes that of /v2/, but not its placeholder scope", async (context) => {
  const server: ScriptedServer = await startServer(context, (request, response, path) => {
    if (path.startsWith("/token")) {
      answer(response, 200, '{"access_token":"one"}');
    } else if (path === "/v2/") {
      deny(
        response,
        'Bearer realm="http://HOST/token",service="registry",scope="repository:user/image:pull"',
        server.host,
      );
    } else if (request.headers.authorization === "Bearer one") {
      answerIndex(response);
    } else {
      answer(response, 401);
    }
  });
  const { upstream } = startUpstream(context, server.host);
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.deepEqual(server.asked, [manifestPath, "GET /v2/", tokenPath, manifestPath]);
});

test("a 401 without a challenge anywhere is denied", async (context) => {
  const { server, upstream } = await startRegistry(context, { challenge: [] });
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("denied"));
  assert.deepEqual(server.asked, [manifestPath, "GET /v2/"]);
});

for (const status of [401, 403]) {
  test(`a ${status} with a good token is denied, without a loop`, async (context) => {
    const server: ScriptedServer = await startServer(context, (request, response, path) => {
      if (path.startsWith("/token")) {
        answer(response, 200, '{"token":"of less scope"}'.replaceAll(" ", "-"));
      } else if (request.headers.authorization === undefined) {
        deny(response, 'Bearer realm="http://HOST/token"', server.host);
      } else {
        answer(response, status, "{}", { "www-authenticate": `Bearer realm="http://${server.host}/token"` });
      }
    });
    const { upstream } = startUpstream(context, server.host);
    await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("denied"));
    assert.equal(server.asked.length, 3);
  });
}

test("a token that is refused later is dropped, and the request goes out bare for a new challenge", async (context) => {
  let good = "one";
  const { server, upstream } = await startRegistry(context, {
    token: (_request, response) => answer(response, 200, `{"token":"${good}","expires_in":3600}`),
    accepts: (authorization) => authorization === `Bearer ${good}`,
  });
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  good = "two";
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.deepEqual(server.authorizations.slice(3), ["Bearer one", undefined, undefined, "Bearer two"]);
});

test("a Bearer challenge without a realm is none", async (context) => {
  const { server, upstream } = await startRegistry(context, { challenge: 'Bearer service="registry"' });
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("denied"));
  assert.equal(server.asked.length, 1);
});
