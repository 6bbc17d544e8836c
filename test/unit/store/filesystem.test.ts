import assert from "node:assert/strict";
import { Dir } from "node:fs";
import { access, mkdir, open, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { BufferPool } from "../../../src/store/buffers.ts";
import { FilesystemStore } from "../../../src/store/filesystem.ts";
import type { Key } from "../../../src/store/object-store.ts";
import { StoreError } from "../../../src/store/object-store.ts";
import { failFiles } from "../../support/failing-files.ts";
import { openFilesBelow } from "../../support/open-files.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";
import { stagedFile } from "../../support/object-stores.ts";

const key = "blobs/sha256/ab/cd" as Key;

test("the folder is made, claimed and laid out as keys say", async () => {
  await using folder = await createTemporaryDirectory();
  const root = join(folder.path, "new", "root");
  const store = await FilesystemStore.open(root);
  assert.equal(store.unwritable, undefined);
  assert.equal(store.temporaryPath, join(root, "tmp"));
  await store.put(key, Buffer.from("object"));
  assert.equal(await readFile(join(root, key), "utf8"), "object");
  assert.equal(await readFile(join(root, "format"), "utf8"), "entrepot 1\n");
  await store.close();
  const again = await FilesystemStore.open(root);
  assert.equal((await again.head(key))?.sizeBytes, 6);
  await again.close();
});

test("what a killed process left unfinished is removed, what it stored is not", async () => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(folder.path);
  await store.put(key, Buffer.from("object"));
  await store.close();
  await writeFile(join(folder.path, "tmp", "staged"), "half");
  await mkdir(join(folder.path, "tmp", "deep", "er"), { recursive: true });
  await writeFile(join(folder.path, "tmp", "deep", "er", "file"), "half");
  const again = await FilesystemStore.open(folder.path);
  assert.deepEqual(await readdir(again.temporaryPath), []);
  assert.equal((await again.head(key))?.sizeBytes, 6);
  await again.close();
});

test("a folder that cannot be written is opened, and says so in each put", async () => {
  await using folder = await createTemporaryDirectory();
  await writeFile(join(folder.path, "file"), "not a folder");
  const store = await FilesystemStore.open(join(folder.path, "file", "root"));
  assert.ok(store.unwritable instanceof StoreError);
  assert.equal(store.unwritable.code, "ENOTDIR");
  assert.equal(await store.head(key), undefined);
  assert.equal(await store.get(key), undefined);
  await assert.rejects(store.put(key, Buffer.from("object")), StoreError);
  await assert.rejects(store.probe(), StoreError);
  await store.close();
});

test("the probe writes a file, and leaves none", async () => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(folder.path);
  await store.probe();
  assert.deepEqual(await readdir(store.temporaryPath), []);
  await rm(store.temporaryPath, { recursive: true });
  await assert.rejects(store.probe(), (error: unknown) => {
    assert.ok(error instanceof StoreError);
    assert.equal(error.code, "ENOENT");
    return true;
  });
  await store.close();
});

test("a staged file is moved, not copied; another folder's file is copied", async () => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(join(folder.path, "root"));
  const staged = join(store.temporaryPath, "staged");
  await writeFile(staged, "staged");
  const { ino } = await stat(staged);
  await store.put(key, await stagedFile(staged));
  assert.equal((await stat(join(folder.path, "root", key))).ino, ino);
  const elsewhere = join(folder.path, "elsewhere");
  await writeFile(elsewhere, "elsewhere");
  await store.put(key, await stagedFile(elsewhere));
  assert.equal((await store.head(key))?.sizeBytes, 9);
  await access(elsewhere);
  assert.deepEqual(await readdir(store.temporaryPath), []);
  await store.close();
});

test("a put that fails leaves no file; a source that is a file stays its owner's", async () => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(join(folder.path, "root"));
  // A folder that holds something cannot be replaced by a file: the put fails at its last step.
  await store.put("blobs/target/inner" as Key, Buffer.from("in the way"));
  const target = "blobs/target" as Key;
  await assert.rejects(store.put(target, Buffer.from("object")), StoreError);
  const staged = join(store.temporaryPath, "staged");
  await writeFile(staged, "staged");
  await assert.rejects(store.put(target, await stagedFile(staged)), StoreError);
  const elsewhere = join(folder.path, "elsewhere");
  await writeFile(elsewhere, "elsewhere");
  await assert.rejects(store.put(target, await stagedFile(elsewhere)), StoreError);
  await access(elsewhere);
  assert.deepEqual(await readdir(store.temporaryPath), ["staged"]);
  // And where a part of the key is a file, at the first.
  await assert.rejects(store.put("blobs/target/inner/more" as Key, Buffer.from("object")), StoreError);
  assert.deepEqual(await readdir(store.temporaryPath), ["staged"]);
  assert.deepEqual(
    openFilesBelow(folder.path).filter((path) => !path.includes("/lock")),
    [],
  );
  await store.close();
});

test("no key leads out of the folder", async () => {
  await using folder = await createTemporaryDirectory();
  await writeFile(join(folder.path, "secret"), "secret");
  const store = await FilesystemStore.open(join(folder.path, "root"));
  for (const text of ["../secret", "blobs/../../secret", join(folder.path, "secret"), "..", "blobs/.."]) {
    const outside = text as Key;
    await assert.rejects(store.head(outside), StoreError, text);
    await assert.rejects(store.get(outside), StoreError, text);
    await assert.rejects(store.put(outside, Buffer.from("changed")), StoreError, text);
    await assert.rejects(store.delete(outside), StoreError, text);
    await assert.rejects(store.list(outside).next(), StoreError, text);
  }
  assert.equal(await readFile(join(folder.path, "secret"), "utf8"), "secret");
  await store.close();
});

test("what could not be told is an error, not absence", async () => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(folder.path);
  const unusable = "x".repeat(300) as Key;
  for (const attempt of [
    () => store.head(unusable),
    () => store.get(unusable),
    () => store.delete(unusable),
    () => store.list(unusable).next(),
  ]) {
    await assert.rejects(attempt(), (error: unknown) => {
      assert.ok(error instanceof StoreError);
      assert.equal(error.code, "ENAMETOOLONG");
      return true;
    });
  }
  await store.close();
});

test("a file that is cut while it is read ends in an error, and its buffers come back", async () => {
  await using folder = await createTemporaryDirectory();
  const pool = new BufferPool();
  const store = await FilesystemStore.open(folder.path, pool);
  await store.put(key, Buffer.alloc(5 * 1024 * 1024));
  const object = await store.get(key);
  assert.ok(object !== undefined);
  let seen = 0;
  await assert.rejects(async () => {
    for await (const chunk of object.read({ start: 0, end: object.sizeBytes })) {
      if (seen === 0) await truncate(join(folder.path, key), 0);
      seen += chunk.length;
    }
  }, /the file ends at \d+, before 5242880/);
  assert.ok(seen >= 1024 * 1024 && seen < object.sizeBytes);
  assert.equal(pool.lentBytes, 0);
  await object.close();
  await store.close();
});

test("a reader holds two buffers at most, and none when it has left or ended", async () => {
  await using folder = await createTemporaryDirectory();
  const pool = new BufferPool();
  const store = await FilesystemStore.open(folder.path, pool);
  await store.put(key, Buffer.alloc(5 * 1024 * 1024));
  const object = await store.get(key);
  assert.ok(object !== undefined);
  for await (const chunk of object.read({ start: 0, end: object.sizeBytes })) {
    assert.ok(chunk.length > 0);
    assert.ok(pool.lentBytes > 0 && pool.lentBytes <= 2 * 1024 * 1024);
  }
  assert.equal(pool.lentBytes, 0);
  for await (const chunk of object.read({ start: 10, end: 20 })) {
    assert.equal(chunk.length, 10);
    assert.ok(pool.lentBytes > 0 && pool.lentBytes <= 64 * 1024);
  }
  for await (const chunk of object.read({ start: 0, end: object.sizeBytes })) {
    if (chunk.length > 0) break;
  }
  assert.equal(pool.lentBytes, 0);
  await object.close();
  await store.close();
});

test("a listing that fails midway is an error of the store", async (context) => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(folder.path);
  await store.put(key, Buffer.from("object"));
  const error = Object.assign(new Error("EIO: i/o error"), { code: "EIO" });
  context.mock.method(Dir.prototype, "read", () => Promise.reject(error));
  await assert.rejects(store.list("blobs" as Key).next(), (error: unknown) => {
    assert.ok(error instanceof StoreError);
    assert.equal(error.code, "EIO");
    return true;
  });
  await store.close();
});

test("what is in a listing and cannot be looked up is an error, unless somebody is told of it", async (context) => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(folder.path);
  await store.put(key, Buffer.from("object"));
  await store.put("blobs/other" as Key, Buffer.from("other"));
  const told: (string | undefined)[] = [];
  const list = async (onUnreadable?: (error: StoreError) => void): Promise<string[]> => {
    const keys: string[] = [];
    for await (const info of store.list("blobs" as Key, onUnreadable && { onUnreadable })) keys.push(info.key);
    return keys;
  };
  using _broken = failFiles(join(folder.path, "blobs/sha256"), "EIO", ["read"]);
  await assert.rejects(list(), { name: "StoreError", code: "EIO" });
  assert.deepEqual(await list((error) => told.push(error.code)), ["blobs/other"]);
  assert.deepEqual(told, ["EIO"]);
  // Nothing at all can be read: who is told of what is left out is not told that everything is.
  context.mock.method(Dir.prototype, "read", () => Promise.reject(Object.assign(new Error("EIO"), { code: "EIO" })));
  await assert.rejects(
    list(() => assert.fail("it is told what is left out")),
    { name: "StoreError", code: "EIO" },
  );
  await store.close();
});

test("a file that cannot be looked at once it is open is closed", async (context) => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(folder.path);
  await store.put(key, Buffer.from("object"));
  const handle = await open(join(folder.path, key));
  const prototype = Object.getPrototypeOf(handle) as typeof handle;
  await handle.close();
  const failing = context.mock.method(prototype, "stat", () => Promise.reject(new Error("EIO")));
  await assert.rejects(store.get(key), StoreError);
  assert.equal(failing.mock.callCount(), 1);
  assert.deepEqual(openFilesBelow(join(folder.path, "blobs")), []);
  await store.close();
});
