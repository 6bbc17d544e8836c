/* Registries that nobody has configured: clients can name as many as they like. */
import assert from "node:assert/strict";
import { Resolver } from "node:dns/promises";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
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

test("many made-up names leave little in memory", async (context) => {
  context.mock.method(Resolver.prototype, "resolve4", () => Promise.resolve(["127.0.0.1"]));
  context.mock.method(Resolver.prototype, "resolve6", () => Promise.resolve([]));
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const used = (): number => {
    collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host);
  const pull = (at: number): Promise<unknown> => mirror.get(`/v2/r${at}.example.com/app/manifests/1`);
  for (let at = 0; at < 16; at++) await pull(at);
  const before = used();
  for (let at = 16; at < 256; at++) await pull(at);
  const grownBytes = used() - before;
  assert.ok(grownBytes < 240 * 64 * 1024, `${Math.round(grownBytes / 240 / 1024)} KiB for each name`);
});
