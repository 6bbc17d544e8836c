import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseRepository, parseTag } from "../../../src/oci/reference.ts";
import { rememberAbsences } from "../../../src/upstream/absences.ts";
import { type Upstream, UpstreamError } from "../../../src/upstream/upstream.ts";
import { anyAsk } from "./scripted.ts";

const one = parseRepository("library/one");
const two = parseRepository("library/two");
const tag = parseTag("1");
const digest = digestOf(Buffer.from("blob"));
const by = anyAsk();

function setUp(ttlMs: number): {
  readonly clock: { now: number };
  readonly calls: string[];
  readonly upstream: Upstream;
} {
  const calls: string[] = [];
  const clock = { now: 5_000 };
  const absent =
    (name: string) =>
    async (...parts: readonly unknown[]): Promise<undefined> => {
      calls.push(`${name} ${String(parts[0])} ${String(parts[1])}`);
      return undefined;
    };
  const bare = {
    resolve: absent("resolve"),
    manifest: absent("manifest"),
    blob: absent("blob"),
    statBlob: absent("statBlob"),
    tags: absent("tags"),
    referrers: absent("referrers"),
    close: async () => undefined,
  };
  return { clock, calls, upstream: rememberAbsences(bare, ttlMs, 100, () => clock.now) };
}

test("what is not there is not asked for again for a while, by HEAD or GET", async () => {
  const { clock, calls, upstream } = setUp(30_000);
  await upstream.resolve(one, tag, by);
  await upstream.manifest(one, tag, by);
  assert.deepEqual(calls, [`resolve ${one} 1`]);
  clock.now += 30_000;
  await upstream.manifest(one, tag, by);
  assert.deepEqual(calls, [`resolve ${one} 1`, `manifest ${one} 1`]);
});

test("blobs and manifests, and repositories, are told apart", async () => {
  const { calls, upstream } = setUp(30_000);
  await upstream.blob(one, digest, { offset: 0 }, by);
  await upstream.manifest(one, digest, by);
  await upstream.blob(two, digest, { offset: 0 }, by);
  await upstream.statBlob(one, digest, by);
  assert.deepEqual(calls, [`blob ${one} ${digest}`, `manifest ${one} ${digest}`, `blob ${two} ${digest}`]);
});

test("failures and refusals are not remembered, and listings are always asked", async () => {
  const { calls, upstream } = setUp(30_000);
  await upstream.tags(one, "", by);
  await upstream.tags(one, "", by);
  assert.equal(calls.length, 2);
  let asked = 0;
  for (const failure of ["denied", "rate-limited", "status", "token", "unreachable"] as const) {
    const failing: Partial<Upstream> = {
      manifest: async () => {
        asked++;
        throw new UpstreamError("registry.example.com", failure, "it failed");
      },
    };
    const remembering = rememberAbsences(failing as Upstream, 30_000, 100, () => 0);
    await assert.rejects(remembering.manifest(one, tag, by), { failure });
    await assert.rejects(remembering.manifest(one, tag, by), { failure });
  }
  assert.equal(asked, 10);
});

test("an absence that is told after it was found is not remembered", async () => {
  const slow = Promise.withResolvers<undefined>();
  const found = { mediaType: "application/x", digest, size: 4 };
  const answers = [slow.promise, Promise.resolve(found), Promise.resolve(found)];
  const bare: Partial<Upstream> = { resolve: () => answers.shift() ?? assert.fail("asked too often") };
  const upstream = rememberAbsences(bare as Upstream, 30_000, 100, () => 0);
  const early = upstream.resolve(one, tag, by);
  assert.equal(await upstream.resolve(one, tag, by), found);
  slow.resolve(undefined);
  assert.equal(await early, undefined);
  assert.equal(await upstream.resolve(one, tag, by), found);
});

test("of very many questions no more is kept than absences", async (context) => {
  const kept = new Set<ReadonlyMap<unknown, unknown>>();
  const set: (this: Map<unknown, unknown>, key: unknown, value: unknown) => Map<unknown, unknown> = Reflect.get(
    Map.prototype,
    "set",
  );
  context.mock.method(Map.prototype, "set", function (this: Map<unknown, unknown>, key: unknown, value: unknown) {
    if (String(key).startsWith("manifests/")) kept.add(this);
    return set.call(this, key, value);
  });
  const { upstream } = setUp(30_000);
  for (let number = 0; number < 300; number++) await upstream.manifest(one, parseTag(String(number)), by);
  context.mock.restoreAll();
  assert.ok(kept.size > 0);
  for (const { size } of kept) assert.ok(size <= 100, `${size} are kept`);
});

test("with a time of 0 nothing is remembered", async () => {
  const { calls, upstream } = setUp(0);
  await upstream.manifest(one, tag, by);
  await upstream.manifest(one, tag, by);
  assert.equal(calls.length, 2);
});
