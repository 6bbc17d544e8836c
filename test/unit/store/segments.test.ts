import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Segments } from "../../../src/store/segments.ts";

const size = 48;
const spans = fc.array(fc.record({ start: fc.nat({ max: size }), end: fc.nat({ max: size }) }), { maxLength: 25 });

test("what has arrived is what a bitmap says, in whatever order and overlap", () => {
  fc.assert(
    fc.property(spans, (added) => {
      const segments = new Segments();
      const bitmap = new Uint8Array(size + 1);
      for (const span of added) {
        segments.add(span);
        bitmap.fill(1, span.start, Math.max(span.start, span.end));
        for (let position = 0; position <= size; position++) {
          assert.equal(segments.endFrom(position), bitmap.indexOf(0, position), `from ${position}`);
        }
        assert.equal(segments.contiguousBytes, bitmap.indexOf(0));
      }
    }),
    { numRuns: 1_000 },
  );
});

test("a million pieces in order are one span: adding and asking stay quick", () => {
  const segments = new Segments();
  for (let start = 0; start < 1_000_000; start++) segments.add({ start, end: start + 1 });
  assert.equal(segments.contiguousBytes, 1_000_000);
  assert.equal(segments.endFrom(999_999), 1_000_000);
});
