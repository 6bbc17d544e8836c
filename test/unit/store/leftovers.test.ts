/* What lies in the temporary folder, and folders that hold nothing: who may remove them, and when. */
import assert from "node:assert/strict";
import { mkdir, readdir, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { BufferPool } from "../../../src/store/buffers.ts";
import { FilesystemStore } from "../../../src/store/filesystem.ts";
import type { Key } from "../../../src/store/object-store.ts";
import { failFiles } from "../../support/failing-files.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const hourMs = 3_600_000;
const key = "blobs/sha256/ab/cd" as Key;

async function leave(root: string, name: string, ageMs: number): Promise<void> {
  const path = join(root, "tmp", name);
  await writeFile(path, "rubbish");
  const time = new Date(Date.now() - ageMs);
  await utimes(path, time, time);
}

test("a dry run finds leftovers and empty folders, and leaves them", async () => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(folder.path);
  await leave(folder.path, "old", 2 * hourMs);
  await leave(folder.path, "young", 0);
  await mkdir(join(folder.path, "blobs/a/b"), { recursive: true });
  for (const dryRun of [true, false]) {
    assert.deepEqual((await readdir(store.temporaryPath)).toSorted(), ["old", "young"]);
    assert.deepEqual(await readdir(join(folder.path, "blobs/a")), ["b"]);
    assert.deepEqual(await store.removeLeftovers(hourMs, { dryRun }), { count: 1, bytes: 7 });
    assert.equal(await store.removeEmptyFolders("blobs" as Key, { dryRun }), 2);
  }
  assert.deepEqual(await readdir(store.temporaryPath), ["young"]);
  assert.deepEqual(await readdir(join(folder.path, "blobs")), []);
  await store.close();
});

test("a dry run needs no right to write", async () => {
  await using folder = await createTemporaryDirectory();
  await (await FilesystemStore.open(folder.path)).close();
  await leave(folder.path, "old", 2 * hourMs);
  await mkdir(join(folder.path, "blobs/a"), { recursive: true });
  // Another process has it.
  const owner = failFiles(join(folder.path, "tmp"), "EROFS", ["write"]);
  const store = await FilesystemStore.open(folder.path, new BufferPool(), () => 0);
  owner[Symbol.dispose]();
  assert.ok(store.unwritable !== undefined);
  assert.equal((await store.removeLeftovers(hourMs, { dryRun: true })).count, 1);
  assert.equal(await store.removeEmptyFolders("blobs" as Key, { dryRun: true }), 1);
  await assert.rejects(store.removeLeftovers(hourMs), (error) => error === store.unwritable);
  await store.close();
});

test("a temporary folder that cannot be swept keeps nothing from being stored and served", async () => {
  for (const use of ["read", "write"] as const) {
    await using folder = await createTemporaryDirectory();
    await (await FilesystemStore.open(folder.path)).close();
    await leave(folder.path, "stuck", 0);
    using _broken = failFiles(join(folder.path, "tmp/stuck"), "EIO", [use]);
    const store = await FilesystemStore.open(folder.path);
    assert.equal(store.unwritable, undefined, use);
    assert.deepEqual(store.swept, { count: 0, bytes: 0 });
    await store.put(key, Buffer.from("object"));
    assert.equal((await store.head(key))?.sizeBytes, 6);
    await store.close();
  }
});

test("what could not be swept counts as being there, until it is removed", async () => {
  await using folder = await createTemporaryDirectory();
  await (await FilesystemStore.open(folder.path)).close();
  await leave(folder.path, "stuck", 2 * hourMs);
  const broken = failFiles(join(folder.path, "tmp/stuck"), "EIO", ["write"]);
  const store = await FilesystemStore.open(folder.path);
  broken[Symbol.dispose]();
  const before = await store.measureOthers(() => false);
  assert.deepEqual(await store.removeLeftovers(hourMs, { dryRun: true }), { count: 1, bytes: "rubbish".length });
  assert.equal(await store.measureOthers(() => false), before, "a dry run has removed nothing");
  assert.deepEqual(await store.removeLeftovers(hourMs), { count: 1, bytes: "rubbish".length });
  assert.equal(await store.measureOthers(() => false), before - "rubbish".length);
  await store.close();
});
