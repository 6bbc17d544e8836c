import assert from "node:assert/strict";
import { test } from "node:test";
import { Quota, type QuotaState } from "../../../src/registry/quota.ts";

const hour = 3_600_000;

function setUp(reserve: number): {
  readonly clock: { now: number };
  readonly told: QuotaState[];
  readonly quota: Quota;
} {
  const clock = { now: 10 * hour };
  const told: QuotaState[] = [];
  return {
    clock,
    told,
    quota: new Quota(
      reserve,
      () => clock.now,
      (state) => told.push(state),
    ),
  };
}

function report(remaining: number, fingerprint = "anonymous"): Parameters<Quota["note"]>[0] {
  return { limit: 100, remaining, windowSeconds: 21_600, fingerprint };
}

test("tags stay fresh for a whole window while less than the reserve is left", () => {
  const { clock, told, quota } = setUp(0.1);
  assert.equal(quota.stretch(600_000), 600_000);
  quota.note(report(10));
  assert.equal(quota.stretch(600_000), 600_000);
  quota.note(report(9));
  assert.equal(quota.stretch(600_000), 6 * hour);
  assert.equal(quota.stretch(24 * hour), 24 * hour);
  quota.note(report(8));
  assert.equal(told.length, 1, "it is told when it begins to bite, and once");
  clock.now += 6 * hour;
  assert.equal(quota.stretch(600_000), 600_000, "what was said is of a window that is over");
  quota.note(report(100));
  assert.deepEqual(
    told.map(({ low }) => low),
    [true, false],
  );
});

test("of several accounts the one with most left counts", () => {
  const { quota } = setUp(0.1);
  quota.note(report(1, "one"));
  assert.equal(quota.state?.low, true);
  quota.note(report(60, "two"));
  assert.deepEqual(quota.state, { limit: 100, remaining: 60, windowSeconds: 21_600, low: false });
});

test("what says nothing of use changes nothing", () => {
  const { quota } = setUp(0.1);
  for (const useless of [
    { limit: undefined, remaining: 5 },
    { limit: 100, remaining: undefined },
    { limit: 0, remaining: 0 },
  ]) {
    quota.note({ ...useless, windowSeconds: 60, fingerprint: "anonymous" });
  }
  assert.equal(quota.state, undefined);
});

test("the number of accounts it remembers is bounded", () => {
  const { quota } = setUp(0.1);
  quota.note(report(100, "first"));
  for (let account = 0; account < 64; account++) quota.note(report(1, `account ${account}`));
  assert.equal(quota.state?.remaining, 1);
});
