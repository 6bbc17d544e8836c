import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { access, open, readdir, readFile, rename, truncate } from "node:fs/promises";
import { join } from "node:path";
import { mock, test, type TestContext } from "node:test";
import fc from "fast-check";
import { BufferPool } from "../../../src/store/buffers.ts";
import { type Span, StoreError } from "../../../src/store/object-store.ts";
import { Spool, type SpoolReader } from "../../../src/store/spool.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { never, turn, until } from "../../support/event-loop.ts";
import { openFilesBelow } from "../../support/open-files.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const windowBytes = 1_000;
const everything: Span = { start: 0, end: Infinity };

interface Subject extends AsyncDisposable {
  readonly spool: Spool;
  readonly pool: BufferPool;
  readonly folder: string;
}

/** A spool of its own; at the end of the test nothing may be lent, open or left. */
async function setUp(options: { readonly folder?: string } = {}): Promise<Subject> {
  const folder = await createTemporaryDirectory();
  const pool = new BufferPool();
  const path = options.folder === undefined ? folder.path : join(folder.path, options.folder);
  const spool = new Spool(path, { windowBytes, laggardMs: 60_000, pool });
  return {
    spool,
    pool,
    folder: folder.path,
    async [Symbol.asyncDispose]() {
      assert.equal(pool.lentBytes, 0);
      assert.equal(spool.hasReaders, false);
      assert.deepEqual(openFilesBelow(folder.path), []);
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Reads a span at its own pace: so many turns of the event loop for each chunk. */
async function readAt(spool: Spool, reader: SpoolReader, span: Span, pace = 0, signal = never()): Promise<Buffer> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of spool.read(reader, span, signal)) {
      const copy = Buffer.from(chunk);
      await turn(pace);
      assert.ok(copy.equals(chunk), "a chunk changed before the next one was asked for");
      chunks.push(copy);
    }
  } finally {
    await spool.leave(reader);
  }
  return Buffer.concat(chunks);
}

function follow(spool: Spool, span: Span = everything, pace = 0, signal = never()): Promise<Buffer> {
  return readAt(spool, spool.attach(), span, pace, signal);
}

/** Cuts content into pieces of these sizes, the last ones repeated to the end. */
function cut(content: Buffer, sizes: readonly number[]): { readonly offset: number; readonly bytes: Buffer }[] {
  const pieces: { offset: number; bytes: Buffer }[] = [];
  for (let offset = 0, index = 0; offset < content.length; index++) {
    const size = sizes[index % sizes.length] ?? 1;
    pieces.push({ offset, bytes: content.subarray(offset, offset + size) });
    offset += size;
  }
  return pieces;
}

/** Lets the staging file take `limitBytes` and then fail like a full disk. */
async function fillDisk(context: TestContext, folder: string, limitBytes: number): Promise<void> {
  const file = await open(join(folder, "probe"), "w");
  const prototype = Object.getPrototypeOf(file) as typeof file;
  await file.close();
  const write = Reflect.get(prototype, "write") as (...parameters: unknown[]) => Promise<unknown>;
  async function limited(
    this: typeof file,
    bytes: Uint8Array,
    from: number,
    length: number,
    position: number,
  ): Promise<unknown> {
    const free = limitBytes - position;
    if (free <= 0) throw Object.assign(new Error("no space left"), { code: "ENOSPC" });
    return Reflect.apply(write, this, [bytes, from, Math.min(length, free), position]);
  }
  context.mock.method(prototype, "write", limited as typeof prototype.write);
}

/** The laggards' deadlines in the order in which they were set; nothing but `abort` lets them pass. */
function mockDeadlines(context: TestContext): AbortController[] {
  const deadlines: AbortController[] = [];
  context.mock.method(AbortSignal, "timeout", () => {
    const deadline = new AbortController();
    deadlines.push(deadline);
    return deadline.signal;
  });
  return deadlines;
}

/** Whether a promise has settled after all that is ready has run. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const note = (): void => {
    settled = true;
  };
  promise.then(note, note);
  await turn(20);
  return settled;
}

test("readers of every speed, place and span get exactly their bytes", async () => {
  const readers = fc.array(
    fc.record({
      start: fc.nat({ max: 6_000 }),
      length: fc.oneof(fc.constant(Infinity), fc.nat({ max: 6_000 })),
      pace: fc.nat({ max: 3 }),
      joinsAfter: fc.nat({ max: 40 }),
    }),
    { minLength: 1, maxLength: 12 },
  );
  const sizes = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 6_000 }), sizes, readers, async (size, pieceSizes, wishes) => {
      await using subject = await setUp();
      const { spool } = subject;
      const content = pseudoRandomBytes(size, "spool");
      const results: Promise<void>[] = [];
      const join = (done: number): void => {
        for (const { start, length, pace, joinsAfter } of wishes) {
          if (joinsAfter !== done) continue;
          const end = length === Infinity ? Infinity : Math.min(size, start + length);
          const wanted = content.subarray(start, Math.min(end, size));
          results.push(follow(spool, { start, end }, pace).then((got) => assert.ok(got.equals(wanted))));
        }
      };
      join(0);
      let done = 0;
      for (const { offset, bytes } of cut(content, pieceSizes)) {
        await spool.write(offset, bytes, never());
        join(++done);
      }
      while (done < 40) join(++done);
      spool.end();
      await Promise.all(results);
      assert.equal(spool.filedBytes, size);
      assert.ok((await readFile(spool.path)).equals(content));
      await spool.discard();
      await assert.rejects(access(spool.path), { code: "ENOENT" });
    }),
    { numRuns: 60 },
  );
});

test("pieces may come in any order", async () => {
  const order = fc.array(fc.nat({ max: 1_000 }), { minLength: 20, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(order, fc.integer({ min: 50, max: 400 }), async (ranks, pieceSize) => {
      await using subject = await setUp();
      const { spool } = subject;
      const content = pseudoRandomBytes(20 * pieceSize - 7, "order");
      const pieces = cut(content, [pieceSize]).map((piece, index) => ({ ...piece, rank: ranks[index] ?? 0 }));
      const late = { start: 5 * pieceSize + 3, end: 16 * pieceSize };
      const results = [
        follow(spool).then((got) => assert.ok(got.equals(content))),
        follow(spool, late, 1).then((got) => assert.ok(got.equals(content.subarray(late.start, late.end)))),
      ];
      for (const { offset, bytes } of pieces.toSorted((a, b) => a.rank - b.rank)) {
        await spool.write(offset, bytes, never());
        await turn();
      }
      spool.end();
      await Promise.all(results);
      assert.equal(spool.filedBytes, content.length);
      assert.ok((await readFile(spool.path)).equals(content));
      await spool.discard();
    }),
    { numRuns: 40 },
  );
});

test("a reader gets bytes as soon as they are there, and waits for the others", async () => {
  await using subject = await setUp();
  const { spool } = subject;
  const reader = spool.attach();
  const bytes = spool.read(reader, { start: 0, end: 6 }, never());
  const first = bytes.next();
  assert.equal(await isSettled(first), false);
  await spool.write(0, Buffer.from("abc"), never());
  assert.equal(Buffer.from((await first).value ?? []).toString(), "abc");
  const second = bytes.next();
  assert.equal(await isSettled(second), false);
  await spool.write(3, Buffer.from("def"), never());
  assert.equal(Buffer.from((await second).value ?? []).toString(), "def");
  assert.equal((await bytes.next()).done, true, "a span ends without the end of the spool");
  await spool.leave(reader);
  await spool.discard();
});

test("a span beyond what is known to come waits for the end, and is empty then", async () => {
  await using subject = await setUp();
  const { spool } = subject;
  await spool.write(0, Buffer.from("abc"), never());
  const beyond = follow(spool, { start: 10, end: 20 });
  assert.equal(await isSettled(beyond), false);
  spool.end();
  assert.equal((await beyond).length, 0);
  await spool.discard();
});

test("when it fails, readers get what is there, then the error", async () => {
  await using subject = await setUp();
  const { spool } = subject;
  const content = pseudoRandomBytes(5_000, "fails");
  for (const { offset, bytes } of cut(content, [500])) await spool.write(offset, bytes, never());
  const error = new Error("the upstream broke");
  const waiting = spool.attach();
  const read = spool.read(waiting, { start: 5_000, end: 6_000 }, never()).next();
  assert.equal(await isSettled(read), false);
  const slow = spool.attach();
  let seen = 0;
  spool.fail(error);
  await assert.rejects(read, error);
  await assert.rejects(async () => {
    for await (const chunk of spool.read(slow, { start: 0, end: 6_000 }, never())) seen += chunk.length;
  }, error);
  assert.equal(seen, 5_000);
  await spool.leave(waiting);
  await spool.leave(slow);
  await spool.discard();
});

test("a reader's abort ends that reader, while it waits and while it reads, and no other", async () => {
  await using subject = await setUp();
  const { spool } = subject;
  const content = pseudoRandomBytes(5_000, "abort");
  const stays = follow(spool);
  const reason = new Error("the client left");
  const waits = new AbortController();
  const waiting = follow(spool, everything, 0, waits.signal);
  const reads = new AbortController();
  const reader = spool.attach();
  const reading = spool.read(reader, everything, reads.signal);
  await spool.write(0, content, never());
  assert.equal((await reading.next()).done, false);
  assert.equal(await isSettled(waiting), false);
  waits.abort(reason);
  reads.abort(reason);
  await assert.rejects(waiting, reason);
  await assert.rejects(reading.next(), reason);
  await spool.leave(reader);
  await assert.rejects(follow(spool, everything, 0, reads.signal), reason);
  spool.end();
  assert.ok((await stays).equals(content));
  await spool.discard();
});

test("a reader that leaves a file's chunk gives its buffer back", async () => {
  await using subject = await setUp();
  const { spool, pool } = subject;
  for (const { offset, bytes } of cut(pseudoRandomBytes(5_000, "leaves"), [500])) {
    await spool.write(offset, bytes, never());
  }
  const reader = spool.attach();
  for await (const chunk of spool.read(reader, everything, never())) {
    assert.ok(chunk.length > 0);
    assert.ok(pool.lentBytes > 0, "the first bytes come from the file");
    break;
  }
  assert.equal(pool.lentBytes, 0);
  await spool.leave(reader);
  await spool.discard();
});

test("a staging file that somebody cuts is an error for who reads it", async () => {
  await using subject = await setUp();
  const { spool } = subject;
  for (const { offset, bytes } of cut(pseudoRandomBytes(5_000, "cut"), [500])) {
    await spool.write(offset, bytes, never());
  }
  await truncate(spool.path, 100);
  const reader = spool.attach();
  const reading = async (): Promise<void> => {
    for await (const chunk of spool.read(reader, everything, never())) assert.ok(chunk.length > 0);
  };
  await assert.rejects(reading(), { name: "StoreError", message: /shorter than what was written/ });
  await spool.leave(reader);
  await spool.discard();
});

test("however often a reader waits, one listener at a time is on its signal", async () => {
  await using subject = await setUp();
  const { spool } = subject;
  const signal = never();
  const reading = follow(spool, everything, 0, signal);
  for (const { offset, bytes } of cut(pseudoRandomBytes(500, "listeners"), [10])) {
    await spool.write(offset, bytes, never());
    await turn();
    assert.ok(getEventListeners(signal, "abort").length <= 1);
  }
  spool.end();
  await reading;
  assert.equal(getEventListeners(signal, "abort").length, 0);
  await spool.discard();
});

test("readers that keep pace need no buffers and no file", async () => {
  await using subject = await setUp();
  const { spool, pool } = subject;
  const content = pseudoRandomBytes(5_000, "pace");
  const acquire = mock.method(pool, "acquire");
  const readers = Array.from({ length: 5 }, () => follow(spool));
  for (const { offset, bytes } of cut(content, [500])) {
    await spool.write(offset, bytes, never());
    await turn(2);
  }
  spool.end();
  for (const got of await Promise.all(readers)) assert.ok(got.equals(content));
  assert.equal(acquire.mock.callCount(), 0);
  await spool.discard();
});

test("a discarded spool is read to the end by who was there, and closes its file with the last", async () => {
  for (const isTaken of [true, false]) {
    await using subject = await setUp();
    const { spool, folder } = subject;
    const content = pseudoRandomBytes(5_000, "discard");
    for (const { offset, bytes } of cut(content, [500])) await spool.write(offset, bytes, never());
    spool.end();
    const quick = spool.attach();
    const slow = spool.attach();
    // A store has taken it to itself.
    if (isTaken) await rename(spool.path, join(folder, "taken"));
    await spool.discard();
    assert.equal(openFilesBelow(folder).length, 1);
    if (isTaken) assert.ok((await readFile(join(folder, "taken"))).equals(content));
    await assert.rejects(access(spool.path), { code: "ENOENT" });
    assert.ok((await readAt(spool, quick, everything)).equals(content));
    assert.equal(openFilesBelow(folder).length, 1);
    assert.ok((await readAt(spool, slow, everything, 2)).equals(content));
    assert.deepEqual(openFilesBelow(folder), []);
  }
});

test("a staged file is read through the spool, however often, also when a store has taken the file to itself", async () => {
  await using subject = await setUp();
  const { spool, folder } = subject;
  const content = pseudoRandomBytes(5_000, "staged");
  for (const { offset, bytes } of cut(content, [500])) await spool.write(offset, bytes, never());
  spool.end();
  const staged = spool.staged(content.length);
  assert.deepEqual([staged.path, staged.sizeBytes], [spool.path, 5_000]);
  const first = await staged.open();
  await rename(spool.path, join(folder, "taken"));
  const second = await staged.open();
  for (const object of [first, second]) {
    const chunks: Buffer[] = [];
    for await (const chunk of object.read({ start: 10, end: 5_000 })) chunks.push(Buffer.from(chunk));
    assert.ok(Buffer.concat(chunks).equals(content.subarray(10)));
  }
  await spool.discard();
  assert.equal(openFilesBelow(folder).length, 1);
  await first.close();
  await second.close();
  assert.deepEqual(openFilesBelow(folder), []);
});

test("who comes after the file was closed is told so, and does not wait for ever", async () => {
  await using subject = await setUp();
  const { spool } = subject;
  const content = pseudoRandomBytes(5_000, "late");
  for (const { offset, bytes } of cut(content, [500])) await spool.write(offset, bytes, never());
  spool.end();
  assert.equal(spool.servesFrom(0), true);
  await spool.discard();
  assert.equal(spool.servesFrom(0), false);
  assert.equal(spool.servesFrom(4_500), true, "what is in memory is still served");
  assert.ok((await follow(spool, { start: 4_500, end: 5_000 })).equals(content.subarray(4_500)));
  await assert.rejects(follow(spool), StoreError);
});

test("a spool that was never written to makes no file, and is discarded without a trace", async () => {
  await using subject = await setUp();
  const { spool, folder } = subject;
  spool.end();
  assert.equal((await follow(spool)).length, 0);
  await spool.discard();
  assert.deepEqual(await readdir(folder), []);
  assert.equal(spool.servesFrom(0), true, "there is nothing that could be missing");
});

test("without a file the bytes go through memory, and the writer waits for the slowest", async (context) => {
  mockDeadlines(context);
  await using subject = await setUp({ folder: "missing" });
  const { spool } = subject;
  const content = pseudoRandomBytes(20_000, "memory");
  const results = [0, 1, 3].map((pace) => follow(spool, everything, pace));
  const later = follow(spool, { start: 7_777, end: 12_345 }, 2);
  const stuck = spool.attach();
  let written = 0;
  const writing = (async () => {
    for (const { offset, bytes } of cut(content, [300])) {
      await spool.write(offset, bytes, never());
      written += bytes.length;
    }
    spool.end();
  })();
  // A second chunk would fit by its bytes alone, but what keeps it costs memory too.
  await until(() => written === 300);
  assert.equal(await isSettled(writing), false);
  assert.equal(spool.detached?.code, "ENOENT");
  assert.ok(written <= windowBytes, `${written} bytes were taken while a reader stood at 0`);
  assert.equal(spool.servesFrom(0), true);
  const rest = readAt(spool, stuck, everything);
  await writing;
  for (const got of await Promise.all([...results, rest])) assert.ok(got.equals(content));
  assert.ok((await later).equals(content.subarray(7_777, 12_345)));
  assert.equal(spool.servesFrom(0), false);
  assert.equal(spool.filedBytes, 0);
  await spool.discard();
});

test("a disk that fills up midway costs no reader a byte", async (context) => {
  await using subject = await setUp();
  const { spool, folder } = subject;
  mockDeadlines(context);
  // Not at a piece's edge: the file then holds a part of a piece, which does not count.
  await fillDisk(context, folder, 4_321);
  const content = pseudoRandomBytes(20_000, "full");
  const results = [0, 1, 2, 4].map((pace) => follow(spool, everything, pace));
  const tail = follow(spool, { start: 19_990, end: 20_000 });
  for (const { offset, bytes } of cut(content, [300])) await spool.write(offset, bytes, never());
  spool.end();
  assert.equal(spool.detached?.code, "ENOSPC");
  assert.equal(spool.filedBytes, 4_200);
  for (const got of await Promise.all(results)) assert.ok(got.equals(content));
  assert.ok((await tail).equals(content.subarray(19_990)));
  assert.equal(spool.servesFrom(0), false);
  await spool.discard();
});

test("a reader that still reads the file is waited for when the disk is full", async (context) => {
  await using subject = await setUp();
  const { spool, folder } = subject;
  mockDeadlines(context);
  await fillDisk(context, folder, 4_200);
  const content = pseudoRandomBytes(12_000, "behind");
  const behind = spool.attach();
  const writing = (async () => {
    for (const { offset, bytes } of cut(content, [300])) await spool.write(offset, bytes, never());
    spool.end();
  })();
  await until(() => spool.detached !== undefined);
  assert.equal(await isSettled(writing), false);
  assert.equal(spool.servesFrom(0), true, "the file reaches to what is in memory");
  const joiner = follow(spool);
  assert.ok((await readAt(spool, behind, everything, 1)).equals(content));
  assert.ok((await joiner).equals(content));
  await writing;
  await spool.discard();
});

test("one that lags too long loses its place; it is waited for once, not with every write", async (context) => {
  await using subject = await setUp({ folder: "missing" });
  const { spool } = subject;
  const deadlines = mockDeadlines(context);
  const content = pseudoRandomBytes(6_000, "laggard");
  const laggard = spool.attach();
  const quick = follow(spool);
  const writing = (async () => {
    for (const { offset, bytes } of cut(content, [300])) await spool.write(offset, bytes, never());
    spool.end();
  })();
  await until(() => deadlines.length > 0);
  assert.equal(await isSettled(writing), false);
  deadlines[0]?.abort(new Error("its time is up"));
  // No other deadline passes, so that the writer would never come back if it waited for the laggard again.
  await writing;
  assert.ok((await quick).equals(content));
  await assert.rejects(readAt(spool, laggard, everything), /too slow/);
  await spool.discard();
});

test("a reader that takes nothing loses its place, alone or among others like it: nobody reads any more", async (context) => {
  for (const [count, position] of [
    [1, 0],
    [3, 0],
    [3, 300],
  ] as const) {
    await using subject = await setUp({ folder: "missing" });
    const { spool } = subject;
    const deadlines = mockDeadlines(context);
    const readers = Array.from({ length: count }, () => spool.attach());
    // The others have some of what is there, but not all: they would have something to read.
    for (const reader of readers.slice(1)) reader.position = position;
    const content = pseudoRandomBytes(1_800, "alone");
    const [first, second, third] = cut(content, [600]).map(({ bytes }) => bytes);
    assert.ok(first !== undefined && second !== undefined && third !== undefined);
    await spool.write(0, first, never());
    const writing = spool.write(600, second, never());
    assert.equal(await isSettled(writing), false);
    assert.ok(spool.hasReaders);
    assert.equal(deadlines.length, 1);
    deadlines[0]?.abort(new Error("its time is up"));
    await writing;
    assert.equal(spool.hasReaders, false);
    await spool.write(1_200, third, never());
    for (const reader of readers) await assert.rejects(readAt(spool, reader, everything), /too slow/);
    await spool.discard();
  }
});

test("one that takes a bit now and then loses its place too, unless it takes enough", async (context) => {
  // A quarter of the window is enough.
  for (const [bits, staysOn] of [
    [2, false],
    [3, true],
  ] as const) {
    await using subject = await setUp({ folder: "missing" });
    const { spool } = subject;
    const deadlines = mockDeadlines(context);
    const reader = spool.attach();
    let offset = 0;
    const write = (): Promise<void> => spool.write(offset, Buffer.alloc(100), never()).then(() => void (offset += 100));
    // With what it costs to keep a chunk, there is room for two.
    await write();
    await write();
    let writing = write();
    for (let bit = 0; bit < bits; bit++) {
      assert.equal(await isSettled(writing), false);
      reader.position += 100;
      // Whoever leaves wakes the writer.
      await spool.leave(spool.attach());
      await writing;
      writing = write();
    }
    assert.equal(await isSettled(writing), false);
    assert.equal(deadlines.length, 1);
    deadlines[0]?.abort(new Error("its time is up"));
    assert.equal(await isSettled(writing), !staysOn);
    assert.equal(spool.hasReaders, staysOn);
    await spool.leave(reader);
    await writing;
    await spool.discard();
  }
});

test("a deadline that passed while nobody was waited for does not count; the next one begins anew", async (context) => {
  await using subject = await setUp({ folder: "missing" });
  const { spool } = subject;
  const deadlines = mockDeadlines(context);
  const content = pseudoRandomBytes(1_800, "anew");
  const pieces = cut(content, [600]);
  const reader = spool.attach();
  const write = async (index: number): Promise<void> =>
    spool.write(600 * index, pieces[index]?.bytes ?? Buffer.alloc(0), never());
  await write(0);
  const second = write(1);
  assert.equal(await isSettled(second), false);
  reader.position = 600;
  await spool.leave(spool.attach());
  await second;
  deadlines[0]?.abort(new Error("its time is up"));
  const third = write(2);
  assert.equal(await isSettled(third), false);
  assert.equal(deadlines.length, 2);
  assert.ok(spool.hasReaders);
  const rest = readAt(spool, reader, { start: 600, end: 1_800 });
  await third;
  spool.end();
  assert.ok((await rest).equals(content.subarray(600)), "no byte was dropped that it had not read");
  await spool.discard();
});

test("a reader that has read its span is waited for no longer", async () => {
  await using subject = await setUp({ folder: "missing" });
  const { spool } = subject;
  const done = spool.attach();
  const slow = spool.attach();
  const content = pseudoRandomBytes(3_000, "done");
  const writing = (async () => {
    for (const { offset, bytes } of cut(content, [600])) await spool.write(offset, bytes, never());
    spool.end();
  })();
  for await (const chunk of spool.read(done, { start: 0, end: 600 }, never())) assert.equal(chunk.length, 600);
  assert.equal(await isSettled(writing), false);
  assert.ok((await readAt(spool, slow, everything)).equals(content));
  await writing;
  await spool.leave(done);
  await spool.discard();
});

test("detached at any place, readers get every byte, and the file's stay readable", async (context) => {
  mockDeadlines(context);
  const size = 6_000;
  const content = pseudoRandomBytes(size, "detached");
  const sizes = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 6 });
  const wishes = fc.array(fc.record({ start: fc.nat({ max: size }), pace: fc.nat({ max: 3 }) }), {
    minLength: 1,
    maxLength: 6,
  });
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: size }), fc.boolean(), sizes, wishes, async (place, during, pieceSizes, readers) => {
      await using subject = await setUp();
      const { spool } = subject;
      const reason = new StoreError("it is too large", undefined);
      const behind = spool.attach();
      const results = readers.map(({ start, pace }) =>
        follow(spool, { start, end: Infinity }, pace).then((got) => assert.ok(got.equals(content.subarray(start)))),
      );
      for (const { offset, bytes } of cut(content, pieceSizes)) {
        const isPlace = offset <= place && place < offset + bytes.length;
        if (isPlace && !during) spool.detach(reason);
        const written = spool.write(offset, bytes, never());
        if (isPlace) {
          spool.detach(reason);
          spool.detach(new StoreError("another reason", undefined));
          assert.equal(spool.filedBytes, offset);
          results.push(readAt(spool, behind, everything, 1).then((got) => assert.ok(got.equals(content))));
        }
        await written;
      }
      spool.end();
      if (place === size) await spool.leave(behind);
      await Promise.all(results);
      assert.equal(spool.detached, place === size ? undefined : reason);
      assert.ok(spool.filedBytes <= place);
      const file = await readFile(spool.path).catch(() => Buffer.alloc(0));
      assert.ok(file.subarray(0, spool.filedBytes).equals(content.subarray(0, spool.filedBytes)));
      await spool.discard();
    }),
    { numRuns: 80 },
  );
});

test("detached before the first byte, it makes no file", async (context) => {
  mockDeadlines(context);
  await using subject = await setUp();
  const { spool } = subject;
  const content = pseudoRandomBytes(5_000, "no file");
  spool.detach(new StoreError("it is too large", undefined));
  const results = [0, 2].map((pace) => follow(spool, everything, pace));
  for (const { offset, bytes } of cut(content, [300])) await spool.write(offset, bytes, never());
  spool.end();
  for (const got of await Promise.all(results)) assert.ok(got.equals(content));
  assert.equal(spool.filedBytes, 0);
  await assert.rejects(access(spool.path), { code: "ENOENT" });
  await spool.discard();
});

test("detached, it does not wait for a reader that has the file", async () => {
  await using subject = await setUp();
  const { spool } = subject;
  const content = pseudoRandomBytes(1_200, "in the file");
  const behind = spool.attach();
  await spool.write(0, content.subarray(0, 600), never());
  spool.detach(new StoreError("it is too large", undefined));
  // The window is too small for both chunks, but the first is in the file.
  await spool.write(600, content.subarray(600), never());
  spool.end();
  assert.ok((await readAt(spool, behind, everything)).equals(content));
  await spool.discard();
});

test("a writer that waits for readers ends with its signal", async () => {
  await using subject = await setUp({ folder: "missing" });
  const { spool } = subject;
  const reader = spool.attach();
  const controller = new AbortController();
  const reason = new Error("the process is stopping");
  const writing = spool.write(0, Buffer.alloc(windowBytes + 1), controller.signal);
  await until(() => spool.detached !== undefined);
  assert.equal(await isSettled(writing), false);
  controller.abort(reason);
  await assert.rejects(writing, reason);
  await spool.leave(reader);
  await spool.discard();
});

test("the last reader's leaving frees a writer that waits for it", async () => {
  await using subject = await setUp({ folder: "missing" });
  const { spool } = subject;
  const reader = spool.attach();
  const writing = spool.write(0, Buffer.alloc(windowBytes + 1), never());
  await until(() => spool.detached !== undefined);
  assert.equal(await isSettled(writing), false);
  await spool.leave(reader);
  await writing;
  await spool.discard();
});

test("bytes out of order need the file", async () => {
  await using subject = await setUp({ folder: "missing" });
  const { spool } = subject;
  await assert.rejects(spool.write(100, Buffer.from("abc"), never()), StoreError);
  await spool.discard();
});

test("what is written without waiting for it comes out whole", async () => {
  await using subject = await setUp();
  const { spool } = subject;
  const content = pseudoRandomBytes(9_000, "at once");
  const reading = follow(spool);
  await Promise.all(cut(content, [500]).map(({ offset, bytes }) => spool.write(offset, bytes, never())));
  spool.end();
  assert.equal(spool.detached, undefined);
  assert.ok((await reading).equals(content));
  assert.ok((await readFile(spool.path)).equals(content));
  await spool.discard();
});

test("chunks of one byte do not stay in memory by the thousand", async () => {
  await using subject = await setUp();
  const { spool, pool } = subject;
  const content = pseudoRandomBytes(600, "small");
  for (let offset = 0; offset < content.length; offset++) {
    await spool.write(offset, content.subarray(offset, offset + 1), never());
  }
  spool.end();
  const acquire = mock.method(pool, "acquire");
  // All of it would fit in the window, if chunks cost nothing.
  assert.ok((await follow(spool)).equals(content));
  assert.ok(acquire.mock.callCount() > 0, "the file is read");
  await spool.discard();
});

test("a spool that is discarded while its first write makes the file leaves none, and nothing open", async () => {
  await using subject = await setUp();
  const { spool, folder } = subject;
  const writing = spool.write(0, Buffer.alloc(10), never());
  await spool.discard();
  await writing;
  assert.deepEqual(await readdir(folder), []);
});
