import assert from "node:assert/strict";
import { test } from "node:test";
import { parseNamespace } from "../../../src/oci/reference.ts";
import { FillRoom, type FillRoomOptions } from "../../../src/registry/fill-room.ts";
import { chargedBytes } from "../../../src/ledger/ledger.ts";
import type { Reservation } from "../../../src/registry/space.ts";
import { never } from "../../support/event-loop.ts";

const MiB = 1024 * 1024;

interface Subject {
  readonly room: FillRoom;
  /** What was asked for in all, what was said to be written, and how often it was given back. */
  readonly told: { taken: number; written: number; released: number };
}

function setUp(options: Partial<FillRoomOptions> = {}): Subject {
  const told = { taken: 0, written: 0, released: 0 };
  const reserve = (_namespace: unknown, bytes: number): Reservation => {
    told.taken += bytes;
    let held = bytes;
    return {
      get bytes() {
        return held;
      },
      grow: (more) => {
        told.taken += more;
        held += more;
        return true;
      },
      noteWritten: (more) => {
        told.written += more;
      },
      release: () => {
        told.released += 1;
      },
    };
  };
  const room = new FillRoom({
    space: { reserve, acquire: async (namespace, bytes) => reserve(namespace, bytes) },
    maxObjectBytes: Infinity,
    namespace: parseNamespace("docker.io"),
    trusted: true,
    ...options,
  });
  return { room, told };
}

test("a configured upstream's word makes room for all of it, a stranger's for what comes", async () => {
  const size = 100 * MiB;
  for (const [trusted, taken] of [
    [true, size],
    [false, 16 * MiB],
  ] as const) {
    const { room, told } = setUp({ trusted });
    assert.equal(await room.take(size, never()), undefined);
    assert.equal(told.taken, taken);
    for (let end = MiB; end <= size; end += MiB) {
      assert.equal(room.cover(end), undefined);
      assert.ok(told.taken >= end && told.taken <= Math.max(taken, end + 17 * MiB), `${told.taken} at ${end}`);
    }
  }
});

test("nothing larger than an object may be gets room, whether its size is known or not", async () => {
  const maxObjectBytes = 20 * MiB;
  const known = setUp({ maxObjectBytes });
  assert.match((await known.room.take(maxObjectBytes + 1, never())) ?? "", /more than one object may have/);
  assert.equal(known.told.taken, 0);
  const unknown = setUp({ maxObjectBytes });
  assert.equal(await unknown.room.take(undefined, never()), undefined);
  assert.equal(unknown.room.cover(maxObjectBytes), undefined);
  assert.match(unknown.room.cover(maxObjectBytes + 1) ?? "", /more than one object may have/);
  const small = setUp({ maxObjectBytes: 10 });
  await small.room.take(undefined, never());
  assert.equal(small.told.taken, chargedBytes(10));
});

test("what is written is told once, and the room is given back", async () => {
  const { room, told } = setUp();
  room.release();
  assert.equal(room.cover(MiB), undefined, "without room nothing is to be seen to");
  await room.take(MiB, never());
  for (const filed of [10, 10, 35, MiB]) room.note(filed);
  assert.deepEqual(told, { taken: MiB, written: MiB, released: 0 });
  room.release();
  assert.equal(told.released, 1);
});
