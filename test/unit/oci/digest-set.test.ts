import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DigestSet } from "../../../src/oci/digest-set.ts";
import { type Digest, digestOf, formatDigest } from "../../../src/oci/digest.ts";

const nth = (index: number): Digest => digestOf(Buffer.from(String(index)), index % 3 === 0 ? "sha512" : "sha256");

test("it has what was added, and nothing else", () => {
  const set = new DigestSet();
  for (let index = 0; index < 20_000; index++) {
    assert.equal(set.has(nth(index)), false);
    set.add(nth(index));
    set.add(nth(index >> 1));
  }
  for (let index = 0; index < 20_000; index++) assert.equal(set.has(nth(index)), true);
  for (let index = 20_000; index < 40_000; index++) assert.equal(set.has(nth(index)), false);
});

test("digests that somebody chose to look alike are told apart, and zero is one of them", () => {
  // The first two digits are the bucket, the next twelve are kept; here these are small numbers, with gaps.
  const alike = fc.nat({ max: 200 }).map((part) => {
    const hex = `00${part.toString(16).padStart(12, "0")}`;
    return formatDigest("sha256", hex.padEnd(64, "0"));
  });
  fc.assert(
    fc.property(fc.array(alike), fc.array(alike), (added, asked) => {
      const set = new DigestSet();
      for (const digest of added) set.add(digest);
      for (const digest of [...added, ...asked]) assert.equal(set.has(digest), added.includes(digest));
    }),
  );
});
