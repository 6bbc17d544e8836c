import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseRateLimit } from "../../../src/upstream/rate-limit.ts";

type Headers = Record<string, string>;

const rows: [headers: Headers, expected: ReturnType<typeof parseRateLimit>][] = [
  [
    { "ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600" },
    { limit: 100, remaining: 76, windowSeconds: 21_600 },
  ],
  [
    { "ratelimit-limit": "200", "ratelimit-remaining": "0" },
    { limit: 200, remaining: 0, windowSeconds: undefined },
  ],
  [{ "ratelimit-limit": "5;w=60" }, { limit: 5, remaining: undefined, windowSeconds: 60 }],
  [{ "ratelimit-remaining": "5" }, { limit: undefined, remaining: 5, windowSeconds: undefined }],
  [
    { "ratelimit-limit": ' 100 ; w=60 ;name="a", 5;w=1', "ratelimit-remaining": "7;comment=x;w=30" },
    { limit: 100, remaining: 7, windowSeconds: 30 },
  ],
  [{ "ratelimit-limit": "9;w=0" }, { limit: 9, remaining: undefined, windowSeconds: undefined }],
  [{ "ratelimit-limit": "9;w=86400" }, { limit: 9, remaining: undefined, windowSeconds: 86_400 }],
  [{ "ratelimit-limit": "9;w=999999999" }, { limit: 9, remaining: undefined, windowSeconds: 86_400 }],
  [{ "ratelimit-limit": "1" }, { limit: 1, remaining: undefined, windowSeconds: undefined }],
  [{}, undefined],
  ...["", "unlimited", "-1;w=60", "1.5;w=60", "1 2", "1x", ";w=60", "9999999999999999", "0x10"].map(
    (text): [Headers, undefined] => [{ "ratelimit-limit": text, "ratelimit-remaining": text }, undefined],
  ),
];

for (const [headers, expected] of rows) {
  test(`${JSON.stringify(headers)} is ${JSON.stringify(expected)}`, () => {
    assert.deepEqual(
      parseRateLimit((name) => headers[name]),
      expected,
    );
  });
}

test("what is written in Docker Hub's form is read back", () => {
  const count = fc.nat({ max: 999_999_999 });
  fc.assert(
    fc.property(count, count, fc.integer({ min: 1, max: 86_400 }), (limit, remaining, windowSeconds) => {
      const headers: Headers = {
        "ratelimit-limit": `${limit};w=${windowSeconds}`,
        "ratelimit-remaining": `${remaining};w=${windowSeconds}`,
      };
      assert.deepEqual(
        parseRateLimit((name) => headers[name]),
        { limit, remaining, windowSeconds },
      );
    }),
  );
});

test("anything else neither throws nor gives a number that is none", () => {
  const text = fc.oneof(fc.string(), fc.stringMatching(/^[0-9;=w, ]{0,30}$/));
  fc.assert(
    fc.property(text, text, (limit, remaining) => {
      const headers: Headers = { "ratelimit-limit": limit, "ratelimit-remaining": remaining };
      const parsed = parseRateLimit((name) => headers[name]);
      for (const number of [parsed?.limit, parsed?.remaining, parsed?.windowSeconds]) {
        assert.ok(number === undefined || (Number.isSafeInteger(number) && number >= 0));
      }
    }),
  );
});
