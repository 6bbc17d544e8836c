/* What hosted files come to, and the room that they get. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HostedFiles } from "../../../src/hosted/hosted-files.ts";
import { UploadRoom } from "../../../src/hosted/upload-room.ts";
import { chargedBytes } from "../../../src/ledger/ledger.ts";
import type { Namespace } from "../../../src/oci/reference.ts";
import type { Reservation } from "../../../src/registry/space.ts";
import { FilesystemStore } from "../../../src/store/filesystem.ts";
import { hostedPrefix } from "../../../src/store/hosted-layout.ts";
import { type Key, StoreError } from "../../../src/store/object-store.ts";
import { endlessSpace } from "../../support/books.ts";
import { never } from "../../support/event-loop.ts";
import { all } from "../../support/s3-store.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";
import { createRandom } from "../../support/random.ts";

const one = "hosted/state/one" as Key;
const two = "hosted/state/two" as Key;

test("what is hosted is counted in blocks, with all that becomes of it", async () => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(folder.path);
  await store.put(one, Buffer.alloc(5_000));
  await store.put("blobs/sha256/00/01" as Key, Buffer.alloc(9_000));
  const files = new HostedFiles(store, endlessSpace);
  assert.equal(files.bytes, undefined, "nothing is known before it is counted");
  await files.count();
  assert.equal(files.bytes, 8_192);
  const version = await files.put(two, Buffer.alloc(1));
  assert.equal(files.bytes, 12_288);
  await files.put(one, Buffer.alloc(1), { durable: false });
  assert.equal(files.bytes, 8_192);
  await assert.rejects(files.put(two, Buffer.alloc(9_000), { if: "absent" }), { name: "PreconditionFailed" });
  assert.equal(files.bytes, 8_192);
  await files.delete(one);
  await files.delete(one);
  await files.delete(two, { if: version });
  assert.equal(files.bytes, 0);
  await store.close();
});

test("it is counted right while everything changes", async () => {
  for (let seed = 1; seed <= 20; seed++) {
    await using folder = await createTemporaryDirectory();
    const store = await FilesystemStore.open(folder.path);
    const random = createRandom(seed);
    const key = (): Key => `hosted/state/${Math.floor(random() * 40)}` as Key;
    const size = (): number => Math.floor(random() * 20_000);
    for (let made = 0; made < 30; made++) await store.put(key(), Buffer.alloc(size()), { durable: false });
    const files = new HostedFiles(store, endlessSpace);
    const counted = files.count();
    const changes = Array.from({ length: 60 }, async () =>
      random() < 0.4 ? files.delete(key()) : files.put(key(), Buffer.alloc(size()), { durable: false }),
    );
    await Promise.all([counted, ...changes]);
    const found = await all(store.list(hostedPrefix));
    const expected = found.reduce((sum, { sizeBytes }) => sum + chargedBytes(sizeBytes), 0);
    assert.equal(files.bytes, expected, `seed ${seed}`);
    await store.close();
  }
});

test("where it cannot be listed nothing is counted, until it is tried again", async (context) => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(folder.path);
  await store.put(one, Buffer.alloc(5_000));
  const files = new HostedFiles(store, endlessSpace);
  const [found] = await all(store.list(hostedPrefix));
  context.mock.method(store.caretaker, "list", async function* () {
    yield found;
    await files.put(two, Buffer.alloc(1));
    throw new StoreError("it cannot be listed", undefined);
  });
  await assert.rejects(files.count(), /it cannot be listed/);
  assert.equal(files.bytes, undefined);
  context.mock.restoreAll();
  await files.count();
  assert.equal(files.bytes, 12_288);
  await files.delete(one);
  assert.equal(files.bytes, 4_096);
  await store.close();
});

test("nothing is written for which there is no room, and what was set aside is given back", async () => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(folder.path);
  const room = new Room(8_192);
  const files = new HostedFiles(store, room);
  await files.count();
  await assert.rejects(files.put(one, Buffer.alloc(9_000)), { name: "StoreError", code: "ELIMIT" });
  assert.equal(await store.head(one), undefined);
  await files.put(one, Buffer.alloc(8_000));
  assert.deepEqual(room.asked, [12_288, 8_192]);
  await assert.rejects(files.put(one, Buffer.alloc(1), { if: "absent" }), { name: "PreconditionFailed" });
  assert.equal(room.freeBytes, 8_192);
  const aborted = AbortSignal.abort(new Error("gone"));
  await assert.rejects(files.reserve(9_000, aborted), /gone/);
  await store.close();
});

test("an upload's room is set aside as it comes: as much again as there is, or as is still to come", async () => {
  const mib = 1024 * 1024;
  const space = new Room(100 * mib);
  const cases = [
    {
      announced: undefined,
      covers: [10_000, 20_000, mib, 40 * mib],
      asks: [12_288, 20_480, mib, 40 * mib - 1_081_344],
    },
    { announced: 40 * mib, covers: [10_000, 32 * mib, 33 * mib], asks: [16 * mib, 16 * mib, 8 * mib] },
    { announced: 5_000, covers: [5_000], asks: [8_192] },
  ];
  for (const { announced, covers, asks } of cases) {
    const room = new UploadRoom(new HostedFiles({} as FilesystemStore, space), announced);
    for (const bytes of covers) await room.cover(bytes, never());
    assert.deepEqual(space.asked.splice(0), asks, `${announced}`);
    room.release();
    assert.equal(space.freeBytes, 100 * mib);
  }
});

test("where there is not that much, an upload gets what it needs, as long as there is that", async () => {
  const space = new Room(20_480);
  const room = new UploadRoom(new HostedFiles({} as FilesystemStore, space), 1_000_000);
  await room.cover(5_000, never());
  await room.cover(20_000, never());
  await assert.rejects(room.cover(30_000, never()), { code: "ELIMIT" });
  assert.equal(space.freeBytes, 0);
  room.release();
  assert.equal(space.freeBytes, 20_480);
});

/** So much room, of which nothing is ever made. */
class Room {
  freeBytes: number;
  readonly asked: number[] = [];

  constructor(freeBytes: number) {
    this.freeBytes = freeBytes;
  }

  async acquire(_namespace: Namespace, bytes: number): Promise<Reservation | undefined> {
    this.asked.push(bytes);
    if (bytes > this.freeBytes) return undefined;
    this.freeBytes -= bytes;
    return {
      bytes,
      grow: () => assert.fail("nothing grows"),
      noteWritten: () => undefined,
      release: () => (this.freeBytes += bytes),
    };
  }
}
