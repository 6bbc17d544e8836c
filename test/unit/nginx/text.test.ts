import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { quote, returnDocument } from "../../../src/nginx/text.ts";

/** Reads a word as nginx does within double quotes (`ngx_conf_read_token`). */
function readWord(word: string): string {
  assert.match(word, /^"(?:[^"\\]|\\[^])*"$/);
  const meanings: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };
  return word.slice(1, -1).replaceAll(/\\([\\"nrt])/g, (_, character: string) => meanings[character] ?? character);
}

test("whatever a text consists of, nginx reads it as that one word", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (text) => {
      assert.equal(readWord(quote(text)), text);
    }),
  );
  assert.equal(quote('a "b" {c}; \\ #\n'), '"a \\"b\\" {c}; \\\\ #\\n"');
  assert.throws(() => quote("x".repeat(4_000)), /no word of 4002 bytes/);
});

test("a document is returned in pieces that are short enough, and has no variable of nginx in it", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 300 }), { maxLength: 80 }), (texts) => {
      const directives = returnDocument({ texts });
      const words = new Map<string, string>();
      for (const directive of directives.slice(0, -1)) {
        const [, name = "", word = ""] = /^set (\$\w+) ("[^]*");$/.exec(directive) ?? [];
        assert.ok(Buffer.byteLength(word) < 4_000);
        assert.ok(!word.includes("$"));
        words.set(name, readWord(word));
      }
      const [, joined = ""] = /^return 200 "(.*)";$/.exec(directives.at(-1) ?? "") ?? [];
      const text = joined.replaceAll(
        /\$\w+/g,
        (name) => words.get(name.match(/\$entrepot_\d+/)?.[0] ?? "") ?? assert.fail(name),
      );
      assert.deepEqual(JSON.parse(text), { texts });
    }),
    { numRuns: 50 },
  );
});
