/* Registries that nobody has configured: clients can name as many as they like. */
import assert from "node:assert/strict";
import { Resolver } from "node:dns/promises";
import { test } from "node:test";
import "../support/network.ts";
import { startMirror } from "../support/mirror.ts";
import { createUpstream } from "../support/upstream.ts";

test("a name that a client made up takes no thread from the look-ups of configured ones", async (context) => {
  const asked: string[] = [];
  const answer = (addresses: string[]) => (name: string) => {
    asked.push(name);
    return Promise.resolve(addresses);
  };
  context.mock.method(Resolver.prototype, "resolve4", answer(["127.0.0.1"]));
  context.mock.method(Resolver.prototype, "resolve6", answer([]));
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host);
  // The guard refuses to connect to this address; a look-up by the system would have failed the test.
  const { status } = await mirror.get("/v2/registry.example.com/app/manifests/1");
  assert.notEqual(status, 200);
  assert.deepEqual(asked, ["registry.example.com", "registry.example.com"]);
});
