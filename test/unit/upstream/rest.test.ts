import assert from "node:assert/strict";
import { test } from "node:test";
import { askedRestSeconds, restMs, Rests } from "../../../src/upstream/rest.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { createClock } from "./scripted.ts";

const now = Date.parse("2026-11-21T12:00:00Z");
const rows: [header: string | undefined, seconds: number | undefined][] = [
  [undefined, undefined],
  ["", undefined],
  ["0", 0],
  [" 120 ", 120],
  ["-1", undefined],
  ["1.5", undefined],
  ["soon", undefined],
  ["99999999999999999999", undefined],
  ["3601", 3600],
  ["999999999", 3600],
  ["Sat, 21 Nov 2026 12:00:30 GMT", 30],
  ["Sun, 22 Nov 2026 12:00:00 GMT", 3600],
  ["Sat, 21 Nov 2026 11:00:00 GMT", 0],
];

for (const [header, seconds] of rows) {
  test(`Retry-After: ${header} is ${seconds} s`, () =>
    assert.equal(askedRestSeconds({ header: () => header }, now), seconds));
}

test("who failed rests for as long as it asked, for an hour at most and for so long at least", () => {
  for (const [retryAfterSeconds, ms] of [
    [1, 5_000],
    [60, 60_000],
    [86_400, 3_600_000],
  ] as const) {
    assert.equal(restMs(new UpstreamError("x", "rate-limited", "it is", { retryAfterSeconds }), 5_000), ms);
  }
  assert.equal(restMs(new UpstreamError("x", "timeout", "it is"), 5_000), 5_000);
});

test("a rest is for one alone, and ends by itself; the longer one counts, and their number is bounded", () => {
  const clock = createClock();
  const rests = new Rests<string>(clock, 2);
  rests.begin("a", 10_000);
  rests.begin("a", 5_000);
  assert.equal(rests.leftMs("a"), 10_000);
  assert.equal(rests.leftMs("b"), 0);
  clock.time += 9_500;
  assert.equal(rests.leftMs("a"), 500);
  clock.time += 501;
  assert.equal(rests.leftMs("a"), 0);
  for (const who of ["a", "b", "c"]) rests.begin(who, 1_000);
  assert.deepEqual(
    ["a", "b", "c"].map((who) => rests.leftMs(who)),
    [0, 1_000, 1_000],
  );
});
