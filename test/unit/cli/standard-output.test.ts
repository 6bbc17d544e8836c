import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { test } from "node:test";
import { createStandardOutput } from "../../../src/cli/standard-output.ts";

function failingWith(code: string): Writable {
  return new Writable({ write: (_chunk, _encoding, done) => done(Object.assign(new Error(`${code}: no`), { code })) });
}

for (const [code, exitCode, told] of [
  ["EPIPE", 141, ""],
  ["ENOSPC", 1, "entrepot: cannot write to standard output: ENOSPC: no\n"],
] as const) {
  test(`${code} is told once, or not at all`, async () => {
    let err = "";
    const output = createStandardOutput(failingWith(code), (text) => {
      err += text;
    });
    output.write("a");
    output.write("b");
    assert.equal(await output.failed, exitCode);
    assert.equal(await output.written(), exitCode);
    assert.equal(err, told);
  });
}

test("what is written has left when `written` resolves", async () => {
  let seen = "";
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      setImmediate(() => {
        seen += chunk.toString();
        done();
      });
    },
  });
  const output = createStandardOutput(stream, () => assert.fail());
  output.write("a");
  output.write("b");
  assert.equal(await output.written(), undefined);
  assert.equal(seen, "ab");
});
