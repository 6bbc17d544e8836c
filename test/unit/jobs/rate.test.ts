import assert from "node:assert/strict";
import { test } from "node:test";
import { Rate } from "../../../src/jobs/rate.ts";
import { never, turn } from "../../support/event-loop.ts";
import { createManualClock } from "./manual-clock.ts";

test("bytes come at the rate, also in small parts and for several at once", async () => {
  const clock = createManualClock();
  const rate = new Rate(1_000, clock);
  let taken = 0;
  const take = async (): Promise<void> => {
    for (let count = 0; count < 1_000; count++) {
      await rate.take(1, never());
      taken++;
    }
  };
  const done = Promise.all([take(), take()]);
  await clock.pass(500);
  assert.ok(taken >= 500 && taken <= 520, String(taken));
  await clock.pass(1_000);
  assert.ok(taken >= 1_500 && taken <= 1_520, String(taken));
  await clock.pass(1_000);
  await done;
});

test("time in which nothing was taken is not saved up", async () => {
  const clock = createManualClock();
  const rate = new Rate(1_000, clock);
  await rate.take(10, never());
  await clock.pass(60_000);
  await rate.take(5_000, never());
  const next = rate.take(1, never());
  await turn();
  assert.deepEqual(clock.waits, [5_000]);
  await clock.pass(5_000);
  await next;
});

test("a debt of a few milliseconds is not waited for, and not forgotten", async () => {
  const clock = createManualClock();
  const rate = new Rate(1_000, clock);
  await rate.take(9, never());
  await rate.take(9, never());
  assert.deepEqual(clock.waits, []);
  const next = rate.take(1, never());
  await turn();
  assert.deepEqual(clock.waits, [18]);
  await clock.pass(18);
  await next;
});

test("who waits leaves with the signal's reason", async () => {
  const clock = createManualClock();
  const rate = new Rate(1, clock);
  const abort = new AbortController();
  await rate.take(1_000, abort.signal);
  const waiting = rate.take(1, abort.signal);
  abort.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
  assert.deepEqual(clock.waits, []);
  await assert.rejects(rate.take(0, abort.signal), /enough/);
});

test("without a limit nobody waits, but the signal counts", async () => {
  const clock = createManualClock();
  const rate = new Rate(undefined, clock);
  for (let count = 0; count < 100; count++) await rate.take(Number.MAX_SAFE_INTEGER, never());
  await assert.rejects(rate.take(1, AbortSignal.abort(new Error("enough"))), /enough/);
});
