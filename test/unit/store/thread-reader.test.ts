/* How the reader in the ledger's thread behaves there; what it reads is the contract's matter. */
import assert from "node:assert/strict";
import { mkdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Key } from "../../../src/store/object-store.ts";
import { ThreadReader } from "../../../src/store/thread-reader.ts";
import { openFilesBelow } from "../../support/open-files.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const blobs = "blobs" as Key;

/** A folder with so many objects below `blobs`. */
async function fill(root: string, count: number): Promise<void> {
  await mkdir(join(root, blobs));
  for (let number = 0; number < count; number++) await writeFile(join(root, blobs, String(number)), "object");
}

test("however much it reads, others in its thread have their turns every few milliseconds", async (context) => {
  await using folder = await createTemporaryDirectory();
  await fill(folder.path, 50);
  // Each look at the clock takes a millisecond.
  let now = 0;
  context.mock.method(performance, "now", () => now++);
  let turns = 0;
  let listed = 0;
  let next = setImmediate(function count(): void {
    turns++;
    next = setImmediate(count);
  });
  for await (const _info of new ThreadReader(folder.path).list(blobs)) listed++;
  clearImmediate(next);
  assert.equal(listed, 50);
  assert.ok(turns >= 50 / 6 && turns <= 20, `${turns} turns`);
});

test("who leaves early leaves nothing open", async () => {
  await using folder = await createTemporaryDirectory();
  await fill(folder.path, 3);
  const reader = new ThreadReader(folder.path);
  for await (const { key } of reader.list(blobs)) {
    const object = await reader.get(key);
    for await (const chunk of object?.read({ start: 0, end: 6 }) ?? []) {
      assert.equal(chunk.length, 6);
      break;
    }
    assert.equal(openFilesBelow(folder.path).length, 1);
    await object?.close();
    break;
  }
  assert.deepEqual(openFilesBelow(folder.path), []);
});

test("a folder is no object, and is not left open", async () => {
  await using folder = await createTemporaryDirectory();
  await fill(folder.path, 1);
  assert.equal(await new ThreadReader(folder.path).get(blobs), undefined);
  assert.deepEqual(openFilesBelow(folder.path), []);
});

test("a listing of which nothing can be read fails, whoever is told of what is left out", async () => {
  await using folder = await createTemporaryDirectory();
  const told: unknown[] = [];
  const listing = new ThreadReader(folder.path).list("x".repeat(300) as Key, {
    onUnreadable: (error) => told.push(error),
  });
  await assert.rejects(listing.next(), { name: "StoreError", code: "ENAMETOOLONG" });
  assert.deepEqual(told, []);
});

test("an object that is cut while it is read is an error", async () => {
  await using folder = await createTemporaryDirectory();
  const key = "blobs/a" as Key;
  await mkdir(join(folder.path, blobs));
  await writeFile(join(folder.path, key), Buffer.alloc(200_000));
  const object = await new ThreadReader(folder.path).get(key);
  assert.ok(object !== undefined);
  const reading = async (): Promise<void> => {
    for await (const chunk of object.read({ start: 0, end: object.sizeBytes })) {
      assert.ok(chunk.length > 0);
      await truncate(join(folder.path, key), 0);
    }
  };
  await assert.rejects(reading(), { name: "StoreError", message: /ends at \d+, before 200000/ });
  await object.close();
});
