import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ValueError } from "../../../src/config/config-error.ts";
import { formatSize, parseRate, parseSize, ratePattern, sizePattern } from "../../../src/config/size.ts";

describe("parseSize", () => {
  const cases: [string, number][] = [
    ["0B", 0],
    ["1B", 1],
    ["1kB", 1e3],
    ["1MB", 1e6],
    ["1GB", 1e9],
    ["1TB", 1e12],
    ["1KiB", 1024],
    ["1MiB", 1024 ** 2],
    ["1GiB", 1024 ** 3],
    ["1TiB", 1024 ** 4],
    [" 500 GiB ", 500 * 1024 ** 3],
    ["1.5GiB", 1.5 * 1024 ** 3],
    ["1.1kB", 1100],
    ["007B", 7],
  ];
  for (const [text, bytes] of cases) {
    test(`"${text}" is ${bytes} B`, () => assert.equal(parseSize(text), bytes));
  }

  const refused: [string, RegExp][] = [
    ["500", /needs a unit, as in/],
    [" 1.5 ", /needs a unit, as in/],
    ["", /expected a size/],
    ["GiB", /expected a size/],
    ["-5GiB", /expected a size/],
    ["1GiB 5MiB", /expected a size/],
    ["90%", /expected a size/],
    ["none", /expected a size/],
    ["50MiB/s", /expected a size/],
    ["500G", /unknown unit of size "G"; use B, kB, /],
    ["500Gi", /unknown unit of size "Gi"/],
    ["500gb", /unknown unit of size "gb"/],
    ["9999TiB", /too large/],
  ];
  for (const [text, message] of refused) {
    test(`refuses "${text}"`, () => assert.throws(() => parseSize(text), { name: "ValueError", message }));
  }

  test("throws nothing but ValueError, gives whole bytes, and agrees with its pattern", () => {
    const pieces = fc.array(
      fc.oneof(fc.string(), fc.nat().map(String), fc.constantFrom("B", "kB", "MiB", "TB", ".", " ", "/s")),
      { maxLength: 4 },
    );
    fc.assert(
      fc.property(pieces, (parts) => {
        const text = parts.join("");
        let bytes: number | undefined;
        try {
          bytes = parseSize(text);
          assert.ok(Number.isSafeInteger(bytes));
        } catch (error) {
          assert.ok(error instanceof ValueError, String(error));
          if (error.message.includes("too large")) return;
        }
        assert.equal(new RegExp(sizePattern, "u").test(text), bytes !== undefined, text);
      }),
    );
  });
});

describe("formatSize", () => {
  const cases: [number, string][] = [
    [0, "0B"],
    [1, "1B"],
    [1000, "1kB"],
    [1024, "1KiB"],
    [1536, "1536B"],
    [50 * 1024 ** 2, "50MiB"],
    [500e9, "500GB"],
    [500 * 1024 ** 3, "500GiB"],
  ];
  for (const [bytes, text] of cases) {
    test(`${bytes} B is "${text}"`, () => assert.equal(formatSize(bytes), text));
  }

  test("is undone by parseSize", () => {
    const units = [1, 1000, 1024, 1e6, 1024 ** 2, 1e9, 1024 ** 3, 1e12, 1024 ** 4];
    const size = fc.oneof(
      fc.maxSafeNat(),
      fc.tuple(fc.nat({ max: 8000 }), fc.constantFrom(...units)).map(([count, unit]) => count * unit),
    );
    fc.assert(
      fc.property(size, (bytes) => {
        assert.equal(parseSize(formatSize(bytes)), bytes);
      }),
    );
  });
});

describe("parseRate", () => {
  for (const [text, bytesPerSecond] of [
    ["50MiB/s", 50 * 1024 ** 2],
    ["50MiB", 50 * 1024 ** 2],
    ["1.5 kB/s ", 1500],
  ] as const) {
    test(`"${text}" is ${bytesPerSecond} B a second`, () => {
      assert.equal(parseRate(text), bytesPerSecond);
      assert.match(text, new RegExp(ratePattern, "u"));
    });
  }

  for (const [text, message] of [
    ["0MiB/s", /must be more than 0/],
    ["0.1B/s", /must be more than 0/],
    ["50/s", /needs a unit/],
    ["50MiB/m", /expected a size/],
    ["50MiB/s/s", /expected a size/],
  ] as const) {
    test(`refuses "${text}"`, () => assert.throws(() => parseRate(text), { name: "ValueError", message }));
  }
});
