import assert from "node:assert/strict";
import { test } from "node:test";
import { checkHeaders } from "../../../src/config/header-fields.ts";

test("names and values of their own are right, in any case of letters", () => {
  assert.deepEqual(checkHeaders({ "X-Team": "a  b\tc", "CF-Access-Client-Id": "id" }), []);
  assert.deepEqual(checkHeaders({}), []);
});

const wrong: [name: string, headers: Record<string, string>][] = [
  ["an empty name", { "": "x" }],
  ["a name with a space", { "x y": "x" }],
  ["a name with a line's end", { "x\r\ny": "x" }],
  ["a name with a colon", { "x:": "x" }],
  ["an empty value", { x: "" }],
  ["a value with a line's end", { x: "s3cret\r\nauthorization: Basic x" }],
  ["a value with a lone line feed", { x: "s3cret\ny" }],
  ["a value with a null", { x: "s3cret\0" }],
  ["a value with a space at its end", { x: "s3cret " }],
  ["a value with other letters", { x: "s3crét" }],
  ["the same name twice", { "x-a": "1", "X-A": "2" }],
  ...[
    ..."Accept accept-encoding Authorization Connection content-encoding content-length Content-Type expect".split(" "),
    ..."host Keep-Alive proxy-authorization Proxy-Connection Range TE trailer Transfer-Encoding upgrade".split(" "),
    "User-Agent",
  ].map((name): [string, Record<string, string>] => [name, { [name]: "x" }]),
];

for (const [name, headers] of wrong) {
  test(`${name} is refused, without telling the value`, () => {
    const problems = checkHeaders(headers);
    assert.deepEqual(
      problems.map(({ path }) => path),
      [[Object.keys(headers).at(-1)]],
    );
    assert.doesNotMatch(JSON.stringify(problems), /s3cr/);
  });
}
