import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { ask } from "../../../src/cli/ask.ts";

for (const [name, typed, expected] of [
  ["a line", "yes\r", "yes"],
  ["an empty line", "\r", ""],
  ["Ctrl-D", "\u0004", ""],
  ["Ctrl-C", "\u0003", undefined],
] as const) {
  test(`${name} is an answer`, async () => {
    const input = new PassThrough();
    const output = new PassThrough();
    const answer = ask(input, output, "Remove it? ");
    input.write(typed);
    assert.equal(await answer, expected);
    output.end();
    assert.match(await text(output), /Remove it\? /);
  });
}

test("the end of the input is one, too", async () => {
  const input = new PassThrough();
  const answer = ask(input, new PassThrough(), "?");
  input.end();
  assert.equal(await answer, "");
});
