import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  formatContentRange,
  parseContentRange,
  parseRange,
  type RangeRequest,
  resolveRange,
} from "../../../src/oci/range.ts";
import { anyText } from "./arbitraries.ts";
import { assertRefused, assertThrowsOnlyOciError } from "./rejection.ts";

const huge = "9".repeat(40);

test("single byte ranges are read", () => {
  const rows: [string, RangeRequest][] = [
    ["bytes=0-0", { first: 0, last: 0 }],
    ["bytes=500-1499", { first: 500, last: 1499 }],
    ["bytes=500-", { first: 500, last: undefined }],
    ["bytes=-500", { suffix: 500 }],
    ["bytes=-0", { suffix: 0 }],
    ["bytes=500-0", { first: 500, last: 0 }],
    ["bytes=007-008", { first: 7, last: 8 }],
    ["Bytes=1-2", { first: 1, last: 2 }],
    ["bytes= 1-2 ", { first: 1, last: 2 }],
    ["bytes=,1-2, ,", { first: 1, last: 2 }],
    [`bytes=${huge}-`, { first: Number.MAX_SAFE_INTEGER, last: undefined }],
    [`bytes=-${huge}`, { suffix: Number.MAX_SAFE_INTEGER }],
    [`bytes=0-${"9".repeat(400)}`, { first: 0, last: Number.MAX_SAFE_INTEGER }],
  ];
  for (const [header, expected] of rows) {
    assert.deepEqual(parseRange(header), expected, header);
  }
});

test("no header, another unit and several ranges mean the whole content", () => {
  const headers = [
    undefined,
    "",
    "items=0-5",
    "items=x",
    "=0-5",
    "bytes 0-5",
    "bytes=0-1,5-6",
    "bytes=0-1, -5",
    "bytes=0-,500-0",
    `bytes=${Array.from({ length: 1000 }, (_, index) => `${index * 10}-${index * 10 + 5}`).join(",")}`,
  ];
  for (const header of headers) {
    assert.equal(parseRange(header), undefined, String(header));
  }
});

test("malformed byte ranges are refused", () => {
  const headers = [
    "bytes",
    "bytes=",
    "bytes=,",
    "bytes=-",
    "bytes=5",
    "bytes=a-b",
    "bytes=1-b",
    "bytes=--5",
    "bytes=1-2-3",
    "bytes=+1-2",
    "bytes=1 -2",
    "bytes=0x1-0x2",
    "bytes=1.5-2",
    "bytes=1e3-",
    "bytes=\u{0661}-\u{0662}",
    "bytes=0-1,x",
    "bytes=0-1;5-6",
    "bytes==0-1",
  ];
  for (const header of headers) {
    assert.equal(assertRefused(() => parseRange(header), "RANGE_INVALID", header).status, 416);
  }
});

test("ranges are applied to a size", () => {
  const rows: [string | undefined, number, ReturnType<typeof resolveRange>][] = [
    [undefined, 0, "full"],
    [undefined, 3000, "full"],
    ["bytes=0-0", 3000, { start: 0, end: 1 }],
    ["bytes=500-1499", 3000, { start: 500, end: 1500 }],
    ["bytes=500-", 3000, { start: 500, end: 3000 }],
    ["bytes=-500", 3000, { start: 2500, end: 3000 }],
    ["bytes=2000-5000", 3000, { start: 2000, end: 3000 }],
    ["bytes=2999-2999", 3000, { start: 2999, end: 3000 }],
    ["bytes=0-", 3000, { start: 0, end: 3000 }],
    ["bytes=-3000", 3000, { start: 0, end: 3000 }],
    ["bytes=-5000", 3000, { start: 0, end: 3000 }],
    ["bytes=500-0", 3000, "unsatisfiable"],
    ["bytes=5000-10000", 3000, "unsatisfiable"],
    ["bytes=3000-", 3000, "unsatisfiable"],
    ["bytes=-0", 3000, "unsatisfiable"],
    ["bytes=0-", 0, "full"],
    ["bytes=0-99", 0, "full"],
    ["bytes=-5", 0, "full"],
    ["bytes=-0", 0, "unsatisfiable"],
    ["bytes=1-", 0, "unsatisfiable"],
    [`bytes=0-${huge}`, 3000, { start: 0, end: 3000 }],
    [`bytes=-${huge}`, 3000, { start: 0, end: 3000 }],
    [`bytes=${huge}-`, 3000, "unsatisfiable"],
    [`bytes=${huge}-${huge}`, 3000, "unsatisfiable"],
    [`bytes=${huge}-`, Number.MAX_SAFE_INTEGER, "unsatisfiable"],
    [`bytes=1-${huge}`, Number.MAX_SAFE_INTEGER, { start: 1, end: Number.MAX_SAFE_INTEGER }],
  ];
  for (const [header, sizeBytes, expected] of rows) {
    assert.deepEqual(resolveRange(parseRange(header), sizeBytes), expected, `${header} of ${sizeBytes}`);
  }
});

test("Content-Range is written and read", () => {
  assert.equal(formatContentRange({ start: 500, end: 1500 }, 3000), "bytes 500-1499/3000");
  const rows: [string, ReturnType<typeof parseContentRange>][] = [
    ["bytes 500-1499/3000", { start: 500, end: 1500, sizeBytes: 3000 }],
    ["Bytes 0-9/10", { start: 0, end: 10, sizeBytes: 10 }],
    ["bytes 0-9/*", { start: 0, end: 10, sizeBytes: undefined }],
    ["bytes */10", { unsatisfied: 10 }],
    ["bytes */0", { unsatisfied: 0 }],
  ];
  for (const [header, expected] of rows) {
    assert.deepEqual(parseContentRange(header), expected, header);
  }
});

test("a Content-Range that says nothing usable is undefined", () => {
  const headers = [
    undefined,
    "",
    "bytes",
    "bytes */*",
    "bytes 9-0/10",
    "bytes 0-10/10",
    "bytes 0-9/0",
    "bytes 0-/10",
    "bytes -9/10",
    "bytes 0-9",
    "bytes=0-9/10",
    "items 0-9/10",
    "items */10",
    `bytes 0-9/${huge}`,
    `bytes 0-${huge}/*`,
    `bytes 0-${Number.MAX_SAFE_INTEGER}/*`,
    `bytes */${huge}`,
  ];
  for (const header of headers) {
    assert.equal(parseContentRange(header), undefined, String(header));
  }
});

const size = fc.oneof(fc.nat({ max: 20 }), fc.nat({ max: Number.MAX_SAFE_INTEGER }));

test("a range that was written is read", () => {
  const request: fc.Arbitrary<RangeRequest> = fc.oneof(
    fc.record({ first: size, last: fc.option(size, { nil: undefined }) }, { noNullPrototype: true }),
    fc.record({ suffix: size }, { noNullPrototype: true }),
  );
  fc.assert(
    fc.property(request, (value) => {
      const text = "suffix" in value ? `-${value.suffix}` : `${value.first}-${value.last ?? ""}`;
      assert.deepEqual(parseRange(`bytes=${text}`), value);
    }),
  );
});

test("a span lies within the content and is written so that it is read back", () => {
  const spec = fc.oneof(
    fc.record({ first: fc.nat({ max: 25 }), last: fc.option(fc.nat({ max: 25 }), { nil: undefined }) }),
    fc.record({ suffix: fc.nat({ max: 25 }) }),
  );
  fc.assert(
    fc.property(spec, fc.nat({ max: 20 }), (request, sizeBytes) => {
      const positions = Array.from({ length: sizeBytes }, (_, index) => index);
      const wanted = positions.filter((position) =>
        "suffix" in request
          ? position >= sizeBytes - request.suffix
          : position >= request.first && position <= (request.last ?? Infinity),
      );
      const span = resolveRange(request, sizeBytes);
      if (typeof span === "string") {
        assert.deepEqual(wanted, []);
        assert.ok(span === "unsatisfiable" || sizeBytes === 0);
        return;
      }
      assert.deepEqual(positions.slice(span.start, span.end), wanted);
      assert.notEqual(wanted.length, 0);
      assert.deepEqual(parseContentRange(formatContentRange(span, sizeBytes)), { ...span, sizeBytes });
    }),
  );
});

test("any text is read or refused with an OciError", () => {
  fc.assert(
    fc.property(anyText, size, (text, sizeBytes) => {
      assertThrowsOnlyOciError(() => resolveRange(parseRange(text), sizeBytes));
      assertThrowsOnlyOciError(() => resolveRange(parseRange(`bytes=${text}`), sizeBytes));
      parseContentRange(text);
      parseContentRange(`bytes ${text}`);
    }),
  );
});
