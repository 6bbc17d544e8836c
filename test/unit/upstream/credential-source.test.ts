import assert from "node:assert/strict";
import { test } from "node:test";
import { CredentialError, type CredentialSource } from "../../../src/upstream/credentials/source.ts";
import { type Credentials, fingerprint } from "../../../src/upstream/credentials.ts";
import { parseRepository } from "../../../src/oci/reference.ts";
import { answer, answerIndex, failure, anyAsk, repository, startServer, startUpstream, tag } from "./scripted.ts";
import { alice, basicAlice, startRegistry } from "./scripted-registry.ts";

const bob: Credentials = { username: "bob", password: "n3w" };
const basicBob = `Basic ${Buffer.from("bob:n3w").toString("base64")}`;

/** Gives credentials in order, one further for each refusal; the last ones stay. */
function sourceOf(...given: (Credentials | undefined)[]): CredentialSource & {
  readonly refusals: Credentials[];
  readonly repositories: string[];
} {
  const refusals: Credentials[] = [];
  const repositories: string[] = [];
  return {
    refusals,
    repositories,
    get(asked) {
      repositories.push(asked);
      return Promise.resolve(given[Math.min(refusals.length, given.length - 1)]);
    },
    refused: (credentials) => void refusals.push(credentials),
    close: () => {},
  };
}

for (const status of [401, 403]) {
  test(`ECR: Basic that has expired (${status}) is renewed, and the request sent once more`, async (context) => {
    let good = basicAlice;
    const source = sourceOf(alice, bob);
    const { server, upstream } = await startRegistry(context, {}, { credentials: source });
    server.handle((request, response) => {
      if (request.headers.authorization === good) {
        answerIndex(response);
      } else if (request.headers.authorization === undefined) {
        answer(response, 401, "", { "www-authenticate": `Basic realm="${server.url}/",service="ecr.amazonaws.com"` });
      } else {
        answer(response, status, '{"errors":[{"code":"DENIED","message":"Your authorization token has expired."}]}');
      }
    });
    assert.ok(await upstream.manifest(repository, tag, anyAsk()));
    good = basicBob;
    assert.ok(await upstream.manifest(repository, tag, anyAsk()));
    assert.deepEqual(source.refusals, [alice]);
    assert.deepEqual(server.authorizations, [undefined, basicAlice, basicAlice, undefined, basicBob]);
    assert.ok(await upstream.manifest(repository, tag, anyAsk()));
    assert.deepEqual(server.authorizations.slice(5), [basicBob]);
  });
}

test("where the source has no others, a refusal is the answer; where others are refused too, it is not tried again", async (context) => {
  for (const [given, requests] of [
    [[alice], 2],
    [[alice, undefined], 3],
    [[alice, bob], 4],
    [[alice, bob, alice, bob], 4],
  ] as const) {
    const source = sourceOf(...given);
    const script = { challenge: 'Basic realm="x"', accepts: () => false };
    const { server, upstream } = await startRegistry(context, script, { credentials: source });
    await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("denied"));
    assert.equal(server.asked.length, requests);
    assert.deepEqual(source.refusals, [alice]);
  }
});

test("a token server that refuses the credentials is asked with renewed ones", async (context) => {
  const source = sourceOf(alice, bob);
  const { server, upstream } = await startRegistry(
    context,
    {
      token: (request, response) =>
        request.headers.authorization === basicBob
          ? answer(response, 200, '{"token":"one"}')
          : answer(response, 401, '{"errors":[]}'),
    },
    { credentials: source },
  );
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.deepEqual(server.authorizations, [undefined, basicAlice, undefined, basicBob, "Bearer one"]);
});

test("a token that grants nothing says nothing of the credentials", async (context) => {
  const source = sourceOf(alice, bob);
  const script = { accepts: () => false };
  const { upstream } = await startRegistry(context, script, { credentials: source });
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("denied"));
  assert.deepEqual(source.refusals, []);
});

test("a token server that may not see the credentials cannot refuse them", async (context) => {
  const source = sourceOf(alice, bob);
  const other = await startServer(context, (_request, response) => answer(response, 401));
  const script = { challenge: `Bearer realm="${other.url}/token"` };
  const { upstream } = await startRegistry(context, script, { credentials: source });
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("denied"));
  assert.deepEqual([source.refusals, other.authorizations], [[], [undefined]]);
});

test("a fingerprint tells every part of credentials apart, and holds none of it", () => {
  const all = [
    undefined,
    { username: "alice", password: "one" },
    { username: "alice", password: "two" },
    { username: "bob", password: "one" },
    { username: "alice:o", password: "ne" },
    { username: "alice", password: "" },
  ].map(fingerprint);
  assert.equal(new Set(all).size, all.length);
  assert.ok(all.slice(1).every((text) => /^[0-9a-f]{32}$/.test(text)));
  assert.equal(fingerprint({ username: "alice", password: "one" }), all[1]);
});

test("tokens are kept apart by the credentials that they were made of, and credentials asked for by repository", async (context) => {
  let current: Credentials | undefined = alice;
  const repositories: string[] = [];
  const { server, upstream } = await startRegistry(
    context,
    { challenge: 'Bearer realm="http://HOST/token"' },
    {
      credentials: {
        get(asked) {
          repositories.push(asked);
          return Promise.resolve(current);
        },
        refused: () => {},
        close: () => {},
      },
      pathPrefix: parseRepository("cache"),
    },
  );
  const other = parseRepository("library/debian");
  await upstream.manifest(repository, tag, anyAsk());
  current = bob;
  await upstream.manifest(repository, tag, anyAsk());
  current = undefined;
  await upstream.manifest(other, tag, anyAsk());
  current = alice;
  await upstream.manifest(repository, tag, anyAsk());
  const tokens = server.requests.filter(({ url }) => url?.startsWith("/token"));
  assert.deepEqual(
    tokens.map(({ headers }) => headers.authorization),
    [basicAlice, basicBob, undefined],
  );
  assert.deepEqual(repositories, [repository, repository, other, repository]);
});

test("a source without credentials to give is a failure of the token, and nothing is sent", async (context) => {
  const server = await startServer(context, (_request, response) => answerIndex(response));
  const source: CredentialSource = {
    get: () => Promise.reject(new CredentialError("docker config", "it cannot be read")),
    refused: () => {},
    close: () => {},
  };
  const { upstream } = startUpstream(context, server.host, { credentials: source });
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("token", /docker config: it cannot/));
  assert.deepEqual(server.asked, []);
});

test("an abort while the source is asked rejects with its reason; the source is not closed with the upstream", async (context) => {
  const server = await startServer(context, (_request, response) => answerIndex(response));
  let closed = false;
  const source: CredentialSource = {
    get: (_repository, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new CredentialError("x", "y")))),
    refused: () => {},
    close: () => (closed = true),
  };
  const { upstream } = startUpstream(context, server.host, { credentials: source });
  const controller = new AbortController();
  const asking = upstream.manifest(repository, tag, anyAsk(controller.signal));
  const reason = new Error("gone");
  controller.abort(reason);
  await assert.rejects(asking, (error) => error === reason);
  await upstream.close();
  assert.equal(closed, false);
});
