import assert from "node:assert/strict";
import { test } from "node:test";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { alice, basicAlice, startRegistry } from "./scripted-registry.ts";
import { answer, failure, type Handler, anyAsk, repository, startServer, tag } from "./scripted.ts";

test("a realm at another port of the same address is asked without credentials", async (context) => {
  const other = await startServer(context, (_request, response) => answer(response, 200, '{"token":"one"}'));
  const challenge = `Bearer realm="${other.url}/token"`;
  const { server, upstream } = await startRegistry(context, { challenge }, { credentials: alice });
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.deepEqual(other.authorizations, [undefined]);
  assert.deepEqual(server.authorizations, [undefined, "Bearer one"]);
});

test("a token server's redirect to another origin is followed without credentials", async (context) => {
  const other = await startServer(context, (_request, response) => answer(response, 200, '{"token":"one"}'));
  const token: Handler = (_request, response) => answer(response, 307, "", { location: `${other.url}/token` });
  const { server, upstream } = await startRegistry(context, { token }, { credentials: alice });
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
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
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("token"));
  assert.equal(other.asked.length, 0);
});

for (const realm of ["http://auth.example.com/token", "http://127.0.0.2:1/token", "ftp://HOST/token"]) {
  test(`a realm ${realm} is not asked`, async (context) => {
    const challenge = `Bearer realm="${realm}"`;
    const { server, upstream } = await startRegistry(context, { challenge }, { credentials: alice });
    await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("token", /may be asked/));
    assert.equal(server.asked.length, 1);
  });
}

test("a realm of another site at an address that is not public is not reached", async (context) => {
  // https://127.0.0.2 is of another site than 127.0.0.1, and an address.
  const { upstream, observed } = await startRegistry(context, { challenge: 'Bearer realm="https://127.0.0.2/token"' });
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), (error) => {
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
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
});
