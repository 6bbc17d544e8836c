import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BufferPool } from "../../../src/store/buffers.ts";

const kib = 1024;
const mib = 1024 * kib;
const smallest = 32 * kib;

test("a few readers get large buffers, a thousand together stay near the budget", () => {
  const pool = new BufferPool(48 * mib);
  assert.equal(pool.acquire(10 * mib).length, mib);
  const lent = Array.from({ length: 999 }, () => pool.acquire(10 * mib));
  assert.equal(lent.at(-1)?.length, smallest);
  assert.ok(pool.lentBytes <= 48 * mib + 1_000 * smallest, `${pool.lentBytes} bytes are lent`);
  const rest = lent.slice(500).reduce((sum, buffer) => sum + buffer.length, 0);
  assert.equal(rest, 499 * smallest, "the second half gets the smallest size");
});

test("a small object gets a small buffer that holds it whole", () => {
  const pool = new BufferPool(48 * mib);
  for (const [wanted, size] of [
    [0, smallest],
    [1, smallest],
    [smallest, smallest],
    [smallest + 1, 64 * kib],
    [64 * kib, 64 * kib],
    [64 * kib + 1, 128 * kib],
    [200 * kib, 256 * kib],
    [mib, mib],
    [5 * mib, mib],
  ] as const) {
    const buffer = pool.acquire(wanted);
    assert.equal(buffer.length, size, `for ${wanted}`);
    pool.release(buffer);
  }
});

test("a buffer that came back is lent again, but not kept beyond 16 MiB", () => {
  const pool = new BufferPool(48 * mib);
  const lent = Array.from({ length: 20 }, () => pool.acquire(mib));
  for (const buffer of lent) pool.release(buffer);
  assert.equal(pool.lentBytes, 0);
  const again = Array.from({ length: 20 }, () => pool.acquire(mib));
  assert.equal(again.filter((buffer) => lent.includes(buffer)).length, 16);
});

test("one that is lent again and again is always the same", () => {
  const pool = new BufferPool(48 * mib);
  const first = pool.acquire(mib);
  pool.release(first);
  for (let times = 0; times < 40; times++) {
    const again = pool.acquire(mib);
    assert.ok(again === first);
    pool.release(again);
  }
});

test("no buffer is lent to two, and what is lent is counted", () => {
  const steps = fc.array(fc.oneof(fc.nat({ max: 2 * mib }), fc.constant("back" as const)), { maxLength: 60 });
  fc.assert(
    fc.property(steps, (actions) => {
      const pool = new BufferPool(2 * mib);
      const lent: Buffer[] = [];
      for (const action of actions) {
        if (action === "back") {
          const buffer = lent.shift();
          if (buffer !== undefined) pool.release(buffer);
        } else {
          const buffer = pool.acquire(action);
          assert.ok(!lent.includes(buffer));
          lent.push(buffer);
        }
        assert.equal(
          pool.lentBytes,
          lent.reduce((sum, buffer) => sum + buffer.length, 0),
        );
      }
    }),
    { numRuns: 100 },
  );
});
