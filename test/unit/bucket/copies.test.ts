import assert from "node:assert/strict";
import { test } from "node:test";
import { Bucket } from "../../../src/bucket/bucket.ts";
import { Copies, type FollowedFill } from "../../../src/bucket/copies.ts";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import { blobKey, linkKey, quarantineKey, tagKey } from "../../../src/store/layout.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import type { Key, ObjectStore } from "../../../src/store/object-store.ts";
import { createBarrier } from "../../support/barrier.ts";
import { MemoryBucket } from "../../support/bucket.ts";
import { turn, until } from "../../support/event-loop.ts";
import { manifestContent, mediaTypes } from "../../support/image.ts";

const id = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/a") };
const bytes = Buffer.from("content");
const digest = digestOf(bytes);
const link = { mediaType: "application/octet-stream", sizeBytes: bytes.length, role: "blob" };

interface Subject {
  readonly store: MemoryBucket;
  readonly memory: MemoryStore;
  readonly folder: ObjectStore;
  readonly bucket: Bucket;
  readonly copies: Copies;
  /** What was told: sizes, and messages of failures. */
  readonly told: (number | string)[];
  /** What counts as used. */
  readonly used: Digest[];
  /** The rests that were begun, in milliseconds, and how they end. */
  readonly rests: { readonly ms: number; readonly end: () => void }[];
}

function setUp(memory: MemoryStore = new MemoryStore(), store: MemoryBucket = new MemoryBucket()): Subject {
  const told: (number | string)[] = [];
  const used: Digest[] = [];
  const rests: Subject["rests"] = [];
  const observer = { asked: () => undefined, failed: () => undefined, recovered: () => undefined };
  // Far apart, so that no question is spared for the failure of one before.
  let now = 0;
  const bucket = new Bucket({ store, observer, monotonic: () => (now += 31_000) });
  const copies = new Copies({
    bucket,
    listed: store,
    folder: memory,
    clock: {
      now: () => 100_000,
      monotonic: () => 0,
      wait: (ms, signal) =>
        new Promise((resolve, reject) => {
          signal.throwIfAborted();
          rests.push({ ms, end: resolve });
          signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
        }),
    },
    observer: { copied: (size) => void told.push(size), failed: (error) => void told.push(error.message) },
    noteUse: (_id, digest) => void used.push(digest),
    onError: (error) => {
      throw error;
    },
  });
  return { store, memory, bucket, copies, told, used, rests, folder: copies.watch(memory) };
}

async function put(folder: ObjectStore, key: Key, record: object | Buffer): Promise<void> {
  await folder.put(key, Buffer.isBuffer(record) ? record : Buffer.from(JSON.stringify(record)));
}

function written({ asked }: MemoryBucket): string[] {
  return asked.filter((what) => /^(?:put|upload) /.test(what));
}

test("what is written to the folder is copied as it is, and nothing that is the folder's own", async () => {
  const { folder, store, copies, told, used } = setUp();
  await put(folder, blobKey(digest), bytes);
  await put(folder, linkKey(id, digest), link);
  await put(folder, quarantineKey(digest), bytes);
  await put(folder, "state/pins" as Key, { patterns: [] });
  await copies.idle();
  assert.deepEqual((await store.keys()).toSorted(), [blobKey(digest), linkKey(id, digest)]);
  assert.deepEqual(told, [bytes.length, JSON.stringify(link).length]);
  assert.deepEqual(used, [digest], "as nothing that it refers to must go, whoever stored that before");
  assert.equal(copies.waiting, 0);
});

test("a record comes after what it speaks of, which is copied for its sake where nobody asked for that", async () => {
  const { memory, folder, store, copies } = setUp();
  await put(memory, blobKey(digest), bytes);
  await put(memory, linkKey(id, digest), link);
  await put(folder, tagKey(id, parseTag("1")), { digest, mediaType: "a/b", size: 7, checkedAt: 1 });
  await copies.idle();
  assert.deepEqual(written(store), [
    `upload ${blobKey(digest)}`,
    `put ${linkKey(id, digest)}`,
    `put ${tagKey(id, parseTag("1"))}`,
  ]);
});

test("what the bucket is known to have is not copied again, and a tag not over a later check", async () => {
  const { folder, bucket, store, copies, memory } = setUp();
  const tag = tagKey(id, parseTag("1"));
  const record = { digest, mediaType: "a/b", size: 7, checkedAt: 99_005 };
  await store.plant(tag, Buffer.from(JSON.stringify(record)));
  await store.plant(linkKey(id, digest), Buffer.from(JSON.stringify(link)));
  await bucket.tag(id, parseTag("1"));
  await bucket.link(id, digest);
  await put(folder, linkKey(id, digest), link);
  await put(folder, tag, record);
  await put(folder, tag, { ...record, checkedAt: 99_004 });
  await copies.idle();
  assert.deepEqual(written(store), []);
  await put(folder, tag, { ...record, checkedAt: 99_006 });
  await copies.idle();
  assert.deepEqual(written(store), [`put ${tag}`]);
  await put(folder, linkKey(id, digest), { ...link, role: "both" });
  await copies.idle();
  assert.equal(written(store).length, 2, "a link that changed is another one");
  await memory.close();
});

test("links of what a manifest from the bucket lists are written only where the bucket lacks them, or has others", async () => {
  const { folder, bucket, store, copies } = setUp();
  const listed = ["there", "lacking", "other"].map((name) => {
    const content = Buffer.from(name);
    const descriptor = { digest: digestOf(content), mediaType: mediaTypes.layer, size: content.length };
    return { descriptor, key: linkKey(id, descriptor.digest), link: { ...link, sizeBytes: content.length } };
  });
  const [there, lacking, other] = listed.map(({ key }) => key);
  const config = { mediaType: mediaTypes.config, digest, size: bytes.length };
  const layers = listed.map(({ descriptor }) => descriptor);
  const document = { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers };
  const image = manifestContent(Buffer.from(JSON.stringify(document)), mediaTypes.manifest);
  await store.plant(blobKey(image.descriptor.digest), image.bytes);
  const imageLink = { mediaType: mediaTypes.manifest, sizeBytes: image.bytes.length, role: "manifest" };
  await store.plant(linkKey(id, image.descriptor.digest), Buffer.from(JSON.stringify(imageLink)));
  for (const { key, link: planted } of listed) {
    if (key !== lacking) await store.plant(key, Buffer.from(JSON.stringify(planted)));
  }
  await bucket.manifest(id, image.descriptor.digest);
  for (const { key, link: own } of listed) await put(folder, key, key === other ? { ...own, role: "both" } : own);
  await copies.idle();
  assert.deepEqual(written(store), [`put ${lacking}`, `put ${other}`]);
  assert.ok(store.asked.includes(`get ${there}`));
});

test("content that is there by somebody else is not sent", async () => {
  const { folder, store, copies, told } = setUp();
  await store.plant(blobKey(digest), bytes);
  await put(folder, blobKey(digest), bytes);
  await copies.idle();
  assert.deepEqual(store.asked, [`head ${blobKey(digest)}`]);
  assert.deepEqual(told, []);
});

test("content of another size than the folder's is damaged, and sent again", async () => {
  const { folder, store, copies } = setUp();
  await store.plant(blobKey(digest), Buffer.from("torn"));
  await put(folder, blobKey(digest), bytes);
  await copies.idle();
  assert.deepEqual(written(store), [`upload ${blobKey(digest)}`]);
});

test("four objects at a time are copied", async () => {
  const { folder, store, copies } = setUp();
  store.hold = createBarrier();
  const { hold } = store;
  for (let count = 0; count < 10; count++) {
    const content = Buffer.from(`${count}`);
    await put(folder, blobKey(digestOf(content)), content);
  }
  await hold.arrivals(4);
  await turn(5);
  assert.equal(store.asked.length, 4);
  assert.equal(copies.waiting, 10);
  hold.release();
  await copies.idle();
  assert.equal((await store.keys()).length, 10);
});

test("a failure lets all rest, longer each time, and what failed is copied when it is over", async () => {
  const { folder, store, copies, told, rests } = setUp();
  store.failure = new Error("SlowDown");
  await put(folder, linkKey(id, digest), link);
  await copies.idle();
  assert.deepEqual(told, ["SlowDown"]);
  assert.equal(copies.waiting, 1);
  rests[0]?.end();
  await until(() => rests.length === 2);
  await put(folder, blobKey(digest), bytes);
  await turn(5);
  assert.deepEqual(
    rests.map(({ ms }) => ms),
    [1_000, 2_000],
  );
  assert.equal(told.length, 2, "nothing is tried while it rests");
  store.failure = undefined;
  rests[1]?.end();
  await until(() => copies.waiting === 0);
  assert.deepEqual((await store.keys()).toSorted(), [blobKey(digest), linkKey(id, digest)]);
});

test("what was left out, or waited when a process ended, is found by the listings of both", async () => {
  const memory = new MemoryStore();
  const store = new MemoryBucket();
  const contents = Array.from({ length: 20 }, (_, count) => Buffer.from(`${count}`));
  for (const [count, content] of contents.entries()) {
    await put(memory, blobKey(digestOf(content)), content);
    if (count % 3 === 0) await store.plant(blobKey(digestOf(content)), content);
  }
  const others = Buffer.from("another instance's");
  await store.plant(blobKey(digestOf(others)), others);
  await put(memory, linkKey(id, digest), link);
  const { copies, rests } = setUp(memory, store);
  assert.ok(copies.isBehind, "at the start nobody knows");
  copies.start();
  await until(() => rests.length === 1);
  await copies.idle();
  assert.ok(!copies.isBehind);
  assert.equal((await store.keys()).length, 22);
  assert.equal(written(store).length, 14);
  const asked = store.asked.length;
  rests[0]?.end();
  await until(() => rests.length === 2);
  assert.equal(store.asked.length, asked, "it is not compared without a reason");
  await copies.close();
});

test("more than can wait is left out, and made up for", async () => {
  const { memory, folder, store, copies, rests } = setUp();
  store.failure = new Error("down");
  copies.start();
  await until(() => rests.length === 1);
  await put(folder, linkKey(id, digest), link);
  await until(() => rests.length === 2);
  for (let count = 0; count < 10_002; count++) copies.add(linkKey(id, digestOf(Buffer.from(`${count}`))));
  assert.ok(copies.waiting <= 10_000);
  assert.ok(copies.isBehind);
  await copies.close();
  assert.equal(copies.waiting, 0);
  await memory.close();
});

test("what has been removed from the folder meanwhile is not copied", async () => {
  const { memory, store, copies } = setUp();
  copies.add(blobKey(digest));
  copies.add(linkKey(id, digest));
  await copies.idle();
  assert.deepEqual(await store.keys(), []);
  await memory.close();
});

test("a tag is not copied over another instance's later check, but over one of a clock that was wrong", async () => {
  const { folder, store, copies } = setUp();
  const record = { digest, mediaType: "a/b", size: 7 };
  const tags = { overtaken: 60_000, wrong: 100_001 };
  for (const [tag, checkedAt] of Object.entries(tags)) {
    await store.plant(tagKey(id, parseTag(tag)), Buffer.from(JSON.stringify({ ...record, checkedAt })));
    await put(folder, tagKey(id, parseTag(tag)), { ...record, checkedAt: 50_000 });
  }
  await copies.idle();
  assert.deepEqual(written(store), [`put ${tagKey(id, parseTag("wrong"))}`]);
});

test("what changes while it is copied is copied again", async () => {
  const { folder, store, copies } = setUp();
  store.hold = createBarrier();
  const { hold } = store;
  await put(folder, linkKey(id, digest), link);
  await hold.reached;
  const changed = { ...link, sizeBytes: 12_345 };
  await put(folder, linkKey(id, digest), changed);
  hold.release();
  await copies.idle();
  const stored = await store.get(linkKey(id, digest));
  assert.equal(stored?.sizeBytes, JSON.stringify(changed).length);
});

test("closing waits neither for a write nor for a listing that hangs", async () => {
  const { folder, store, copies } = setUp();
  store.hold = createBarrier();
  copies.start();
  await put(folder, linkKey(id, digest), link);
  await put(folder, tagKey(id, parseTag("1")), { digest, mediaType: "a/b", size: 7, checkedAt: 99_999 });
  await store.hold.arrivals(2);
  await copies.close();
  assert.equal(copies.waiting, 0);
});

test("an object that the bucket refuses is left out in the end, and holds up no other for ever", async () => {
  const { folder, store, copies, told, rests } = setUp();
  const refused = Buffer.from("too large");
  store.refuses = blobKey(digestOf(refused));
  await put(folder, blobKey(digestOf(refused)), refused);
  for (let count = 0; copies.waiting > 0; count++) {
    assert.ok(count < 10);
    await until(() => rests.length > count || copies.waiting === 0);
    const other = Buffer.from(`${count}`);
    await put(folder, blobKey(digestOf(other)), other);
    rests[count]?.end();
    await until(() => told.includes(other.length));
    await copies.idle();
  }
  assert.ok(!(await store.keys()).includes(store.refuses));
  assert.equal(told.filter((what) => what === "refused").length, 6);
});

function fillOf(state: FollowedFill["state"], chunks: () => AsyncGenerator<Uint8Array>): FollowedFill {
  return {
    stores: true,
    sizeBytes: undefined,
    receivedBytes: bytes.length,
    state,
    failure: undefined,
    joinable: true,
    opened: Promise.resolve("streaming"),
    ended: Promise.resolve(),
    source: { open: async () => undefined, isFromBucket: false },
    join: () => ({ sizeBytes: undefined, read: chunks, close: async () => undefined }),
  };
}

test("repositories that fill one blob at once each get a link to it, and its bytes are sent once", async () => {
  const { copies, store } = setUp();
  const other = { ...id, repository: parseRepository("library/b") };
  async function* whole(): AsyncGenerator<Uint8Array> {
    yield bytes;
  }
  store.hold = createBarrier();
  copies.follow(fillOf("verified", whole), id, digest);
  copies.follow(fillOf("verified", whole), other, digest);
  await store.hold.reached;
  store.hold.release();
  await copies.idle();
  assert.deepEqual((await store.keys()).toSorted(), [blobKey(digest), linkKey(id, digest), linkKey(other, digest)]);
  assert.equal(written(store).filter((what) => what.startsWith("upload ")).length, 1);
});

test("a blob is copied on its way also while a link to it is copied, of which the folder has no content", async () => {
  const memory = new MemoryStore();
  const looked = createBarrier();
  const get = memory.get.bind(memory);
  memory.get = async (key) => {
    if (key === blobKey(digest)) await looked.wait();
    return get(key);
  };
  const { folder, copies, store } = setUp(memory);
  await put(folder, linkKey(id, digest), link);
  await turn(2);
  copies.follow(
    fillOf("verified", async function* () {
      yield bytes;
    }),
    id,
    digest,
  );
  await turn(2);
  looked.release();
  await copies.idle();
  assert.deepEqual((await store.keys()).toSorted(), [blobKey(digest), linkKey(id, digest)]);
});

test("a blob whose fill fails is no failure of the bucket, and one that the bucket does not take is", async () => {
  const { copies, store, told } = setUp();
  const broken = new Error("the upstream broke");
  async function* breaks(): AsyncGenerator<Uint8Array> {
    yield bytes;
    throw broken;
  }
  async function* whole(): AsyncGenerator<Uint8Array> {
    yield bytes;
  }
  copies.follow(fillOf("failed", breaks), id, digest);
  await copies.idle();
  assert.deepEqual(told, []);
  store.refuses = blobKey(digest);
  copies.follow(fillOf("streaming", whole), id, digest);
  await copies.idle();
  assert.deepEqual(told, ["refused"]);
});

test("a blob that another instance sends is that one's to copy; it is copied 15 s later where that has not been done", async () => {
  for (const isCopied of [true, false]) {
    const { copies, store, folder, rests } = setUp();
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const source = { open: async () => undefined, origin: "replica" as const };
    copies.follow({ ...fillOf("verified", () => assert.fail("it was read")), source, ended }, id, digest);
    await turn(2);
    await put(folder, blobKey(digest), bytes);
    await put(folder, linkKey(id, digest), link);
    resolve();
    await copies.idle();
    assert.deepEqual(await store.keys(), []);
    if (isCopied) await store.plant(blobKey(digest), bytes);
    if (isCopied) await store.plant(linkKey(id, digest), Buffer.from(JSON.stringify(link)));
    for (const { ms, end } of rests.splice(0)) {
      assert.equal(ms, 15_000);
      end();
    }
    await until(() => copies.waiting === 0 && store.asked.length > 0);
    await copies.idle();
    assert.deepEqual((await store.keys()).toSorted(), [blobKey(digest), linkKey(id, digest)]);
    assert.equal(written(store).filter((what) => what.startsWith("upload ")).length, isCopied ? 0 : 1);
    // What comes later is its own.
    await put(folder, linkKey({ ...id, repository: parseRepository("library/b") }, digest), link);
    await copies.idle();
    assert.equal((await store.keys()).length, 3);
    await copies.close();
  }
});
