import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import type { Key } from "../../src/store/object-store.ts";
import type { S3Options } from "../../src/store/s3-options.ts";
import { S3Store } from "../../src/store/s3.ts";
import { type Driven, objectStoreSuite } from "../contract/object-store.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { request } from "../support/http.ts";
import { all, chunksOf, readAll, streamOf } from "../support/s3-store.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../support/temporary.ts";
import { type S3Server, startSeaweedfs } from "./seaweedfs.ts";

const key = "blobs/sha256/00/01" as Key;
const mib = 1024 * 1024;

describe("a bucket of SeaweedFS", () => {
  let folder: TemporaryDirectory;
  let server: S3Server;

  before(async () => {
    folder = await createTemporaryDirectory();
    server = await startSeaweedfs(folder.path);
  });

  after(async () => {
    await server[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  /** A store below a prefix of its own. */
  const open = (options: Partial<S3Options> = {}): Promise<S3Store> =>
    S3Store.open({ ...server.options, prefix: randomUUID(), ...options });

  for (const checksums of ["when_required", "when_supported"] as const) {
    objectStoreSuite(`a bucket of SeaweedFS, checksums ${checksums}`, async (): Promise<Driven<S3Store>> => {
      const store = await open({ partSizeBytes: 5 * mib, maxSockets: 8, checksums });
      const check = async (): Promise<void> => assert.deepEqual(await all(store.list("uploads" as Key)), []);
      return { store, check, versionsTellBytes: true };
    });
  }

  test("can all that is used, as the probe finds, which leaves nothing", async () => {
    await using store = disposable(await open());
    const abilities = await store.probe();
    assert.deepEqual(abilities.lacks, []);
    assert.deepEqual(await all(store.list("probe" as Key)), []);
  });

  test("gives objects to whoever has a presigned URL, also in ranges", async () => {
    await using store = disposable(await open());
    await store.put(key, Buffer.from("the object"));
    const url = await store.presign(key, { expiresInSeconds: 60 });
    assert.equal((await request(url)).body.toString(), "the object");
    const part = await request(url, { headers: { range: "bytes=4-" } });
    assert.deepEqual([part.status, part.body.toString()], [206, "object"]);
    assert.equal((await request(`${url}0`)).status, 403);
  });

  test("lists more than 1,000 keys, each once, in order, behind any", async () => {
    await using store = disposable(await open());
    const keys = Array.from({ length: 1100 }, (_, index) => `tags/${index.toString().padStart(5, "0")}` as Key);
    for (let start = 0; start < keys.length; start += 20) {
      await Promise.all(keys.slice(start, start + 20).map((each) => store.put(each, Buffer.from("x"))));
    }
    const found = (await all(store.list("tags" as Key))).map((info) => info.key);
    assert.deepEqual(found, keys);
    const rest = (await all(store.list("tags" as Key, { after: keys[1049] as Key }))).map((info) => info.key);
    assert.deepEqual(rest, keys.slice(1050));
  });

  test("takes a stream in parts, and what is left open is ended by its record", async () => {
    await using store = disposable(await open());
    const bytes = pseudoRandomBytes(20 * mib, "upload");
    await store.upload(key, streamOf(chunksOf(bytes, 100_000)));
    assert.ok((await readAll(store, key))?.equals(bytes));
    const failure = new Error("the digest is another one");
    await assert.rejects(store.upload(key, streamOf(chunksOf(bytes, 100_000), failure)), failure);
    assert.deepEqual(await all(store.list("uploads" as Key)), []);
    assert.equal(await store.sweepUploads(0), 0);
  });

  test("says what is wrong", async () => {
    for (const [options, advice] of [
      [{ bucket: "elsewhere" }, /create the bucket/],
      [{ credentials: { accessKeyId: "nobody", secretAccessKey: "x" } }, /correct the access key/],
      [{ credentials: { accessKeyId: "access", secretAccessKey: "wrong" } }, /correct the access key/],
    ] as const) {
      await using store = disposable(await open({ ...options, retries: 0 }));
      await assert.rejects(store.get(key), { name: "StoreError", message: advice });
    }
  });
});

function disposable(store: S3Store): S3Store & AsyncDisposable {
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}
