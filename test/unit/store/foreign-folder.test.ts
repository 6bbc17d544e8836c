import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, readdir, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { BufferPool } from "../../../src/store/buffers.ts";
import { ForeignFolder } from "../../../src/store/foreign-folder.ts";
import type { Key } from "../../../src/store/object-store.ts";
import { readWhole } from "../../../src/store/read-whole.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

async function keysOf(folder: ForeignFolder, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of folder.list(prefix as Key)) keys.push(key);
  return keys;
}

test("files are listed in order, with their sizes and times, and read; nothing is written", async () => {
  await using temporary = await createTemporaryDirectory();
  const { path } = temporary;
  await mkdir(join(path, "a/b"), { recursive: true });
  await writeFile(join(path, "a/b/c"), "content");
  await writeFile(join(path, "a/b.c"), "");
  await utimes(join(path, "a/b/c"), 1_700_000_000.9, 1_700_000_000.9);
  const before = await readdir(path, { recursive: true });
  const folder = await ForeignFolder.open(path, new BufferPool());
  assert.deepEqual(await keysOf(folder, "a"), ["a/b.c", "a/b/c"]);
  for await (const { key, sizeBytes, writtenAt } of folder.list("a/b" as Key)) {
    assert.deepEqual([key, sizeBytes, writtenAt], ["a/b/c", 7, 1_700_000_000_900]);
  }
  const object = await folder.get("a/b/c" as Key);
  assert.equal(object && (await readWhole(object, 100))?.toString(), "content");
  assert.equal(await folder.get("a/none" as Key), undefined);
  assert.deepEqual(await keysOf(folder, "none"), []);
  assert.deepEqual(await keysOf(folder, ""), ["a/b.c", "a/b/c"], "everything");
  assert.deepEqual(await readdir(path, { recursive: true }), before);
});

test("symbolic links are not followed, and pipes not opened, also where they come after the listing", async () => {
  await using temporary = await createTemporaryDirectory();
  await using outside = await createTemporaryDirectory();
  const { path } = temporary;
  await writeFile(join(outside.path, "secret"), "secret");
  await mkdir(join(path, "a"));
  await symlink(outside.path, join(path, "linked"));
  await symlink(outside.path, join(path, "a/folder"));
  await symlink(join(outside.path, "secret"), join(path, "a/file"));
  execFileSync("mkfifo", [join(path, "a/pipe")]);
  await writeFile(join(path, "a/real"), "real");
  const folder = await ForeignFolder.open(path, new BufferPool());
  assert.deepEqual(await keysOf(folder, "a"), ["a/real"]);
  assert.deepEqual(await keysOf(folder, "linked"), []);
  assert.equal(await folder.hasFolder("linked" as Key), false);
  for (const key of ["a/file", "a/pipe", "a/folder"]) assert.equal(await folder.get(key as Key), undefined, key);
  await assert.rejects(folder.get("../x" as Key), { name: "StoreError" });
  // The folder itself may be named by a link.
  const named = join(outside.path, "name");
  await symlink(path, named);
  assert.deepEqual(await keysOf(await ForeignFolder.open(named, new BufferPool()), "a"), ["a/real"]);
});

test("folders that are deeper than any name are not entered", async () => {
  await using temporary = await createTemporaryDirectory();
  const { path } = temporary;
  const deep = (parts: number): string => join(path, "a", ..."b".repeat(parts).split(""));
  await mkdir(deep(140), { recursive: true });
  await writeFile(join(deep(130), "near"), "");
  await writeFile(join(deep(140), "far"), "");
  const folder = await ForeignFolder.open(path, new BufferPool());
  const keys = await keysOf(folder, "a");
  assert.deepEqual(
    keys.map((key) => key.slice(key.lastIndexOf("/") + 1)),
    ["near"],
  );
});
