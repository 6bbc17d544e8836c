import assert from "node:assert/strict";
import { test } from "node:test";
import { askBucketFirst } from "../../../src/bucket/bucket-first.ts";
import { Bucket } from "../../../src/bucket/bucket.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import type { FreshnessPolicy } from "../../../src/registry/freshness.ts";
import type { Link } from "../../../src/store/content-records.ts";
import { blobKey, linkKey, pageKey, tagKey } from "../../../src/store/layout.ts";
import { type Upstream, UpstreamError, type UpstreamFailure } from "../../../src/upstream/upstream.ts";
import { createBarrier } from "../../support/barrier.ts";
import { MemoryBucket } from "../../support/bucket.ts";
import { never, turn } from "../../support/event-loop.ts";
import { createFakeUpstream, type FakeUpstream } from "../../support/fake-upstream.ts";
import { manifestContent, mediaTypes } from "../../support/image.ts";

const namespace = parseNamespace("docker.io");
const a = parseRepository("library/a");
const id = { namespace, repository: a };
const latest = parseTag("latest");
const minute = 60_000;
const policy: FreshnessPolicy = {
  ttlMs: minute,
  staleWhileRevalidateMs: 0,
  staleIfErrorMs: 10 * minute,
  keepDeleted: false,
};
const bytes = Buffer.from("0123456789");
const digest = digestOf(bytes);
const index = manifestContent(Buffer.from('{"schemaVersion":2,"manifests":[]}'), mediaTypes.index);
const by = { signal: never() };

interface Subject {
  readonly upstream: Upstream;
  readonly behind: FakeUpstream;
  readonly store: MemoryBucket;
  now: number;
  /** The folder's link to the blob. */
  link: Link | undefined;
}

/** A bucket that has a manifest under a tag that was checked at 0, a blob, and a page; the upstream has nothing. */
async function setUp(): Promise<Subject> {
  const store = new MemoryBucket();
  const behind = createFakeUpstream();
  const observer = { asked: () => undefined, failed: () => undefined, recovered: () => undefined };
  const bucket = new Bucket({ store, observer, monotonic: () => 0 });
  const subject: Subject = {
    store,
    behind,
    now: 0,
    link: undefined,
    upstream: askBucketFirst(behind, {
      bucket,
      namespace,
      policy,
      now: () => subject.now,
      link: async () => subject.link,
    }),
  };
  const put = (key: Parameters<MemoryBucket["plant"]>[0], record: object): Promise<void> =>
    store.plant(key, Buffer.from(JSON.stringify(record)));
  const link: Link = { mediaType: mediaTypes.index, sizeBytes: index.bytes.length, role: "manifest" };
  await put(linkKey(id, index.descriptor.digest), link);
  await store.plant(blobKey(index.descriptor.digest), index.bytes);
  await put(tagKey(id, latest), { ...index.descriptor, checkedAt: 0 });
  await put(linkKey(id, digest), { mediaType: mediaTypes.layer, sizeBytes: bytes.length, role: "blob" } satisfies Link);
  await store.plant(blobKey(digest), bytes);
  const page = { document: { tags: ["latest"] }, nextQuery: undefined, filtersApplied: undefined };
  await put(pageKey(id, "tags", ""), { request: "", page });
  return subject;
}

async function read(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString();
}

function failure(kind: UpstreamFailure): UpstreamError {
  return new UpstreamError("docker.io", kind, "it fails");
}

test("what has a digest comes from the bucket, and the upstream hears nothing of it", async () => {
  const { upstream, behind, store } = await setUp();
  assert.deepEqual(await upstream.resolve(a, index.descriptor.digest, by), index.descriptor);
  assert.deepEqual((await upstream.manifest(a, index.descriptor.digest, by))?.bytes, index.bytes);
  assert.deepEqual(await upstream.statBlob(a, digest, by), { sizeBytes: 10 });
  const blob = await upstream.blob(a, digest, { offset: 0 }, by);
  assert.equal(await read(blob?.body ?? assert.fail()), "0123456789");
  const rest = await upstream.blob(a, digest, { offset: 7, sizeBytes: 10 }, by);
  assert.equal(await read(rest?.body ?? assert.fail()), "789");
  assert.deepEqual(behind.asked, []);
  assert.equal(store.open, 0);
});

test("a tag is taken from the bucket within its time, with the time of its check", async () => {
  const subject = await setUp();
  const { upstream, behind } = subject;
  subject.now = minute - 1;
  assert.deepEqual(await upstream.resolve(a, latest, by), { ...index.descriptor, checkedAt: 0 });
  assert.equal((await upstream.manifest(a, latest, by))?.checkedAt, 0);
  assert.deepEqual(behind.asked, []);
  subject.now = minute;
  const newer = behind.addManifest(a, latest, { schemaVersion: 2, manifests: [], newer: true }, mediaTypes.index);
  assert.deepEqual(await upstream.resolve(a, latest, by), newer.descriptor);
  assert.equal((await upstream.manifest(a, latest, by))?.descriptor.digest, newer.descriptor.digest);
});

test("a tag's record that names no manifest is not told to clients", async () => {
  const { upstream, behind, store } = await setUp();
  const record = { ...index.descriptor, mediaType: "text/html", checkedAt: 0 };
  await store.plant(tagKey(id, latest), Buffer.from(JSON.stringify(record)));
  assert.equal(await upstream.resolve(a, latest, by), undefined);
  assert.equal(behind.asked.length, 1);
});

test("a stale tag stands in for an upstream that fails, for as long as the policy says; not for one that refuses", async () => {
  const subject = await setUp();
  const { upstream, behind } = subject;
  subject.now = 11 * minute;
  behind.failure = failure("unreachable");
  assert.deepEqual(await upstream.resolve(a, latest, by), { ...index.descriptor, checkedAt: 0 });
  assert.equal((await upstream.manifest(a, latest, by))?.checkedAt, 0);
  behind.failure = failure("denied");
  await assert.rejects(upstream.resolve(a, latest, by), behind.failure);
  await assert.rejects(upstream.manifest(a, latest, by), behind.failure);
  behind.failure = failure("unreachable");
  subject.now = 11 * minute + 1;
  await assert.rejects(upstream.resolve(a, latest, by), behind.failure);
});

test("a tag that the upstream no longer has is absent, whatever the bucket says", async () => {
  const subject = await setUp();
  subject.now = 2 * minute;
  assert.equal(await subject.upstream.resolve(a, latest, by), undefined);
  assert.equal(await subject.upstream.manifest(a, latest, by), undefined);
});

test("listings are live, and the bucket's stand in for an upstream that fails", async () => {
  const { upstream, behind } = await setUp();
  assert.equal(await upstream.tags(a, "", by), undefined);
  behind.failure = failure("timeout");
  assert.deepEqual((await upstream.tags(a, "", by))?.document, { tags: ["latest"] });
  await assert.rejects(upstream.tags(a, "n=5", by), behind.failure);
  await assert.rejects(upstream.referrers(a, digest, "", by), behind.failure);
});

test("what the bucket has a link to, and no content, is asked of the upstream", async () => {
  const { upstream, behind, store } = await setUp();
  await store.delete(blobKey(index.descriptor.digest));
  await store.delete(blobKey(digest));
  assert.equal(await upstream.resolve(a, index.descriptor.digest, by), undefined);
  assert.equal(await upstream.statBlob(a, digest, by), undefined);
  assert.equal(behind.asked.length, 2);
});

test("another repository's content is asked of the upstream", async () => {
  const { upstream, behind } = await setUp();
  const other = parseRepository("library/other");
  assert.equal(await upstream.blob(other, digest, { offset: 0 }, by), undefined);
  assert.equal(await upstream.manifest(other, index.descriptor.digest, by), undefined);
  assert.equal(await upstream.statBlob(other, digest, by), undefined);
  assert.equal(behind.asked.length, 3);
});

test("a blob that breaks off is a broken connection, taken up wherever it is to be had", async () => {
  const { upstream, behind, store } = await setUp();
  store.breaksAt = 4;
  const blob = await upstream.blob(a, digest, { offset: 0 }, by);
  await assert.rejects(read(blob?.body ?? assert.fail()), (error) => {
    assert.ok(error instanceof UpstreamError);
    assert.equal(error.failure, "unreachable");
    return true;
  });
  assert.equal(store.open, 0);
  store.failure = new Error("down");
  behind.addBlob(a, bytes);
  const rest = await upstream.blob(a, digest, { offset: 4, sizeBytes: 10 }, by);
  assert.equal(await read(rest?.body ?? assert.fail()), "456789");
});

test("a blob that broke off is had from the upstream, and from the bucket again where that fails or does not have it", async () => {
  const { upstream, behind, store } = await setUp();
  store.breaksAt = 4;
  const begun = await upstream.blob(a, digest, { offset: 0 }, by);
  await assert.rejects(read(begun?.body ?? assert.fail()));
  store.breaksAt = undefined;
  const from = { offset: 4, sizeBytes: 10 };
  const absent = await upstream.blob(a, digest, from, by);
  assert.equal(absent?.origin, "bucket");
  assert.equal(await read(absent.body), "456789");
  assert.equal(behind.asked.length, 1);
  behind.addBlob(a, bytes);
  const rest = await upstream.blob(a, digest, from, by);
  assert.notEqual(rest?.origin, "bucket");
  assert.equal(await read(rest?.body ?? assert.fail()), "456789");
  behind.failure = failure("unreachable");
  assert.equal((await upstream.blob(a, digest, from, by))?.origin, "bucket");
  behind.failure = failure("denied");
  await assert.rejects(upstream.blob(a, digest, from, by), behind.failure);
});

test("a blob of which nothing comes for five seconds is a broken connection", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { upstream, store } = await setUp();
  store.readHold = createBarrier();
  const blob = await upstream.blob(a, digest, { offset: 0 }, by);
  const reading = assert.rejects(read(blob?.body ?? assert.fail()), UpstreamError);
  await store.readHold.reached;
  context.mock.timers.tick(5_000);
  await reading;
  store.readHold.release();
  await turn(2);
  assert.equal(store.open, 0);
});

test("a blob of another size than began is not gone on with", async () => {
  const { upstream, behind, store } = await setUp();
  behind.addBlob(a, bytes);
  await upstream.blob(a, digest, { offset: 4, sizeBytes: 11 }, by);
  assert.equal(behind.asked.length, 1);
  assert.equal(store.open, 0);
});

test("a blob is closed when its reader leaves, when it is cancelled and when the question is aborted", async () => {
  const { upstream, store } = await setUp();
  const left = await upstream.blob(a, digest, { offset: 0 }, by);
  for await (const chunk of left?.body ?? assert.fail()) {
    assert.ok(chunk.length > 0);
    break;
  }
  const cancelled = await upstream.blob(a, digest, { offset: 0 }, by);
  cancelled?.cancel();
  const abort = new AbortController();
  const aborted = await upstream.blob(a, digest, { offset: 0 }, { signal: abort.signal });
  abort.abort(new Error("the end"));
  await assert.rejects(read(aborted?.body ?? assert.fail()), /the end/);
  await turn(2);
  assert.equal(store.open, 0);
});

test("what the folder knows to be this repository's costs one question, and its link is no reason to remove anything", async () => {
  const subject = await setUp();
  const { upstream, store } = subject;
  subject.link = { mediaType: mediaTypes.layer, sizeBytes: bytes.length, role: "blob" };
  const blob = await upstream.blob(a, digest, { offset: 0 }, by);
  blob?.cancel();
  assert.deepEqual(store.asked, [`get ${blobKey(digest)}`]);
  subject.link = { ...subject.link, sizeBytes: 5 };
  await upstream.blob(a, digest, { offset: 0 }, by);
  assert.ok((await store.keys()).includes(blobKey(digest)));
  assert.equal(store.open, 0);
});

test("a blob is closed once, however often it is given up", async () => {
  const { upstream, store } = await setUp();
  const blob = await upstream.blob(a, digest, { offset: 0 }, by);
  blob?.cancel();
  blob?.cancel();
  await turn(2);
  assert.equal(store.open, 0);
});

test("what was not there a moment ago, and was stored since, is found where the upstream fails", async () => {
  const { upstream, behind, store } = await setUp();
  const later = manifestContent(Buffer.from('{"schemaVersion":2,"manifests":[],"annotations":{}}'), mediaTypes.index);
  const layer = Buffer.from("a layer");
  const tag = parseTag("later");
  const [manifestDigest, layerDigest] = [later.descriptor.digest, digestOf(layer)];
  const questions = [
    () => upstream.resolve(a, manifestDigest, by),
    () => upstream.manifest(a, manifestDigest, by),
    () => upstream.resolve(a, tag, by),
    () => upstream.manifest(a, tag, by),
    () => upstream.statBlob(a, layerDigest, by),
    async () => {
      const blob = await upstream.blob(a, layerDigest, { offset: 0 }, by);
      return blob && read(blob.body);
    },
  ];
  for (const ask of questions) assert.equal(await ask(), undefined);
  const plant = (key: Parameters<MemoryBucket["plant"]>[0], record: object): Promise<void> =>
    store.plant(key, Buffer.from(JSON.stringify(record)));
  await plant(linkKey(id, manifestDigest), {
    mediaType: mediaTypes.index,
    sizeBytes: later.bytes.length,
    role: "manifest",
  });
  await store.plant(blobKey(manifestDigest), later.bytes);
  await plant(tagKey(id, tag), { ...later.descriptor, checkedAt: 0 });
  await plant(linkKey(id, layerDigest), { mediaType: mediaTypes.layer, sizeBytes: layer.length, role: "blob" });
  await store.plant(blobKey(layerDigest), layer);
  for (const ask of questions) assert.equal(await ask(), undefined, "it is believed for a moment");
  behind.failure = failure("unreachable");
  for (const ask of questions) assert.notEqual(await ask(), undefined);
  behind.failure = failure("denied");
  const unknown = digestOf(Buffer.from("unknown"));
  await assert.rejects(upstream.manifest(a, unknown, by), UpstreamError);
  await plant(linkKey(id, unknown), { mediaType: mediaTypes.index, sizeBytes: later.bytes.length, role: "manifest" });
  await assert.rejects(upstream.manifest(a, unknown, by), UpstreamError, "it does not fail, it says no");
});
