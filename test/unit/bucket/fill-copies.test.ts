import assert from "node:assert/strict";
import { test } from "node:test";
import { Bucket } from "../../../src/bucket/bucket.ts";
import { type CopiedFill, FillCopies } from "../../../src/bucket/fill-copies.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository } from "../../../src/oci/reference.ts";
import { blobKey, linkKey } from "../../../src/store/layout.ts";
import { createBarrier } from "../../support/barrier.ts";
import { MemoryBucket } from "../../support/bucket.ts";
import { never, turn, until } from "../../support/event-loop.ts";

const id = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/a") };
const bytes = Buffer.alloc(1024 * 1024, "x");
const digest = digestOf(bytes);

type FakeFill = CopiedFill & { readers: number };

function fillOf(stores: boolean, state: CopiedFill["state"] = "verified"): FakeFill {
  const fill: FakeFill = {
    stores,
    receivedBytes: bytes.length,
    sizeBytes: bytes.length,
    state,
    readers: 0,
    ended: Promise.resolve(),
    join: () => {
      fill.readers++;
      return {
        sizeBytes: bytes.length,
        async *read() {
          yield bytes;
        },
        close: async () => void fill.readers--,
      };
    },
  };
  return fill;
}

interface Subject {
  readonly store: MemoryBucket;
  readonly copies: FillCopies;
  /** How the waits end that were begun. */
  readonly waits: (() => void)[];
  now: number;
}

function setUp(): Subject {
  const store = new MemoryBucket();
  const observer = { asked: () => undefined, failed: () => undefined, recovered: () => undefined };
  const waits: Subject["waits"] = [];
  const subject: Subject = {
    store,
    waits,
    now: 0,
    copies: new FillCopies({
      bucket: new Bucket({ store, observer, monotonic: () => 0 }),
      clock: {
        now: () => 0,
        monotonic: () => subject.now,
        wait: () => new Promise((resolve) => waits.push(resolve)),
      },
      signal: never(),
      onCopied: () => undefined,
    }),
  };
  return subject;
}

test("a blob is copied from its fill, with a link where the folder has none", async () => {
  const { store, copies } = setUp();
  const fill = fillOf(false);
  await copies.copy(fill, digest);
  await copies.link(fill, id, digest);
  assert.deepEqual((await store.keys()).toSorted(), [blobKey(digest), linkKey(id, digest)]);
});

test("a fill that failed gives no right to what the bucket has of others", async () => {
  const { store, copies } = setUp();
  await store.plant(blobKey(digest), bytes);
  const fill = fillOf(false, "failed");
  await copies.copy(fill, digest);
  await copies.link(fill, id, digest);
  assert.deepEqual(await store.keys(), [blobKey(digest)]);
});

test("a bucket that clients wait for is given up when it is too slow, and not waited for again at once", async () => {
  const subject = setUp();
  const { store, copies, waits } = subject;
  const fill = fillOf(false);
  assert.ok(copies.mayFollow(fill));
  store.hold = createBarrier();
  const copy = copies.copy(fill, digest);
  await until(() => waits.length === 1);
  waits[0]?.();
  await assert.rejects(copy, /too slow/);
  assert.equal(fill.readers, 0);
  assert.ok(!copies.mayFollow(fill));
  assert.ok(copies.mayFollow(fillOf(true)), "nobody waits for it where the folder stores");
  subject.now = 60_000;
  assert.ok(copies.mayFollow(fill));
});

test("a slow bucket is waited for where the folder stores the blob: nobody else waits", async () => {
  const { store, copies, waits } = setUp();
  store.hold = createBarrier();
  const { hold } = store;
  const copy = copies.copy(fillOf(true), digest);
  await hold.reached;
  waits[0]?.();
  await turn(2);
  hold.release();
  await copy;
  assert.ok((await store.keys()).includes(blobKey(digest)));
});

test("sixteen are copied on their way at once, as each has parts in memory", async () => {
  const { store, copies } = setUp();
  store.hold = createBarrier();
  const running = Array.from({ length: 16 }, (_, index) => {
    assert.ok(copies.mayFollow(fillOf(true)), `${index}`);
    return copies.copy(fillOf(true), digestOf(Buffer.from(`${index}`)));
  });
  assert.ok(!copies.mayFollow(fillOf(true)));
  store.hold.release();
  await Promise.all(running);
  assert.ok(copies.mayFollow(fillOf(true)));
  store.failure = new Error("SlowDown");
  for (let failed = 0; failed < 16; failed++) await assert.rejects(copies.copy(fillOf(true), digest));
  assert.ok(copies.mayFollow(fillOf(true)), "those that failed have ended, too");
});
