import assert from "node:assert/strict";
import { test } from "node:test";
import { Allowance } from "../../../src/concurrency/allowance.ts";

/** A clock whose waits end when a test says so. */
function createClock(): {
  wait(ms: number, signal: AbortSignal): Promise<void>;
  readonly waits: number[];
  pass(): void;
} {
  const waits: number[] = [];
  let resolve = (): void => undefined;
  return {
    waits,
    wait: (ms, signal) => {
      waits.push(ms);
      const { promise, resolve: end, reject } = Promise.withResolvers<void>();
      resolve = end;
      signal.addEventListener("abort", () => reject(new Error("stopped")), { once: true });
      return promise;
    },
    pass: () => resolve(),
  };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("it is used up slice by slice, however long each takes", async () => {
  const clock = createClock();
  const allowance = new Allowance(clock, 120);
  let isOver = false;
  void allowance.over.then(() => (isOver = true));
  for (const leftMs of [120, 70, 20]) {
    assert.deepEqual([allowance.leftMs, isOver], [leftMs, false]);
    clock.pass();
    await turn();
  }
  assert.deepEqual([allowance.leftMs, isOver], [0, true]);
  assert.deepEqual(clock.waits, [50, 50, 20]);
});

test("what is stopped is never over", async () => {
  const clock = createClock();
  const allowance = new Allowance(clock, 50);
  void allowance.over.then(() => assert.fail("it was stopped"));
  allowance.stop();
  await turn();
  assert.deepEqual(clock.waits, [50]);
});

test("none at all is over at the next turn of the clock", async () => {
  const clock = createClock();
  const allowance = new Allowance(clock, -5);
  clock.pass();
  await allowance.over;
  assert.deepEqual([allowance.leftMs, clock.waits], [0, [0]]);
});
