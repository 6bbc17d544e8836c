import assert from "node:assert/strict";
import { test } from "node:test";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import type { Descriptor } from "../../../src/oci/descriptor.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import { Usage } from "../../../src/bucket/usage.ts";
import { UsedDays } from "../../../src/bucket/used-days.ts";
import { blobKey, linkKey, tagKey } from "../../../src/store/layout.ts";
import type { Key } from "../../../src/store/object-store.ts";
import { MemoryBucket } from "../../support/bucket.ts";
import { turn } from "../../support/event-loop.ts";
import { mediaTypes } from "../../support/image.ts";

const day = 24 * 3_600_000;
const id = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/a") };
const tag = parseTag("1");
const [index, image, layer, other] = ["index", "image", "layer", "other"].map((text) =>
  digestOf(Buffer.from(text)),
) as [Digest, Digest, Digest, Digest];

/** An index of an image of a layer, and what an instance notes of it. */
class World {
  now = 1_000 * day;
  readonly store = new MemoryBucket(() => this.now);
  readonly known = new Map<Digest, readonly Descriptor[] | undefined>([
    [index, [{ mediaType: mediaTypes.manifest, digest: image, size: 1 }]],
    [image, [{ mediaType: mediaTypes.layer, digest: layer, size: 1 }]],
    [layer, []],
    [other, []],
  ]);
  /** What was looked up, in order. */
  readonly asked: Digest[] = [];
  /** Looking up fails with this. */
  failure: Error | undefined;
  /** What failed. */
  readonly told: unknown[] = [];
  readonly usage: Usage = this.instance();

  instance(): Usage {
    return new Usage({
      store: this.store,
      now: () => this.now,
      children: async (_id, digest) => {
        this.asked.push(digest);
        if (this.failure !== undefined) throw this.failure;
        return this.known.get(digest);
      },
      onError: (error) => void this.told.push(error),
    });
  }

  /** How many days ago a key was used last, as far as is written down; `undefined`: not within 30. */
  async daysAgo(key: Key): Promise<number | undefined> {
    const used = new UsedDays();
    const today = Math.floor(this.now / day);
    await used.read(this.store, { today, span: 30 });
    const last = used.lastDay(key, -1);
    return last === -1 ? undefined : today - last;
  }

  async records(): Promise<Key[]> {
    const keys: Key[] = [];
    for await (const { key } of this.store.list("usage" as Key)) keys.push(key);
    return keys;
  }
}

test("what is used is written down once for a day, with all that it refers to", async () => {
  const world = new World();
  await world.usage.flush();
  assert.deepEqual(await world.records(), [], "nothing was used");
  world.usage.note(id, index, tag);
  await world.usage.flush();
  for (const key of [
    tagKey(id, tag),
    ...[index, image, layer].flatMap((digest) => [linkKey(id, digest), blobKey(digest)]),
  ]) {
    assert.equal(await world.daysAgo(key), 0, key);
  }
  assert.equal(await world.daysAgo(blobKey(other)), undefined);
  assert.deepEqual(world.asked, [index, image], "what is no manifest is not looked up");
  world.store.asked.length = 0;
  world.usage.note(id, index, tag);
  await world.usage.flush();
  assert.deepEqual(world.store.asked, [], "it was noted today");
  world.usage.note(id, other);
  await world.usage.flush();
  assert.equal((await world.records()).length, 1);
});

test("what a manifest refers to and cannot be told now is looked up at its next use", async () => {
  const world = new World();
  world.known.set(image, undefined);
  world.usage.note(id, index, tag);
  await world.usage.flush();
  assert.equal(await world.daysAgo(blobKey(layer)), undefined);
  world.known.set(image, [{ mediaType: mediaTypes.layer, digest: layer, size: 1 }]);
  world.usage.note(id, index, tag);
  await world.usage.flush();
  assert.equal(await world.daysAgo(blobKey(layer)), 0);
});

test("what fails while it is looked up is told, and looked up at the next use", async () => {
  const world = new World();
  const failure = new Error("the disk is gone");
  world.failure = failure;
  world.usage.note(id, image);
  await world.usage.flush();
  assert.deepEqual(world.told, [failure]);
  world.failure = undefined;
  world.usage.note(id, image);
  await world.usage.flush();
  assert.equal(await world.daysAgo(blobKey(layer)), 0);
});

test("a day's uses do not count for the next one, also where the last of them are written down then", async () => {
  const world = new World();
  world.usage.note(id, layer);
  await turn();
  world.now += day;
  world.usage.note(id, other);
  await world.usage.flush();
  assert.deepEqual([await world.daysAgo(blobKey(layer)), await world.daysAgo(blobKey(other))], [1, 0]);
  for (let days = 0; days < 5; days++) {
    world.now += day;
    world.usage.note(id, other);
    await turn();
  }
  await world.usage.flush();
  assert.equal(await world.daysAgo(blobKey(layer)), 6);
});

test("what a bucket that fails could not be told is told later, at most two days at once", async () => {
  const world = new World();
  world.store.failure = new Error("SlowDown");
  for (const digest of [layer, other, index]) {
    world.usage.note(id, digest);
    await assert.rejects(world.usage.flush(), /SlowDown/);
    world.now += day;
  }
  world.store.failure = undefined;
  await world.usage.flush();
  assert.equal((await world.records()).length, 1);
  world.store.asked.length = 0;
  await world.usage.flush();
  assert.deepEqual(world.store.asked, []);
  for (const digest of [layer, other, index]) assert.ok((await world.daysAgo(blobKey(digest))) !== undefined);
});

test("each instance has a record of its own, and all count", async () => {
  const world = new World();
  const second = world.instance();
  world.usage.note(id, layer);
  second.note(id, other);
  await Promise.all([world.usage.flush(), second.flush()]);
  assert.equal((await world.records()).length, 2);
  assert.deepEqual([await world.daysAgo(blobKey(layer)), await world.daysAgo(blobKey(other))], [0, 0]);
});

test("many days are read with bounded memory: several count as one", async () => {
  const world = new World();
  world.usage.note(id, layer);
  await world.usage.flush();
  const before = Math.floor(world.now / day);
  world.now += 200 * day;
  const today = Math.floor(world.now / day);
  const used = new UsedDays();
  await used.read(world.store, { today, span: 360 });
  const last = used.lastDay(blobKey(layer), -1);
  assert.ok(last >= before && last < before + 4, `${last - before} days later`);
});
