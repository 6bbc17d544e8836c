import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository } from "../../../src/oci/reference.ts";
import type { Content } from "../../../src/registry/content.ts";
import type { Fill } from "../../../src/registry/fill.ts";
import type { FillRequest } from "../../../src/registry/fill-tools.ts";
import { Fills } from "../../../src/registry/fills.ts";
import type { RepositoryId } from "../../../src/store/layout.ts";
import { BufferPool } from "../../../src/store/buffers.ts";
import { HashPool } from "../../../src/store/hashing.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { type ObjectStore, type Span, StoreError } from "../../../src/store/object-store.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import type { BlobSource } from "../../../src/registry/fill-tools.ts";
import type { Space } from "../../../src/registry/space.ts";
import { endlessSpace, openContent } from "../../support/books.ts";
import { createBarrier } from "../../support/barrier.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { holdEventLoop, never, turn, until } from "../../support/event-loop.ts";
import { createFakeUpstream, type FakeUpstream } from "../../support/fake-upstream.ts";
import { openFilesBelow } from "../../support/open-files.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";
import { storeWith } from "../../support/object-stores.ts";
import { hashIn } from "../../support/hashing.ts";

const hub = parseNamespace("docker.io");
const a: RepositoryId = { namespace: hub, repository: parseRepository("library/a") };
const b: RepositoryId = { namespace: hub, repository: parseRepository("library/b") };
const elsewhere: RepositoryId = { namespace: parseNamespace("ghcr.io"), repository: a.repository };
const heldBytes = 16 * 1024;

interface Subject extends AsyncDisposable {
  readonly fills: Fills;
  readonly content: Content;
  readonly upstream: FakeUpstream;
  readonly store: ObjectStore;
  /** What the observer was told, in order, without the bytes. */
  readonly told: string[];
  received: number;
  /** The request for a blob of the upstream. */
  request(id: RepositoryId, digest: Digest, changes?: Partial<FillRequest>): FillRequest;
  /** Starts or joins a fill, and reads it as a client would: the reader is there from the same tick on. */
  pull(id: RepositoryId, digest: Digest, options?: { span?: Span; linked?: boolean; pace?: number }): Promise<Buffer>;
}

interface Options {
  readonly store?: ObjectStore;
  /** Where staging files go, below the temporary folder; one that is missing is a disk that takes nothing. */
  readonly folder?: string;
  readonly space?: Pick<Space, "reserve" | "acquire">;
  readonly maxObjectBytes?: number;
}

async function setUp(options: Options = {}): Promise<Subject> {
  const loop = holdEventLoop();
  const folder = await createTemporaryDirectory();
  const pool = new BufferPool();
  const hashes = new HashPool(1);
  const store = options.store ?? new MemoryStore();
  const content = openContent(store);
  const upstream = createFakeUpstream();
  const told: string[] = [];
  const fills = new Fills({
    content,
    hashes,
    pool,
    space: options.space ?? endlessSpace,
    maxObjectBytes: options.maxObjectBytes ?? Infinity,
    spoolFolder: join(folder.path, options.folder ?? ""),
    observer: {
      started: (namespace) => told.push(`started ${namespace}`),
      received: (_namespace, bytes) => {
        subject.received += bytes;
      },
      resumed: (_id, _digest, offset) => told.push(`resumed ${offset}`),
      ended: (id, _digest, outcome, error) =>
        told.push(`ended ${id.namespace} ${outcome}${error === undefined ? "" : `: ${error.message}`}`),
    },
  });
  const subject: Subject = {
    fills,
    content,
    upstream,
    store,
    told,
    received: 0,
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
    pull: (id, digest, { span, linked = false, pace = 0 } = {}) => {
      const { fill } = fills.join(subject.request(id, digest), linked);
      return readFill(fill, span, pace);
    },
    async [Symbol.asyncDispose]() {
      try {
        await until(() => fills.size === 0);
        assert.equal(pool.lentBytes, 0);
        assert.equal(upstream.openBodies, 0);
        // The one thread takes messages in order, so that it has let go of its files when this is done.
        await hashIn(hashes, Buffer.alloc(0), "sha256");
        assert.deepEqual(openFilesBelow(folder.path), []);
        assert.deepEqual(await readdir(folder.path), [], "staging files are left");
        await hashes.close();
        await folder[Symbol.asyncDispose]();
      } finally {
        // A test that failed may have left a fill that waits for a barrier.
        await fills.close(new Error("the test is over"));
        loop[Symbol.dispose]();
      }
    },
  };
  return subject;
}

/** What one client gets of a fill; `got` is kept up to date while it reads. */
async function readFill(fill: Fill, span?: Span, pace = 0, got: Buffer[] = []): Promise<Buffer> {
  const reader = fill.join();
  try {
    assert.equal(await fill.opened, "streaming");
    for await (const chunk of reader.read(span, never())) {
      got.push(Buffer.from(chunk));
      await turn(pace);
    }
    return Buffer.concat(got);
  } finally {
    await reader.close();
  }
}

function broke(): UpstreamError {
  return new UpstreamError("registry.example.com", "unreachable", "the connection broke");
}

async function readStored(content: Content, digest: Digest): Promise<Buffer | undefined> {
  const object = await content.openBlob(digest);
  if (object === undefined) return undefined;
  const chunks: Buffer[] = [];
  for await (const chunk of object.read({ start: 0, end: object.sizeBytes })) chunks.push(Buffer.from(chunk));
  await object.close();
  return Buffer.concat(chunks);
}

test("a hundred clients of one cold blob cost one transfer, each gets its bytes, and it is stored", async () => {
  await using subject = await setUp();
  const { upstream, content, fills, told } = subject;
  const bytes = pseudoRandomBytes(3_000_000, "herd");
  const digest = upstream.addBlob("library/a", bytes);
  const whole = Array.from({ length: 80 }, (_, index) => subject.pull(a, digest, { pace: index % 4 }));
  const spans = Array.from({ length: 20 }, (_, index) => ({ start: index * 140_000, end: index * 150_000 + 7 }));
  const parts = spans.map((span) => subject.pull(a, digest, { span }));
  assert.equal(fills.size, 1);
  for (const got of await Promise.all(whole)) assert.ok(got.equals(bytes));
  for (const [index, got] of (await Promise.all(parts)).entries()) {
    assert.ok(got.equals(bytes.subarray(spans[index]?.start, spans[index]?.end)));
  }
  await fills.idle();
  assert.deepEqual(upstream.asked, [`blob library/a ${digest} 0`]);
  assert.equal(subject.received, bytes.length);
  assert.ok((await readStored(content, digest))?.equals(bytes));
  assert.deepEqual(await content.link(a, digest), {
    mediaType: "application/octet-stream",
    role: "blob",
    sizeBytes: bytes.length,
  });
  assert.deepEqual(told, ["started docker.io", "ended docker.io committed"]);
});

test("bytes reach the readers as they arrive, and who comes in the middle gets all of them", async () => {
  await using subject = await setUp();
  const { upstream, fills } = subject;
  const bytes = pseudoRandomBytes(3_000_000, "middle");
  const barrier = createBarrier();
  const digest = upstream.addBlob("library/a", bytes, { pauses: [{ at: 2_000_000, barrier }] });
  const { fill } = fills.join(subject.request(a, digest), false);
  const got: Buffer[] = [];
  const first = readFill(fill, undefined, 0, got);
  await barrier.reached;
  await until(() => Buffer.concat(got).length === 2_000_000);
  assert.equal(fill.state, "streaming");
  assert.equal(fill.sizeBytes, 3_000_000);
  const second = fills.join(subject.request(a, digest), false);
  assert.deepEqual([second.fill, second.joined], [fill, true]);
  const later = readFill(second.fill);
  barrier.release();
  assert.ok((await first).equals(bytes));
  assert.ok((await later).equals(bytes));
});

test("the last bytes of a range wait for the whole blob's digest, wherever the range is", async () => {
  await using subject = await setUp();
  const { upstream, fills } = subject;
  const bytes = pseudoRandomBytes(1_000_000, "range");
  const barrier = createBarrier();
  const digest = upstream.addBlob("library/a", bytes, { pauses: [{ at: 900_000, barrier }] });
  const got: Buffer[] = [];
  const { fill } = fills.join(subject.request(a, digest), false);
  const reading = readFill(fill, { start: 100_000, end: 500_000 }, 0, got);
  await barrier.reached;
  await until(() => Buffer.concat(got).length >= 400_000 - heldBytes);
  await turn(20);
  assert.equal(Buffer.concat(got).length, 400_000 - heldBytes);
  barrier.release();
  assert.ok((await reading).equals(bytes.subarray(100_000, 500_000)));
});

test("content with the wrong digest is never complete and never stored", async () => {
  for (const size of [1, 10_000, 1_000_000]) {
    await using subject = await setUp();
    const { upstream, content, fills, told } = subject;
    const bytes = pseudoRandomBytes(size, "wrong");
    const digest = upstream.addBlob("library/a", bytes, { digest: digestOf(Buffer.from("another")) });
    const { fill } = fills.join(subject.request(a, digest), false);
    const got: Buffer[] = [];
    await assert.rejects(readFill(fill, undefined, 0, got), (error: unknown) => {
      assert.ok(error instanceof UpstreamError);
      assert.equal(error.failure, "invalid");
      return true;
    });
    assert.equal(Buffer.concat(got).length, Math.max(0, size - heldBytes));
    await fill.ended;
    assert.equal(fill.state, "failed");
    assert.equal(fill.joinable, false);
    assert.equal(await content.openBlob(digest), undefined);
    assert.equal(await content.link(a, digest), undefined);
    assert.match(told.at(-1) ?? "", /^ended docker\.io failed: .*digest is sha256:/);
  }
});

test("an empty blob is checked before anybody is told that it is there", async () => {
  await using subject = await setUp();
  const { upstream, content, fills } = subject;
  const digest = upstream.addBlob("library/a", Buffer.alloc(0));
  assert.equal((await subject.pull(a, digest)).length, 0);
  await fills.idle();
  assert.equal((await readStored(content, digest))?.length, 0);
  const wrong = upstream.addBlob("library/a", Buffer.alloc(0), { digest: digestOf(Buffer.from("not empty")) });
  const { fill } = fills.join(subject.request(a, wrong), false);
  await assert.rejects(fill.opened, UpstreamError);
  await fills.idle();
  assert.equal(await content.openBlob(wrong), undefined);
});

test("sha512 is as good as sha256", async () => {
  await using subject = await setUp();
  const bytes = pseudoRandomBytes(1_234_567, "sha512");
  const digest = subject.upstream.addBlob("library/a", bytes, { digest: digestOf(bytes, "sha512") });
  assert.ok((await subject.pull(a, digest)).equals(bytes));
  await subject.fills.idle();
  assert.ok((await readStored(subject.content, digest))?.equals(bytes));
});

test("an upstream that sends more than it announced is stopped", async () => {
  await using subject = await setUp();
  const { upstream, content } = subject;
  const bytes = pseudoRandomBytes(300_000, "long");
  const digest = upstream.addBlob("library/a", bytes, { sizeBytes: 200_000 });
  await assert.rejects(subject.pull(a, digest), /longer than the 200000 bytes/);
  await subject.fills.idle();
  assert.equal(await content.openBlob(digest), undefined);
  assert.equal(upstream.asked.length, 1);
});

test("an upstream that ends early is asked for the rest, and given up when that brings nothing", async () => {
  await using subject = await setUp();
  const { upstream, content, told } = subject;
  const bytes = pseudoRandomBytes(100_000, "short");
  const digest = upstream.addBlob("library/a", bytes, { sizeBytes: 200_000 });
  await assert.rejects(subject.pull(a, digest), /ended at 100000 of 200000/);
  await subject.fills.idle();
  assert.equal(await content.openBlob(digest), undefined);
  assert.deepEqual(upstream.asked, [`blob library/a ${digest} 0`, `blob library/a ${digest} 100000`]);
  assert.equal(told[1], "resumed 100000");
});

test("a broken connection is taken up where it broke, and no reader notices", async () => {
  await using subject = await setUp();
  const { upstream, told } = subject;
  const bytes = pseudoRandomBytes(500_000, "resume");
  const breaks = [70_000, 70_001, 400_000].map((at) => ({ at, error: broke() }));
  const digest = upstream.addBlob("library/a", bytes, { breaks });
  const readers = [subject.pull(a, digest), subject.pull(a, digest, { pace: 2 })];
  for (const got of await Promise.all(readers)) assert.ok(got.equals(bytes));
  await subject.fills.idle();
  assert.deepEqual(
    upstream.asked.map((question) => question.split(" ").at(-1)),
    ["0", "70000", "70001", "400000"],
  );
  assert.equal(subject.received, bytes.length, "no byte came twice");
  assert.deepEqual(told.slice(1), ["resumed 70000", "resumed 70001", "resumed 400000", "ended docker.io committed"]);
});

test("tries without progress are counted, and readers get the last error", async () => {
  await using subject = await setUp();
  const { upstream, content, fills } = subject;
  const errors = [broke(), broke(), broke()];
  const breaks = errors.map((error) => ({ at: 5_000, error }));
  const digest = upstream.addBlob("library/a", pseudoRandomBytes(50_000, "no progress"), { breaks });
  const { fill } = fills.join(subject.request(a, digest, { retries: 1 }), false);
  await assert.rejects(readFill(fill), errors[1]);
  await fill.ended;
  assert.equal(upstream.asked.length, 2);
  assert.equal(await content.openBlob(digest), undefined);
  assert.ok((await subject.pull(a, digest)).length === 50_000, "a new fill starts from nothing");
});

test("a connection that timed out for dripping has made no progress, however many bytes it brought", async () => {
  await using subject = await setUp();
  const timeout = (): UpstreamError => new UpstreamError("registry.example.com", "timeout", "it comes too slowly");
  const breaks = [60_000, 120_000, 180_000].map((at) => ({ at, error: timeout() }));
  const digest = subject.upstream.addBlob("library/a", pseudoRandomBytes(300_000, "drip"), { breaks });
  await assert.rejects(subject.pull(a, digest), { failure: "timeout" });
  assert.deepEqual(subject.told.slice(1, 2), ["resumed 60000"]);
  assert.equal(subject.upstream.asked.length, 2);
  const once = [100_000, 200_000].map((at) => ({ at, error: timeout() }));
  const bytes = pseudoRandomBytes(300_000, "slow now and then");
  const other = subject.upstream.addBlob("library/a", bytes, { breaks: once });
  assert.ok((await subject.pull(a, other)).equals(bytes));
});

test("what breaks the protocol, or is a bug, is not tried again", async () => {
  for (const error of [new UpstreamError("registry.example.com", "invalid", "nonsense"), new TypeError("a bug")]) {
    await using subject = await setUp();
    const { upstream } = subject;
    const digest = upstream.addBlob("library/a", Buffer.alloc(50_000), { breaks: [{ at: 5_000, error }] });
    await assert.rejects(subject.pull(a, digest), error);
    assert.equal(upstream.asked.length, 1);
  }
});

test("what the upstream does not have, or cannot give, is told before anything is read", async () => {
  await using subject = await setUp();
  const { upstream, fills, told } = subject;
  const digest = digestOf(Buffer.from("nobody has it"));
  const missing = fills.join(subject.request(a, digest), false).fill;
  assert.equal(await missing.opened, "absent");
  await missing.ended;
  const error = broke();
  upstream.failure = error;
  const failing = fills.join(subject.request(a, digest), false).fill;
  await assert.rejects(failing.opened, error);
  await failing.ended;
  assert.deepEqual(told, [
    "started docker.io",
    "ended docker.io absent",
    "started docker.io",
    `ended docker.io failed: ${error.message}`,
  ]);
});

test("the fill goes on when its readers leave, and is stored", async () => {
  await using subject = await setUp();
  const { upstream, content, fills } = subject;
  const bytes = pseudoRandomBytes(2_000_000, "leave");
  const barrier = createBarrier();
  const digest = upstream.addBlob("library/a", bytes, { pauses: [{ at: 1_000_000, barrier }] });
  const { fill } = fills.join(subject.request(a, digest), false);
  const reader = fill.join();
  await fill.opened;
  const controller = new AbortController();
  const reason = new Error("the client left");
  await assert.rejects(async () => {
    for await (const chunk of reader.read(undefined, controller.signal)) {
      assert.ok(chunk.length > 0);
      controller.abort(reason);
    }
  }, reason);
  await reader.close();
  await barrier.reached;
  assert.equal(fill.state, "streaming");
  barrier.release();
  await fills.idle();
  assert.equal(fill.state, "committed");
  assert.ok((await readStored(content, digest))?.equals(bytes));
});

test("an upstream that does not say the size: the link's claim counts, and without it what came", async () => {
  await using subject = await setUp();
  const { upstream, fills } = subject;
  const bytes = pseudoRandomBytes(100_000, "unsaid");
  const digest = upstream.addBlob("library/a", bytes, { sizeBytes: undefined });
  const unsaid = fills.join(subject.request(a, digest), false).fill;
  const reader = unsaid.join();
  assert.equal(await unsaid.opened, "streaming");
  assert.equal(reader.sizeBytes, undefined);
  const chunks: Uint8Array[] = [];
  for await (const chunk of reader.read(undefined, never())) chunks.push(Uint8Array.from(chunk));
  await reader.close();
  assert.ok(Buffer.concat(chunks).equals(bytes));
  await fills.idle();
  assert.equal((await subject.content.link(a, digest))?.sizeBytes, 100_000);
  upstream.addBlob("library/b", bytes, { sizeBytes: undefined });
  const claimed = fills.join(subject.request(b, digest, { expectedBytes: 100_000 }), false).fill;
  await claimed.opened;
  assert.equal(claimed.sizeBytes, 100_000);
});

test("a fill belongs to its repository; only who is known to contain the digest shares it, within a namespace", async () => {
  await using subject = await setUp();
  const { upstream, fills } = subject;
  const bytes = pseudoRandomBytes(10_000, "shared");
  const barrier = createBarrier();
  const digest = upstream.addBlob("library/a", bytes, { pauses: [{ at: 5_000, barrier }] });
  upstream.addBlob("library/b", bytes);
  const first = fills.join(subject.request(a, digest), false);
  assert.equal(fills.find(a, digest, false), first.fill);
  assert.equal(fills.find(b, digest, true), undefined, "its upstream may still say no, which is not b's business");
  assert.equal(await first.fill.opened, "streaming");
  assert.equal(fills.find(b, digest, false), undefined);
  assert.equal(fills.find(b, digest, true), first.fill);
  assert.equal(fills.find(elsewhere, digest, true), undefined);
  assert.deepEqual(fills.join(subject.request(b, digest), true), { fill: first.fill, joined: true });
  const unlinked = fills.join(subject.request(b, digest), false);
  const foreign = fills.join(subject.request(elsewhere, digest), true);
  assert.deepEqual([unlinked.joined, foreign.joined], [false, false]);
  assert.equal(new Set([first.fill, unlinked.fill, foreign.fill]).size, 3);
  assert.equal(fills.size, 3);
  barrier.release();
  await fills.idle();
  assert.equal(fills.find(a, digest, true), undefined);
});

test("content that was stored meanwhile is used, where the right to it is known", async () => {
  await using subject = await setUp();
  const { upstream, content, store, fills, told } = subject;
  const bytes = Buffer.from("stored meanwhile");
  const digest = upstream.addBlob("library/a", bytes);
  await subject.pull(a, digest);
  await fills.idle();
  assert.notEqual(await content.statBlob(digest), undefined);
  const asked = upstream.asked.length;
  const reused = fills.join(subject.request(a, digest), true).fill;
  assert.equal(await reused.opened, "stored");
  await reused.ended;
  assert.equal(upstream.asked.length, asked);
  assert.equal(told.at(-1), "ended docker.io reused");
  const proven = fills.join(subject.request(b, digest), false).fill;
  assert.equal(await proven.opened, "absent", "the bytes prove the right, and this upstream has none");
  assert.notEqual(await store.head(`blobs/sha256/${digest.slice(7, 9)}/${digest.slice(9)}` as never), undefined);
});

test("a fill that cannot be stored is complete for its readers, and told; none is caught in between", async () => {
  const memory = new MemoryStore();
  const error = new StoreError("full", undefined);
  const store: ObjectStore = storeWith(memory, {
    put: () => Promise.reject(error),
  });
  await using subject = await setUp({ store });
  const { upstream, fills, told } = subject;
  // More than what stays in memory, so that readers need the staging file.
  const bytes = pseudoRandomBytes(3_000_000, "unstored");
  const digest = upstream.addBlob("library/a", bytes);
  const first = subject.pull(a, digest);
  const late: Promise<Buffer>[] = [];
  while (fills.size > 0) {
    const fill = fills.find(a, digest, false);
    if (fill?.state === "verified") late.push(readFill(fill));
    await turn();
  }
  assert.ok((await first).equals(bytes));
  for (const got of await Promise.all(late)) assert.ok(got.equals(bytes));
  assert.deepEqual(told, ["started docker.io", "ended docker.io unstored: full"]);
  assert.equal(upstream.asked.length, 1);
});

test("without a disk the bytes go to who reads; without readers there is nothing to do", async () => {
  await using subject = await setUp({ folder: `missing-${randomUUID()}` });
  const { upstream, content, fills, told } = subject;
  const bytes = pseudoRandomBytes(3_000_000, "no disk");
  const digest = upstream.addBlob("library/a", bytes);
  const readers = [0, 1, 2].map((pace) => subject.pull(a, digest, { pace }));
  for (const got of await Promise.all(readers)) assert.ok(got.equals(bytes));
  await fills.idle();
  assert.equal(await content.openBlob(digest), undefined);
  assert.match(told.at(-1) ?? "", /^ended docker\.io unstored: the staging file could not be written/);
  const alone = fills.join(subject.request(a, digest), false).fill;
  await alone.ended;
  assert.equal(alone.state, "failed");
  const wrong = upstream.addBlob("library/a", bytes, { digest: digestOf(Buffer.from("another")) });
  await assert.rejects(subject.pull(a, wrong), /digest is sha256:/);
});

test("one that comes too late for what is in memory starts a fill of its own", async () => {
  await using subject = await setUp({ folder: `missing-${randomUUID()}` });
  const { upstream, fills } = subject;
  const bytes = pseudoRandomBytes(3_000_000, "too late");
  const barrier = createBarrier();
  const digest = upstream.addBlob("library/a", bytes, { pauses: [{ at: 2_500_000, barrier }] });
  const first = fills.join(subject.request(a, digest), false);
  const early = readFill(first.fill);
  await barrier.reached;
  await until(() => !first.fill.joinable);
  const second = fills.join(subject.request(a, digest), false);
  assert.equal(second.joined, false);
  const late = readFill(second.fill);
  await until(() => upstream.asked.length === 2);
  barrier.release();
  assert.ok((await early).equals(bytes));
  assert.ok((await late).equals(bytes));
});

test("closing ends what runs with the reason, leaves no file, and lets nothing start", async () => {
  await using subject = await setUp();
  const { upstream, fills, content, told } = subject;
  const bytes = pseudoRandomBytes(2_000_000, "close");
  const barrier = createBarrier();
  const digest = upstream.addBlob("library/a", bytes, { pauses: [{ at: 1_000_000, barrier }] });
  const reading = subject.pull(a, digest);
  await barrier.reached;
  const held = createBarrier();
  upstream.hold = held;
  const opening = fills.join(subject.request(b, digest), false).fill;
  await held.reached;
  const reason = new Error("the process is stopping");
  await Promise.all([fills.close(reason), assert.rejects(reading, reason), assert.rejects(opening.opened, reason)]);
  assert.equal(fills.size, 0);
  assert.throws(() => fills.join(subject.request(a, digest), false), reason);
  assert.equal(await content.openBlob(digest), undefined);
  assert.equal(told.filter((line) => line.startsWith("ended docker.io failed")).length, 2);
});

test("a reader that is slow to begin misses nothing once everything is verified", async () => {
  await using subject = await setUp();
  const { upstream, content, fills } = subject;
  const bytes = pseudoRandomBytes(2_000_000, "slow to begin");
  const digest = upstream.addBlob("library/a", bytes);
  const { fill } = fills.join(subject.request(a, digest), false);
  const reader = fill.join();
  await fill.ended;
  assert.notEqual(await content.openBlob(digest), undefined);
  const chunks: Uint8Array[] = [];
  for await (const chunk of reader.read(undefined, never())) chunks.push(Uint8Array.from(chunk));
  await reader.close();
  assert.ok(Buffer.concat(chunks).equals(bytes));
});

/** Another one who is getting the blob: what it has comes a little at a time, and it goes away on the way. */
function peerThatGoes(bytes: Buffer, goesAt: number, asked: number[], next: BlobSource): BlobSource {
  return {
    async open(from, by) {
      asked.push(from.offset);
      if (asked.length > 1) return next.open(from, by);
      return {
        // It does not know yet how large the blob is.
        sizeBytes: undefined,
        cancel: () => undefined,
        body: (async function* () {
          for (let at = from.offset; at < goesAt; at += 1_000) {
            await turn();
            yield bytes.subarray(at, Math.min(goesAt, at + 1_000));
          }
          throw new UpstreamError("peer.example.com", "unreachable", "it is gone");
        })(),
      };
    },
  };
}

test("a fill takes its bytes from whoever has them, and goes on with another where that one goes away", async () => {
  await using subject = await setUp();
  const { upstream, content, fills, told } = subject;
  const bytes = pseudoRandomBytes(50_000, "from a peer");
  const digest = upstream.addBlob("library/a", bytes);
  const { source } = subject.request(a, digest);
  const asked: number[] = [];
  const { fill } = fills.join(
    subject.request(a, digest, { source: peerThatGoes(bytes, 20_500, asked, source) }),
    false,
  );
  assert.ok((await readFill(fill)).equals(bytes));
  await fill.ended;
  assert.deepEqual(asked, [0, 20_500]);
  assert.deepEqual(upstream.asked, [`blob library/a ${digest} 20500`]);
  assert.equal((await content.statBlob(digest))?.sizeBytes, bytes.length);
  assert.ok(told.length > 0);
});

test("what a source sends is stored only with its digest, whoever it is", async () => {
  await using subject = await setUp();
  const { content, fills, upstream } = subject;
  const digest = upstream.addBlob("library/a", pseudoRandomBytes(30_000, "right"));
  const wrong = pseudoRandomBytes(30_000, "wrong");
  const source: BlobSource = {
    open: async () => ({
      sizeBytes: wrong.length,
      cancel: () => undefined,
      body: (async function* () {
        yield wrong;
      })(),
    }),
  };
  const { fill } = fills.join(subject.request(a, digest, { source }), false);
  await assert.rejects(readFill(fill), { name: "UpstreamError", failure: "invalid" });
  await fill.ended;
  assert.equal(await content.statBlob(digest), undefined);
});
