import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { Bucket } from "../../../src/bucket/bucket.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import type { Link } from "../../../src/store/content-records.ts";
import { blobKey, linkKey, pageKey, tagKey } from "../../../src/store/layout.ts";
import type { Key } from "../../../src/store/object-store.ts";
import { createBarrier } from "../../support/barrier.ts";
import { MemoryBucket } from "../../support/bucket.ts";
import { turn } from "../../support/event-loop.ts";
import { manifestContent, mediaTypes } from "../../support/image.ts";

const id = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/a") };
const latest = parseTag("latest");
const bytes = Buffer.from("content");
const digest = digestOf(bytes);
const blobLink: Link = { mediaType: "application/octet-stream", sizeBytes: bytes.length, role: "blob" };
const index = manifestContent(Buffer.from('{"schemaVersion":2,"manifests":[]}'), mediaTypes.index);
const indexLink: Link = { mediaType: mediaTypes.index, sizeBytes: index.bytes.length, role: "manifest" };

interface Subject {
  readonly bucket: Bucket;
  readonly store: MemoryBucket;
  readonly told: string[];
  now: number;
  /** Puts something into the store; that nothing had been there is not believed any more. */
  readonly plant: (key: Key, record: object | Buffer) => Promise<void>;
}

function setUp(): Subject {
  const store = new MemoryBucket();
  const told: string[] = [];
  const subject: Subject = {
    store,
    told,
    now: 0,
    bucket: new Bucket({
      store,
      monotonic: () => subject.now,
      observer: {
        asked: (outcome) => void told.push(outcome),
        failed: (error) => void told.push(`! ${error.message}`),
        recovered: () => void told.push("back"),
      },
    }),
    plant: async (key, record) => {
      subject.now += 5_000;
      await store.plant(key, Buffer.isBuffer(record) ? record : Buffer.from(JSON.stringify(record)));
    },
  };
  return subject;
}

test("records are read by the keys of the folder, and what is none is absent", async () => {
  const { bucket, plant } = setUp();
  const record = { ...index.descriptor, checkedAt: 5 };
  const page = { document: { tags: ["a"] }, nextQuery: "last=a", filtersApplied: undefined };
  assert.equal(await bucket.tag(id, latest), undefined);
  await plant(tagKey(id, latest), record);
  await plant(linkKey(id, digest), blobLink);
  await plant(pageKey(id, "tags", "n=1"), { request: "n=1", page });
  assert.deepEqual(await bucket.tag(id, latest), record);
  assert.deepEqual(await bucket.link(id, digest), blobLink);
  assert.deepEqual((await bucket.page(id, "tags", "n=1"))?.document, page.document);
  await plant(pageKey(id, "tags", "n=1"), { request: "n=2", page });
  assert.equal(await bucket.page(id, "tags", "n=1"), undefined, "another request has its place");
  const wrong = [
    Buffer.from("{torn"),
    { ...record, size: -1 },
    { ...record, size: 0.5 },
    { ...record, digest: "sha256:../../etc" },
    blobLink,
    Buffer.alloc(8 * 1024 * 1024 + 1, " "),
  ];
  for (const planted of wrong) {
    await plant(tagKey(id, latest), planted);
    assert.equal(await bucket.tag(id, latest), undefined);
  }
  await plant(linkKey(id, digest), { ...blobLink, sizeBytes: -7 });
  assert.equal(await bucket.link(id, digest), undefined);
  await plant(pageKey(id, "tags", "n=1"), { request: "n=1", page: { ...page, nextQuery: ["a"] } });
  assert.equal(await bucket.page(id, "tags", "n=1"), undefined);
});

test("a manifest needs its link and its digest; one that is damaged is removed", async () => {
  const { bucket, store, plant } = setUp();
  await plant(blobKey(index.descriptor.digest), index.bytes);
  assert.equal(
    await bucket.manifest(id, index.descriptor.digest),
    undefined,
    "nothing says that it is this repository's",
  );
  await plant(linkKey(id, index.descriptor.digest), { ...indexLink, role: "blob" });
  assert.equal(await bucket.manifest(id, index.descriptor.digest), undefined);
  await plant(linkKey(id, index.descriptor.digest), indexLink);
  assert.deepEqual((await bucket.manifest(id, index.descriptor.digest))?.descriptor, index.descriptor);
  await plant(blobKey(index.descriptor.digest), Buffer.from('{"schemaVersion":2,"manifests":[],"a":1}'));
  assert.equal(await bucket.manifest(id, index.descriptor.digest), undefined);
  assert.ok(!(await store.keys()).includes(blobKey(index.descriptor.digest)));
  assert.equal(store.open, 0);
});

test("a blob needs a link as a blob, and its link's size; one of another size stays, as the link may be wrong", async () => {
  const { bucket, store, plant } = setUp();
  await plant(blobKey(digest), bytes);
  assert.equal(await bucket.open(id, digest), undefined);
  assert.equal(await bucket.sizeOf(id, digest), undefined);
  await plant(linkKey(id, digest), { ...blobLink, role: "manifest" });
  assert.equal(await bucket.open(id, digest), undefined);
  await plant(linkKey(id, digest), blobLink);
  const object = await bucket.open(id, digest);
  assert.equal(object?.sizeBytes, bytes.length);
  assert.equal(await bucket.sizeOf(id, digest), bytes.length);
  await object?.close();
  await plant(blobKey(digest), Buffer.from("short"));
  assert.equal(await bucket.open(id, digest), undefined);
  assert.equal(await bucket.sizeOf(id, digest), undefined);
  assert.ok((await store.keys()).includes(blobKey(digest)));
  assert.equal(store.open, 0);
});

test("a bucket that fails is spared, for longer each time, and asked again by one question", async () => {
  const subject = setUp();
  const { bucket, store, told } = subject;
  store.failure = new Error("SlowDown");
  assert.equal(await bucket.tag(id, latest), undefined);
  assert.equal(await bucket.tag(id, latest), undefined);
  assert.equal(store.asked.length, 1);
  subject.now = 999;
  await bucket.tag(id, latest);
  assert.equal(store.asked.length, 1);
  subject.now = 1_000;
  await bucket.tag(id, latest);
  subject.now = 2_999;
  await bucket.tag(id, latest);
  assert.equal(store.asked.length, 2, "the second rest is of two seconds");
  store.failure = undefined;
  subject.now = 3_000;
  await bucket.tag(id, latest);
  await bucket.link(id, digest);
  assert.equal(store.asked.length, 4);
  const failures = told.filter((what) => what.startsWith("!"));
  assert.deepEqual(failures, ["! SlowDown", "! SlowDown"], "told once for each rest");
  assert.equal(told.filter((what) => what === "back").length, 1);
});

test("what takes too long is given up, and closed when it comes", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const { bucket, store, plant, told } = setUp();
    await plant(blobKey(digest), bytes);
    await plant(linkKey(id, digest), blobLink);
    assert.notEqual(await bucket.link(id, digest), undefined);
    store.hold = createBarrier();
    const { hold } = store;
    const blob = bucket.open(id, digest, blobLink);
    await hold.reached;
    mock.timers.tick(1_999);
    await turn(2);
    assert.ok(!told.includes("failed"));
    mock.timers.tick(1);
    assert.equal(await blob, undefined);
    assert.ok(bucket.isResting);
    hold.release();
    await turn(5);
    assert.equal(store.open, 0);
  } finally {
    mock.timers.reset();
  }
});

test("whether content is there goes by its size, and cannot be told by a bucket that fails", async () => {
  const { bucket, store, plant } = setUp();
  assert.equal(await bucket.has(digest, bytes.length), false);
  await plant(blobKey(digest), bytes);
  assert.equal(await bucket.has(digest, bytes.length + 1), false);
  assert.equal(await bucket.has(digest, bytes.length), true);
  assert.equal(await bucket.has(digest, undefined), true);
  assert.equal(store.asked.length, 2, "what is known is not asked again");
  store.failure = new Error("down");
  assert.equal(await bucket.has(digestOf(Buffer.from("other")), 5), false);
});

test("one question tries whether the bucket is back: the others do without until it has its answer", async () => {
  const subject = setUp();
  const { bucket, store } = subject;
  store.failure = new Error("SlowDown");
  await bucket.tag(id, latest);
  subject.now = 1_000;
  store.failure = undefined;
  store.hold = createBarrier();
  const { hold } = store;
  const trial = bucket.link(id, digest);
  await hold.reached;
  assert.equal(await bucket.tag(id, latest), undefined);
  assert.equal(store.asked.length, 2);
  hold.release();
  await trial;
  assert.ok(!bucket.isResting);
});

test("writes that succeed do not say that questions would", async () => {
  const { bucket, store } = setUp();
  store.failure = new Error("SlowDown");
  await bucket.tag(id, latest);
  store.failure = undefined;
  await bucket.putRecord(linkKey(id, digest), JSON.stringify(blobLink));
  assert.ok(bucket.isResting);
});

test("what is known of a record outlives a question that got no answer", async () => {
  const { bucket, store, plant } = setUp();
  await plant(linkKey(id, digest), blobLink);
  await bucket.link(id, digest);
  store.failure = new Error("down");
  await bucket.link(id, digest);
  assert.equal(bucket.known(linkKey(id, digest)), JSON.stringify(blobLink));
});

test("what clients are told was so five seconds ago: another instance may have removed it", async () => {
  const subject = setUp();
  const { bucket, store, plant } = subject;
  await plant(blobKey(digest), bytes);
  const asked = await Promise.all([1, 2, 3].map(() => bucket.hasNow(digest, bytes.length)));
  assert.deepEqual([asked, store.asked.length], [[true, true, true], 1], "those who ask at once ask once");
  assert.equal(await bucket.hasNow(digest, 5), false);
  await store.delete(blobKey(digest));
  store.asked.length = 0;
  subject.now += 4_999;
  assert.equal(await bucket.sizeOf(id, digest, blobLink), bytes.length);
  subject.now += 1;
  assert.equal(await bucket.has(digest, bytes.length), true, "who copies takes it to be there for longer");
  assert.deepEqual(store.asked, []);
  assert.equal(await bucket.sizeOf(id, digest, blobLink), undefined);
  assert.equal(await bucket.has(digest, bytes.length), false);
  assert.deepEqual(store.asked, [`head ${blobKey(digest)}`]);
});

test("that nothing is there is believed for five seconds, or until it is written here", async () => {
  const subject = setUp();
  const { bucket, store, told } = subject;
  const record = { ...index.descriptor, checkedAt: 5 };
  assert.equal(await bucket.tag(id, latest), undefined);
  await store.plant(tagKey(id, latest), Buffer.from(JSON.stringify(record)));
  subject.now = 4_999;
  assert.equal(await bucket.tag(id, latest), undefined);
  assert.deepEqual([store.asked.length, told], [1, ["absent"]], "nothing is asked, and told to be asked, meanwhile");
  subject.now = 5_000;
  assert.deepEqual(await bucket.tag(id, latest), record, "what another instance has written is seen then");
  assert.equal(await bucket.link(id, digest), undefined);
  await bucket.putRecord(linkKey(id, digest), JSON.stringify(blobLink));
  assert.deepEqual(await bucket.link(id, digest), blobLink);
});

test("content that a question has not found is not looked for again, also where it was there before", async () => {
  const { bucket, store, plant } = setUp();
  await plant(blobKey(digest), bytes);
  assert.equal(await bucket.has(digest, bytes.length), true);
  await store.delete(blobKey(digest));
  store.asked.length = 0;
  assert.equal(await bucket.open(id, digest, blobLink), undefined);
  assert.equal(await bucket.has(digest, bytes.length), false, "another instance has removed it");
  assert.deepEqual(store.asked, [`get ${blobKey(digest)}`]);
});
