import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Abandoned, Interest } from "../../../src/concurrency/interest.ts";
import { Limiter, QueueFull } from "../../../src/concurrency/limiter.ts";
import { never } from "../upstream/scripted.ts";

const small = { key: "manifest a", bulk: false };

test("a free slot is given at once, and given back once", async () => {
  const limiter = new Limiter(2);
  const release = await limiter.acquire(small, never());
  await limiter.acquire(small, never());
  assert.equal(limiter.running, 2);
  release();
  release();
  assert.equal(limiter.running, 1);
});

test("one queue is served in order", async () => {
  const limiter = new Limiter(1);
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
  const limiter = new Limiter(1);
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
  const limiter = new Limiter(4);
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
  const limiter = new Limiter(1);
  await limiter.acquire({ key: "blob a", bulk: true }, never());
  assert.equal(limiter.running, 1);
});

test("an abort leaves the queue with the signal's reason, and the others keep their places", async () => {
  const limiter = new Limiter(1);
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

test("who waits for nobody leaves the queue; a free slot is given all the same", async () => {
  const limiter = new Limiter(1);
  const nobody = new Interest();
  const first = await limiter.acquire(small, never(), { interest: nobody });
  const interest = new Interest();
  const leave = interest.join();
  const leaving = limiter.acquire(small, never(), { interest });
  const late = limiter.acquire(small, never(), { interest: nobody });
  const staying = limiter.acquire(small, never());
  await assert.rejects(late, Abandoned);
  assert.equal(limiter.waiting, 2);
  leave();
  await assert.rejects(leaving, Abandoned);
  assert.equal(limiter.waiting, 1);
  first();
  (await staying)();
  assert.equal(limiter.running, 0);
});

test("who aborts after the start takes nobody's place", async () => {
  const limiter = new Limiter(1);
  const first = await limiter.acquire(small, never());
  const late = new AbortController();
  const second = limiter.acquire(small, late.signal);
  const third = limiter.acquire(small, never());
  first();
  const release = await second;
  late.abort();
  assert.deepEqual([limiter.running, limiter.waiting], [1, 1]);
  release();
  (await third)();
  assert.deepEqual([limiter.running, limiter.waiting], [0, 0]);
});

test("whatever happens, no more than the slots are held and all who stay are served", async () => {
  const steps = fc.array(fc.record({ key: fc.constantFrom("a", "b", "c"), bulk: fc.boolean(), aborts: fc.boolean() }), {
    maxLength: 40,
  });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 5 }), steps, async (slots, queues) => {
      const limiter = new Limiter(slots);
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

test("a party holds its share and no more, and a manifest of its own passes its blobs", async () => {
  const limiter = new Limiter(8, { partySlots: 4 });
  const enter = (party: string, bulk: boolean): Promise<() => void> =>
    limiter.acquire({ key: `${party} ${bulk}`, bulk, party }, never());
  const blobs = Array.from({ length: 10 }, () => enter("greedy", true));
  await Promise.all(blobs.slice(0, 3));
  assert.deepEqual([limiter.running, limiter.waiting], [3, 7]);
  await enter("greedy", false);
  const more = enter("greedy", false);
  assert.deepEqual([limiter.running, limiter.waiting], [4, 8], "its share is held");
  const release = await enter("modest", true);
  assert.equal(limiter.running, 5);
  release();
  assert.deepEqual([limiter.running, limiter.waiting], [4, 8], "nobody else's slot is for it");
  (await blobs[0])?.();
  (await blobs[3])?.();
  (await more)();
});

test("parties take turns, however many queues one has", async () => {
  const limiter = new Limiter(1);
  const order: string[] = [];
  const enter = async (party: string, key: string): Promise<void> => {
    const release = await limiter.acquire({ key, bulk: false, party }, never());
    order.push(key);
    release();
  };
  const first = await limiter.acquire(small, never());
  const all = ["a", "b", "c", "d", "e"].map((key) => enter("many", key));
  all.push(enter("one", "x"), enter("one", "x"));
  first();
  await Promise.all(all);
  assert.deepEqual(order, ["a", "x", "b", "x", "c", "d", "e"]);
});

test("where too many wait, the longest queue of whoever waits most loses its last one", async () => {
  const limiter = new Limiter(1, { maxWaiting: 4 });
  const first = await limiter.acquire(small, never());
  const outcomes: string[] = [];
  const enter = async (party: string, key: string): Promise<void> => {
    try {
      (await limiter.acquire({ key, bulk: false, party }, never()))();
      outcomes.push(`${party} ${key}`);
    } catch (error) {
      assert.ok(error instanceof QueueFull);
      outcomes.push(`${party} ${key} refused`);
    }
  };
  const all = [enter("many", "a"), enter("many", "b"), enter("many", "b"), enter("many", "b")];
  all.push(enter("many", "b"), enter("one", "x"), enter("many", "c"), enter("one", "y"));
  await Promise.resolve();
  assert.equal(limiter.waiting, 4);
  first();
  await Promise.all(all);
  const refused = outcomes.filter((outcome) => outcome.endsWith("refused"));
  assert.deepEqual(refused.toSorted(), ["many a refused", "many b refused", "many b refused", "many b refused"]);
  const served = outcomes.filter((outcome) => !refused.includes(outcome));
  assert.deepEqual(served.toSorted(), ["many b", "many c", "one x", "one y"]);
  assert.deepEqual([limiter.running, limiter.waiting], [0, 0]);
});

test("a bulk slot that is held for too long is asked back when somebody waits, the oldest first", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const limiter = new Limiter(4, { bulkMs: 1_000 });
  const asked: number[] = [];
  const slots: (() => void)[] = [];
  for (const number of [0, 1, 2]) {
    const giveUp = (): void => {
      asked.push(number);
      slots[number]?.();
    };
    slots.push(await limiter.acquire({ key: "blob a", bulk: true }, never(), { giveUp }));
    context.mock.timers.tick(100);
  }
  context.mock.timers.tick(600);
  const waiter = limiter.acquire({ key: "blob b", bulk: true }, never());
  context.mock.timers.tick(99);
  assert.deepEqual(asked, [], "nobody's time is over");
  context.mock.timers.tick(1);
  const release = await waiter;
  assert.deepEqual(asked, [0]);
  context.mock.timers.tick(5_000);
  assert.deepEqual(asked, [0], "nobody waits");
  await limiter.acquire({ key: "blob b", bulk: true }, never());
  assert.deepEqual(asked, [0, 1]);
  release();
});
