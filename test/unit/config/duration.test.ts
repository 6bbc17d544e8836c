import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ValueError } from "../../../src/config/config-error.ts";
import { formatDuration, parseDuration } from "../../../src/config/duration.ts";

describe("parseDuration", () => {
  const second = 1000;
  const hour = 3600 * second;
  const cases: [string, number][] = [
    ["0s", 0],
    ["14d", 14 * 24 * hour],
    ["1h 30m", 1.5 * hour],
    ["1h30m", 1.5 * hour],
    ["30m 1h", 1.5 * hour],
    [" 2 hours  5 sec ", 2 * hour + 5 * second],
    ["250ms", 250],
    ["1ns", 1],
    ["0ns", 0],
    ["1500us", 2],
    ["1M", 2_630_016 * second],
    ["1m", 60 * second],
    ["1y", 31_557_600 * second],
    ["1y 2months 3weeks", (31_557_600 + 2 * 2_630_016 + 21 * 86_400) * second],
  ];
  for (const [text, ms] of cases) {
    test(`"${text}" is ${ms} ms`, () => assert.equal(parseDuration(text), ms));
  }

  test("all names of a unit mean the same", () => {
    const groups: [number, string][] = [
      [1000, "ns nsec nanos us usec µs micros ms msec millis"],
      [1, "s sec secs second seconds"],
      [60, "m min mins minute minutes"],
      [3600, "h hr hrs hour hours"],
      [86_400, "d day days"],
      [7 * 86_400, "w wk wks week weeks"],
      [2_630_016, "M month months"],
      [31_557_600, "y yr yrs year years"],
    ];
    const perSecond: Record<string, number> = { n: 1e9, u: 1e6, µ: 1e6, m: 1e3 };
    for (const [seconds, names] of groups) {
      for (const name of names.split(" ")) {
        const count = seconds === 1000 ? 1000 * (perSecond[name === "micros" ? "u" : (name[0] ?? "")] ?? 0) : 1;
        assert.equal(parseDuration(`${count}${name}`), seconds * 1000, name);
      }
    }
  });

  const refused: [string, RegExp][] = [
    ["10", /needs a unit: write "10s"/],
    [" 10 ", /write "10s"/],
    ["", /expected a duration/],
    ["s", /expected a duration/],
    ["-5s", /expected a duration/],
    ["1.5h", /expected a duration/],
    ["1h 30", /expected a duration/],
    ["forever", /expected a duration/],
    ["5 parsecs", /unknown unit of time "parsecs"/],
    ["1H", /unknown unit of time "H"/],
    ["999999999y", /too long/],
  ];
  for (const [text, message] of refused) {
    test(`refuses "${text}"`, () => assert.throws(() => parseDuration(text), { name: "ValueError", message }));
  }

  test("throws nothing but ValueError, and gives whole milliseconds", () => {
    const pieces = fc.array(fc.oneof(fc.string(), fc.nat().map(String), fc.constantFrom("s", "h", "M", " ", "ms")));
    fc.assert(
      fc.property(pieces, (parts) => {
        try {
          assert.ok(Number.isSafeInteger(parseDuration(parts.join(""))));
        } catch (error) {
          assert.ok(error instanceof ValueError, String(error));
        }
      }),
    );
  });
});

describe("formatDuration", () => {
  const cases: [number, string][] = [
    [0, "0s"],
    [5_400_000, "1h 30m"],
    [14 * 86_400_000, "14d"],
    [86_400_000 + 1, "1d 1ms"],
  ];
  for (const [ms, text] of cases) {
    test(`${ms} ms is "${text}"`, () => assert.equal(formatDuration(ms), text));
  }

  test("is undone by parseDuration", () => {
    fc.assert(
      fc.property(fc.nat({ max: Number.MAX_SAFE_INTEGER }), (ms) => {
        assert.equal(parseDuration(formatDuration(ms)), ms);
      }),
    );
  });
});
