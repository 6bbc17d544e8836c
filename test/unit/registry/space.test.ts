import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Namespace, parseNamespace } from "../../../src/oci/reference.ts";
import { type Besides, nothingBesides } from "../../../src/registry/besides.ts";
import type { Totals } from "../../../src/ledger/ledger.ts";
import { type Reservation, Space, type Relief } from "../../../src/registry/space.ts";
import type { SizeLimit } from "../../../src/registry/space-limits.ts";
import type { Volume } from "../../../src/registry/volume-watch.ts";

const hub = parseNamespace("docker.io");
const quay = parseNamespace("quay.io");
const never = new AbortController().signal;

interface Subject {
  readonly space: Space;
  totals: Totals | undefined;
  volume: Volume;
  now: number;
  pressure: number;
  makeRoom: Relief["makeRoom"];
  besides: Besides;
}

interface Settings {
  readonly maxSize?: SizeLimit;
  readonly minFree?: SizeLimit;
  readonly namespaceMaxBytes?: (namespace: Namespace) => number | undefined;
}

function totalsOf(namespaces: Readonly<Record<string, number>>, bytes?: number): Totals {
  const entries = Object.entries(namespaces).map(([name, size]) => [name as Namespace, size] as const);
  return { bytes: bytes ?? entries.reduce((sum, [, size]) => sum + size, 0), namespaces: new Map(entries) };
}

async function setUp(settings: Settings = {}): Promise<Subject> {
  const subject: Subject = {
    totals: totalsOf({}),
    volume: { totalBytes: 10_000, freeBytes: 10_000 },
    now: 0,
    pressure: 0,
    makeRoom: () => Promise.resolve(false),
    besides: nothingBesides,
    space: new Space({
      limits: {
        maxSize: settings.maxSize ?? { kind: "bytes", bytes: 1_000 },
        minFree: settings.minFree ?? { kind: "bytes", bytes: 0 },
        highWatermark: 0.9,
        lowWatermark: 0.8,
        namespaceMaxBytes: settings.namespaceMaxBytes ?? (() => undefined),
      },
      totals: () => subject.totals,
      volume: () => Promise.resolve(subject.volume),
      monotonic: () => subject.now,
    }),
  };
  subject.space.countBesides(() => subject.besides);
  subject.space.relieveBy({
    makeRoom: (namespace, bytes, signal) => subject.makeRoom(namespace, bytes, signal),
    relieve: () => {
      subject.pressure++;
    },
  });
  await subject.space.refresh();
  return subject;
}

test("what is used and reserved never comes to more than the limits, whatever is asked for", async () => {
  const namespaces = [hub, quay];
  const act = fc.oneof(
    fc.record({ kind: fc.constant("reserve" as const), namespace: fc.constantFrom(...namespaces), bytes: fc.nat(600) }),
    fc.record({ kind: fc.constant("grow" as const), index: fc.nat(20), bytes: fc.nat(300) }),
    fc.record({ kind: fc.constant("store" as const), index: fc.nat(20) }),
    fc.record({ kind: fc.constant("give up" as const), index: fc.nat(20) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 40 }), async (acts) => {
      const subject = await setUp({ namespaceMaxBytes: (namespace) => (namespace === quay ? 400 : undefined) });
      const held: { readonly namespace: Namespace; readonly room: Reservation; released: boolean }[] = [];
      const used = new Map<Namespace, number>();
      for (const each of acts) {
        if (each.kind === "reserve") {
          const room = subject.space.reserve(each.namespace, each.bytes);
          if (room !== undefined) held.push({ namespace: each.namespace, room, released: false });
        } else {
          const entry = held[each.index % Math.max(1, held.length)];
          if (entry === undefined) continue;
          if (each.kind === "grow") {
            if (!entry.released) entry.room.grow(each.bytes);
          } else {
            if (each.kind === "store") {
              used.set(entry.namespace, (used.get(entry.namespace) ?? 0) + entry.room.bytes);
              subject.totals = totalsOf(Object.fromEntries(used));
            }
            entry.room.release();
            entry.released = true;
          }
        }
        const open = held.filter(({ released }) => !released);
        const sum = (namespace: Namespace | undefined): number =>
          [...used, ...open.map(({ namespace: name, room }) => [name, room.bytes] as const)]
            .filter(([name]) => namespace === undefined || name === namespace)
            .reduce((total, [, bytes]) => total + bytes, 0);
        assert.ok(sum(undefined) <= 1_000, `${sum(undefined)} bytes of 1000`);
        assert.ok(sum(quay) <= 400, `${sum(quay)} bytes of 400`);
        const { usedBytes, reservedBytes } = subject.space.state;
        assert.equal(usedBytes + reservedBytes, sum(undefined));
      }
    }),
  );
});

test("room that is given back can be taken again, once", async () => {
  const { space } = await setUp();
  const first = space.reserve(hub, 1_000);
  assert.equal(space.reserve(hub, 1), undefined);
  first?.release();
  first?.release();
  assert.notEqual(space.reserve(hub, 1_000), undefined);
  assert.equal(space.reserve(hub, 1), undefined);
});

test("some of the volume stays free, whoever uses it", async () => {
  const subject = await setUp({ maxSize: { kind: "share", share: 0.9 }, minFree: { kind: "share", share: 0.1 } });
  assert.equal(subject.space.state.limitBytes, 9_000);
  subject.totals = totalsOf({ [hub]: 2_000 });
  subject.volume = { totalBytes: 10_000, freeBytes: 1_500 };
  await subject.space.refresh();
  // 6,500 bytes are somebody else's: 500 may be added to what is used.
  assert.equal(subject.space.state.limitBytes, 2_500);
  assert.equal(subject.space.reserve(hub, 501), undefined);
  const room = subject.space.reserve(hub, 500);
  assert.notEqual(room, undefined);
  // What was stored since the volume was looked at has used it up.
  subject.totals = totalsOf({ [hub]: 2_500 });
  room?.release();
  assert.equal(subject.space.state.limitBytes, 2_500);
  assert.equal(subject.space.reserve(hub, 1), undefined);
  // What was removed since has not changed what may be used, and there is room for so much.
  subject.totals = totalsOf({ [hub]: 1_000 });
  assert.equal(subject.space.state.limitBytes, 2_500);
  subject.volume = { totalBytes: 10_000, freeBytes: 500 };
  await subject.space.refresh();
  assert.deepEqual(subject.space.overage(), { bytes: 1_000 - 0.8 * 500, namespaces: [] });
});

test("whatever lies in the folder besides counts against the limit, and against what is free", async () => {
  const subject = await setUp();
  const { space } = subject;
  subject.totals = totalsOf({ "docker.io": 400 });
  subject.besides = {
    ledgerBytes: 100,
    foldersBytes: 80,
    quarantineBytes: 60,
    hostedBytes: 0,
    othersBytes: 40,
    slackBytes: 20,
  };
  assert.equal(space.hasRoom(hub, 301), false);
  assert.equal(space.reserve(hub, 301), undefined);
  assert.ok(space.hasRoom(hub, 300));
  const room = space.reserve(hub, 300);
  assert.equal(subject.pressure, 1);
  assert.equal(space.overage().bytes, 200, "down to the low watermark of all of it");
  room?.release();
  // What would not fit into a store without content is not waited for.
  const asked: number[] = [];
  subject.makeRoom = async (_namespace, bytes) => {
    asked.push(bytes);
    return false;
  };
  assert.equal(await space.acquire(hub, 701), undefined);
  assert.equal(await space.acquire(hub, 700), undefined);
  assert.deepEqual(asked, [700]);
  // Of what is free on the volume it takes its part, too.
  subject.volume = { totalBytes: 10_000, freeBytes: 50 };
  await space.refresh();
  assert.equal(space.state.limitBytes, 750);
});

test("what a reservation has written by now is missing from the volume, and counted once", async () => {
  const subject = await setUp({ maxSize: { kind: "share", share: 1 } });
  const { space } = subject;
  subject.volume = { totalBytes: 10_000, freeBytes: 1_000 };
  await space.refresh();
  const room = space.reserve(hub, 600) ?? assert.fail();
  room.noteWritten(400);
  subject.volume = { totalBytes: 10_000, freeBytes: 600 };
  await space.refresh();
  assert.equal(space.state.limitBytes, 1_000);
  assert.equal(space.hasRoom(hub, 400), true);
  assert.equal(space.hasRoom(hub, 401), false);
  // Given up: what it had written is removed, and what it says of that later is of nothing.
  room.release();
  room.noteWritten(500);
  subject.volume = { totalBytes: 10_000, freeBytes: 1_000 };
  await space.refresh();
  assert.equal(space.state.limitBytes, 1_000);
});

test("while it is not known what is stored, all that the volume holds counts", async () => {
  const subject = await setUp({ maxSize: { kind: "bytes", bytes: 5_000 }, namespaceMaxBytes: () => 4_500 });
  subject.totals = undefined;
  subject.volume = { totalBytes: 10_000, freeBytes: 6_000 };
  await subject.space.refresh();
  assert.deepEqual(
    { ...subject.space.state, volume: undefined },
    { usedBytes: 4_000, reservedBytes: 0, besides: nothingBesides, limitBytes: 5_000, volume: undefined, exact: false },
  );
  assert.equal(subject.space.reserve(hub, 501), undefined, "a namespace may have any part of it");
  const room = subject.space.reserve(hub, 500);
  room?.release();
  assert.equal(subject.space.reserve(hub, 501), undefined, "what was released may have been stored");
});

test("a volume that cannot be looked at limits nothing, and the limit in bytes holds", async () => {
  const subject = await setUp();
  const blind = new Space({
    limits: {
      maxSize: { kind: "bytes", bytes: 100 },
      minFree: { kind: "share", share: 0.5 },
      highWatermark: 0.9,
      lowWatermark: 0.8,
      namespaceMaxBytes: () => undefined,
    },
    totals: () => subject.totals,
    volume: () => Promise.reject(new Error("stale file handle")),
    monotonic: () => 0,
  });
  await blind.refresh();
  assert.equal(blind.reserve(hub, 101), undefined);
  assert.notEqual(blind.reserve(hub, 100), undefined);
});

test("nothing has to go up to the high watermark; above it all down to the low one", async () => {
  const subject = await setUp({ namespaceMaxBytes: (namespace) => (namespace === quay ? 100 : undefined) });
  subject.totals = totalsOf({ [hub]: 810, [quay]: 90 });
  assert.deepEqual(subject.space.overage(), { bytes: 0, namespaces: [] });
  subject.totals = totalsOf({ [hub]: 811, [quay]: 90 });
  assert.deepEqual(subject.space.overage(), { bytes: 101, namespaces: [] });
  subject.totals = totalsOf({ [hub]: 10, [quay]: 91 });
  assert.deepEqual(subject.space.overage(), { bytes: 0, namespaces: [{ namespace: quay, bytes: 11 }] });
});

test("more than that goes for who needs it", async () => {
  const subject = await setUp({ namespaceMaxBytes: (namespace) => (namespace === quay ? 100 : undefined) });
  subject.totals = totalsOf({ [hub]: 700 });
  assert.equal(subject.space.overage({ namespace: hub, bytes: 300 }).bytes, 0);
  assert.equal(subject.space.overage({ namespace: hub, bytes: 500 }).bytes, 200);
  subject.totals = totalsOf({ [quay]: 50 });
  assert.deepEqual(subject.space.overage({ namespace: quay, bytes: 60 }).namespaces, [{ namespace: quay, bytes: 10 }]);
});

test("passing a high watermark is told, of all or of a namespace", async () => {
  const subject = await setUp({ namespaceMaxBytes: (namespace) => (namespace === quay ? 100 : undefined) });
  subject.space.reserve(quay, 90);
  subject.space.reserve(hub, 810);
  assert.equal(subject.pressure, 0);
  subject.space.reserve(quay, 1)?.release();
  assert.equal(subject.pressure, 1);
  subject.space.reserve(hub, 1);
  assert.equal(subject.pressure, 2);
});

test("what nobody knows the size of gets an eighth of the limit, and only below the low watermark", async () => {
  const subject = await setUp();
  const asked: number[] = [];
  subject.makeRoom = async (_namespace, bytes) => asked.push(bytes) > 0;
  const room = subject.space.reserve(hub, 100, "unknown");
  assert.equal(subject.space.reserve(quay, 26, "unknown"), undefined);
  assert.equal(room?.grow(26), false);
  assert.equal(room?.grow(25), true);
  room?.release();
  subject.totals = totalsOf({ [hub]: 780 });
  assert.equal(subject.space.reserve(quay, 21, "unknown"), undefined);
  assert.equal(await subject.space.acquire(quay, 21, undefined, "unknown"), undefined);
  assert.equal(subject.space.reserve(quay, 20, "unknown")?.bytes, 20);
  assert.deepEqual([subject.pressure, asked], [0, []]);
});

test("what strangers announce displaces an eighth of the limit, all of it together", async () => {
  const subject = await setUp();
  subject.totals = totalsOf({ [hub]: 1_000 });
  const asked: number[] = [];
  subject.makeRoom = async (_namespace, bytes) => {
    asked.push(bytes);
    subject.totals = totalsOf({ [hub]: (subject.totals?.bytes ?? 0) - bytes });
    return true;
  };
  const first = await subject.space.acquire(quay, 100, undefined, "stranger");
  assert.equal(first?.bytes, 100);
  const second = await subject.space.acquire(quay, 26, undefined, "stranger");
  assert.equal(second, undefined);
  assert.deepEqual(asked, [100]);
  first?.release();
  subject.totals = totalsOf({ [hub]: 1_000 });
  assert.equal((await subject.space.acquire(quay, 125, undefined, "stranger"))?.bytes, 125);
});

test("who needs room has it made, more than once where somebody else is quicker", async () => {
  const subject = await setUp();
  subject.totals = totalsOf({ [hub]: 1_000 });
  const asked: number[] = [];
  subject.makeRoom = async (_namespace, bytes) => {
    asked.push(bytes);
    subject.totals = totalsOf({ [hub]: 700 });
    if (asked.length === 1) subject.space.reserve(quay, 200);
    else subject.totals = totalsOf({ [hub]: 500 });
    return true;
  };
  const room = await subject.space.acquire(hub, 300, never);
  assert.equal(room?.bytes, 300);
  assert.deepEqual(asked, [300, 300]);
});

test("what cannot be made is not waited for", async () => {
  const subject = await setUp();
  subject.totals = totalsOf({ [hub]: 900 });
  let asked = 0;
  subject.makeRoom = async () => {
    asked++;
    return false;
  };
  assert.equal(await subject.space.acquire(hub, 300, never), undefined);
  assert.equal(asked, 1);
  assert.equal(await subject.space.acquire(hub, 1_001, never), undefined, "no eviction for what could never fit");
  assert.equal(asked, 1);
  // Who makes room and yet finds none does not go on for ever.
  subject.makeRoom = async () => {
    asked++;
    return true;
  };
  assert.equal(await subject.space.acquire(hub, 300, never), undefined);
  assert.ok(asked < 10);
});

test("who gives up waiting gets no room, unless there is some by then", async () => {
  const subject = await setUp();
  subject.totals = totalsOf({ [hub]: 900 });
  subject.makeRoom = () => new Promise(() => undefined);
  const patience = new AbortController();
  const waiting = subject.space.acquire(hub, 300, patience.signal);
  patience.abort();
  assert.equal(await waiting, undefined);
  const late = subject.space.acquire(hub, 300, patience.signal);
  subject.totals = totalsOf({});
  assert.equal((await late)?.bytes, 300);
});
