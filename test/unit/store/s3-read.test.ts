import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Key, OpenObject, StoreError } from "../../../src/store/object-store.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { S3Refusal } from "../../support/fake-s3-bucket.ts";
import { all, readAll, s3Subject } from "../../support/s3-store.ts";

const key = "blobs/sha256/00/01" as Key;
const name = `some/prefix/${key}`;
const mib = 1024 * 1024;

async function bytesOf(object: OpenObject, start = 0, end = object.sizeBytes): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of object.read({ start, end })) chunks.push(Uint8Array.from(chunk));
  return Buffer.concat(chunks);
}

async function opened(store: { get(key: Key): Promise<OpenObject | undefined> }): Promise<OpenObject> {
  const object = await store.get(key);
  assert.ok(object !== undefined);
  return object;
}

describe("what is read of a bucket", () => {
  test("a small object comes in one request; of a large one the rest, where it is read, in one more", async () => {
    await using subject = await s3Subject();
    const { server, store } = subject;
    for (const [size, requests] of [
      [0, 2], // An empty object has no first byte.
      [256 * 1024, 1],
      [256 * 1024 + 1, 2],
    ] as const) {
      const bytes = pseudoRandomBytes(size, "object");
      server.bucket.put(name, bytes, {});
      const before = server.count("GetObject");
      assert.ok((await readAll(store, key))?.equals(bytes));
      assert.equal(server.count("GetObject") - before, requests, `${size}`);
    }
    assert.equal(server.count("HeadObject"), 0);
  });

  test("a body that breaks off is taken up where it broke", async () => {
    await using subject = await s3Subject();
    const { server, store } = subject;
    const bytes = pseudoRandomBytes(mib, "object");
    server.bucket.put(name, bytes, {});
    server.fail("GetObject", { breakAt: 1000 }, { before: () => {} }, { breakAt: 300_000 }, { breakAt: 10 });
    assert.ok((await readAll(store, key))?.equals(bytes));
    const ranges = server.asked.map(({ headers }) => headers["range"]);
    assert.deepEqual(ranges.slice(0, 2), ["bytes=0-262143", "bytes=0-262143"], "the first is whole or not there");
    const starts = ranges.slice(2).map((range) => Number(/^bytes=(\d+)-/.exec(String(range))?.[1]));
    assert.equal(starts.length, 3);
    assert.equal(starts[0], 262_144);
    assert.ok((starts[1] ?? 0) > 262_144 && (starts[1] ?? 0) <= 562_144);
  });

  test("a body that stands still is taken up, too; and fails in the end", async () => {
    await using subject = await s3Subject({}, { requestTimeoutMs: 1000, retries: 1 });
    const { server, store } = subject;
    const bytes = pseudoRandomBytes(mib, "object");
    server.bucket.put(name, bytes, {});
    server.fail("GetObject", { stallAt: 1000 });
    const object = await opened(store);
    server.fail("GetObject", { stallAt: 1000 });
    assert.ok((await bytesOf(object)).equals(bytes));
    server.fail("GetObject", { stallAt: 0 }, { stallAt: 0 });
    await assert.rejects(bytesOf(object), (error: StoreError) => {
      assert.equal(error.code, "ETIMEDOUT");
      assert.match(error.message, /could not read blobs\/sha256\/00\/01 to its end.*no byte came for 1000 ms/);
      return true;
    });
    await object.close();
  });

  test("what was replaced or deleted meanwhile fails behind its first part, with no byte of another object", async () => {
    await using subject = await s3Subject();
    const { server, store } = subject;
    server.bucket.put(name, Buffer.alloc(mib, 1), {});
    const object = await opened(store);
    server.bucket.put(name, Buffer.alloc(mib, 2), {});
    await assert.rejects(bytesOf(object), { name: "StoreError", message: /it was deleted or replaced/ });
    server.bucket.objects.clear();
    await assert.rejects(bytesOf(object), { name: "StoreError", code: "NoSuchKey" });
    assert.ok((await bytesOf(object, 0, 256 * 1024)).equals(Buffer.alloc(256 * 1024, 1)));
    await object.close();
  });

  test("a server that takes no ranges gives small objects, and no wrong bytes of large ones", async () => {
    await using subject = await s3Subject({ ignoresRanges: true }, { maxSockets: 1 });
    const { server, store } = subject;
    server.bucket.put(name, Buffer.from("small"), {});
    assert.equal((await readAll(store, key))?.toString(), "small");
    server.bucket.put(name, pseudoRandomBytes(mib, "large"), {});
    await assert.rejects(readAll(store, key), { name: "StoreError", message: /did not answer with the range/ });
    assert.equal((await store.head(key))?.sizeBytes, mib, "the connection is free again");
  });

  test("a server that gives less than a range gives no part of an object for the whole", async () => {
    await using subject = await s3Subject({ maxRangeBytes: 200 }, { retries: 1 });
    const { server, store } = subject;
    server.bucket.put(name, pseudoRandomBytes(201, "object"), {});
    await assert.rejects(store.get(key), { name: "StoreError", message: /the answer ended early/ });
    server.bucket.put(name, pseudoRandomBytes(200, "object"), {});
    assert.equal((await readAll(store, key))?.length, 200);
  });

  test("a refusal is no absence, for none of the ways to an object", async () => {
    await using subject = await s3Subject();
    const { server, store } = subject;
    const denied = { refuse: new S3Refusal(403, "AccessDenied") };
    server.fail("HeadObject", denied);
    server.fail("GetObject", denied);
    server.fail("ListObjectsV2", denied);
    await assert.rejects(store.head(key), { name: "StoreError", message: /s3:ListBucket on cache/ });
    await assert.rejects(store.get(key), { name: "StoreError", code: "AccessDenied" });
    await assert.rejects(all(store.list("blobs" as Key)), { name: "StoreError", code: "AccessDenied" });
  });

  test("a bucket that is not there is no absence", async () => {
    await using subject = await s3Subject({}, { bucket: "elsewhere" });
    await assert.rejects(subject.store.get(key), {
      code: "NoSuchBucket",
      message: /bucket elsewhere at http.*create the/,
    });
  });
});

describe("connections", () => {
  test("are free again, whatever becomes of a body", async () => {
    await using subject = await s3Subject({}, { maxSockets: 2, retries: 0 });
    const { server, store } = subject;
    server.bucket.put(name, pseudoRandomBytes(4 * mib, "large"), {});
    for (let round = 0; round < 4; round++) {
      const unread = await opened(store);
      const left = await opened(store);
      for await (const chunk of left.read({ start: 300_000, end: left.sizeBytes })) {
        if (chunk.length > 0) break;
      }
      const failed = await opened(store);
      const reading = failed.read({ start: 300_000, end: failed.sizeBytes })[Symbol.asyncIterator]();
      await reading.next();
      await assert.rejects(reading.throw?.(new Error("the reader failed")) ?? Promise.resolve(), /the reader failed/);
      assert.equal(await store.head("blobs/none" as Key), undefined);
      assert.equal(await store.get("blobs/none" as Key), undefined);
      server.fail("GetObject", { refuse: new S3Refusal(403, "AccessDenied") });
      await assert.rejects(store.get(key));
      // Nobody closes `unread` and `failed`.
      assert.equal(unread.sizeBytes, failed.sizeBytes);
    }
    assert.equal((await readAll(store, key))?.length, 4 * mib);
  });

  test("are waited for within bounds", async () => {
    await using subject = await s3Subject({}, { maxSockets: 1, requestTimeoutMs: 1000, retries: 0 });
    const { server, store } = subject;
    const { promise, resolve } = Promise.withResolvers<void>();
    server.fail("HeadObject", { wait: promise });
    const slow = assert.rejects(store.head(key), { code: "ETIMEDOUT" });
    await assert.rejects(store.get(key), { name: "StoreError", code: "ETIMEDOUT" });
    resolve();
    await slow;
    assert.equal(await store.get(key), undefined);
  });

  test("that nobody takes are an error within bounds, and a server that is back is used again", async () => {
    await using subject = await s3Subject({}, { retries: 1 });
    const { server, store } = subject;
    await server.down();
    await assert.rejects(store.head(key), { name: "StoreError", code: "ECONNREFUSED" });
    await server.up();
    assert.equal(await store.head(key), undefined);
  });
});

describe("a listing", () => {
  test("goes on behind 1,000 keys, each of them once", async () => {
    await using subject = await s3Subject();
    const { server, store } = subject;
    const keys = Array.from({ length: 2500 }, (_, index) => `blobs/${index.toString().padStart(5, "0")}`);
    for (const each of keys) server.bucket.put(`some/prefix/${each}`, Buffer.from("x"), {});
    server.bucket.put("some/prefix-of-another/blobs/a", Buffer.from("x"), {});
    const found = await all(store.list("blobs" as Key));
    assert.deepEqual(
      found.map((info) => info.key),
      keys,
    );
    assert.equal(server.count("ListObjectsV2"), 3);
  });

  test("shows all that stays, whatever comes and goes between its pages", async () => {
    await using subject = await s3Subject({ pageSize: 2 });
    const { server, store } = subject;
    const put = (...names: string[]): void => {
      for (const each of names) server.bucket.put(`some/prefix/blobs/${each}`, Buffer.from(each), {});
    };
    put("b", "d", "f", "h", "j");
    const remove = (each: string): void => void server.bucket.objects.delete(`some/prefix/blobs/${each}`);
    server.fail(
      "ListObjectsV2",
      { before: () => {} },
      { before: () => (remove("d"), remove("f"), put("a", "c", "e")) },
      { before: () => (remove("h"), put("g", "i")) },
    );
    const found = (await all(store.list("blobs" as Key))).map((info) => info.key.slice("blobs/".length));
    for (const stayed of ["b", "j"]) assert.ok(found.includes(stayed), `${stayed} of ${found.join()}`);
    assert.deepEqual(found, [...new Set<string>(found)].toSorted());
  });

  test("that is in no order, or does not go on, is an error and not a part of it", async () => {
    await using subject = await s3Subject({ pageSize: 2, listsInDisorder: true });
    const { server, store } = subject;
    for (const each of ["a", "b", "c"]) server.bucket.put(`some/prefix/blobs/${each}`, Buffer.from(each), {});
    await assert.rejects(all(store.list("blobs" as Key)), { name: "StoreError", message: /not in order/ });
  });

  test("tells when each was written, by the server's clock, and goes by the bytes of keys of any characters", async () => {
    await using subject = await s3Subject({ pageSize: 1 });
    const { server, store } = subject;
    server.clockOffsetMs = -3_600_000;
    const keys = ["\u0001", "\n", "%41", "&lt;<", "+ ", "../b", "//b", "é", "\uff5e", "\u{1f600}"].map(
      (each) => `blobs/${each}`,
    );
    for (const each of keys.toReversed()) server.bucket.put(`some/prefix/${each}`, Buffer.from("x"), {});
    const found = await all(store.list("blobs" as Key));
    assert.deepEqual(
      found.map(({ key }) => key),
      keys,
    );
    for (const { writtenAt } of found) assert.ok(Math.abs(Date.now() - 3_600_000 - writtenAt) < 60_000, `${writtenAt}`);
  });

  test("leaves out what consoles put there for folders", async () => {
    await using subject = await s3Subject();
    const { server, store } = subject;
    for (const each of ["blobs/", "blobs/a/", "blobs/a/b"])
      server.bucket.put(`some/prefix/${each}`, Buffer.alloc(0), {});
    const found = (await all(store.list("blobs" as Key))).map((info) => info.key);
    assert.deepEqual(found, ["blobs/a/b"]);
  });
});
