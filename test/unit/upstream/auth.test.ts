import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test, type TestContext } from "node:test";
import { parseRepository } from "../../../src/oci/reference.ts";
import type { UpstreamOptions } from "../../../src/upstream/client.ts";
import { UpstreamError, type Upstream } from "../../../src/upstream/upstream.ts";
import {
  answer,
  answerIndex,
  createClock,
  failure,
  type Handler,
  never,
  type ObservedRequest,
  repository,
  type ScriptedServer,
  startServer,
  startUpstream,
  tag,
} from "./scripted.ts";

const alice = { username: "alice", password: "s3cret" };
const basicAlice = `Basic ${Buffer.from("alice:s3cret").toString("base64")}`;
const scope = "repository:library/alpine:pull";

interface Script {
  /** The challenge; `HOST` is replaced by the server's address. */
  challenge?: string | string[] | undefined;
  token?: Handler;
  /** Which Authorization is good. */
  accepts?: (authorization: string | undefined) => boolean;
}

/** A registry that wants a token, and its token server at `/token`. */
async function startRegistry(
  context: TestContext,
  script: Script = {},
  options: Partial<UpstreamOptions> = {},
): Promise<{ server: ScriptedServer; upstream: Upstream; observed: ObservedRequest[] }> {
  const server: ScriptedServer = await startServer(context, (request, response, path) => {
    const {
      challenge = `Bearer realm="http://HOST/token",service="registry",scope="${scope}"`,
      token = () => answer(response, 200, '{"token":"one","expires_in":100}'),
      accepts = (authorization) => authorization === "Bearer one",
    } = script;
    if (path.startsWith("/token")) {
      token(request, response, path);
    } else if (accepts(request.headers.authorization)) {
      answerIndex(response);
    } else {
      deny(response, challenge, server.host);
    }
  });
  return { server, ...startUpstream(context, server.host, options) };
}

function deny(response: ServerResponse, challenge: string | string[] | undefined, host: string): void {
  const lines = [challenge ?? []].flat().map((line) => line.replaceAll("HOST", host));
  answer(response, 401, "{}", lines.length === 0 ? {} : { "www-authenticate": lines });
}

const manifestPath = "GET /v2/library/alpine/manifests/latest";
const tokenPath = `GET /token?service=registry&scope=${encodeURIComponent(scope)}`;

test("anonymous: challenge, token, request; afterwards the token goes along at once", async (context) => {
  const { server, upstream, observed } = await startRegistry(context);
  assert.ok(await upstream.manifest(repository, tag, never()));
  assert.deepEqual(server.asked, [manifestPath, tokenPath, manifestPath]);
  assert.deepEqual(server.authorizations, [undefined, undefined, "Bearer one"]);
  assert.ok(await upstream.manifest(repository, tag, never()));
  assert.deepEqual(server.asked.slice(3), [manifestPath]);
  assert.deepEqual(
    observed.map(({ kind, status, host }) => [kind, status, host]),
    [401, 200, 200, 200].map((status, at) => [at === 1 ? "token" : "manifest", status, server.host]),
  );
});

test("credentials go to the token server by Basic, and to nobody else", async (context) => {
  const { server, upstream } = await startRegistry(context, {}, { credentials: alice });
  assert.ok(await upstream.manifest(repository, tag, never()));
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
    assert.ok(await upstream.manifest(repository, tag, never()));
    assert.deepEqual(server.asked, [manifestPath, `GET ${asked}`, manifestPath]);
  });
}

test("Basic: sent after the challenge, and at once from then on", async (context) => {
  const script = { challenge: 'Basic realm="x"', accepts: (authorization?: string) => authorization === basicAlice };
  const { server, upstream } = await startRegistry(context, script, { credentials: alice });
  assert.ok(await upstream.manifest(repository, tag, never()));
  assert.ok(await upstream.manifest(repository, tag, never()));
  assert.deepEqual(server.authorizations, [undefined, basicAlice, basicAlice]);
});

test("Basic that is refused is absent, without a loop", async (context) => {
  const script = { challenge: 'Basic realm="x"', accepts: () => false };
  const { server, upstream } = await startRegistry(context, script, { credentials: alice });
  assert.equal(await upstream.manifest(repository, tag, never()), undefined);
  assert.equal(server.asked.length, 2);
});

test("a registry that asked for Basic and wants a token now gets one, a request later", async (context) => {
  const script: Script = { challenge: 'Basic realm="x"', accepts: (authorization) => authorization === basicAlice };
  const { server, upstream } = await startRegistry(context, script, { credentials: alice });
  assert.ok(await upstream.manifest(repository, tag, never()));
  script.challenge = `Bearer realm="http://${server.host}/token"`;
  script.accepts = (authorization) => authorization === "Bearer one";
  assert.equal(await upstream.manifest(repository, tag, never()), undefined);
  assert.ok(await upstream.manifest(repository, tag, never()));
});

test("a challenge of a redirect's target is not answered", async (context) => {
  const other = await startServer(context, (_request, response) =>
    answer(response, 401, "", { "www-authenticate": `Bearer realm="${server.url}/token"` }),
  );
  const server: ScriptedServer = await startServer(context, (_request, response) =>
    answer(response, 307, "", { location: `${other.url}/x` }),
  );
  const { upstream } = startUpstream(context, server.host, { credentials: alice });
  assert.equal(await upstream.manifest(repository, tag, never()), undefined);
  assert.deepEqual([server.asked, other.asked], [[manifestPath], ["GET /x"]]);
});

test("Basic without credentials is absent", async (context) => {
  const { server, upstream } = await startRegistry(context, { challenge: 'Basic realm="x"' });
  assert.equal(await upstream.manifest(repository, tag, never()), undefined);
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
  assert.ok(await upstream.manifest(repository, tag, never()));
  assert.deepEqual(server.asked, [manifestPath, "GET /v2/", tokenPath, manifestPath]);
});

test("a 401 without a challenge anywhere is absent", async (context) => {
  const { server, upstream } = await startRegistry(context, { challenge: [] });
  assert.equal(await upstream.manifest(repository, tag, never()), undefined);
  assert.deepEqual(server.asked, [manifestPath, "GET /v2/"]);
});

for (const status of [401, 403]) {
  test(`a ${status} with a good token is absent, without a loop`, async (context) => {
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
    assert.equal(await upstream.manifest(repository, tag, never()), undefined);
    assert.equal(server.asked.length, 3);
  });
}

for (const status of [400, 401, 403]) {
  test(`a ${status} of the token server is absent`, async (context) => {
    const token: Handler = (_request, response) => answer(response, status, '{"errors":[{"code":"DENIED"}]}');
    const { server, upstream } = await startRegistry(context, { token });
    assert.equal(await upstream.manifest(repository, tag, never()), undefined);
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
  ["a cut connection", (_request, response) => void response.destroy()],
  ["a loop", (_request, response, path) => answer(response, 302, "", { location: path })],
  ["a realm by http", (_request, response) => answer(response, 302, "", { location: "http://auth.example.com/" })],
];

for (const [name, token] of useless) {
  test(`a token server that answers with ${name} is a failure "token" that tells no secret`, async (context) => {
    const { upstream } = await startRegistry(context, { token });
    const error = await upstream.manifest(repository, tag, never()).catch((reason: unknown) => reason);
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

test("a token that is refused later is dropped, and the request goes out bare for a new challenge", async (context) => {
  let good = "one";
  const { server, upstream } = await startRegistry(context, {
    token: (_request, response) => answer(response, 200, `{"token":"${good}","expires_in":3600}`),
    accepts: (authorization) => authorization === `Bearer ${good}`,
  });
  assert.ok(await upstream.manifest(repository, tag, never()));
  good = "two";
  assert.ok(await upstream.manifest(repository, tag, never()));
  assert.deepEqual(server.authorizations.slice(3), ["Bearer one", undefined, undefined, "Bearer two"]);
});

test("without expires_in a token counts for 60 s, less a margin", async (context) => {
  const clock = createClock();
  const token: Handler = (_request, response) => answer(response, 200, '{"token":"one"}');
  const { server, upstream } = await startRegistry(context, { token }, { clock });
  await upstream.manifest(repository, tag, never());
  clock.time += 53_000;
  await upstream.manifest(repository, tag, never());
  assert.equal(server.asked.length, 4);
  clock.time += 2000;
  await upstream.manifest(repository, tag, never());
  assert.deepEqual(server.asked.slice(4), [manifestPath, tokenPath, manifestPath]);
});

test("requests at the same time share one token; another repository gets its own", async (context) => {
  const { server, upstream } = await startRegistry(context, { challenge: 'Bearer realm="http://HOST/token"' });
  const other = parseRepository("library/debian");
  await Promise.all([repository, repository, repository, other].map((name) => upstream.manifest(name, tag, never())));
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
  assert.ok(await upstream.manifest(repository, tag, never()));
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
  assert.ok(await upstream.manifest(repository, tag, never()));
  assert.deepEqual(server.asked, [manifestPath, "POST /token", manifestPath]);
  assert.deepEqual(server.authorizations, [undefined, undefined, "Bearer one"]);
  const form = new URLSearchParams(bodies[0]);
  assert.deepEqual([form.get("grant_type"), form.get("refresh_token")], ["refresh_token", "identity"]);
});

test("a realm at another port of the same address is asked without credentials", async (context) => {
  const other = await startServer(context, (_request, response) => answer(response, 200, '{"token":"one"}'));
  const challenge = `Bearer realm="${other.url}/token"`;
  const { server, upstream } = await startRegistry(context, { challenge }, { credentials: alice });
  assert.ok(await upstream.manifest(repository, tag, never()));
  assert.deepEqual(other.authorizations, [undefined]);
  assert.deepEqual(server.authorizations, [undefined, "Bearer one"]);
});

test("a token server's redirect to another origin is followed without credentials", async (context) => {
  const other = await startServer(context, (_request, response) => answer(response, 200, '{"token":"one"}'));
  const token: Handler = (_request, response) => answer(response, 307, "", { location: `${other.url}/token` });
  const { server, upstream } = await startRegistry(context, { token }, { credentials: alice });
  assert.ok(await upstream.manifest(repository, tag, never()));
  assert.deepEqual(other.authorizations, [undefined]);
  assert.deepEqual(server.authorizations, [undefined, basicAlice, "Bearer one"]);
});

test("credentials are not posted along a redirect", async (context) => {
  const other = await startServer(context, (_request, response) => answer(response, 200, '{"token":"one"}'));
  const token: Handler = (_request, response) => answer(response, 307, "", { location: `${other.url}/token` });
  const { upstream } = await startRegistry(
    context,
    { token },
    { credentials: { username: "<token>", password: "identity" } },
  );
  await assert.rejects(upstream.manifest(repository, tag, never()), failure("token"));
  assert.equal(other.asked.length, 0);
});

for (const realm of ["http://auth.example.com/token", "http://127.0.0.2:1/token", "ftp://HOST/token"]) {
  test(`a realm ${realm} is not asked`, async (context) => {
    const challenge = `Bearer realm="${realm}"`;
    const { server, upstream } = await startRegistry(context, { challenge }, { credentials: alice });
    await assert.rejects(upstream.manifest(repository, tag, never()), failure("token", /may be asked/));
    assert.equal(server.asked.length, 1);
  });
}

test("a realm of another site at an address that is not public is not reached", async (context) => {
  // https://127.0.0.2 is of another site than 127.0.0.1, and an address.
  const { upstream, observed } = await startRegistry(context, { challenge: 'Bearer realm="https://127.0.0.2/token"' });
  await assert.rejects(upstream.manifest(repository, tag, never()), (error) => {
    assert.ok(error instanceof UpstreamError && error.cause instanceof UpstreamError);
    assert.equal(error.cause.failure, "refused");
    return failure("token")(error);
  });
  assert.equal(observed.at(-1)?.status, undefined);
});

test("with Basic for the registry itself, credentials do not wait for a realm of another site", async (context) => {
  const script = {
    challenge: 'Bearer realm="https://auth.example.com/token",Basic realm="x"',
    accepts: (authorization?: string) => authorization === basicAlice,
  };
  const { upstream } = await startRegistry(context, script, { credentials: alice });
  assert.ok(await upstream.manifest(repository, tag, never()));
});

test("a Bearer challenge without a realm is none", async (context) => {
  const { server, upstream } = await startRegistry(context, { challenge: 'Bearer service="registry"' });
  assert.equal(await upstream.manifest(repository, tag, never()), undefined);
  assert.equal(server.asked.length, 1);
});

test("one who leaves while the token is fetched does not hurt another", async (context) => {
  const asked = Promise.withResolvers<ServerResponse>();
  const token: Handler = (_request, response) => asked.resolve(response);
  const { server, upstream } = await startRegistry(context, { token });
  const leaver = new AbortController();
  const left = upstream.manifest(repository, tag, leaver.signal);
  const stayed = upstream.manifest(repository, tag, never());
  const response = await asked.promise;
  leaver.abort(new Error("gone"));
  await assert.rejects(left, { message: "gone" });
  answer(response, 200, '{"token":"one"}');
  assert.ok(await stayed);
  assert.equal(server.asked.filter((line) => line.startsWith("GET /token")).length, 1);
});
