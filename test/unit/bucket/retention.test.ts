import assert from "node:assert/strict";
import { test } from "node:test";
import { Bucket } from "../../../src/bucket/bucket.ts";
import { KeyFilter } from "../../../src/bucket/key-filter.ts";
import { retain, type RetentionLimits, type RetentionReport } from "../../../src/bucket/retention.ts";
import { Usage } from "../../../src/bucket/usage.ts";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag, type Tag } from "../../../src/oci/reference.ts";
import { blobKey, linkKey, tagKey } from "../../../src/store/layout.ts";
import { Lease } from "../../../src/store/lease.ts";
import type { Key } from "../../../src/store/object-store.ts";
import { MemoryBucket } from "../../support/bucket.ts";
import { never } from "../../support/event-loop.ts";
import { manifestContent, mediaTypes } from "../../support/image.ts";

const id = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/a") };
const day = 24 * 3_600_000;
const never30: RetentionLimits = { maxAgeDays: 30, maxBytes: Infinity };

interface Image {
  readonly tag: Tag;
  readonly digest: Digest;
  readonly layer: Digest;
}

/** A bucket with instances that use it, at a time that the test sets. */
class World {
  readonly store = new MemoryBucket();
  readonly bucket: Bucket;
  readonly #children = new Map<Digest, readonly Digest[]>();
  #pinned: Tag | undefined;
  now = 1_000 * day;

  constructor() {
    const observer = { asked: () => undefined, failed: () => undefined, recovered: () => undefined };
    this.bucket = new Bucket({ store: this.store, observer, monotonic: () => 0 });
  }

  /** Stores an image, whose layer has so many bytes, as an instance does. */
  async add(name: string, layerBytes = 100): Promise<Image> {
    const layer = Buffer.alloc(layerBytes, name);
    const config = Buffer.from(name);
    const listed = [config, layer].map((bytes) => ({ digest: digestOf(bytes), size: bytes.length }));
    const document = {
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config: { mediaType: mediaTypes.config, ...listed[0] },
      layers: [{ mediaType: mediaTypes.layer, ...listed[1] }],
    };
    const { descriptor, bytes } = manifestContent(Buffer.from(JSON.stringify(document)), mediaTypes.manifest);
    const tag = parseTag(name);
    for (const content of [bytes, config, layer]) await this.store.plant(blobKey(digestOf(content)), content);
    const put = (key: Key, record: object): Promise<void> => this.store.plant(key, Buffer.from(JSON.stringify(record)));
    for (const { digest, size } of listed) {
      await put(linkKey(id, digest), { mediaType: mediaTypes.layer, sizeBytes: size, role: "blob" });
    }
    const link = { mediaType: mediaTypes.manifest, sizeBytes: bytes.length, role: "manifest" };
    await put(linkKey(id, descriptor.digest), link);
    await put(tagKey(id, tag), { ...descriptor, checkedAt: this.now });
    this.#children.set(
      descriptor.digest,
      listed.map(({ digest }) => digest),
    );
    return { tag, digest: descriptor.digest, layer: digestOf(layer) };
  }

  /** What an instance uses today, by whom retention is run, too. */
  async use(...images: readonly Image[]): Promise<void> {
    await this.#use(images);
    await this.retain({ maxAgeDays: Infinity, maxBytes: Infinity });
  }

  async #use(images: readonly Image[]): Promise<void> {
    const usage = new Usage({
      store: this.store,
      now: () => this.now,
      children: async (_id, digest) => this.#children.get(digest) ?? [],
      onError: (error) => {
        throw error;
      },
    });
    for (const { digest, tag } of images) usage.note(id, digest, tag);
    await usage.flush();
  }

  pin(tag: Tag): void {
    this.#pinned = tag;
  }

  /** A run by an instance of its own, after the lease of the one before has ended. */
  async retain(limits: RetentionLimits): Promise<RetentionReport | undefined> {
    this.now += 2 * 3_600_000;
    const now = (): number => this.now;
    const { store, bucket } = this;
    const lease = new Lease({ store, key: "retention/lease" as Key, ttlMs: 3_600_000, now });
    const isPinned = (_id: unknown, tag: Tag): boolean => tag === this.#pinned;
    return retain({ store, bucket, limits, lease, isPinned, now }, never());
  }

  async has({ tag, digest, layer }: Image): Promise<string> {
    const keys = new Set(await this.store.keys());
    const all = [tagKey(id, tag), linkKey(id, digest), blobKey(digest), linkKey(id, layer), blobKey(layer)];
    const found = all.filter((key) => keys.has(key)).length;
    return found === all.length ? "all" : found === 0 ? "nothing" : `${found} of ${all.length}`;
  }
}

test("what nobody has used for long goes whole, in the second run that finds it so", async () => {
  const world = new World();
  const [old, used] = [await world.add("old"), await world.add("used")];
  await world.use(old, used);
  world.now += 29 * day;
  await world.use(used);
  assert.equal((await world.retain(never30))?.condemned, 0);
  world.now += 2 * day;
  const first = await world.retain(never30);
  assert.deepEqual([first?.condemned, first?.removed], [7, 0]);
  assert.equal(await world.has(old), "all");
  const second = await world.retain(never30);
  assert.equal(second?.removed, 7);
  assert.equal(await world.has(old), "nothing");
  assert.equal(await world.has(used), "all");
});

test("what is used between the two runs stays", async () => {
  const world = new World();
  const old = await world.add("old");
  await world.use(old);
  world.now += 32 * day;
  assert.equal((await world.retain(never30))?.condemned, 7);
  await world.use(old);
  assert.equal((await world.retain(never30))?.removed, 0);
  assert.equal(await world.has(old), "all");
});

test("while usage is not known for all of the longest age nothing is too old", async () => {
  const world = new World();
  const unseen = await world.add("unseen");
  await world.use(await world.add("used"));
  world.now += 20 * day;
  for (let run = 0; run < 2; run++) assert.equal((await world.retain(never30))?.condemned, 0);
  assert.equal(await world.has(unseen), "all");
});

test("of what is too much the longest unused goes, never what was used today or yesterday", async () => {
  const world = new World();
  const limits = { maxAgeDays: Infinity, maxBytes: 5_000 };
  const images: Image[] = [];
  for (const name of ["a", "b", "c"]) {
    const image = await world.add(name, 2_000);
    images.push(image);
    await world.use(image);
    world.now += 3 * day;
  }
  const [a = assert.fail(), b = assert.fail(), c = assert.fail()] = images;
  await world.retain(limits);
  const report = await world.retain(limits);
  assert.equal(report?.isShort, false);
  assert.deepEqual([await world.has(a), await world.has(b), await world.has(c)], ["nothing", "nothing", "all"]);
  await world.use(c);
  const tight = { maxAgeDays: Infinity, maxBytes: 10 };
  await world.retain(tight);
  assert.equal((await world.retain(tight))?.isShort, true);
  assert.equal(await world.has(c), "all");
});

test("what a pinned tag stands for stays, whoever uses it", async () => {
  const world = new World();
  const [pinned, other] = [await world.add("pinned"), await world.add("other")];
  await world.use(pinned, other);
  world.now += 40 * day;
  world.pin(pinned.tag);
  await world.retain(never30);
  await world.retain(never30);
  assert.deepEqual([await world.has(pinned), await world.has(other)], ["all", "nothing"]);
});

test("one at a time: who has not the lease does nothing", async () => {
  const world = new World();
  const old = await world.add("old");
  await world.use(old);
  world.now += 40 * day;
  await world.retain(never30);
  world.now -= 2 * 3_600_000;
  assert.equal(await world.retain(never30), undefined);
  assert.equal(await world.has(old), "all");
});

test("tags go before what they stand for, and that before content", async () => {
  const world = new World();
  const old = await world.add("old");
  await world.use(old);
  world.now += 40 * day;
  await world.retain(never30);
  world.store.asked.length = 0;
  await world.retain(never30);
  const kinds = world.store.asked
    .filter((what) => what.startsWith("delete ") && !what.includes("usage/"))
    .map((what) => (what.includes("_tags") ? "tag" : what.includes("_links") ? "link" : "content"));
  assert.deepEqual(kinds, ["tag", "link", "link", "link", "content", "content", "content"]);
});

test("usage of former days is removed when it does not count any more", async () => {
  const world = new World();
  const image = await world.add("a");
  await world.use(image);
  world.now += 40 * day;
  await world.use(image);
  await world.retain(never30);
  const left: string[] = [];
  for await (const { key } of world.store.list("usage" as Key)) left.push(key);
  assert.equal(left.length, 1);
});

test("a filter finds all that was noted, and hardly anything else, also when it was saved", () => {
  const filter = new KeyFilter();
  for (let count = 0; count < 20_000; count++) filter.add(`key ${count}`);
  const saved = new KeyFilter(Uint8Array.from(filter.save()));
  let others = 0;
  for (let count = 0; count < 20_000; count++) {
    assert.ok(saved.has(`key ${count}`));
    if (saved.has(`other ${count}`)) others++;
  }
  assert.ok(others < 20, `${others} were found that were not noted`);
  const joined = new KeyFilter(new Uint8Array(3));
  joined.join(filter);
  assert.ok(joined.has("key 7"));
  assert.ok(!new KeyFilter().has("key 7"));
});
