import assert from "node:assert/strict";
import { test } from "node:test";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { blobKey, quarantineKey, quarantinePrefix } from "../../../src/store/layout.ts";
import { Quarantine } from "../../../src/registry/quarantine.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { type Key, type ObjectStore, StoreError } from "../../../src/store/object-store.ts";
import { storeWith } from "../../support/object-stores.ts";
import type { FileReader } from "../../../src/store/local-upkeep.ts";

const block = 4096;
const [first, second, third] = ["1", "2", "3"].map((name) => digestOf(Buffer.from(name))) as [Digest, Digest, Digest];

interface Subject {
  readonly quarantine: Quarantine;
  maxBytes: number;
  /** Damages content of so many bytes, and puts it aside. */
  damage(digest: Digest, size: number): Promise<void>;
  /** What is there. */
  kept(): Promise<string[]>;
}

/** A quarantine in which each object is younger than the one before. */
function setUp(changes: Partial<ObjectStore> = {}): Subject {
  const memory = new MemoryStore();
  const ages = new Map<string, number>();
  const store = storeWith(memory, changes);
  const caretaker: FileReader = {
    head: (key) => memory.head(key),
    get: (key) => memory.get(key),
    async *list(prefix) {
      for await (const object of memory.list(prefix)) yield { ...object, usedAt: ages.get(object.key) ?? 0 };
    },
  };
  const aside = { caretaker, move: (from: Key, to: Key) => memory.move(from, to) };
  const subject: Subject = {
    maxBytes: Infinity,
    quarantine: new Quarantine(store, aside, () => subject.maxBytes),
    async damage(digest, size) {
      await memory.put(blobKey(digest), Buffer.alloc(size));
      ages.set(quarantineKey(digest), ages.size);
      assert.equal(await subject.quarantine.putAside(digest), true);
    },
    async kept() {
      const keys: string[] = [];
      for await (const { key } of memory.list(quarantinePrefix)) keys.push(key);
      return keys.toSorted();
    },
  };
  return subject;
}

test("it knows what it takes in whole blocks, and keeps the newest within its share", async () => {
  const subject = setUp();
  assert.equal(await subject.quarantine.putAside(first), false);
  await subject.damage(first, 1);
  await subject.damage(second, block + 1);
  assert.equal(subject.quarantine.bytes, 3 * block);
  subject.maxBytes = 3 * block;
  await subject.damage(third, 1);
  assert.equal(subject.quarantine.bytes, 3 * block);
  assert.deepEqual(await subject.kept(), [quarantineKey(second), quarantineKey(third)].toSorted());
});

test("what is larger than the share is not kept at all", async () => {
  const subject = setUp();
  subject.maxBytes = block;
  await subject.damage(first, 2 * block);
  assert.deepEqual([await subject.kept(), subject.quarantine.bytes], [[], 0]);
});

test("it gives up as much as is wanted, the oldest first", async () => {
  const subject = setUp();
  for (const digest of [first, second, third]) await subject.damage(digest, 1);
  await subject.quarantine.giveUp(1);
  assert.deepEqual(await subject.kept(), [quarantineKey(second), quarantineKey(third)].toSorted());
  assert.equal(subject.quarantine.bytes, 2 * block);
  await subject.quarantine.giveUp(100 * block);
  assert.deepEqual([await subject.kept(), subject.quarantine.bytes], [[], 0]);
});

test("what was there before counts once it was looked at; what is removed by its key does not any more", async () => {
  const subject = setUp();
  await subject.damage(first, 1);
  await subject.damage(second, 1);
  await subject.quarantine.remove(quarantineKey(first));
  assert.equal(subject.quarantine.bytes, block);
  subject.maxBytes = 0;
  await subject.quarantine.refresh();
  assert.equal(subject.quarantine.bytes, 0);
});

test("what cannot be removed counts still", async () => {
  const subject = setUp({ delete: () => Promise.reject(new StoreError("no", undefined)) });
  await subject.damage(first, 1);
  await subject.quarantine.giveUp(block);
  assert.equal(subject.quarantine.bytes, block);
});

test("where nothing can be put aside, damaged content is removed", async () => {
  const store = new MemoryStore();
  const quarantine = new Quarantine(store, undefined, () => Infinity);
  await store.put(blobKey(first), Buffer.from("damaged"));
  assert.equal(await quarantine.putAside(first), true);
  assert.equal(await store.head(blobKey(first)), undefined);
  assert.equal(await quarantine.putAside(first), false);
  await quarantine.refresh();
  assert.equal(quarantine.bytes, 0);
});
