import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createLimiter } from "../../../src/upstream/limiter.ts";
import { never } from "./scripted.ts";

const small = { key: "manifest a", bulk: false };

test("a free slot is given at once, and given back once", async () => {
  const limiter = createLimiter(2);
  const release = await limiter.acquire(small, never());
  await limiter.acquire(small, never());
  assert.equal(limiter.running, 2);
  release();
  release();
  assert.equal(limiter.running, 1);
});

test("one queue is served in order", async () => {
  const limiter = createLimiter(1);
  const order: number[] = [];
  const first = await limiter.acquire(small, never());
  const rest = [1, 2, 3].map(async (number) => {
    const release = await limiter.acquire(small, never());
    order.push(number);
    release();
  });
  assert.equal(limiter.waiting, 3);
  first();
  await Promise.all(rest);
  assert.deepEqual(order, [1, 2, 3]);
  assert.equal(limiter.running, 0);
});

test("queues take turns: the second image waits for one of the first, not for all", async () => {
  const limiter = createLimiter(1);
  const order: string[] = [];
  const first = await limiter.acquire(small, never());
  const enter = async (key: string): Promise<void> => {
    const release = await limiter.acquire({ key, bulk: true }, never());
    order.push(key);
    release();
  };
  const all = [...Array.from({ length: 5 }, () => enter("blob a")), enter("blob b"), enter("manifest a")];
  first();
  await Promise.all(all);
  assert.deepEqual(order, ["blob a", "blob b", "manifest a", "blob a", "blob a", "blob a", "blob a"]);
});

test("bulk transfers leave a slot, so that a manifest passes them while all of them last", async () => {
  const limiter = createLimiter(4);
  const blobs = Array.from({ length: 10 }, () => limiter.acquire({ key: "blob a", bulk: true }, never()));
  await Promise.all(blobs.slice(0, 3));
  assert.equal(limiter.running, 3);
  assert.equal(limiter.waiting, 7);
  const release = await limiter.acquire(small, never());
  assert.equal(limiter.running, 4);
  release();
  assert.equal(limiter.running, 3, "the slot is not taken by a blob");
  (await blobs[0])?.();
  await blobs[3];
  assert.equal(limiter.waiting, 6);
});

test("a single slot is used for bulk transfers too", async () => {
  const limiter = createLimiter(1);
  await limiter.acquire({ key: "blob a", bulk: true }, never());
  assert.equal(limiter.running, 1);
});

test("an abort leaves the queue with the signal's reason, and the others keep their places", async () => {
  const limiter = createLimiter(1);
  const first = await limiter.acquire(small, never());
  const controller = new AbortController();
  const leaving = limiter.acquire(small, controller.signal);
  const staying = limiter.acquire(small, never());
  const reason = new Error("gone");
  controller.abort(reason);
  await assert.rejects(leaving, (error) => error === reason);
  assert.equal(limiter.waiting, 1);
  first();
  (await staying)();
  assert.equal(limiter.running, 0);
  await assert.rejects(limiter.acquire(small, controller.signal), (error) => error === reason);
});

test("whatever happens, no more than the slots are held and all who stay are served", async () => {
  const steps = fc.array(fc.record({ key: fc.constantFrom("a", "b", "c"), bulk: fc.boolean(), aborts: fc.boolean() }), {
    maxLength: 40,
  });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 5 }), steps, async (slots, queues) => {
      const limiter = createLimiter(slots);
      let most = 0;
      const ends = queues.map(async ({ key, bulk, aborts }) => {
        const controller = new AbortController();
        const slot = limiter.acquire({ key: `${key}${bulk}`, bulk }, controller.signal);
        if (aborts) {
          queueMicrotask(() => controller.abort());
        }
        try {
          const release = await slot;
          most = Math.max(most, limiter.running);
          await Promise.resolve();
          release();
          return true;
        } catch {
          return false;
        }
      });
      const served = await Promise.all(ends);
      assert.ok(most <= slots);
      assert.ok(served.every((isServed, index) => isServed || queues[index]?.aborts === true));
      assert.deepEqual([limiter.running, limiter.waiting], [0, 0]);
    }),
    { numRuns: 200 },
  );
});
