/* What hosted bytes in a bucket do besides what all drivers do: replicas that die, or take uploads from each other. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BucketBytes } from "../../../src/hosted/bucket-bytes.ts";
import { writeStored } from "../../../src/hosted/stored-record.ts";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { HashPool } from "../../../src/store/hashing.ts";
import { hostedDataPrefix, hostedPrefix, hostedUploadKey } from "../../../src/store/hosted-layout.ts";
import type { Key } from "../../../src/store/object-store.ts";
import { chunk, contentOf, receive } from "../../contract/hosted-bytes.ts";
import { MemoryBucket } from "../../support/bucket.ts";
import { TestClock } from "../../support/clock.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { never, turn } from "../../support/event-loop.ts";
import { chooseSeed, createRandom } from "../../support/random.ts";
import { all, chunksOf, s3Subject, streamOf } from "../../support/s3-store.ts";

const small = pseudoRandomBytes(1_000, "small");
const large = pseudoRandomBytes(300_000, "large");
const hour = 3_600_000;

interface Subject extends AsyncDisposable {
  readonly clock: TestClock;
  readonly bucket: MemoryBucket;
  readonly hashes: HashPool;
  /** Another replica. */
  replica(): BucketBytes;
  keys(prefix?: Key): Promise<Key[]>;
}

function openSubject(): Subject {
  const clock = new TestClock();
  const bucket = new MemoryBucket(() => clock.now());
  const hashes = new HashPool(1);
  return {
    clock,
    bucket,
    hashes,
    replica: () => new BucketBytes({ store: bucket, hashes }),
    keys: async (prefix = hostedPrefix) => (await all(bucket.list(prefix))).map(({ key }) => key),
    async [Symbol.asyncDispose]() {
      await hashes.close();
      assert.equal(bucket.open, 0);
    },
  };
}

/** Removes all that can be had, and all uploads, as is done when they are old. */
async function removeAll(bytes: BucketBytes): Promise<void> {
  for await (const { session } of bytes.uploads()) await bytes.drop(session);
  // What was being removed goes at the second time.
  for (let times = 0; times < 2; times++) for await (const content of bytes.list()) await bytes.remove(content);
}

async function assertStored(bytes: BucketBytes, digest: Digest, content: Buffer): Promise<void> {
  assert.equal((await bytes.stat(digest))?.sizeBytes, content.length);
  assert.ok((await contentOf(bytes, digest))?.equals(content));
}

test("what is small is in its record, and costs no more requests than it must", async () => {
  await using subject = openSubject();
  const { bucket } = subject;
  const bytes = subject.replica();
  const kinds = (): string =>
    bucket.asked
      .splice(0)
      .join(" ")
      .replaceAll(/ hosted\/\S+/g, "");
  await receive(bytes, "upload", small);
  assert.equal(kinds(), "get put");
  await bytes.commit("upload", digestOf(small));
  assert.equal(kinds(), "get put delete");
  await bytes.put(digestOf(Buffer.from("manifest")), Buffer.from("manifest"));
  assert.equal(kinds(), "put");
  await contentOf(bytes, digestOf(small));
  assert.equal(kinds(), "get");
  await bytes.stat(digestOf(small));
  assert.equal(kinds(), "get");
  await receive(bytes, "upload", large);
  assert.equal(kinds(), "get put upload put");
  await bytes.commit("upload", digestOf(large));
  assert.equal(kinds(), "get put put delete");
});

test("clients can be sent to content that is one object", async () => {
  await using subject = openSubject();
  const bytes = subject.replica();
  await receive(bytes, "one", large);
  await bytes.commit("one", digestOf(large));
  const [key] = await subject.keys(hostedDataPrefix);
  assert.equal(await bytes.location(digestOf(large), 60), `http://bucket.example.com/${key}?signed`);
  await receive(bytes, "two", large.subarray(0, 100_000));
  await receive(bytes, "two", large.subarray(100_000, 200_000));
  const digest = digestOf(large.subarray(0, 200_000));
  await bytes.commit("two", digest);
  await bytes.put(digestOf(small), small);
  await receive(bytes, "three", large.subarray(0, 100_000));
  await receive(bytes, "three", small);
  const tailed = digestOf(Buffer.concat([large.subarray(0, 100_000), small]));
  await bytes.commit("three", tailed);
  for (const other of [digest, tailed, digestOf(small), digestOf(Buffer.from("none"))]) {
    assert.equal(await bytes.location(other, 60), undefined);
  }
});

test("content is read in any range over its pieces", async () => {
  await using subject = openSubject();
  const bytes = subject.replica();
  const cuts = [0, 100_000, 170_000, 290_000, 300_000];
  for (const [index, cut] of cuts.entries()) await receive(bytes, "upload", large.subarray(cut, cuts[index + 1]));
  await bytes.commit("upload", digestOf(large));
  const object = (await bytes.open(digestOf(large))) ?? assert.fail("it is absent");
  const random = createRandom(7);
  const places = [...cuts, ...Array.from({ length: 10 }, () => Math.floor(random() * large.length))];
  for (const start of places) {
    for (const end of places) {
      const parts: Buffer[] = [];
      if (end >= start) for await (const part of object.read({ start, end })) parts.push(Buffer.from(part));
      assert.ok(Buffer.concat(parts).equals(large.subarray(start, Math.max(start, end))), `${start}-${end}`);
    }
  }
  await object.close();
});

test("where a second replica goes on with an upload, the first one fails and adds nothing", async () => {
  await using subject = openSubject();
  const first = subject.replica();
  const second = subject.replica();
  for (const [begun, isLate] of [
    [large.subarray(0, 100_000), false],
    [Buffer.alloc(0), false],
    [Buffer.alloc(0), true],
  ] as const) {
    await receive(first, "upload", begun);
    const stalls = Promise.withResolvers<void>();
    const goesOn = Promise.withResolvers<void>();
    async function* stalled(): AsyncGenerator<Uint8Array> {
      yield* streamOf(chunksOf(large.subarray(begun.length, 200_000), 90_000));
      stalls.resolve();
      await goesOn.promise;
    }
    const appended = first.append("upload", "sha256", { ...chunk(large), bytes: stalled() });
    await stalls.promise;
    assert.equal(await receive(second, "upload", large.subarray(begun.length, 250_000)), 250_000);
    const failed = assert.rejects(appended, { code: "BLOB_UPLOAD_INVALID" });
    if (!isLate) {
      goesOn.resolve();
      await failed;
      assert.equal((await first.received("upload"))?.receivedBytes, 250_000);
    }
    const last = isLate ? second : first;
    assert.equal(await receive(last, "upload", large.subarray(250_000)), large.length);
    assert.equal(await second.commit("upload", digestOf(large)), large.length);
    goesOn.resolve();
    await failed;
    await assertStored(first, digestOf(large), large);
    await removeAll(first);
    assert.deepEqual(await subject.keys(), []);
  }
});

test("an upload that is being ended takes nothing more, and is not dropped until whoever ends it must have died", async () => {
  await using subject = openSubject();
  const { bucket, clock } = subject;
  const bytes = subject.replica();
  await receive(bytes, "upload", large);
  // It dies after it has said that it ends the upload.
  bucket.onAsked = (what) => {
    if (what.startsWith("put hosted/blobs/")) throw new Error("it died");
  };
  await assert.rejects(bytes.commit("upload", digestOf(large)), /it died/);
  bucket.onAsked = undefined;
  const other = subject.replica();
  await assert.rejects(receive(other, "upload", small), { code: "BLOB_UPLOAD_INVALID" });
  await other.drop("upload");
  assert.equal((await other.received("upload"))?.receivedBytes, large.length);
  assert.equal(await other.commit("upload", digestOf(large)), large.length);
  await assertStored(bytes, digestOf(large), large);
  await removeAll(bytes);
  await receive(bytes, "upload", large);
  bucket.onAsked = (what) => {
    if (what.startsWith("put hosted/blobs/")) throw new Error("it died");
  };
  await assert.rejects(bytes.commit("upload", digestOf(large)), /it died/);
  bucket.onAsked = undefined;
  await clock.pass(hour);
  await other.drop("upload");
  assert.deepEqual(await subject.keys(), []);
});

test("who dies when content is stored has kept it, and it is stored once", async () => {
  await using subject = openSubject();
  const { bucket, clock } = subject;
  const bytes = subject.replica();
  const digest = digestOf(large);
  for (const isCommittedAgain of [false, true]) {
    await receive(bytes, "upload", large);
    bucket.onAsked = (what) => {
      if (what.startsWith("delete")) throw new Error("it died");
    };
    assert.equal(await bytes.commit("upload", digest), large.length);
    bucket.onAsked = undefined;
    await clock.pass(hour);
    const other = subject.replica();
    if (isCommittedAgain) {
      // By then nobody wants it any more.
      for await (const content of other.list()) assert.equal(await other.remove(content), true);
      assert.equal(await other.commit("upload", digest), undefined);
      assert.equal(await other.stat(digest), undefined);
    } else {
      await other.drop("upload");
      await assertStored(other, digest, large);
    }
    await removeAll(other);
    assert.deepEqual(await subject.keys(), []);
  }
});

test("whenever a replica dies, nothing is promised that is not kept, and nothing is left in the end", async () => {
  await using subject = openSubject();
  const { bucket, clock } = subject;
  const digest = digestOf(large);
  let died = true;
  for (let asked = 1; died; asked++) {
    died = false;
    let left = asked;
    const doomed = subject.replica();
    // From some request on there are none.
    bucket.onAsked = () => {
      died ||= left-- === 0;
      if (died) throw new Error("it died");
    };
    let committed: number | undefined;
    try {
      await receive(doomed, "upload", large.subarray(0, 100_000));
      await receive(doomed, "upload", large.subarray(100_000, 101_000));
      await receive(doomed, "upload", large.subarray(101_000));
      committed = await doomed.commit("upload", digest);
      for await (const content of doomed.list()) await doomed.remove(content);
    } catch (error) {
      assert.match(String(error), /it died/);
    }
    bucket.onAsked = undefined;
    const other = subject.replica();
    const isStored = (await other.stat(digest)) !== undefined;
    if (isStored) await assertStored(other, digest, large);
    if (committed === undefined) {
      const received = (await other.received("upload"))?.receivedBytes ?? 0;
      assert.ok([0, 100_000, 101_000, large.length].includes(received), `${received}`);
      // Its client goes on elsewhere, or does not come back.
      if (asked % 2 === 0 && (received > 0 || !isStored)) {
        if (received < large.length) await receive(other, "upload", large.subarray(received));
        assert.equal(await other.commit("upload", digest), large.length, `after ${asked} requests`);
        await assertStored(other, digest, large);
      }
    }
    await clock.pass(hour);
    await removeAll(other);
    assert.deepEqual(await subject.keys(), [], `after ${asked} requests`);
  }
});

test("content that is removed while it is stored again, or renewed, is whole or gone", async (context) => {
  await using subject = openSubject();
  const { bucket, clock } = subject;
  const random = createRandom(chooseSeed(context));
  const digest = digestOf(large);
  const outcomes = new Set<string>();
  for (let round = 0; round < 100; round++) {
    const replicas = [subject.replica(), subject.replica(), subject.replica()] as const;
    await receive(replicas[0], "first", large);
    await replicas[0].commit("first", digest);
    await receive(replicas[1], "second", large);
    await clock.pass(hour);
    const [listed] = await all(replicas[2].list());
    assert.ok(listed !== undefined);
    bucket.onAsked = () => turn(Math.floor(random() * 3));
    const [removed, renewed, committed] = await Promise.all([
      replicas[2].remove(listed),
      round % 2 === 0 ? replicas[0].renew(digest, 1) : undefined,
      round % 3 === 0 ? undefined : replicas[1].commit("second", digest),
    ]);
    bucket.onAsked = undefined;
    outcomes.add(`${removed} ${renewed} ${committed}`);
    const mustBeThere = renewed === true || committed !== undefined || !removed;
    assert.equal((await replicas[0].stat(digest)) !== undefined, mustBeThere, `round ${round}`);
    if (mustBeThere) await assertStored(replicas[0], digest, large);
    await clock.pass(hour);
    await removeAll(replicas[0]);
    assert.deepEqual(await subject.keys(), [], `round ${round}`);
  }
  assert.ok(outcomes.size > 4, [...outcomes].join(", "));
});

test("a piece that somebody took away makes its content absent, and it can be stored again", async () => {
  await using subject = openSubject();
  const bytes = subject.replica();
  await receive(bytes, "upload", large);
  await bytes.commit("upload", digestOf(large));
  const [key] = await subject.keys(hostedDataPrefix);
  await subject.bucket.delete(key as Key);
  assert.equal(await bytes.stat(digestOf(large)), undefined);
  assert.equal(await bytes.open(digestOf(large)), undefined);
  await receive(bytes, "upload", large);
  assert.equal(await bytes.commit("upload", digestOf(large)), large.length);
  await assertStored(bytes, digestOf(large), large);
  await subject.bucket.plant(key as Key, large);
  await removeAll(bytes);
  assert.deepEqual(await subject.keys(), []);
});

test("a sweep removes old bytes that nothing names, and nothing else", async () => {
  await using subject = openSubject();
  const { bucket, clock } = subject;
  const bytes = subject.replica();
  await receive(bytes, "upload", large.subarray(0, 100_000));
  await receive(bytes, "content", large);
  await bytes.commit("content", digestOf(large));
  // One that ends just when it is looked for.
  await receive(bytes, "late", large.subarray(1));
  const stray = `${hostedDataPrefix}/stray` as Key;
  await bucket.plant(stray, large);
  await clock.pass(hour);
  await bucket.plant(`${hostedDataPrefix}/young` as Key, large);
  assert.equal(await bytes.sweep(2 * hour), 0);
  bucket.onAsked = async (what) => {
    if (what !== "list hosted/uploads") return;
    bucket.onAsked = undefined;
    await subject.replica().commit("late", digestOf(large.subarray(1)));
  };
  assert.equal(await bytes.sweep(hour), 1);
  assert.equal(await bucket.head(stray), undefined);
  assert.ok((await subject.keys(hostedDataPrefix)).some((key) => key.endsWith("/young")));
  await assertStored(bytes, digestOf(large), large);
  await assertStored(bytes, digestOf(large.subarray(1)), large.subarray(1));
  await receive(bytes, "upload", large.subarray(100_000));
  assert.equal(await bytes.commit("upload", digestOf(large)), large.length);
});

test("what is no record is as good as nothing, and goes", async () => {
  await using subject = openSubject();
  const bytes = subject.replica();
  await bytes.put(digestOf(small), small);
  const [key = "" as Key] = await subject.keys();
  for (const text of ["", "{", "{}", JSON.stringify({ record: { pieces: [1], garbage: [], tail: "" }, at: 0 })]) {
    await subject.bucket.plant(key, Buffer.from(text));
    assert.equal(await bytes.stat(digestOf(small)), undefined);
    assert.equal(await bytes.renew(digestOf(small), 0), false);
    await bytes.put(digestOf(small), small);
    await assertStored(bytes, digestOf(small), small);
  }
  await subject.bucket.plant(key, Buffer.from("{"));
  await removeAll(bytes);
  assert.deepEqual(await subject.keys(), []);
});

test("an upload of many pieces, and of many small ones, is content in the end", async () => {
  await using subject = openSubject();
  const bytes = subject.replica();
  const pieceBytes = 66_000;
  const content = pseudoRandomBytes(1_001 * pieceBytes, "many");
  for (const piece of chunksOf(content, pieceBytes)) await receive(bytes, "upload", piece);
  assert.equal((await subject.keys(hostedDataPrefix)).length, 1_001);
  assert.equal(await bytes.commit("upload", digestOf(content)), content.length);
  await assertStored(bytes, digestOf(content), content);
  await removeAll(bytes);
  const tiny = content.subarray(0, 150_000);
  for (const piece of chunksOf(tiny, 100)) await receive(bytes, "upload", piece);
  assert.equal((await subject.keys(hostedDataPrefix)).length, 2);
  assert.equal(await bytes.commit("upload", digestOf(tiny)), tiny.length);
  await assertStored(bytes, digestOf(tiny), tiny);
});

test("an upload of ever more pieces is refused in the end: each costs more than the one before", async () => {
  await using subject = openSubject();
  const bytes = subject.replica();
  for (const [count, reason] of [
    [9_999, /a piece of what was received is missing/],
    [10_000, /send larger chunks, or all in one/],
  ] as const) {
    const pieces = Array.from({ length: count }, (_, index) => ({ name: String(index), sizeBytes: 65_537 }));
    const key = hostedUploadKey(`of-${count}`);
    await writeStored(subject.bucket, key, { pieces, tail: "", garbage: [] }, "absent");
    await assert.rejects(receive(bytes, `of-${count}`, small), reason);
  }
});

test("what one replica has hashed is not read by it again, nor by who only ends the upload", async () => {
  await using subject = openSubject();
  const { bucket } = subject;
  const first = subject.replica();
  const reads = (): number => bucket.asked.splice(0).filter((what) => what.startsWith("get hosted/data/")).length;
  await receive(first, "upload", large.subarray(0, 100_000));
  await receive(first, "upload", large.subarray(100_000, 200_000));
  assert.equal(reads(), 0);
  const second = subject.replica();
  await receive(second, "upload", large.subarray(200_000, 290_000));
  assert.equal(reads(), 2);
  await receive(first, "upload", large.subarray(290_000));
  assert.equal(reads(), 2, "the first piece is opened to know that it is there, and what was added elsewhere is read");
  assert.equal(await subject.replica().commit("upload", digestOf(large)), large.length);
  assert.equal(reads(), 0);
});

test("the record of an upload is young for as long as bytes come", async () => {
  await using subject = openSubject();
  const { clock } = subject;
  const bytes = subject.replica();
  async function* slow(): AsyncGenerator<Uint8Array> {
    for (const part of chunksOf(large, 100_000)) {
      yield part;
      await clock.pass(11 * 60_000);
      const writtenAt = (await bytes.received("upload"))?.writtenAt ?? clock.now();
      assert.ok(clock.now() - writtenAt <= 2 * 11 * 60_000, `${clock.now() - writtenAt}`);
    }
  }
  const sent = { bytes: slow(), sizeBytes: undefined, signal: never() };
  assert.equal(await bytes.append("upload", "sha256", sent), large.length);
  assert.equal(await bytes.commit("upload", digestOf(large)), large.length);
});

test("lost answers, and a server that breaks off in the middle, change nothing", async () => {
  await using subject = await s3Subject({}, { partSizeBytes: 64 * 1024 });
  const { server, store } = subject;
  const hashes = new HashPool(1);
  const bytes = new BucketBytes({ store, hashes });
  const digest = digestOf(large);
  const requests = { PutObject: 9, UploadPart: 3, CompleteMultipartUpload: 2, DeleteObject: 3 } as const;
  for (const [operation, count] of Object.entries(requests)) {
    for (let skipped = 0; skipped < count; skipped++) {
      let left = skipped;
      server.trouble = (asked) => {
        if (asked !== operation || left-- !== 0) return undefined;
        return skipped % 2 === 0 || operation === "DeleteObject" ? { loseAnswer: true } : { resetAfterBytes: 10 };
      };
      await receive(bytes, "upload", large.subarray(0, 150_000));
      await receive(bytes, "upload", large.subarray(150_000));
      assert.equal(await bytes.commit("upload", digest), large.length);
      await assertStored(bytes, digest, large);
      const [content] = await all(bytes.list());
      assert.ok(content !== undefined && (await bytes.remove(content)));
      server.forgive();
      await removeAll(bytes);
      assert.deepEqual([...server.bucket.objects.keys()], [], `${operation} ${skipped}`);
    }
  }
  await hashes.close();
});
