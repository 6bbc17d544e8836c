/*
 * Fills and the room that they need: whether there is any or not, their readers get everything.
 */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "node:test";
import type { Digest } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository } from "../../../src/oci/reference.ts";
import { keepBooks, limitReached } from "../../../src/registry/bookkeeping.ts";
import { Content } from "../../../src/registry/content.ts";
import type { Fill } from "../../../src/registry/fill.ts";
import type { FillRequest } from "../../../src/registry/fill-tools.ts";
import { Fills } from "../../../src/registry/fills.ts";
import type { RepositoryId } from "../../../src/store/layout.ts";
import { chargedBytes, type Ledger, type LedgerChange } from "../../../src/ledger/ledger.ts";
import { Space, type Relief } from "../../../src/registry/space.ts";
import { BufferPool } from "../../../src/store/buffers.ts";
import { HashPool } from "../../../src/store/hashing.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { StoreError } from "../../../src/store/object-store.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { createBarrier } from "../../support/barrier.ts";
import { createBooks } from "../../support/books.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { holdEventLoop, never, until } from "../../support/event-loop.ts";
import { createFakeUpstream, type FakeUpstream } from "../../support/fake-upstream.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const megabyte = 1024 * 1024;
const hub = parseNamespace("docker.io");
const a: RepositoryId = { namespace: hub, repository: parseRepository("library/a") };

interface Subject extends AsyncDisposable {
  readonly fills: Fills;
  readonly content: Content;
  readonly upstream: FakeUpstream;
  readonly space: Space;
  /** Outcomes of fills, with the code of the reason. */
  readonly ended: string[];
  /** The requests for room. */
  readonly asked: number[];
  makeRoom: Relief["makeRoom"];
  usedBytes: number;
  request(id: RepositoryId, digest: Digest, changes?: Partial<FillRequest>): FillRequest;
  pull(id: RepositoryId, digest: Digest): Promise<Buffer>;
  /** Files that are not finished. */
  staged(): Promise<string[]>;
}

async function setUp(limitBytes: number, maxObjectBytes = Infinity): Promise<Subject> {
  const loop = holdEventLoop();
  const folder = await createTemporaryDirectory();
  const hashes = new HashPool(1);
  const pool = new BufferPool();
  const upstream = createFakeUpstream();
  const asked: number[] = [];
  const ended: string[] = [];
  const space = new Space({
    limits: {
      maxSize: { kind: "bytes", bytes: limitBytes },
      minFree: { kind: "bytes", bytes: 0 },
      highWatermark: 1,
      lowWatermark: 1,
      namespaceMaxBytes: () => undefined,
    },
    totals: () => ({ bytes: subject.usedBytes, namespaces: new Map([[hub, subject.usedBytes]]) }),
    volume: async () => ({ totalBytes: 1e12, freeBytes: 1e12 }),
    monotonic: () => 0,
  });
  space.relieveBy({
    makeRoom: (namespace, bytes, signal) => {
      asked.push(bytes);
      return subject.makeRoom(namespace, bytes, signal);
    },
    relieve: () => undefined,
  });
  const books = createBooks();
  const ledger: Pick<Ledger, "tell" | "holding"> = {
    tell: async (change: LedgerChange) => {
      await books.note(change);
      if (change.kind === "content") subject.usedBytes += chargedBytes(change.sizeBytes);
      if (change.kind === "link") subject.usedBytes += chargedBytes(0);
    },
    holding: (id, digest) => books.holding(id, digest),
  };
  const clock = { now: () => 1_000, monotonic: () => 1_000 };
  const content = new Content(new MemoryStore(), keepBooks(ledger as Ledger, space, clock));
  const fills = new Fills({
    content,
    hashes,
    pool,
    space,
    maxObjectBytes,
    spoolFolder: folder.path,
    observer: {
      started: () => undefined,
      received: () => undefined,
      resumed: () => undefined,
      ended: (_id, _digest, outcome, error) =>
        ended.push(error instanceof StoreError ? `${outcome} ${error.code}` : outcome),
    },
  });
  const subject: Subject = {
    fills,
    content,
    upstream,
    space,
    ended,
    asked,
    makeRoom: async () => false,
    usedBytes: 0,
    request: (id, digest, changes) => ({
      id,
      digest,
      source: { open: (from, by) => upstream.blob(id.repository, digest, from, by) },
      expectedBytes: undefined,
      trusted: true,
      isStored: async () =>
        (await content.link(id, digest)) !== undefined && (await content.statBlob(digest)) !== undefined,
      retries: 1,
      ...changes,
    }),
    pull: (id, digest) => readFill(fills.join(subject.request(id, digest), false).fill),
    staged: () => readdir(folder.path),
    async [Symbol.asyncDispose]() {
      try {
        await until(() => fills.size === 0);
        assert.equal(space.state.reservedBytes, 0, "room is set aside for nobody");
        assert.equal(pool.lentBytes, 0);
        assert.equal(upstream.openBodies, 0);
        assert.deepEqual(await readdir(folder.path), []);
      } finally {
        await fills.close(new Error("the test is over"));
        await hashes.close();
        await folder[Symbol.asyncDispose]();
        loop[Symbol.dispose]();
      }
    },
  };
  return subject;
}

/** What one client gets of a fill. */
async function readFill(fill: Fill): Promise<Buffer> {
  const reader = fill.join();
  const got: Buffer[] = [];
  try {
    assert.equal(await fill.opened, "streaming");
    for await (const chunk of reader.read(undefined, never())) got.push(Buffer.from(chunk));
    return Buffer.concat(got);
  } finally {
    await reader.close();
  }
}

const passedOn = `unstored ${limitReached}`;

test("a blob larger than one object may be is passed on whole, and no file is begun", async () => {
  await using subject = await setUp(100 * megabyte, megabyte);
  const { upstream, fills, content, ended } = subject;
  const small = pseudoRandomBytes(megabyte, "small");
  const large = pseudoRandomBytes(megabyte + 1, "large");
  const barrier = createBarrier();
  const largeDigest = upstream.addBlob("library/a", large, { pauses: [{ at: megabyte, barrier }] });
  const reading = subject.pull(a, largeDigest);
  await barrier.reached;
  assert.deepEqual(await subject.staged(), []);
  assert.equal(subject.space.state.reservedBytes, 0);
  barrier.release();
  assert.ok((await reading).equals(large));
  const smallDigest = upstream.addBlob("library/a", small);
  assert.ok((await subject.pull(a, smallDigest)).equals(small));
  await fills.idle();
  assert.deepEqual(ended, [passedOn, "committed"]);
  assert.equal(await content.statBlob(largeDigest), undefined);
  assert.equal((await content.statBlob(smallDigest))?.sizeBytes, megabyte);
});

test("whether a blob is going to be stored is known when its headers are, as far as it can be", async () => {
  await using subject = await setUp(10 * megabyte);
  const { upstream, fills } = subject;
  const opened = async (name: string, size: number): Promise<[boolean, string]> => {
    const digest = upstream.addBlob("library/a", pseudoRandomBytes(size, name));
    const { fill } = fills.join(subject.request(a, digest), false);
    const reader = fill.join();
    assert.equal(await fill.opened, "streaming");
    const { stores } = fill;
    for await (const _chunk of reader.read(undefined, never()));
    await reader.close();
    await fill.ended;
    return [stores, fill.state];
  };
  assert.deepEqual(await opened("fits", megabyte), [true, "committed"]);
  assert.deepEqual(await opened("larger than all", 11 * megabyte), [false, "verified"]);
  assert.deepEqual(await opened("no room can be made", 10 * megabyte), [false, "verified"]);
  subject.makeRoom = async () => {
    subject.usedBytes = 0;
    return true;
  };
  assert.deepEqual(await opened("room is yet to be made", 9 * megabyte), [false, "committed"]);
});

test("a blob larger than the whole limit is passed on, and nothing is removed for its sake", async () => {
  await using subject = await setUp(megabyte);
  const { upstream, fills, ended, asked } = subject;
  const bytes = pseudoRandomBytes(2 * megabyte, "larger");
  const digest = upstream.addBlob("library/a", bytes);
  for (const got of await Promise.all([subject.pull(a, digest), subject.pull(a, digest)])) assert.ok(got.equals(bytes));
  await fills.idle();
  assert.deepEqual(ended, [passedOn]);
  assert.deepEqual(asked, []);
});

test("a body of unknown size takes room as it comes, as much as it is stored with", async () => {
  await using subject = await setUp(512 * megabyte);
  const { upstream, fills, ended, content } = subject;
  const bytes = pseudoRandomBytes(40 * megabyte, "unknown");
  const barrier = createBarrier();
  const digest = upstream.addBlob("library/a", bytes, {
    sizeBytes: undefined,
    pauses: [{ at: 20 * megabyte, barrier }],
  });
  const reading = subject.pull(a, digest);
  await barrier.reached;
  const { reservedBytes } = subject.space.state;
  assert.ok(reservedBytes >= 20 * megabyte && reservedBytes <= 40 * megabyte, `${reservedBytes} are set aside`);
  barrier.release();
  assert.ok((await reading).equals(bytes));
  await fills.idle();
  assert.deepEqual(ended, ["committed"]);
  assert.equal((await content.statBlob(digest))?.sizeBytes, bytes.length);
  assert.equal(subject.usedBytes, chargedBytes(bytes.length) + chargedBytes(0));
});

test("a body of unknown size that grows beyond the limit is passed on to its end", async () => {
  await using subject = await setUp(20 * megabyte);
  const { upstream, fills, ended, content } = subject;
  const bytes = pseudoRandomBytes(24 * megabyte, "growing");
  const digest = upstream.addBlob("library/a", bytes, { sizeBytes: undefined });
  const { fill } = fills.join(subject.request(a, digest), false);
  const [first, second] = await Promise.all([readFill(fill), readFill(fill)]);
  assert.ok(first?.equals(bytes) && second?.equals(bytes));
  await fills.idle();
  assert.deepEqual(ended, [passedOn]);
  assert.equal(await content.statBlob(digest), undefined);
  assert.equal(subject.usedBytes, 0);
});

test("while room is made the headers are there and the body waits; then it is stored", async () => {
  await using subject = await setUp(2 * megabyte);
  const { upstream, fills, ended, asked } = subject;
  subject.usedBytes = 2 * megabyte;
  const barrier = createBarrier();
  subject.makeRoom = async () => {
    await barrier.wait();
    subject.usedBytes = 0;
    return true;
  };
  const bytes = pseudoRandomBytes(megabyte, "waits");
  const digest = upstream.addBlob("library/a", bytes);
  const { fill } = fills.join(subject.request(a, digest, { expectedBytes: megabyte }), false);
  const reading = readFill(fill);
  assert.equal(await fill.opened, "streaming");
  assert.equal(fill.sizeBytes, megabyte);
  await barrier.reached;
  assert.equal(fill.receivedBytes, 0);
  barrier.release();
  assert.ok((await reading).equals(bytes));
  await fills.idle();
  assert.deepEqual(ended, ["committed"]);
  assert.deepEqual(asked, [megabyte]);
});

test("where room is not made in time the body goes on without being stored", async () => {
  await using subject = await setUp(2 * megabyte);
  const { upstream, fills, ended } = subject;
  subject.usedBytes = 2 * megabyte;
  const barrier = createBarrier();
  subject.makeRoom = async () => {
    await barrier.wait();
    return true;
  };
  const bytes = pseudoRandomBytes(megabyte, "too late");
  const digest = upstream.addBlob("library/a", bytes);
  assert.ok((await subject.pull(a, digest)).equals(bytes));
  barrier.release();
  await fills.idle();
  assert.deepEqual(ended, [passedOn]);
});

test("a fill that fails gives its room back, whenever that is", async () => {
  for (const at of [0, 100_000]) {
    await using subject = await setUp(2 * megabyte);
    const { upstream, fills, ended, space } = subject;
    const error = new UpstreamError("registry.example.com", "invalid", "it is another one");
    const barrier = createBarrier();
    const digest = upstream.addBlob("library/a", pseudoRandomBytes(megabyte, "fails"), {
      pauses: [{ at, barrier }],
      breaks: [{ at: at + 1, error }],
    });
    const reading = subject.pull(a, digest);
    await barrier.reached;
    assert.equal(space.state.reservedBytes, megabyte);
    barrier.release();
    await assert.rejects(reading, error);
    await fills.idle();
    assert.deepEqual(ended, ["failed"]);
    assert.equal(space.state.reservedBytes, 0);
    assert.equal(subject.usedBytes, 0);
  }
});

test("a fill that is cut while it waits for room gives up, and nothing stays set aside", async () => {
  await using subject = await setUp(2 * megabyte);
  const { upstream, fills } = subject;
  subject.usedBytes = 2 * megabyte;
  const barrier = createBarrier();
  subject.makeRoom = async () => {
    await barrier.wait();
    subject.usedBytes = 0;
    return true;
  };
  const digest = upstream.addBlob("library/a", pseudoRandomBytes(megabyte, "cut"));
  const { fill } = fills.join(subject.request(a, digest), false);
  const reading = readFill(fill);
  await barrier.reached;
  fill.abort(new Error("the process is stopping"));
  await assert.rejects(reading, /the process is stopping/);
  barrier.release();
  await fill.ended;
});

test("of two fills in the same tick, only as many get room as there is room for", async () => {
  await using subject = await setUp(3 * megabyte);
  const { upstream, fills, ended, content } = subject;
  const blobs = ["first", "second", "third"].map((name) => pseudoRandomBytes(2 * megabyte, name));
  const barrier = createBarrier();
  const digests = blobs.map((bytes) => upstream.addBlob("library/a", bytes, { pauses: [{ at: megabyte, barrier }] }));
  const reading = digests.map((digest) => subject.pull(a, digest));
  await barrier.arrivals(3);
  assert.equal(subject.space.state.reservedBytes, 2 * megabyte);
  assert.equal((await subject.staged()).length, 1);
  barrier.release();
  for (const [index, got] of (await Promise.all(reading)).entries()) assert.ok(got.equals(blobs[index] ?? got));
  await fills.idle();
  assert.deepEqual(ended.toSorted(), ["committed", passedOn, passedOn]);
  const stored = await Promise.all(digests.map((digest) => content.statBlob(digest)));
  assert.equal(stored.filter((each) => each !== undefined).length, 1);
});
