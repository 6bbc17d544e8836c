import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DocumentError, maxManifestNames, parseDocument, repeatsNames } from "../../../src/oci/document.ts";

const mebibytes = 4 * 1024 * 1024;

/** A list of as many equal parts as 4 MiB hold. */
function filledWith(part: string): Buffer {
  const count = Math.floor((mebibytes - 10) / (part.length + 1));
  return Buffer.from(`{"x":[${`${part},`.repeat(count).slice(0, -1)}]}`);
}

function namesOf(count: number): Buffer {
  return Buffer.from(`{${Array.from({ length: count }, (_, index) => `"${index}":0`).join()}}`);
}

function refusalOf(bytes: Uint8Array, maxNames = maxManifestNames): string {
  try {
    parseDocument(bytes, maxNames);
  } catch (error) {
    assert.ok(error instanceof DocumentError);
    return error.message;
  }
  return "none";
}

test("an object is read as JSON.parse reads it", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue({ maxDepth: 6 })), (fields) => {
      const text = JSON.stringify(fields);
      const document = parseDocument(Buffer.from(text), maxManifestNames);
      assert.deepEqual(document.fields, JSON.parse(text));
      assert.ok(!repeatsNames(document));
    }),
  );
});

test("any bytes are an object or refused, with a message that quotes nothing of them", () => {
  const text = fc.string({ unit: fc.constantFrom("{", "}", "[", "]", '"', ":", ",", "\\", "0", " ", "u", "\u{e9}") });
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        text.map((content) => Buffer.from(content)),
      ),
      (bytes) => {
        assert.match(refusalOf(bytes), /^(none|it is (not JSON in UTF-8|not a JSON object|nested .*))$/);
      },
    ),
    { numRuns: 1_000 },
  );
});

for (const part of ["{}", "[]", '{"":0}', '{"a":{}}', "0", '""', "[[]]", "null"]) {
  test(`4 MiB of ${part} are counted, and not built`, () => {
    assert.match(refusalOf(filledWith(part)), /^it has more than (250000 parts|50000 names)$/);
  });
}

test("what texts hold does not count, however it is escaped", () => {
  for (const text of ["{},".repeat(100_000), '"'.repeat(300_000), "\\".repeat(300_001), ":".repeat(60_000), '\\"']) {
    assert.equal(refusalOf(Buffer.from(JSON.stringify({ [text]: text }))), "none");
  }
});

test("names are limited, to the one", () => {
  assert.equal(refusalOf(namesOf(maxManifestNames)), "none");
  assert.equal(refusalOf(namesOf(maxManifestNames + 1)), "it has more than 50000 names");
  assert.equal(refusalOf(namesOf(maxManifestNames + 1), maxManifestNames + 1), "none");
});

test("depth is limited, to the one", () => {
  const nested = (depth: number): Buffer => Buffer.from(`{"x":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}`);
  assert.equal(refusalOf(nested(64)), "none");
  assert.equal(refusalOf(nested(65)), "it is nested more than 64 levels deep");
  assert.equal(refusalOf(Buffer.alloc(mebibytes, "[")), "it is nested more than 64 levels deep");
});
