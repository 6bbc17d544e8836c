import assert from "node:assert/strict";
import { test } from "node:test";
import { blobKey, formatPlace, type Place } from "../../../src/store/layout.ts";
import type { LedgerChange } from "../../../src/ledger/ledger.ts";
import { scanStore } from "../../../src/ledger/scan.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { StoreError } from "../../../src/store/object-store.ts";
import type { FileReader } from "../../../src/store/local-upkeep.ts";
import { mediaTypes } from "../../support/image.ts";
import { digest, repository, tag } from "./ledger-model.ts";

const id = repository("docker.io/library/alpine");
const index = JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] });

async function fill(store: MemoryStore): Promise<void> {
  const put = (place: Place, text: string): Promise<unknown> => store.put(formatPlace(place), Buffer.from(text));
  await put({ kind: "content", digest: digest(1) }, index);
  const link = JSON.stringify({ mediaType: mediaTypes.index, sizeBytes: index.length });
  await put({ kind: "link", id, digest: digest(1) }, link);
  const record = { digest: digest(1), mediaType: mediaTypes.index, size: index.length, checkedAt: 1 };
  await put({ kind: "tag", id, tag: tag("lts") }, JSON.stringify(record));
}

/** What is found, in order, and how much could not be read. */
async function scan(reader: FileReader): Promise<{ readonly found: string[]; readonly unreadable: number }> {
  const changes: LedgerChange[] = [];
  let unreadable = 0;
  const isManifest = (): boolean => !changes.some(({ kind }) => kind === "children");
  for await (const some of scanStore(reader, isManifest, () => unreadable++)) changes.push(...some);
  return { found: changes.map(({ kind }) => kind), unreadable };
}

test("content comes first, and a manifest is read once, by the link or the tag that speaks of it", async () => {
  const store = new MemoryStore();
  await fill(store);
  assert.deepEqual(await scan(store), { found: ["content", "link", "children", "tag"], unreadable: 0 });
});

test("what cannot be looked up or read is told, and all else is found", async () => {
  const failure = new StoreError("the disk failed", undefined);
  const store = new MemoryStore();
  await fill(store);
  const content = blobKey(digest(1));
  const reader = (fails: readonly ("head" | "get")[]): FileReader => ({
    head: async (key) => {
      if (key === content && fails.includes("head")) throw failure;
      return store.head(key);
    },
    get: async (key) => {
      if (key === content && fails.includes("get")) throw failure;
      return store.get(key);
    },
    list: (prefix) => store.list(prefix),
  });
  assert.deepEqual(await scan(reader(["head"])), { found: ["content", "link", "children", "tag"], unreadable: 1 });
  // It is asked for by the link and by the tag.
  assert.deepEqual(await scan(reader(["get"])), { found: ["content", "link", "tag"], unreadable: 2 });
});

test("a record of a size that none has is not read", async () => {
  const store = new MemoryStore();
  await fill(store);
  const records = [
    formatPlace({ kind: "link", id, digest: digest(1) }),
    formatPlace({ kind: "tag", id, tag: tag("lts") }),
  ];
  for (const key of records) await store.put(key, Buffer.alloc(64 * 1024 + 1, "{}"));
  let closed = 0;
  const reader: FileReader = {
    head: (key) => store.head(key),
    get: async (key) => {
      const object = await store.get(key);
      const close = async (): Promise<void> => void closed++;
      return object && { ...object, read: () => assert.fail(`${key} is read`), close };
    },
    list: (prefix) => store.list(prefix),
  };
  assert.deepEqual(await scan(reader), { found: ["content", "link"], unreadable: 0 });
  assert.equal(closed, 2);
});
