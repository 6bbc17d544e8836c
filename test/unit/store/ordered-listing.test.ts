import assert from "node:assert/strict";
import type { Dirent } from "node:fs";
import { test } from "node:test";
import { type FolderReader, listInOrder } from "../../../src/store/ordered-listing.ts";
import type { Key, ObjectInfo, Version } from "../../../src/store/object-store.ts";

/** A folder of so many files and of one more folder, whose names the system gives in no order. */
function manyFiles(count: number): FolderReader<ObjectInfo> & { reads: number } {
  const reader = {
    reads: 0,
    *entries(folder: Key): Generator<Dirent> {
      reader.reads++;
      if (folder !== "many") {
        yield { name: "inner", isDirectory: () => false } as Dirent;
        return;
      }
      // The last of the names that are in memory first: where it ends, the listing goes on behind all of it.
      yield { name: "032767-folder", isDirectory: () => true } as Dirent;
      for (let number = count; number > 0; number--) {
        yield { name: String(number).padStart(6, "0"), isDirectory: () => false } as Dirent;
      }
    },
    head: async (key: Key): Promise<ObjectInfo> => ({ key, sizeBytes: 1, version: "1" as Version }),
  };
  return reader;
}

test("of a folder with more names than are kept in memory each is listed once, in order", async () => {
  const reader = manyFiles(100_000);
  const keys: string[] = [];
  for await (const { key } of listInOrder("many" as Key, reader)) keys.push(key);
  assert.equal(keys.length, 100_001);
  assert.equal(new Set(keys).size, keys.length);
  assert.deepEqual(keys, keys.toSorted());
  assert.equal(reader.reads, 1 + 4, "100,000 names, 32,768 at a time, and the folder in it");
});
