/* What is on the disk when a put, a move or an opening resolves: a power failure takes the rest. */
import assert from "node:assert/strict";
import { readlinkSync } from "node:fs";
import { mkdir, open, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { test, type TestContext } from "node:test";
import { FilesystemStore } from "../../../src/store/filesystem.ts";
import type { Key, Source } from "../../../src/store/object-store.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";
import { stagedFile } from "../../support/object-stores.ts";

const key = "blobs/sha256/ab/cd" as Key;
const bytes = Buffer.from("object");

/**
 * What is flushed from now on, by the name below `folder` that it has then: `tmp` for whatever lies there, `.` for the
 * folder itself. Each waits for `hold`, and fails where `fails` says so.
 */
async function watchFlushes(
  context: TestContext,
  folder: string,
  fails: (name: string) => boolean = () => false,
  hold: (name: string) => Promise<void> = async () => undefined,
): Promise<string[]> {
  const flushed: string[] = [];
  const handle = await open(folder);
  const prototype = Object.getPrototypeOf(handle) as typeof handle;
  await handle.close();
  context.mock.method(prototype, "sync", async function (this: typeof handle) {
    const name = relative(folder, readlinkSync(`/proc/self/fd/${this.fd}`)) || ".";
    flushed.push(name.startsWith("tmp/") ? "tmp" : name);
    await hold(name);
    if (fails(name)) throw Object.assign(new Error("EIO: i/o error"), { code: "EIO" });
  });
  return flushed;
}

/** The three ways in which an object's bytes come. */
async function sources(store: FilesystemStore, elsewhere: string): Promise<Record<string, Source>> {
  const staged = join(store.temporaryPath, "staged");
  const other = join(elsewhere, "other");
  for (const path of [staged, other]) await writeFile(path, bytes);
  return {
    bytes,
    "a staging file": await stagedFile(staged),
    "another folder's file": await stagedFile(other),
  };
}

test("an object's bytes are flushed before it has its name, then the name; where it need not last, neither", async (context) => {
  await using folder = await createTemporaryDirectory();
  const root = join(folder.path, "root");
  const store = await FilesystemStore.open(root);
  await store.put(key, bytes);
  const flushed = await watchFlushes(context, root);
  for (const durable of [true, false]) {
    for (const [what, source] of Object.entries(await sources(store, folder.path))) {
      await store.put(key, source, { durable });
      assert.deepEqual(flushed.splice(0), durable ? ["tmp", "blobs/sha256/ab"] : [], what);
    }
  }
  await store.close();
});

test("bytes that cannot be flushed are not stored", async (context) => {
  await using folder = await createTemporaryDirectory();
  const root = join(folder.path, "root");
  const store = await FilesystemStore.open(root);
  await watchFlushes(context, root, (name) => name.startsWith("tmp/"));
  for (const [what, source] of Object.entries(await sources(store, folder.path))) {
    await assert.rejects(store.put(key, source), { name: "StoreError", code: "EIO" }, what);
    assert.equal(await store.head(key), undefined, what);
  }
  await store.close();
});

test("a durable put flushes the folders that it makes, and the first that was there", async (context) => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(folder.path);
  const flushed = await watchFlushes(context, folder.path);
  await store.put("blobs/sha256/ab/cd" as Key, bytes);
  assert.deepEqual(flushed.splice(0), ["tmp", "blobs/sha256/ab", "blobs/sha256", "blobs", "."]);
  await store.put("blobs/sha256/ab/ef" as Key, bytes);
  assert.deepEqual(flushed.splice(0), ["tmp", "blobs/sha256/ab"]);
  await store.put("blobs/sha256/ab/gh" as Key, bytes, { durable: false });
  assert.deepEqual(flushed.splice(0), []);
  await store.put("blobs/sha512/ab/cd" as Key, bytes, { durable: false });
  assert.deepEqual(flushed.splice(0), ["blobs/sha512/ab", "blobs/sha512", "blobs"]);
  await store.close();
});

test("of two that come into a new folder at once, each sees to it that the folder's own name lasts", async (context) => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(folder.path);
  const both = Promise.withResolvers<void>();
  let arrived = 0;
  const flushed = await watchFlushes(context, folder.path, undefined, async (name) => {
    if (name !== "blobs/sha256/ab") return;
    if (++arrived === 2) both.resolve();
    await both.promise;
  });
  await Promise.all([store.put(key, bytes), store.put("blobs/sha256/ab/other" as Key, bytes)]);
  for (const name of ["blobs/sha256/ab", "blobs/sha256", "blobs", "."]) {
    assert.equal(flushed.filter((each) => each === name).length, 2, name);
  }
  flushed.splice(0);
  await store.put(key, bytes);
  assert.deepEqual(flushed, ["tmp", "blobs/sha256/ab"]);
  await store.close();
});

test("a root may be written in any way: relative, or with slashes", async () => {
  await using folder = await createTemporaryDirectory();
  const below = relative(process.cwd(), folder.path);
  for (const [index, root] of [
    `${below}/a`,
    `./${below}/b`,
    `${folder.path}/c/`,
    `${folder.path}//./d/../e`,
  ].entries()) {
    const store = await FilesystemStore.open(root);
    for (const name of [key, "blobs/sha256/ab/other", "quarantine/x"] as Key[]) await store.put(name, bytes);
    assert.equal((await store.head(key))?.sizeBytes, 6, `${index}`);
    await store.delete(key);
    await store.put(key, bytes);
    await store.close();
  }
});

test("an object that is in its place is stored, also where its folder cannot be flushed", async (context) => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(folder.path);
  const flushed = await watchFlushes(context, folder.path, (name) => !name.startsWith("tmp/"));
  await store.put(key, bytes);
  assert.equal(flushed.length, 5);
  assert.equal((await store.head(key))?.sizeBytes, 6);
  await store.close();
});

test("a move flushes the folders of both keys, those that are new and those that were there", async (context) => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(folder.path);
  for (const name of [key, "blobs/sha256/ab/stays"]) await store.put(name as Key, bytes);
  const flushed = await watchFlushes(context, folder.path);
  assert.equal(await store.move(key, "quarantine/x" as Key), true);
  assert.deepEqual(flushed.splice(0), ["quarantine", ".", "blobs/sha256/ab"]);
  assert.equal(await store.move("quarantine/x" as Key, key), true);
  assert.deepEqual(flushed.splice(0), ["blobs/sha256/ab", "quarantine"]);
  await store.close();
});

test("a folder's format file is written once, and flushed with its name before anything is stored", async (context) => {
  await using folder = await createTemporaryDirectory();
  const root = join(folder.path, "root");
  await mkdir(root);
  const flushed = await watchFlushes(context, root);
  const store = await FilesystemStore.open(root);
  await store.close();
  assert.deepEqual(flushed.splice(0), ["format", "."]);
  await (await FilesystemStore.open(root)).close();
  assert.deepEqual(flushed, []);
});
