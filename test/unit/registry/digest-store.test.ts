import assert from "node:assert/strict";
import { test } from "node:test";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace } from "../../../src/oci/reference.ts";
import { DigestStore } from "../../../src/registry/digest-store.ts";
import type { Bookkeeping } from "../../../src/registry/bookkeeping.ts";
import type { Reservation } from "../../../src/registry/space.ts";
import { blobKey, quarantineKey } from "../../../src/store/layout.ts";
import type { Version } from "../../../src/store/object-store.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { createBarrier } from "../../support/barrier.ts";
import { createBooks, endlessSpace, type SimpleBooks } from "../../support/books.ts";
import { turn } from "../../support/event-loop.ts";

const bytes = Buffer.from("content");
const digest = digestOf(bytes);
const room = (): Reservation => endlessSpace.reserve(parseNamespace("docker.io"), bytes.length) ?? assert.fail();

interface Subject {
  readonly store: MemoryStore;
  readonly books: SimpleBooks;
  readonly blobs: DigestStore;
}

function setUp(books: Partial<Bookkeeping> = {}): Subject {
  const store = new MemoryStore();
  const simple = { ...createBooks(), ...books };
  return { store, books: simple, blobs: new DigestStore(store, simple, store) };
}

async function isStored(store: MemoryStore, of: Digest = digest): Promise<boolean> {
  return (await store.head(blobKey(of))) !== undefined;
}

test("content that a repository holds is not removed, and what nobody holds is", async () => {
  for (const held of [true, false]) {
    const { blobs, store } = setUp({ isHeld: async () => held });
    await blobs.put(digest, bytes, room());
    assert.equal(await blobs.remove(digest), !held);
    assert.equal(await isStored(store), held);
  }
});

test("content that gets a holder while it is asked who holds it stays", async () => {
  const asked = createBarrier();
  const { blobs, store } = setUp({
    isHeld: async () => {
      await asked.wait();
      return false;
    },
  });
  await blobs.put(digest, bytes, room());
  const removed = blobs.remove(digest);
  await turn();
  blobs.noteHolder(digest);
  asked.release();
  assert.equal(await removed, false);
  assert.ok(await isStored(store));
  assert.equal(await blobs.remove(digest), true, "that holder was for the question before");
});

test("content that somebody holds, stores or reads by the time of the answer stays", async () => {
  for (const begin of [
    (blobs: DigestStore) => blobs.hold(digest),
    async (blobs: DigestStore) => blobs.put(digest, bytes, room()),
    async (blobs: DigestStore) => blobs.open(digest),
  ]) {
    const { blobs, store } = setUp({
      isHeld: async () => {
        void begin(blobs);
        return false;
      },
    });
    await blobs.put(digest, bytes, room());
    assert.equal(await blobs.remove(digest), false);
    await turn();
    assert.ok(await isStored(store));
  }
});

test("two puts of one content both keep it from being removed", async () => {
  const { blobs } = setUp();
  const first = blobs.hold(digest);
  const second = blobs.hold(digest);
  first();
  assert.ok(blobs.isBusy(digest));
  assert.equal(await blobs.remove(digest), false);
  second();
  assert.ok(!blobs.isBusy(digest));
});

test("who read a damaged copy does not put aside the sound one that has taken its place", async () => {
  const { blobs, store } = setUp();
  await store.put(blobKey(digest), Buffer.from("damaged"));
  const slow = await blobs.open(digest);
  const quick = await blobs.open(digest);
  assert.ok(slow !== undefined && quick !== undefined);
  assert.equal(await blobs.quarantine(digest, quick), true);
  assert.equal(await blobs.quarantine(digest, slow), false, "it is gone already");
  await blobs.put(digest, bytes, room());
  assert.equal(await blobs.quarantine(digest, slow), false);
  assert.ok(await isStored(store));
  assert.notEqual(await store.head(quarantineKey(digest)), undefined);
  await Promise.all([slow.close(), quick.close()]);
  assert.ok(!blobs.isBusy(digest));
});

test("what could not be stored takes no room in the books, what was there before does", async () => {
  const { blobs, store, books } = setUp();
  const full = Object.assign(store, { put: () => Promise.reject(new Error("full")) });
  await assert.rejects(blobs.put(digest, bytes, room()), /full/);
  assert.deepEqual(
    books.changes.map(({ kind }) => kind),
    ["content", "content-removed"],
  );
  full.head = async (key) => ({ key, sizeBytes: 7, writtenAt: 0, usedAt: 0, version: "1" as Version });
  await assert.rejects(blobs.put(digest, bytes, room()), /full/);
  assert.deepEqual(books.changes.at(-1)?.kind, "content");
});
