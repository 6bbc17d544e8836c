import assert from "node:assert/strict";
import { test } from "node:test";
import { Bucket } from "../../../src/bucket/bucket.ts";
import type { RetentionLimits } from "../../../src/bucket/judge.ts";
import { KeyFilter } from "../../../src/bucket/key-filter.ts";
import { leaseKey, readLast, retain, type RetentionReport } from "../../../src/bucket/retention.ts";
import { Usage } from "../../../src/bucket/usage.ts";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import type { Descriptor } from "../../../src/oci/descriptor.ts";
import { parsePin } from "../../../src/oci/pin.ts";
import { parseNamespace, parseRepository, parseTag, type Tag } from "../../../src/oci/reference.ts";
import { blobKey, linkKey, pageKey, parseKey, type RepositoryId, tagKey } from "../../../src/store/layout.ts";
import { Lease } from "../../../src/store/lease.ts";
import type { Key } from "../../../src/store/object-store.ts";
import { MemoryBucket } from "../../support/bucket.ts";
import { readAll } from "../../support/s3-store.ts";
import { never } from "../../support/event-loop.ts";
import { manifestContent, mediaTypes } from "../../support/image.ts";

const id = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/a") };
const day = 24 * 3_600_000;
const never30: RetentionLimits = { maxAgeDays: 30, maxBytes: Infinity };
const hour = 3_600_000;

interface Image {
  readonly id: RepositoryId;
  readonly tag: Tag;
  readonly digest: Digest;
  readonly layer: Digest;
}

/** A bucket with instances that use it, at a time that the test sets. */
class World {
  /** By the server's clock. */
  now = 1_000 * day;
  /** How far the instances' clocks are ahead of it. */
  aheadMs = 0;
  readonly store = new MemoryBucket(() => this.now);
  readonly bucket: Bucket;
  readonly #children = new Map<Digest, readonly Descriptor[]>();
  pins: readonly string[] = [];
  everyMs = 0;
  dryRun = false;
  signal = never();
  removed = 0;

  constructor() {
    const observer = { asked: () => undefined, failed: () => undefined, recovered: () => undefined };
    this.bucket = new Bucket({ store: this.store, observer, monotonic: () => 0 });
  }

  /** Stores an image, whose layer has so many bytes, as an instance does. */
  async add(name: string, layerBytes = 100, repository = "library/a"): Promise<Image> {
    const id = { namespace: parseNamespace("docker.io"), repository: parseRepository(repository) };
    const layer = Buffer.alloc(layerBytes, name);
    const config = Buffer.from(name);
    const listed = [config, layer].map((bytes) => {
      return { mediaType: mediaTypes.layer, digest: digestOf(bytes), size: bytes.length };
    });
    const document = {
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config: listed[0],
      layers: [listed[1]],
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
    this.#children.set(descriptor.digest, listed);
    return { id, tag, digest: descriptor.digest, layer: digestOf(layer) };
  }

  /** What an instance uses today. */
  async use(...images: readonly Image[]): Promise<void> {
    const usage = new Usage({
      store: this.store,
      now: () => this.now + this.aheadMs,
      children: async (_id, digest) => this.#children.get(digest) ?? [],
      onError: (error) => {
        throw error;
      },
    });
    for (const { id, digest, tag } of images) usage.note(id, digest, tag);
    await usage.flush();
  }

  lease(): Lease {
    return new Lease({ store: this.store, key: leaseKey, ttlMs: 10 * 60_000, monotonic: () => this.now });
  }

  /** A run by an instance of its own, two hours later. */
  async retain(limits: RetentionLimits, lease = this.lease()): Promise<RetentionReport | undefined> {
    this.now += 2 * hour;
    const { store, bucket, dryRun, everyMs } = this;
    const pins = async (now: number): Promise<ReturnType<typeof parsePin>[]> => {
      assert.equal(now, this.now);
      return this.pins.map(parsePin);
    };
    const onRemoved = (): void => void this.removed++;
    const options = { store, bucket, limits, lease, pins, by: "one", monotonic: () => this.now, onRemoved };
    return retain(options, { dryRun, everyMs }, this.signal);
  }

  /** How many objects are below a prefix. */
  async count(prefix: string): Promise<number> {
    let count = 0;
    for await (const _ of this.store.list(prefix as Key)) count++;
    return count;
  }

  async has({ id, tag, digest, layer }: Image): Promise<string> {
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

test("what was stored lately stays although nobody is known to use it, listings too", async () => {
  const world = new World();
  const page = pageKey(id, "tags", "");
  const unseen = await world.add("unseen");
  await world.store.plant(page, Buffer.from("{}"));
  world.now += 29 * day;
  for (let run = 0; run < 2; run++) assert.equal((await world.retain(never30))?.condemned, 0);
  assert.equal(await world.has(unseen), "all");
  world.now += 2 * day;
  for (let run = 0; run < 2; run++) await world.retain(never30);
  assert.deepEqual(await world.store.keys(), []);
});

test("a longer age than days are told apart counts all the same", async () => {
  const world = new World();
  const [old, used] = [await world.add("old"), await world.add("used")];
  const limits = { maxAgeDays: 365, maxBytes: Infinity };
  world.now += 100 * day;
  await world.use(used);
  for (const [days, state] of [
    [260, "all"],
    [10, "nothing"],
  ] as const) {
    world.now += days * day;
    for (let run = 0; run < 2; run++) await world.retain(limits);
    assert.equal(await world.has(old), state);
    assert.equal(await world.has(used), "all");
  }
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

test("of a day of which not all has to go whole repositories go, and what they share with others stays", async () => {
  const world = new World();
  const images: Image[] = [];
  for (let count = 0; count < 40; count++) images.push(await world.add(`shared`, 3_000, `team/app-${count}`));
  for (let count = 0; count < 40; count++) images.push(await world.add(`own-${count}`, 1_000, `team/app-${count}`));
  await world.use(...images);
  world.now += 5 * day;
  const used = await world.add("used", 1_000);
  await world.use(used);
  const { bytes = 0 } = (await world.retain({ maxAgeDays: Infinity, maxBytes: 1e9 })) ?? {};
  const limits = { maxAgeDays: Infinity, maxBytes: bytes - 1 };
  for (let run = 0; run < 2; run++) await world.retain(limits);
  const states = await Promise.all(images.slice(40).map((image) => world.has(image)));
  const gone = states.filter((state) => state === "nothing").length;
  assert.equal(gone + states.filter((state) => state === "all").length, 40, "images go whole");
  assert.ok(gone >= 3 && gone <= 15, `${gone} of 40 have gone, where a tenth has to`);
  const keys = await world.store.keys();
  const shared = images[0]?.layer ?? assert.fail();
  assert.ok(keys.includes(blobKey(shared)), "others hold it");
  assert.equal(await world.has(used), "all");
});

test("what is pinned takes room, and others go for it", async () => {
  const world = new World();
  const pinned = await world.add("pinned", 5_000);
  world.now += 3 * day;
  const other = await world.add("other", 5_000);
  await world.store.plant("blobs/others" as Key, Buffer.alloc(5_000));
  world.now += 5 * day;
  world.pins = ["docker.io/library/a:pinned"];
  const limits = { maxAgeDays: Infinity, maxBytes: 14_000 };
  for (let run = 0; run < 2; run++) assert.equal((await world.retain(limits))?.isShort, false);
  assert.deepEqual([await world.has(pinned), await world.has(other)], ["all", "nothing"]);
  assert.equal((await world.retain({ ...limits, maxBytes: 100 }))?.isShort, true);
});

test("what pins mean stays, whoever uses it: of a tag, a digest, or a whole repository", async () => {
  for (const pin of ["docker.io/library/a:pin*", "digest", "docker.io/library/a"]) {
    const world = new World();
    const [pinned, other] = [await world.add("pinned"), await world.add("other", 100, "library/b")];
    const page = pageKey(id, "tags", "");
    await world.store.plant(page, Buffer.from("{}"));
    world.now += 40 * day;
    world.pins = [pin === "digest" ? `docker.io/library/a@${pinned.digest}` : pin];
    // A bucket that was just spared counts for nothing here.
    world.store.failure = new Error("SlowDown");
    await world.bucket.tag(id, pinned.tag);
    world.store.failure = undefined;
    for (let run = 0; run < 2; run++) await world.retain(never30);
    // A digest keeps no tag.
    assert.equal(await world.has(pinned), pin === "digest" ? "4 of 5" : "all", pin);
    assert.equal(await world.has(other), "nothing");
    assert.equal((await world.store.keys()).includes(page), pin === "docker.io/library/a");
  }
});

test("what pins keep and cannot be told ends the run", async () => {
  const world = new World();
  const pinned = await world.add("pinned");
  world.now += 40 * day;
  world.pins = ["docker.io/library/a:pinned"];
  for (let run = 0; run < 2; run++) {
    world.store.unreadable = blobKey(pinned.digest);
    await assert.rejects(world.retain(never30), /unreadable/);
  }
  assert.equal(await world.has(pinned), "all");
});

test("one at a time: who has not the lease does nothing, and it is given back at the end", async () => {
  const world = new World();
  const old = await world.add("old");
  world.now += 40 * day;
  const others = world.lease();
  assert.equal(await others.acquire(), true);
  assert.equal(await world.retain(never30), undefined);
  await others.release();
  assert.equal((await world.retain(never30))?.condemned, 7);
  assert.equal((await world.retain(never30))?.removed, 7);
  assert.equal(await world.has(old), "nothing");
});

test("who loses the lease on the way stops, and leaves the list of who has it now", async () => {
  const world = new World();
  for (let count = 0; count < 5; count++) await world.add(`old-${count}`);
  world.now += 40 * day;
  await world.retain(never30);
  world.now += 2 * hour;
  const before = (await world.store.keys()).length;
  const others = world.lease();
  world.store.onAsked = (what) => {
    if (!what.startsWith("delete repositories")) return;
    // The process stood still for an hour, and another one has gone on.
    world.store.onAsked = undefined;
    world.now += hour;
    void world.store.plant(leaseKey, Buffer.from(JSON.stringify({ holder: "another", turn: "1" })));
  };
  await assert.rejects(world.retain(never30), /another instance has taken the lease/);
  assert.ok(before - (await world.store.keys()).length <= 8, "what was under way");
  assert.equal(world.removed, before - (await world.store.keys()).length, "is told all the same");
  assert.equal(await others.acquire(), false, "what somebody else has is not given back");
});

test("who lost the lease without a sign does not put its list in the place of another's", async () => {
  const world = new World();
  await world.add("old");
  world.now += 40 * day;
  const key = "retention/condemned" as Key;
  world.store.onAsked = async (what) => {
    if (what !== `put ${key}`) return;
    world.store.onAsked = undefined;
    await world.store.plant(key, Buffer.from("another's"));
  };
  await assert.rejects(world.retain(never30), /another instance has taken the lease/);
  assert.equal((await readAll(world.store, key))?.toString(), "another's");
});

test("what is used while a run goes on stays", async () => {
  const world = new World();
  const old = await world.add("old");
  world.now += 40 * day;
  await world.retain(never30);
  let listings = 0;
  world.store.onAsked = async (what) => {
    if (what === "list repositories" && ++listings === 1) await world.use(old);
  };
  assert.equal((await world.retain(never30))?.removed, 0);
  assert.equal(await world.has(old), "all");
});

test("runs are so far apart, whoever makes them; who asks gets one at once, and what it condemns has its hour", async () => {
  const world = new World();
  const old = await world.add("old");
  world.now += 40 * day;
  world.everyMs = 6 * hour;
  assert.equal((await world.retain(never30))?.condemned, 7);
  assert.equal(await world.retain(never30), undefined);
  world.everyMs = 0;
  world.now -= 1.5 * hour;
  assert.equal((await world.retain(never30))?.removed, 7);
  assert.equal(await world.has(old), "nothing");
  const more = await world.add("more");
  world.now += 40 * day;
  assert.equal((await world.retain(never30))?.condemned, 7);
  world.now -= 1.5 * hour;
  const again = await world.retain(never30);
  assert.deepEqual([again?.condemned, again?.removed], [7, 0], "it was condemned half an hour ago");
  assert.equal((await world.retain(never30))?.removed, 7);
  assert.equal(await world.has(more), "nothing");
});

test("a dry run says what a run would do, and does not do it", async () => {
  const world = new World();
  const old = await world.add("old");
  await world.use(old);
  world.now += 40 * day;
  world.dryRun = true;
  assert.equal((await world.retain(never30))?.condemned, 7);
  world.dryRun = false;
  await world.retain(never30);
  await world.use();
  world.dryRun = true;
  const report = await world.retain(never30);
  assert.deepEqual([report?.removed, report?.condemned, world.removed], [7, 0, 0]);
  assert.equal(await world.has(old), "all");
  world.dryRun = false;
  assert.equal((await world.retain(never30))?.removed, 7);
});

test("what a run costs in requests is what docs/s3.md says", async () => {
  const world = new World();
  await world.add("a");
  const cost = async (everyMs: number): Promise<Record<string, number>> => {
    world.everyMs = everyMs;
    world.store.asked.length = 0;
    await world.retain(never30);
    const count = (pattern: RegExp): number => world.store.asked.filter((what) => pattern.test(what)).length;
    return {
      get: count(/^(?:head|get) /),
      put: count(/^put /),
      list: count(/^list (?:retention|usage)/),
      objects: count(/^list (?:blobs|repositories)/),
    };
  };
  await cost(0);
  assert.deepEqual(await cost(6 * hour), { get: 5, put: 2, list: 1, objects: 0 }, "it is not time yet");
  assert.deepEqual(await cost(0), { get: 10, put: 5, list: 4, objects: 2 }, "nothing is unused");
  world.now += 40 * day;
  assert.equal((await cost(0))["objects"], 5, "something is unused");
});

test("the last report is in the bucket, for all instances", async () => {
  const world = new World();
  assert.equal(await readLast(world.store), undefined);
  await world.add("a");
  const report = await world.retain(never30);
  assert.deepEqual(await readLast(world.store), report);
  assert.deepEqual([report?.by, report?.at, report?.objects], ["one", world.now, 7]);
  await world.store.plant("retention/last" as Key, Buffer.from('{"by":"one","at":"yesterday"}'));
  assert.equal(await readLast(world.store), undefined);
});

test("instances whose clocks are wrong neither empty the bucket nor keep what it has", async () => {
  for (const aheadMs of [-400 * day, 400 * day]) {
    const world = new World();
    world.aheadMs = aheadMs;
    const [old, used] = [await world.add("old"), await world.add("used")];
    await world.use(old, used);
    world.now += 29 * day;
    await world.use(used);
    world.now += 2 * day;
    for (let run = 0; run < 2; run++) await world.retain(never30);
    assert.deepEqual([await world.has(old), await world.has(used)], ["nothing", "all"]);
  }
});

test("what an instance wrote and cannot be read may have named anything", async () => {
  const world = new World();
  const old = await world.add("old");
  world.now += 29 * day;
  const today = Math.floor(world.now / day);
  await world.store.put(`usage/${today}/other` as Key, Buffer.from("of a later version"));
  await world.store.put(`usage/${today}/large` as Key, Buffer.alloc(2 * 1024 * 1024));
  await world.store.put("usage/readme" as Key, Buffer.from("somebody else's"));
  world.now += 2 * day;
  for (let run = 0; run < 2; run++) await world.retain(never30);
  assert.equal(await world.has(old), "all");
  world.now += 29 * day;
  for (let run = 0; run < 2; run++) await world.retain(never30);
  assert.equal(await world.has(old), "nothing");
  assert.notEqual(await world.store.head("usage/readme" as Key), undefined);
});

test("a bucket that fails on the way, or a stop, ends the run, and the next one goes on", async () => {
  const world = new World();
  for (let count = 0; count < 5; count++) await world.add(`old-${count}`);
  world.now += 40 * day;
  await world.retain(never30);
  world.store.onAsked = (what) => {
    if (what.startsWith("delete blobs")) throw new Error("SlowDown");
  };
  await assert.rejects(world.retain(never30), /SlowDown/);
  assert.ok((await world.store.keys()).every((key) => key.startsWith("blobs/")));
  const stop = new AbortController();
  world.signal = stop.signal;
  world.store.onAsked = (what) => {
    if (what.startsWith("delete blobs")) stop.abort(new Error("stopping"));
  };
  await assert.rejects(world.retain(never30), /stopping/);
  assert.equal((await world.store.keys()).length, 7);
  world.store.onAsked = undefined;
  world.signal = never();
  await world.retain(never30);
  assert.deepEqual(await world.store.keys(), []);
});

test("a process that is killed at any point leaves what is right, and another one goes on", async () => {
  for (let requests = 1, isOver = false; !isOver; requests += 9) {
    const world = new World();
    const used = await world.add("used");
    const images = [used, await world.add("old"), await world.add("older")];
    world.now += 40 * day;
    await world.use(used);
    await world.retain(never30);
    let left = requests;
    world.store.onAsked = () => {
      if (left-- <= 0) throw new Error("killed");
    };
    isOver = (await world.retain(never30).catch(() => "killed")) !== "killed";
    world.store.onAsked = undefined;
    assert.equal(await world.has(used), "all");
    const keys = await world.store.keys();
    for (const key of keys) {
      const place = parseKey(key);
      if (place?.kind === "link") assert.ok(keys.includes(blobKey(place.digest)), `${requests}: ${key}`);
    }
    for (const { tag, digest } of images) {
      assert.ok(!keys.includes(tagKey(id, tag)) || keys.includes(linkKey(id, digest)), `${requests}: ${tag}`);
    }
    const next = world.lease();
    await next.acquire();
    // Whoever finds the lease of the one that was killed has it at the second try.
    for (let run = 0; run < 2; run++) await world.retain(never30, next);
    assert.equal((await world.store.keys()).length, 7, `${requests}`);
    assert.equal(await world.has(used), "all");
  }
});

test("without limits nothing is looked through, and only usage of more than a year ago goes", async () => {
  const world = new World();
  const image = await world.add("a");
  await world.use(image);
  const none = { maxAgeDays: Infinity, maxBytes: Infinity };
  for (const [days, left] of [
    [390, 1],
    [20, 0],
  ] as const) {
    world.now += days * day;
    world.store.asked.length = 0;
    assert.equal(await world.retain(none), undefined);
    assert.ok(!world.store.asked.some((what) => /^list (?:blobs|repositories)/.test(what)));
    assert.equal(await world.count("usage"), left);
  }
  assert.equal(await world.has(image), "all");
});

test("ten thousand keys", async () => {
  const world = new World();
  const digests = Array.from({ length: 10_000 }, (_, count) => digestOf(Buffer.from(`${count}`)));
  for (const digest of digests) await world.store.plant(blobKey(digest), Buffer.from("."));
  world.now += 40 * day;
  const [root = assert.fail(), ...used] = digests.slice(0, 5_000);
  const usage = new Usage({
    store: world.store,
    now: () => world.now,
    children: async () => used.map((digest) => ({ mediaType: mediaTypes.layer, digest, size: 1 })),
    onError: (error) => assert.fail(String(error)),
  });
  usage.note(id, root);
  await usage.flush();
  for (let run = 0; run < 2; run++) await world.retain(never30);
  const keys = new Set(await world.store.keys());
  assert.ok(
    digests.slice(0, 5_000).every((digest) => keys.has(blobKey(digest))),
    "what is used stays, all of it",
  );
  assert.ok(keys.size < 5_010, `${keys.size - 5_000} were taken for used`);
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
  assert.equal(await world.count("usage"), 1);
});

test("a filter finds all that was noted, and hardly anything else, also when it was saved", () => {
  const filter = new KeyFilter();
  for (let count = 0; count < 20_000; count++) filter.add(`key ${count}`);
  const saved = KeyFilter.parse(Uint8Array.from(filter.save())) ?? assert.fail();
  let others = 0;
  for (let count = 0; count < 20_000; count++) {
    assert.ok(saved.has(`key ${count}`));
    if (saved.has(`other ${count}`)) others++;
  }
  assert.ok(others < 20, `${others} were found that were not noted`);
  assert.equal(KeyFilter.parse(new Uint8Array(3)), undefined);
  const joined = new KeyFilter();
  joined.join(filter);
  assert.ok(joined.has("key 7"));
  assert.ok(!new KeyFilter().has("key 7"));
});
