import assert from "node:assert/strict";
import { test } from "node:test";
import { parseStaticHeaders } from "../../../src/upstream/static-headers.ts";

test("names become lower case, values stay", () => {
  assert.deepEqual(parseStaticHeaders({ "X-Team": "a  b\tc", "CF-Access-Client-Id": "id" }), {
    "x-team": "a  b\tc",
    "cf-access-client-id": "id",
  });
  assert.deepEqual(parseStaticHeaders({}), {});
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
    "Authorization",
    "host",
    "Range",
    "Accept",
    "accept-encoding",
    "Connection",
    "Transfer-Encoding",
    "User-Agent",
  ].map((name): [string, Record<string, string>] => [name, { [name]: "x" }]),
];

for (const [name, headers] of wrong) {
  test(`${name} is refused, without telling the value`, () => {
    assert.throws(
      () => parseStaticHeaders(headers),
      (error) => error instanceof RangeError && !error.message.includes("s3cr"),
    );
  });
}
