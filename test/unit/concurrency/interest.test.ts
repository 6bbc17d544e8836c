import assert from "node:assert/strict";
import { test } from "node:test";
import { Abandoned, Interest } from "../../../src/concurrency/interest.ts";

/** Waits in a queue on an interest's behalf; what it was told of giving up, in order. */
function wait(interest: Interest): { readonly told: unknown[]; readonly stop: () => void } {
  const told: unknown[] = [];
  return { told, stop: interest.queue((reason) => told.push(reason)) };
}

test("what waits for several is given up when the last of them has left, and once", () => {
  const interest = new Interest();
  const client = new Interest();
  const hangUp = client.join();
  interest.join(client);
  const leave = interest.join();
  const { told } = wait(interest);
  leave();
  leave();
  assert.deepEqual([told.length, interest.isWaiting, interest.isLost], [0, true, false]);
  hangUp();
  assert.ok(told[0] instanceof Abandoned);
  assert.deepEqual([told.length, interest.isWaiting, interest.isLost], [1, false, true]);
});

test("what does not wait is not given up, and may be wanted again", () => {
  const interest = new Interest();
  const before = wait(interest);
  assert.equal(before.told.length, 1, "nobody has ever wanted it");
  const other = new Interest();
  const leave = other.join();
  const waited = wait(other);
  waited.stop();
  leave();
  assert.deepEqual([waited.told.length, other.isLost], [0, false]);
  other.join();
  assert.equal(wait(other).told.length, 0);
});

test("a client that has left before it asked does not count", () => {
  const interest = new Interest();
  interest.join({ isWaiting: false, watch: () => () => undefined });
  assert.equal(interest.isWaiting, false);
});

test("who waits for others wants what they want, for as long as they do", () => {
  const outer = new Interest();
  const inner = new Interest();
  inner.join(outer);
  assert.equal(inner.isWaiting, false);
  const leave = outer.join();
  const { told } = wait(inner);
  assert.equal(inner.isWaiting, true);
  const own = inner.join();
  leave();
  outer.join();
  own();
  assert.deepEqual([told.length, inner.isWaiting], [0, true]);
});
