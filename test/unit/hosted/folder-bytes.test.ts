/* What hosted bytes in a folder do besides what all drivers do. */
import assert from "node:assert/strict";
import { readlinkSync } from "node:fs";
import { open, utimes } from "node:fs/promises";
import { join, relative } from "node:path";
import { test, type TestContext } from "node:test";
import { FolderBytes } from "../../../src/hosted/folder-bytes.ts";
import { HostedFiles } from "../../../src/hosted/hosted-files.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { BufferPool } from "../../../src/store/buffers.ts";
import { FilesystemStore } from "../../../src/store/filesystem.ts";
import { HashPool } from "../../../src/store/hashing.ts";
import { hostedUploadKey } from "../../../src/store/hosted-layout.ts";
import { chunk, contentOf, receive } from "../../contract/hosted-bytes.ts";
import { endlessSpace } from "../../support/books.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { turn, until } from "../../support/event-loop.ts";
import { openFilesBelow } from "../../support/open-files.ts";
import { all } from "../../support/s3-store.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const small = pseudoRandomBytes(1_000, "small");
const large = pseudoRandomBytes(3 * 1024 * 1024, "large");

interface Subject extends AsyncDisposable {
  readonly root: string;
  readonly store: FilesystemStore;
  readonly files: HostedFiles;
  readonly hashes: HashPool;
  readonly bytes: FolderBytes;
}

async function openSubject(root: string): Promise<Subject> {
  const pool = new BufferPool();
  const store = await FilesystemStore.open(root, pool);
  const files = new HostedFiles(store, endlessSpace);
  const hashes = new HashPool(1);
  const bytes = new FolderBytes({ files, hashes, pool });
  return {
    root,
    store,
    files,
    hashes,
    bytes,
    async [Symbol.asyncDispose]() {
      await bytes.close();
      await hashes.close();
      await store.close();
    },
  };
}

/** What is flushed from now on, by its name below the root; each fails where `fails` says so. */
async function watchFlushes(
  context: TestContext,
  root: string,
  fails: (name: string) => boolean = () => false,
): Promise<string[]> {
  const flushed: string[] = [];
  const handle = await open(root);
  const prototype = Object.getPrototypeOf(handle) as typeof handle;
  await handle.close();
  for (const method of ["sync", "datasync"] as const) {
    context.mock.method(prototype, method, async function (this: typeof handle) {
      const name = relative(root, readlinkSync(`/proc/self/fd/${this.fd}`)) || ".";
      flushed.push(name);
      if (fails(name)) throw Object.assign(new Error("EIO: i/o error"), { code: "EIO" });
    });
  }
  return flushed;
}

test("a small blob costs two flushes: its bytes, before it has its name, and the folder of its name", async (context) => {
  await using folder = await createTemporaryDirectory();
  await using subject = await openSubject(folder.path);
  const { bytes } = subject;
  const digest = digestOf(small);
  const fanout = digest.slice("sha256:".length, "sha256:".length + 2);
  const flushed = await watchFlushes(context, folder.path);
  await receive(bytes, "first", small);
  assert.deepEqual(
    flushed.splice(0),
    ["hosted/uploads", "hosted", "."],
    "folders that are new outlive a power failure",
  );
  assert.equal(await bytes.commit("first", digest), small.length);
  assert.deepEqual(flushed.splice(0), [
    "hosted/uploads/first",
    `hosted/blobs/sha256/${fanout}`,
    "hosted/blobs/sha256",
    "hosted/blobs",
    "hosted",
    // Once: who puts things in their place has not seen to it that this one lasts.
    ".",
  ]);
  await bytes.put(digestOf(Buffer.alloc(0)), Buffer.alloc(0));
  await bytes.remove((await bytes.stat(digest)) ?? assert.fail("it is gone"));
  await receive(bytes, "keeps the folder", small);
  await bytes.commit("keeps the folder", digest);
  flushed.splice(0);
  const [content] = await all(bytes.list());
  assert.ok(content !== undefined);
  const other = Buffer.concat([small, small]);
  await subject.store.put(`hosted/blobs/sha256/${digestOf(other).slice(7, 9)}/x` as never, small, { durable: false });
  flushed.splice(0);
  await receive(bytes, "second", other);
  assert.equal(await bytes.commit("second", digestOf(other)), other.length);
  assert.deepEqual(flushed, ["hosted/uploads/second", `hosted/blobs/sha256/${digestOf(other).slice(7, 9)}`]);
});

test("what cannot be flushed is not stored, and may be committed again", async (context) => {
  await using folder = await createTemporaryDirectory();
  await using subject = await openSubject(folder.path);
  const { bytes } = subject;
  for (const content of [small, large]) {
    await receive(bytes, "upload", content);
    let fails = true;
    await watchFlushes(context, folder.path, (name) => fails && name.endsWith("uploads/upload"));
    await assert.rejects(bytes.commit("upload", digestOf(content)), { name: "StoreError", code: "EIO" });
    assert.equal(await bytes.stat(digestOf(content)), undefined);
    fails = false;
    assert.equal(await bytes.commit("upload", digestOf(content)), content.length);
    context.mock.reset();
  }
});

test("a long upload is flushed on the way; where that fails, nothing of it counts as received", async (context) => {
  await using folder = await createTemporaryDirectory();
  await using subject = await openSubject(folder.path);
  const { bytes } = subject;
  const block = pseudoRandomBytes(1024 * 1024, "block");
  async function* blocks(count: number): AsyncGenerator<Uint8Array> {
    for (let sent = 0; sent < count; sent++) yield block;
  }
  const sent = (count: number): Parameters<FolderBytes["append"]>[2] => ({ ...chunk(block), bytes: blocks(count) });
  const flushed = await watchFlushes(context, folder.path);
  await bytes.append("upload", "sha256", sent(63));
  assert.equal(flushed.filter((name) => name.endsWith("/upload")).length, 0);
  await bytes.append("upload", "sha256", sent(65));
  assert.equal(flushed.filter((name) => name.endsWith("/upload")).length, 1);
  context.mock.reset();
  await watchFlushes(context, folder.path, () => true);
  await assert.rejects(bytes.append("upload", "sha256", sent(65)), { name: "StoreError", code: "EIO" });
  assert.equal((await bytes.received("upload"))?.receivedBytes, 0);
});

test("an upload that rests has nothing open, and goes on", async () => {
  await using folder = await createTemporaryDirectory();
  await using subject = await openSubject(folder.path);
  const { bytes } = subject;
  await receive(bytes, "upload", large);
  await until(() => openFilesBelow(folder.path).every((path) => path.includes("/lock")));
  await receive(bytes, "upload", large);
  assert.equal(await bytes.commit("upload", digestOf(Buffer.concat([large, large]))), 2 * large.length);
});

test("what was hashed while it came is not read again; where the thread has ended it is", async () => {
  await using folder = await createTemporaryDirectory();
  await using subject = await openSubject(folder.path);
  const { bytes, hashes } = subject;
  await receive(bytes, "upload", large);
  // It would be read from here.
  const started: string[] = [];
  const start = hashes.start.bind(hashes);
  hashes.start = (algorithm) => {
    started.push(algorithm);
    return start(algorithm);
  };
  assert.equal(await bytes.commit("upload", digestOf(large)), large.length);
  assert.deepEqual(started, []);
  await receive(bytes, "other", large.subarray(1));
  assert.deepEqual(started.splice(0), ["sha256"]);
  hashes.start = (algorithm) => {
    const running = start(algorithm);
    return { ...running, digest: () => running.digest().then(() => Promise.reject(new Error("the thread has ended"))) };
  };
  await receive(bytes, "third", large.subarray(2));
  hashes.start = start;
  assert.equal(await bytes.commit("third", digestOf(large.subarray(2))), large.length - 2);
});

test("content is as young as its commit, however long ago its bytes came", async () => {
  await using folder = await createTemporaryDirectory();
  await using subject = await openSubject(folder.path);
  const { bytes } = subject;
  await receive(bytes, "upload", small);
  const longAgo = new Date(Date.now() - 86_400_000);
  await utimes(join(folder.path, hostedUploadKey("upload")), longAgo, longAgo);
  assert.equal((await bytes.received("upload"))?.writtenAt, longAgo.getTime());
  await bytes.commit("upload", digestOf(small));
  assert.ok(bytes.now() - ((await bytes.stat(digestOf(small)))?.writtenAt ?? 0) < 60_000);
});

test("an unfinished upload outlives the process, and what it takes counts", async () => {
  await using folder = await createTemporaryDirectory();
  {
    await using subject = await openSubject(folder.path);
    await receive(subject.bytes, "upload", large);
  }
  await using subject = await openSubject(folder.path);
  assert.deepEqual(subject.store.swept, { count: 0, bytes: 0 });
  await subject.files.count();
  assert.equal(subject.files.bytes, large.length);
  assert.equal(await subject.bytes.commit("upload", digestOf(large)), large.length);
  assert.equal(subject.files.bytes, large.length);
  assert.ok((await contentOf(subject.bytes, digestOf(large)))?.equals(large));
});

test("what concerns one upload waits for the append before it", async () => {
  await using folder = await createTemporaryDirectory();
  await using subject = await openSubject(folder.path);
  const { bytes } = subject;
  const more = Promise.withResolvers<void>();
  async function* slow(): AsyncGenerator<Uint8Array> {
    yield small.subarray(0, 10);
    await more.promise;
    yield small.subarray(10);
  }
  const appended = bytes.append("upload", "sha256", { ...chunk(small), bytes: slow() });
  const committed = bytes.commit("upload", digestOf(small));
  await turn(5);
  more.resolve();
  assert.equal(await appended, small.length);
  assert.equal(await committed, small.length);
});
