import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseDigest } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import {
  blobKey,
  formatPlace,
  linkKey,
  pageKey,
  pageName,
  parseKey,
  type Place,
  quarantineKey,
  type RepositoryId,
  stateKey,
  tagKey,
} from "../../../src/store/layout.ts";
import type { Key } from "../../../src/store/object-store.ts";
import * as arbitrary from "../oci/arbitraries.ts";

const id: RepositoryId = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/alpine") };
const sha256 = parseDigest(`sha256:${"0a".repeat(32)}`);
const sha512 = parseDigest(`sha512:${"0a".repeat(64)}`);

test("the keys are those of the drawing", () => {
  assert.equal(blobKey(sha256), `blobs/sha256/0a/${"0a".repeat(31)}`);
  assert.equal(blobKey(sha512), `blobs/sha512/0a/${"0a".repeat(63)}`);
  assert.equal(linkKey(id, sha256), `repositories/docker.io/library/alpine/_links/sha256/${"0a".repeat(32)}`);
  assert.equal(tagKey(id, parseTag("3.20")), "repositories/docker.io/library/alpine/_tags/3.20");
  assert.match(pageKey(id, "tags", "n=5"), /^repositories\/docker\.io\/library\/alpine\/_pages\/tags\/[0-9a-f]{64}$/);
  const port: RepositoryId = { ...id, namespace: parseNamespace("[::1]:5000") };
  assert.equal(tagKey(port, parseTag("1")), "repositories/[++1]+5000/library/alpine/_tags/1");
});

const namespace = fc
  .constantFrom("docker.io", "localhost:5000", "localhost", "a.b", "a", "[::1]", "[::1]:5000")
  .map(parseNamespace);
const repositories = fc.record({ namespace, repository: arbitrary.repository });
const request = fc.oneof(
  fc.record({ id: repositories, tag: arbitrary.tag }),
  fc.record({ id: repositories, digest: arbitrary.digest }),
  fc.record({
    id: repositories,
    kind: fc.constantFrom("tags" as const, "referrers" as const),
    query: arbitrary.anyText,
  }),
  fc.record({ blob: arbitrary.digest }),
);

function keyOf(what: typeof request extends fc.Arbitrary<infer T> ? T : never): string {
  if ("blob" in what) return blobKey(what.blob);
  if ("tag" in what) return tagKey(what.id, what.tag);
  if ("digest" in what) return linkKey(what.id, what.digest);
  return pageKey(what.id, what.kind, what.query);
}

test("different things have different keys, none is a folder of another, and all are safe as paths", () => {
  fc.assert(
    fc.property(request, request, (first, second) => {
      const [one, other] = [keyOf(first), keyOf(second)];
      assert.equal(one === other, JSON.stringify(first) === JSON.stringify(second));
      assert.ok(!other.startsWith(`${one}/`));
      for (const part of one.split("/")) {
        assert.match(part, /^[a-zA-Z0-9_[][a-zA-Z0-9._+[\]-]*$/);
        assert.ok(part !== "." && part !== ".." && part.length <= 255);
      }
    }),
    { numRuns: 500 },
  );
});

const place: fc.Arbitrary<Place> = fc.oneof(
  fc.record({ kind: fc.constant("content" as const), digest: arbitrary.digest }),
  fc.record({ kind: fc.constant("link" as const), id: repositories, digest: arbitrary.digest }),
  fc.record({ kind: fc.constant("tag" as const), id: repositories, tag: arbitrary.tag }),
  fc.record({
    kind: fc.constant("page" as const),
    id: repositories,
    page: fc.constantFrom("tags" as const, "referrers" as const),
    name: arbitrary.anyText.map(pageName),
  }),
);

test("a key is read as what it was made from", () => {
  fc.assert(
    fc.property(place, (what) => assert.deepEqual(parseKey(formatPlace(what)), structuredClone(what))),
    { numRuns: 500 },
  );
});

test("a key that is a little different is not read, or as another thing whose key it is", () => {
  fc.assert(
    fc.property(place, fc.nat(), fc.constantFrom("", "/", "_", "A", "+", "..", "x"), (what, position, inserted) => {
      const key = formatPlace(what);
      const index = position % key.length;
      const other = (key.slice(0, index) + inserted + key.slice(index + (inserted === "" ? 1 : 0))) as Key;
      const read = parseKey(other);
      if (read !== undefined) assert.equal(formatPlace(read), other);
    }),
    { numRuns: 1_000 },
  );
});

const hex = "0a".repeat(32);
const name = "repositories/docker.io/library/alpine";
for (const stranger of [
  "",
  "blobs",
  "blobs/sha256",
  `blobs/sha256/0a/${hex}`,
  `blobs/sha256/${hex}`,
  `blobs/sha256/0b/${"0a".repeat(31)}/x`,
  `blobs/md5/0a/${"0a".repeat(15)}`,
  `blobs/sha256/0A/${"0A".repeat(31)}`,
  `blobs/sha256/0a/${"0a".repeat(31)}.part`,
  "repositories",
  name,
  `${name}/_tags`,
  `${name}/_tags/`,
  `${name}/_tags/a/b`,
  `${name}/_tags/.hidden`,
  `${name}/_links/${hex}`,
  `${name}/_links/sha256/${hex}/x`,
  `${name}/_links/sha256/${hex.slice(1)}`,
  `${name}/_pages/tags/0a`,
  `${name}/_pages/blobs/${hex}`,
  `${name}/_other/sha256/${hex}`,
  `repositories/docker.io/_tags/1`,
  `repositories/_tags/1`,
  `repositories/Docker.io/a/_tags/1`,
  `repositories/localhost:5000/a/_tags/1`,
  `repositories/docker.io/A/_tags/1`,
  `other/docker.io/a/_tags/1`,
  quarantineKey(sha256),
  stateKey("pins"),
]) {
  test(`no key of content, link, tag or page: ${stranger.slice(0, 70)}`, () => {
    assert.equal(parseKey(stranger as Key), undefined);
  });
}
