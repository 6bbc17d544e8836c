import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Key, PreconditionFailed } from "../../../src/store/object-store.ts";
import { partSizeAt } from "../../../src/store/s3-parts.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { until } from "../../support/event-loop.ts";
import { S3Refusal } from "../../support/fake-s3-bucket.ts";
import { chunksOf, readAll, s3Subject, type S3Subject, streamOf } from "../../support/s3-store.ts";

const key = "blobs/sha256/00/01" as Key;
const name = `some/prefix/${key}`;
const kib = 1024;
const mib = 1024 * 1024;
const gib = 1024 * mib;
const options = { partSizeBytes: 64 * kib };
const slowDown = new S3Refusal(503, "SlowDown");
const bytes = pseudoRandomBytes(200 * kib, "upload");

/** Nothing of an upload is left: no parts, no record of it. */
function assertNothingOpen({ server }: S3Subject): void {
  assert.equal(server.bucket.uploads.size, 0);
  assert.deepEqual(recordsOf(server.bucket.objects), []);
}

function recordsOf(objects: ReadonlyMap<string, unknown>): string[] {
  return [...objects.keys()].filter((each) => each.startsWith("some/prefix/uploads/"));
}

/** The bytes in small chunks, counted. */
class CountedStream {
  taken = 0;

  async *read(): AsyncGenerator<Uint8Array> {
    for await (const chunk of streamOf(chunksOf(bytes, 1000))) {
      this.taken += chunk.length;
      yield chunk;
    }
  }
}

describe("the size of parts", () => {
  test("is as configured where they are enough, and grows so that 10,000 are", () => {
    assert.equal(partSizeAt(1, 10 * gib, 8 * mib), 8 * mib);
    assert.equal(partSizeAt(1, 10_000 * 8 * mib, 8 * mib), 8 * mib);
    for (const sizeBytes of [10_000 * 8 * mib + 1, 100 * gib, 5 * 1024 * gib]) {
      const size = partSizeAt(1, sizeBytes, 8 * mib);
      assert.ok(size * 10_000 >= sizeBytes && size % mib === 0 && size <= 5 * gib, `${sizeBytes}: ${size}`);
      assert.equal(partSizeAt(10_000, sizeBytes, 8 * mib), size, "all parts are of one size");
    }
  });

  test("of a stream of unknown size is one up to 39 GiB, and then larger, for 350 GiB", () => {
    const sizes = Array.from({ length: 10_000 }, (_, index) => partSizeAt(index + 1, undefined, 8 * mib));
    assert.deepEqual(new Set(sizes.slice(0, 5000)), new Set([8 * mib]));
    assert.ok(sizes.reduce((sum, size) => sum + size, 0) >= 350 * gib);
  });
});

describe("an upload", () => {
  for (const [about, sizeBytes] of [
    ["known", bytes.length],
    ["unknown", undefined],
  ] as const) {
    test(`of ${about} size goes part by part, all but the last of one size, in memory that is used again`, async () => {
      for (const chunkBytes of [50_000, 64 * kib, bytes.length]) {
        await using subject = await s3Subject({ equalParts: true, minPartBytes: 64 * kib }, options);
        const { server, store } = subject;
        const version = await store.upload(key, streamOf(chunksOf(bytes, chunkBytes)), { sizeBytes });
        assert.ok((await readAll(store, key))?.equals(bytes));
        assert.equal((await store.head(key))?.version, version);
        const parts = server.asked.filter(({ operation }) => operation === "UploadPart");
        assert.deepEqual(
          parts.map((part) => part.bodyBytes),
          [64, 64, 64, 8].map((size) => size * kib),
        );
        assert.ok(server.asked.every(({ headers }) => headers["x-amz-copy-source"] === undefined));
        assertNothingOpen(subject);
      }
    });
  }

  test("of one part or less is one request", async () => {
    await using subject = await s3Subject({}, options);
    const { server, store } = subject;
    for (const size of [0, 1, 64 * kib]) {
      const content = bytes.subarray(0, size);
      await store.upload(key, streamOf(chunksOf(content, 1000)));
      await store.upload(key, streamOf(chunksOf(content, 1000)), { sizeBytes: size });
      assert.ok((await readAll(store, key))?.equals(content));
    }
    assert.equal(server.count("PutObject"), 6);
    assert.equal(server.count("CreateMultipartUpload"), 0);
  });

  test("carries checksums where they are wanted", async () => {
    await using subject = await s3Subject({}, { ...options, checksums: "when_supported", storageClass: "STANDARD_IA" });
    const { server, store } = subject;
    await store.upload(key, streamOf(chunksOf(bytes, 50_000)));
    const sent = (operation: string) => server.asked.find((each) => each.operation === operation)?.headers;
    assert.equal(sent("CreateMultipartUpload")?.["x-amz-checksum-algorithm"], "CRC32");
    assert.ok(sent("UploadPart")?.["x-amz-checksum-crc32"] !== undefined);
    assert.equal(server.bucket.objects.get(name)?.settings["x-amz-storage-class"], "STANDARD_IA");
  });

  test("has two parts in memory at most, and takes no more while they are sent", async () => {
    await using subject = await s3Subject({}, options);
    const { server, store } = subject;
    const { promise, resolve } = Promise.withResolvers<void>();
    server.fail("UploadPart", { wait: promise });
    const stream = new CountedStream();
    const uploading = store.upload(key, stream.read());
    await until(() => stream.taken >= 128 * kib);
    await until(async () => (await store.head("blobs/other" as Key)) === undefined);
    assert.ok(stream.taken <= 129 * kib, `${stream.taken}`);
    resolve();
    await uploading;
    assert.ok((await readAll(store, key))?.equals(bytes));
  });

  test("has one part in memory while others take the rest of what all may take, and two again behind them", async () => {
    await using subject = await s3Subject({}, { ...options, partMemoryBytes: 128 * kib });
    const { server, store } = subject;
    const other = "blobs/sha256/00/02" as Key;
    for (let round = 0; round < 2; round++) {
      const { promise, resolve } = Promise.withResolvers<void>();
      server.fail("UploadPart", { wait: promise }, { wait: promise });
      const [first, second] = [new CountedStream(), new CountedStream()];
      const begun = store.upload(key, first.read());
      await until(() => first.taken >= 128 * kib);
      const late = store.upload(other, second.read());
      await until(() => second.taken >= 64 * kib);
      await until(async () => (await store.head("blobs/other" as Key)) === undefined);
      assert.ok(first.taken <= 129 * kib && first.taken >= 128 * kib, `${first.taken}`);
      assert.ok(second.taken <= 65 * kib, `${second.taken}`);
      resolve();
      await Promise.all([begun, late]);
      for (const each of [key, other]) assert.ok((await readAll(store, each))?.equals(bytes));
    }
  });

  test("whose stream throws leaves nothing, and throws what it threw", async () => {
    await using subject = await s3Subject({}, options);
    const { store } = subject;
    await store.put(key, Buffer.from("before"));
    for (const length of [0, 10, 70 * kib, bytes.length]) {
      const failure = new Error("the digest is another one");
      const failing = streamOf(chunksOf(bytes.subarray(0, length), 10_000), failure);
      await assert.rejects(store.upload(key, failing), (error) => error === failure);
      assertNothingOpen(subject);
    }
    assert.equal((await readAll(store, key))?.toString(), "before");
  });

  test("of another size than it was told to have leaves nothing", async () => {
    await using subject = await s3Subject({}, options);
    const { store } = subject;
    for (const sizeBytes of [0, 10, bytes.length - 1, bytes.length + 1, 10 * bytes.length]) {
      const uploading = store.upload(key, streamOf(chunksOf(bytes, 10_000)), { sizeBytes });
      await assert.rejects(uploading, { name: "StoreError", message: new RegExp(`has not the ${sizeBytes} bytes`) });
      assertNothingOpen(subject);
    }
    assert.equal(await store.head(key), undefined);
  });

  test("that is given up leaves nothing, also in the middle of a part", async () => {
    await using subject = await s3Subject({}, options);
    const { server, store } = subject;
    const { promise, resolve } = Promise.withResolvers<void>();
    const giving = new AbortController();
    server.fail("UploadPart", { wait: promise });
    const uploading = store.upload(key, streamOf(chunksOf(bytes, 10_000)), { signal: giving.signal });
    await until(() => server.bucket.uploads.size === 1 && recordsOf(server.bucket.objects).length === 1);
    giving.abort(new Error("given up"));
    await assert.rejects(uploading, /given up/);
    resolve();
    assertNothingOpen(subject);
    assert.equal(await store.head(key), undefined);
  });

  test("is aborted when the part that is under way has arrived: behind an abort it would stay", async () => {
    await using subject = await s3Subject({}, options);
    const { server, store } = subject;
    const { promise: arrival, resolve: arrive } = Promise.withResolvers<void>();
    server.fail("UploadPart", { wait: arrival });
    const failing = streamOf(chunksOf(bytes.subarray(0, 100 * kib), 10_000), new Error("the digest is another one"));
    const uploading = assert.rejects(store.upload(key, failing), /the digest is another one/);
    await until(() => recordsOf(server.bucket.objects).length === 1);
    for (let asked = 0; asked < 3; asked++) await store.head("blobs/other" as Key);
    assert.equal(server.count("AbortMultipartUpload"), 0);
    arrive();
    await uploading;
    assertNothingOpen(subject);
  });

  test("goes on after a reset inside a part, and a throttled one", async () => {
    await using subject = await s3Subject({}, options);
    const { server, store } = subject;
    server.fail("UploadPart", { resetAfterBytes: 1000 }, { refuse: slowDown }, { loseAnswer: true });
    await store.upload(key, streamOf(chunksOf(bytes, 50_000)));
    assert.ok((await readAll(store, key))?.equals(bytes));
    assertNothingOpen(subject);
  });

  test("that fails for good leaves nothing", async () => {
    await using subject = await s3Subject({}, { ...options, retries: 0 });
    const { server, store } = subject;
    for (const operation of ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"] as const) {
      server.fail(operation, { refuse: new S3Refusal(403, "AccessDenied") });
      await assert.rejects(store.upload(key, streamOf(chunksOf(bytes, 50_000))), { code: "AccessDenied" });
      assertNothingOpen(subject);
    }
    server.fail("PutObject", { refuse: new S3Refusal(403, "AccessDenied") });
    await assert.rejects(store.upload(key, streamOf(chunksOf(bytes, 50_000))), { code: "AccessDenied" });
    assertNothingOpen(subject);
  });

  test("that was completed though the answer was lost is done: the second time it is unknown", async () => {
    await using subject = await s3Subject({}, options);
    const { server, store } = subject;
    server.fail("CompleteMultipartUpload", { loseAnswer: true });
    const version = await store.upload(key, streamOf(chunksOf(bytes, 50_000)));
    assert.equal((await store.head(key))?.version, version);
    assert.equal(server.count("CompleteMultipartUpload"), 2);
    assertNothingOpen(subject);
  });

  test("that was completed after the key was looked at is done all the same", async () => {
    await using subject = await s3Subject({}, { ...options, retries: 0 });
    const { server, store } = subject;
    server.fail("CompleteMultipartUpload", { loseAnswer: true });
    server.fail("HeadObject", { refuse: new S3Refusal(500, "InternalError") });
    await store.upload(key, streamOf(chunksOf(bytes, 50_000)));
    assert.ok((await readAll(store, key))?.equals(bytes));
    assertNothingOpen(subject);
  });

  test("that S3 says 200 of and then an error was not done", async () => {
    await using subject = await s3Subject({}, { ...options, retries: 0 });
    const { server, store } = subject;
    server.fail("CompleteMultipartUpload", { refuse: new S3Refusal(200, "InternalError") });
    await assert.rejects(store.upload(key, streamOf(chunksOf(bytes, 50_000))), { code: "InternalError" });
    assertNothingOpen(subject);
    assert.equal(await store.head(key), undefined);
  });

  test("with a condition is done where that holds", async () => {
    await using subject = await s3Subject({}, options);
    const { server, store } = subject;
    const first = await store.upload(key, streamOf(chunksOf(bytes, 50_000)), { if: "absent" });
    const again = store.upload(key, streamOf(chunksOf(bytes, 50_000)), { if: "absent" });
    await assert.rejects(again, PreconditionFailed);
    assertNothingOpen(subject);
    server.fail("CompleteMultipartUpload", { refuse: new S3Refusal(409, "ConditionalRequestConflict") });
    const second = await store.upload(key, streamOf(chunksOf(bytes.subarray(1), 50_000)), { if: first });
    assert.equal((await store.head(key))?.version, second);
  });
});

describe("uploads that nobody goes on with", () => {
  test("are found by their records, which are there before the first part", async () => {
    await using subject = await s3Subject({}, options);
    const { server, store } = subject;
    let seen = 0;
    const note = (): void => void (seen = recordsOf(server.bucket.objects).length);
    server.fail("UploadPart", { before: note }, { refuse: new S3Refusal(403, "AccessDenied") });
    // The process ends here: nothing is aborted.
    server.fail("AbortMultipartUpload", { refuse: new S3Refusal(403, "AccessDenied") });
    await assert.rejects(store.upload(key, streamOf(chunksOf(bytes, 50_000))));
    assert.equal(seen, 1);
    assert.equal(server.bucket.uploads.size, 1);
    assert.equal(recordsOf(server.bucket.objects).length, 1);
    assert.equal(await store.sweepUploads(60_000), 0, "it may go on still");
    assert.equal(server.bucket.uploads.size, 1);
    assert.equal(await store.sweepUploads(-60_000), 1);
    assertNothingOpen(subject);
    assert.equal(server.count("other"), 0, "the server is asked for no list of uploads");
  });

  test("and are gone already are forgotten, as is a record that is none", async () => {
    await using subject = await s3Subject({}, options);
    const { server, store } = subject;
    const record = JSON.stringify({ key, uploadId: "gone" });
    server.bucket.put("some/prefix/uploads/1", Buffer.from(record), {});
    server.bucket.put("some/prefix/uploads/2", Buffer.from("no record"), {});
    server.bucket.put("some/prefix/uploads/3", Buffer.from("{}"), {});
    assert.equal(await store.sweepUploads(-60_000), 3);
    assertNothingOpen(subject);
  });

  test("are told from those that go on by the server's clock", async () => {
    await using subject = await s3Subject({}, options);
    const { server, store } = subject;
    server.clockOffsetMs = 3 * 3_600_000;
    // The first refusal for the clock tells the client how wrong its own is.
    await store.put(key, Buffer.from("any"));
    server.bucket.put("some/prefix/uploads/1", Buffer.from(JSON.stringify({ key, uploadId: "running" })), {});
    assert.equal(await store.sweepUploads(3_600_000), 0);
    server.clockOffsetMs += 2 * 3_600_000;
    await store.put(key, Buffer.from("any"));
    assert.equal(await store.sweepUploads(3_600_000), 1);
  });

  test("are ended together with what is left of a probe that somebody did not bring to its end", async () => {
    await using subject = await s3Subject({}, options);
    const { server, store } = subject;
    for (const left of ["some/prefix/probe/1/a", "some/prefix/probe/1/parts", name]) {
      server.bucket.put(left, Buffer.from("left"), {});
    }
    assert.equal(await store.sweepUploads(3_600_000), 0);
    assert.equal(server.bucket.objects.size, 3);
    assert.equal(await store.sweepUploads(-60_000), 0);
    assert.deepEqual([...server.bucket.objects.keys()], [name]);
  });
});
