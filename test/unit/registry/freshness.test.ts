import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isFresh, mayServeStale } from "../../../src/registry/freshness.ts";

const minute = 60_000;

test("a tag is fresh up to its time, and not at it", () => {
  const policy = { ttlMs: 10 * minute, staleIfErrorMs: 60 * minute };
  const rows: [ageMs: number, fresh: boolean, stale: boolean][] = [
    [0, true, true],
    [1, true, true],
    [10 * minute - 1, true, true],
    [10 * minute, false, true],
    [70 * minute, false, true],
    [70 * minute + 1, false, false],
    [-1, false, true],
  ];
  for (const [ageMs, fresh, stale] of rows) {
    assert.equal(isFresh(1_000_000, 1_000_000 + ageMs, policy), fresh, `${ageMs} ms old`);
    assert.equal(mayServeStale(1_000_000, 1_000_000 + ageMs, policy), stale, `${ageMs} ms old`);
  }
});

test("0s asks every time, and infinite staleness never ends", () => {
  const policy = { ttlMs: 0, staleIfErrorMs: Infinity };
  assert.equal(isFresh(5, 5, policy), false);
  assert.equal(mayServeStale(0, Number.MAX_SAFE_INTEGER, policy), true);
  assert.equal(mayServeStale(0, 1, { ttlMs: 0, staleIfErrorMs: 0 }), false);
});

test("freshness ends once, and what is fresh may stand in for the upstream too", () => {
  const time = fc.nat({ max: 1_000_000_000 });
  fc.assert(
    fc.property(time, time, time, time, time, (checkedAt, ttlMs, staleIfErrorMs, earlier, later) => {
      const policy = { ttlMs, staleIfErrorMs };
      const [first, second] = [checkedAt + Math.min(earlier, later), checkedAt + Math.max(earlier, later)];
      if (isFresh(checkedAt, second, policy)) assert.ok(isFresh(checkedAt, first, policy));
      if (mayServeStale(checkedAt, second, policy)) assert.ok(mayServeStale(checkedAt, first, policy));
      if (isFresh(checkedAt, first, policy)) assert.ok(mayServeStale(checkedAt, first, policy));
      assert.equal(isFresh(checkedAt, first, policy), first - checkedAt < ttlMs);
    }),
  );
});
