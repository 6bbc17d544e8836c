/*
 * What the filesystem store does for those who make space: removing, moving, tidying up, and telling how much there is.
 */
import assert from "node:assert/strict";
import type { PathLike } from "node:fs";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { dirname, join } from "node:path";
import { test, type TestContext } from "node:test";
import { BufferPool } from "../../../src/store/buffers.ts";
import { FilesystemStore } from "../../../src/store/filesystem.ts";
import { ThreadReader } from "../../../src/store/thread-reader.ts";
import { type Key, type ObjectReader, StoreError } from "../../../src/store/object-store.ts";
import { createBarrier } from "../../support/barrier.ts";
import { turn, until } from "../../support/event-loop.ts";
import { openFilesBelow } from "../../support/open-files.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";
import { stagedAt } from "../../support/object-stores.ts";

const key = "blobs/sha256/ab/cd" as Key;
const other = "blobs/sha256/ab/ef" as Key;
const bytes = Buffer.from("object");

interface Subject extends AsyncDisposable {
  readonly store: FilesystemStore;
  readonly root: string;
}

async function setUp(): Promise<Subject> {
  const folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(folder.path);
  return {
    store,
    root: folder.path,
    async [Symbol.asyncDispose]() {
      await store.close();
      assert.deepEqual(openFilesBelow(folder.path), []);
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Replaces a function of the file system for the rest of the test; it is given the real one. */
function intercept<Name extends "rename" | "unlink" | "rmdir">(
  context: TestContext,
  name: Name,
  replace: (real: (typeof fs)[Name]) => (...parameters: PathLike[]) => Promise<void>,
): void {
  const mocked = context.mock.method(fs, name, replace(fs[name]) as (typeof fs)[Name]);
  syncBuiltinESMExports();
  context.after(() => {
    mocked.mock.restore();
    syncBuiltinESMExports();
  });
}

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: made up`), { code });
}

/** Matches a `StoreError` with this code. */
function storeError(code: string): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof StoreError);
    assert.equal(error.code, code);
    return true;
  };
}

async function age(path: string, days: number): Promise<void> {
  const time = new Date(Date.now() - days * 86_400_000);
  await fs.utimes(path, time, time);
}

test("what is deleted is gone at once; files are unlinked one after another", async (context) => {
  await using subject = await setUp();
  const { store } = subject;
  const keys = Array.from({ length: 6 }, (_, index) => `blobs/${index}` as Key);
  for (const each of keys) await store.put(each, bytes);
  const barrier = createBarrier();
  let running = 0;
  const most: number[] = [];
  intercept(context, "unlink", (unlink) => async (path) => {
    most.push(++running);
    await barrier.wait();
    await unlink(path);
    running--;
  });
  let done = 0;
  const deletes = keys.map(async (each) => {
    await store.delete(each);
    done++;
  });
  await until(async () => (await fs.readdir(store.temporaryPath)).length === keys.length);
  for (const each of keys) assert.equal(await store.head(each), undefined);
  await turn(20);
  assert.equal(done, 0);
  barrier.release();
  await Promise.all(deletes);
  assert.deepEqual(most, [1, 1, 1, 1, 1, 1]);
  assert.deepEqual(await fs.readdir(store.temporaryPath), []);
});

test("two who delete one object both succeed", async () => {
  await using subject = await setUp();
  const { store } = subject;
  for (let round = 0; round < 20; round++) {
    await store.put(key, bytes);
    await Promise.all([store.delete(key), store.delete(key)]);
    assert.equal(await store.head(key), undefined);
  }
  assert.deepEqual(await fs.readdir(store.temporaryPath), []);
});

test("a delete whose file was removed by another from the temporary folder has succeeded", async (context) => {
  await using subject = await setUp();
  const { store } = subject;
  await store.put(key, bytes);
  intercept(context, "unlink", (unlink) => async (path) => {
    await fs.rm(path);
    await unlink(path);
  });
  await store.delete(key);
  assert.equal(await store.head(key), undefined);
});

test("the store is closed when what is being deleted is", async (context) => {
  await using subject = await setUp();
  const { store } = subject;
  await store.put(key, bytes);
  const barrier = createBarrier();
  intercept(context, "unlink", (unlink) => async (path) => {
    await barrier.wait();
    await unlink(path);
  });
  const deleting = store.delete(key);
  await until(async () => (await fs.readdir(store.temporaryPath)).length === 1);
  let closed = false;
  const closing = store.close().then(() => {
    closed = true;
  });
  await turn(20);
  assert.equal(closed, false);
  barrier.release();
  await Promise.all([deleting, closing]);
});

test("a delete that cannot be begun is an error, and the object stays", async (context) => {
  await using subject = await setUp();
  const { store } = subject;
  await store.put(key, bytes);
  await fs.rm(store.temporaryPath, { recursive: true });
  await assert.rejects(store.delete(key), storeError("ENOENT"));
  assert.equal((await store.head(key))?.sizeBytes, 6);
  await fs.mkdir(store.temporaryPath);
  intercept(context, "rename", () => () => Promise.reject(systemError("EROFS")));
  await assert.rejects(store.delete(key), storeError("EROFS"));
  await assert.rejects(store.move(key, other), storeError("EROFS"));
  assert.equal((await store.head(key))?.sizeBytes, 6);
});

test("a disk that is too full for another name can still be freed", async (context) => {
  for (const code of ["ENOSPC", "EDQUOT"]) {
    await using subject = await setUp();
    const { store } = subject;
    await store.put(key, bytes);
    intercept(context, "rename", () => () => Promise.reject(systemError(code)));
    await store.delete(key);
    assert.equal(await store.head(key), undefined);
    context.mock.restoreAll();
    syncBuiltinESMExports();
  }
});

test("a delete that fails midway says so and holds up no other; what it left is removed when it is old", async (context) => {
  await using subject = await setUp();
  const { store } = subject;
  await store.put(key, bytes);
  await store.put(other, bytes);
  let failing = true;
  intercept(context, "unlink", (unlink) => async (path) => {
    if (failing) throw systemError("EIO");
    await unlink(path);
  });
  await assert.rejects(store.delete(key), storeError("EIO"));
  assert.equal(await store.head(key), undefined);
  const [left = ""] = await fs.readdir(store.temporaryPath);
  await age(join(store.temporaryPath, left), 2);
  await assert.rejects(store.removeLeftovers(86_400_000), storeError("EIO"));
  failing = false;
  await store.delete(other);
  assert.equal(await store.head(other), undefined);
  await fs.writeFile(join(store.temporaryPath, "being-written"), "x");
  assert.deepEqual(await store.removeLeftovers(3 * 86_400_000), { count: 0, bytes: 0 });
  assert.deepEqual(await store.removeLeftovers(86_400_000), { count: 1, bytes: 6 });
  assert.deepEqual(await fs.readdir(store.temporaryPath), ["being-written"]);
  await fs.rm(store.temporaryPath, { recursive: true });
  await assert.rejects(store.removeLeftovers(0), storeError("ENOENT"));
});

test("what open removes is counted", async () => {
  await using subject = await setUp();
  const { store, root } = subject;
  assert.deepEqual(store.swept, { count: 0, bytes: 0 });
  await store.close();
  await fs.writeFile(join(root, "tmp", "one"), "12345");
  await fs.writeFile(join(root, "tmp", "two"), "1234567");
  const again = await FilesystemStore.open(root);
  assert.deepEqual(again.swept, { count: 2, bytes: 12 });
  await again.close();
});

test("nothing is removed from a folder that is not ours to write", async () => {
  await using folder = await createTemporaryDirectory();
  await fs.mkdir(join(folder.path, "lock"));
  await fs.mkdir(join(folder.path, "blobs", "empty"), { recursive: true });
  await fs.writeFile(join(folder.path, "blobs", "a"), "object");
  await fs.writeFile(join(folder.path, "format"), "entrepot 1\n");
  const store = await FilesystemStore.open(folder.path, new BufferPool(), () => 0);
  const a = "blobs/a" as Key;
  for (const attempt of [
    () => store.delete(a),
    () => store.move(a, key),
    () => store.removeEmptyFolders("blobs" as Key),
    () => store.removeLeftovers(0),
  ]) {
    await assert.rejects(attempt(), (error) => error === store.unwritable);
  }
  await store.delete(key);
  assert.equal(await store.move(key, a), false);
  assert.deepEqual(await fs.readdir(join(folder.path, "blobs")), ["a", "empty"]);
  await store.close();
});

test("what is moved takes its place after what is being put there", async (context) => {
  await using subject = await setUp();
  const { store } = subject;
  await store.put(other, Buffer.from("moved"));
  const barrier = createBarrier();
  let renames = 0;
  intercept(context, "rename", (rename) => async (from, to) => {
    if (++renames === 1) await barrier.wait();
    await rename(from, to);
  });
  const putting = store.put(key, bytes, { if: "absent", durable: false });
  await barrier.reached;
  const moving = store.move(other, key);
  await turn(50);
  assert.equal(renames, 1);
  barrier.release();
  await putting;
  assert.equal(await moving, true);
  assert.equal((await store.head(key))?.sizeBytes, 5, "the last one counts");
  await Promise.all([store.move(key, other), store.move(other, key)]);
});

test("closing waits for what takes its place; then nothing is written, whoever owns the folder", async (context) => {
  await using subject = await setUp();
  const { store, root } = subject;
  const barrier = createBarrier();
  intercept(context, "rename", (rename) => async (from, to) => {
    await barrier.wait();
    await rename(from, to);
  });
  const late = createBarrier();
  const putting = store.put(key, bytes);
  const staging = store.put(other, {
    sizeBytes: bytes.length,
    path: join(root, "elsewhere"),
    async open() {
      await late.wait();
      const object = await store.get(key);
      assert.ok(object !== undefined);
      return object;
    },
  });
  staging.catch(() => undefined);
  await barrier.reached;
  await late.reached;
  const closed = store.close();
  await turn(50);
  await assert.rejects(FilesystemStore.open(root), /in use by another process/);
  barrier.release();
  await putting;
  await closed;
  late.release();
  await assert.rejects(staging, StoreError);
  assert.deepEqual(await fs.readdir(store.temporaryPath), []);
  const next = await FilesystemStore.open(root);
  for (const write of [() => store.put(other, bytes), () => store.probe(), () => store.move(key, other)]) {
    await assert.rejects(write(), /is closed/);
  }
  assert.equal((await next.head(key))?.sizeBytes, 6);
  assert.equal(await next.head(other), undefined);
  await next.close();
});

test("a put and a move survive that their folder is removed under them, a few times", async (context) => {
  await using subject = await setUp();
  const { store, root } = subject;
  await store.put("from/a" as Key, bytes);
  let removals = 3;
  let renames = 0;
  intercept(context, "rename", (rename) => async (from, to) => {
    renames++;
    if (removals-- > 0) await fs.rm(join(root, "blobs"), { recursive: true });
    await rename(from, to);
  });
  await store.put(key, bytes);
  assert.equal(renames, 4);
  assert.equal((await store.head(key))?.sizeBytes, 6);
  removals = 3;
  assert.equal(await store.move("from/a" as Key, key), true);
  assert.equal((await store.head(key))?.sizeBytes, 6);
  removals = Infinity;
  renames = 0;
  await assert.rejects(store.put(key, bytes), storeError("ENOENT"));
  assert.ok(renames > 4 && renames < 100);
  assert.deepEqual(await fs.readdir(store.temporaryPath), []);
  removals = 0;
  renames = 0;
  const none = stagedAt(join(store.temporaryPath, "none"), 1);
  await assert.rejects(store.put(key, none, { durable: false }), storeError("ENOENT"));
  assert.equal(renames, 0, "without a source nothing is tried");
});

test("folders that are made again are flushed like those that were made first", async (context) => {
  await using subject = await setUp();
  const { store, root } = subject;
  let removed = false;
  intercept(context, "rename", (rename) => async (from, to) => {
    if (!removed) {
      removed = true;
      await fs.rmdir(dirname(String(to)));
    }
    await rename(from, to);
  });
  const flushed: string[] = [];
  const handle = await fs.open(root);
  const prototype = Object.getPrototypeOf(handle) as typeof handle;
  await handle.close();
  context.mock.method(prototype, "sync", async function (this: typeof handle) {
    flushed.push(await fs.readlink(`/proc/self/fd/${this.fd}`));
  });
  await store.put(key, bytes);
  // Above `blobs/sha256/ab`, made a second time, are `blobs/sha256` and `blobs`, made the first time.
  assert.deepEqual(flushed.slice(-4), [
    join(root, "blobs/sha256/ab"),
    join(root, "blobs/sha256"),
    join(root, "blobs"),
    root,
  ]);
});

test("folders that hold nothing are removed, the deepest first; the others and the prefix stay", async () => {
  await using subject = await setUp();
  const { store, root } = subject;
  const blobs = "blobs" as Key;
  assert.equal(await store.removeEmptyFolders(blobs), 0);
  await store.put("blobs/a/b/c/object" as Key, bytes);
  await store.put("blobs/a/x/y/object" as Key, bytes);
  for (const path of ["blobs/a/b/d/e", "blobs/f/g", "blobs/a/x/y/z", "repositories/empty"]) {
    await fs.mkdir(join(root, path), { recursive: true });
  }
  assert.equal(await store.removeEmptyFolders(blobs), 5);
  const left = async (): Promise<string[]> => (await fs.readdir(join(root, "blobs"), { recursive: true })).toSorted();
  assert.deepEqual(await left(), ["a", "a/b", "a/b/c", "a/b/c/object", "a/x", "a/x/y", "a/x/y/object"]);
  await fs.access(join(root, "repositories/empty"));
  // What is deleted or moved away takes its folders along.
  await store.delete("blobs/a/b/c/object" as Key);
  assert.deepEqual(await left(), ["a", "a/x", "a/x/y", "a/x/y/object"]);
  assert.equal(await store.move("blobs/a/x/y/object" as Key, "quarantine/x" as Key), true);
  assert.deepEqual(await left(), []);
  assert.equal(await store.removeEmptyFolders(blobs), 0);
  await assert.rejects(store.removeEmptyFolders("../x" as Key), StoreError);
});

test("a folder that fills meanwhile stays; one that cannot be removed is an error", async (context) => {
  await using subject = await setUp();
  const { store, root } = subject;
  await fs.mkdir(join(root, "blobs/a"), { recursive: true });
  let fill = true;
  intercept(context, "rmdir", (rmdir) => async (path) => {
    if (!fill) throw systemError("EROFS");
    await fs.writeFile(join(String(path), "object"), bytes);
    await rmdir(path);
  });
  assert.equal(await store.removeEmptyFolders("blobs" as Key), 0);
  assert.equal((await store.head("blobs/a/object" as Key))?.sizeBytes, 6);
  await fs.mkdir(join(root, "blobs/b"));
  fill = false;
  await assert.rejects(store.removeEmptyFolders("blobs" as Key), storeError("EROFS"));
});

test("puts, moves, deletes and listings go on while empty folders are removed", async () => {
  await using subject = await setUp();
  const { store } = subject;
  await store.put("kept/a/b/object" as Key, bytes);
  let working = true;
  const tidy = (async () => {
    let removed = 0;
    while (working) removed += await store.removeEmptyFolders("blobs" as Key);
    return removed;
  })();
  const listing = (async () => {
    for (; working; await turn()) {
      for await (const { sizeBytes } of store.list("blobs" as Key)) assert.equal(sizeBytes, 6);
    }
  })();
  try {
    await Promise.all(
      Array.from({ length: 8 }, async (_, worker) => {
        for (let round = 0; round < 40; round++) {
          const from = `blobs/${worker % 4}/${round % 3}/${worker}/object` as Key;
          const to = `blobs/${worker % 4}/${round % 2}/to-${worker}/object` as Key;
          await store.put(from, bytes, { durable: false });
          assert.equal(await store.move(from, to), true);
          assert.equal((await store.head(to))?.sizeBytes, 6);
          await store.delete(to);
        }
      }),
    );
  } finally {
    working = false;
  }
  await listing;
  assert.ok((await tidy) > 0);
  await store.removeEmptyFolders("blobs" as Key);
  assert.deepEqual(await fs.readdir(join(subject.root, "blobs")), []);
  assert.deepEqual(await fs.readdir(store.temporaryPath), []);
});

test("the volume's size and free space are those that the system tells", async () => {
  await using subject = await setUp();
  const { store, root } = subject;
  const { totalBytes, freeBytes } = await store.volume();
  const { bsize, blocks, bavail } = await fs.statfs(root);
  assert.equal(totalBytes, blocks * bsize);
  // Others write, too.
  assert.ok(Math.abs(freeBytes - bavail * bsize) < totalBytes / 100);
  await store.close();
  await fs.rm(root, { recursive: true });
  await assert.rejects(store.volume(), storeError("ENOENT"));
});

test("an object's last use is when it was written or read, whichever is later", async () => {
  await using subject = await setUp();
  const { store, root } = subject;
  await store.put(key, bytes);
  await fs.utimes(join(root, key), 2_000, 1_000);
  assert.equal((await store.head(key))?.usedAt, 2_000_000);
  await fs.utimes(join(root, key), 1_000, 3_000.5);
  assert.equal((await store.head(key))?.usedAt, 3_000_500);
});

test("a listing is of each object once, however many there are, and holds little open", async () => {
  await using subject = await setUp();
  const { store, root } = subject;
  const keys = Array.from({ length: 1_500 }, (_, index) => `blobs/${index % 3}/${index % 2}/${index}`);
  for (const path of keys.slice(0, 6)) await fs.mkdir(join(root, dirname(path)), { recursive: true });
  await Promise.all(keys.map((path) => fs.writeFile(join(root, path), "x")));
  const found: string[] = [];
  let mostOpen = 0;
  for await (const info of store.list("blobs" as Key)) {
    found.push(info.key);
    if (found.length % 100 === 0) {
      mostOpen = Math.max(mostOpen, openFilesBelow(join(root, "blobs")).length);
    }
  }
  assert.deepEqual(found.toSorted(), keys.toSorted());
  assert.ok(mostOpen <= 3, `${mostOpen} folders were open`);
  for await (const info of store.list("blobs" as Key)) {
    if (info.key !== "") break;
  }
  assert.deepEqual(openFilesBelow(join(root, "blobs")), []);
});

test("what vanishes while it is listed is not listed, and the rest is", async () => {
  await using subject = await setUp();
  const { store, root } = subject;
  for (let index = 0; index < 50; index++) await store.put(`blobs/${index}/object` as Key, bytes, { durable: false });
  await store.put("blobs/kept/a/object" as Key, bytes);
  const found: string[] = [];
  for await (const info of store.list("blobs" as Key)) {
    found.push(info.key);
    if (found.length > 1) continue;
    for (const name of await fs.readdir(join(root, "blobs"))) {
      if (name !== "kept") await fs.rm(join(root, "blobs", name), { recursive: true });
    }
  }
  assert.ok(found.includes("blobs/kept/a/object"));
  assert.ok(found.length < 10);
});

test("a reader sees what the owner does, and changes nothing", async () => {
  await using subject = await setUp();
  const { store, root } = subject;
  await store.put(key, bytes);
  const before = (await fs.readdir(root, { recursive: true })).toSorted();
  const reader = new ThreadReader(root);
  assert.deepEqual(await reader.head(key), await store.head(key));
  const object = await reader.get(key);
  let text = "";
  for await (const chunk of object?.read({ start: 1, end: 6 }) ?? []) text += Buffer.from(chunk).toString();
  await object?.close();
  assert.equal(text, "bject");
  assert.deepEqual((await fs.readdir(root, { recursive: true })).toSorted(), before);
  await store.delete(key);
  assert.equal(await reader.head(key), undefined);
  assert.equal(await reader.get(key), undefined);
  await assert.rejects(reader.head("../x" as Key), StoreError);
  const none = new ThreadReader(join(root, "none"));
  for await (const info of none.list("blobs" as Key)) assert.fail(info.key);
  await assert.rejects(fs.access(join(root, "none")), { code: "ENOENT" });
});

async function readAll(reader: ObjectReader): Promise<string> {
  const object = await reader.get(key);
  let text = "";
  for await (const chunk of object?.read({ start: 0, end: object.sizeBytes }) ?? [])
    text += Buffer.from(chunk).toString();
  await object?.close();
  return text;
}

test("what a caretaker reads does not look used", async () => {
  await using subject = await setUp();
  const { store, root } = subject;
  await store.put(key, bytes);
  const day = 24 * 3_600_000;
  const usedAt = Date.now() - 2 * day;
  // A time that any system renews on a read, if it renews one at all.
  await fs.utimes(join(root, key), usedAt / 1_000, (usedAt - day) / 1_000);
  for (const reader of [store.caretaker, new ThreadReader(root)]) {
    assert.equal(await readAll(reader), "object");
    assert.equal((await store.head(key))?.usedAt, usedAt);
  }
});

test("a caretaker who does not own a file reads it all the same", async (context) => {
  await using subject = await setUp();
  const { store } = subject;
  await store.put(key, bytes);
  const real = fs.open;
  const refused: unknown[] = [];
  const mocked = context.mock.method(fs, "open", async (path: PathLike, flags?: string | number, mode?: number) => {
    if (typeof flags !== "number") return real(path, flags, mode);
    refused.push(flags);
    throw systemError("EPERM");
  });
  syncBuiltinESMExports();
  context.after(() => {
    mocked.mock.restore();
    syncBuiltinESMExports();
  });
  assert.equal(await readAll(store.caretaker), "object");
  assert.equal(refused.length, 1);
});
