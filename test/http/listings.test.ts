import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "../../src/store/content-records.ts";
import { mediaTypes } from "../support/image.ts";
import { answered, ask, assertError, createFakeRegistry, otherDigest } from "./fake-registry.ts";

const bypass = { hit: false, forward: "bypass", forwardStatus: 200 } as const;

function page(document: Record<string, unknown>, rest: Partial<Page> = {}): Page {
  return { document, nextQuery: undefined, filtersApplied: undefined, ...rest };
}

const listingHeaders = {
  "cache-control": "no-transform",
  "x-content-type-options": "nosniff",
  "docker-distribution-api-version": "registry/2.0",
  "oci-namespace": "docker.io",
  "cache-status": "entrepot; fwd=bypass; fwd-status=200",
};

test("tags are listed under the name that was asked for", async () => {
  for (const [path, name, repository] of [
    ["/v2/alpine", "alpine", "library/alpine"],
    ["/v2/docker.io/library/alpine", "docker.io/library/alpine", "library/alpine"],
    ["/docker.io/v2/a/b", "a/b", "a/b"],
  ]) {
    const registry = createFakeRegistry({ tags: answered(page({ tags: ["1", "2"] }), bypass) });
    const seen = await ask(registry, `${path}/tags/list`);
    assert.equal(seen.status, 200);
    assert.deepEqual(JSON.parse(seen.body.toString()), { name, tags: ["1", "2"] });
    assert.deepEqual(seen.headers, {
      ...listingHeaders,
      "content-type": "application/json",
      "content-length": String(seen.body.length),
    });
    assert.deepEqual(registry.asked, [`tags ${repository} `]);
    assert.deepEqual(seen.facts.cache, bypass);
  }
});

test("no tags are an empty list, and an unknown repository a 404", async () => {
  const registry = createFakeRegistry({ tags: answered(page({ tags: [] }), bypass) });
  assert.deepEqual(JSON.parse((await ask(registry, "/v2/a/b/tags/list")).body.toString()), { name: "a/b", tags: [] });
  assertError(await ask(createFakeRegistry(), "/v2/a/b/tags/list"), 404, "NAME_UNKNOWN");
});

test("the query goes on without ns, and n within bounds", async () => {
  for (const [query, expected] of [
    ["", ""],
    ["?n=5&last=1.0", "n=5&last=1.0"],
    ["?ns=docker.io&n=5", "n=5"],
    ["?n=0", "n=0"],
    ["?n=1000", "n=1000"],
    ["?n=1001", "n=1000"],
    ["?n=999999999&last=a%2Bb", "n=1000&last=a%2Bb"],
    ["?last=x", "last=x"],
  ]) {
    const registry = createFakeRegistry({ tags: answered(page({ tags: [] }), bypass) });
    assert.equal((await ask(registry, `/v2/a/b/tags/list${query}`)).status, 200);
    assert.deepEqual(registry.asked, [`tags a/b ${expected}`]);
  }
  for (const n of ["-1", "1.5", "a", "", "1e3", "9999999999", "%20", "0x1"]) {
    const registry = createFakeRegistry();
    for (const path of ["tags/list", `referrers/${otherDigest}`]) {
      assertError(await ask(registry, `/v2/a/b/${path}?n=${n}`), 400, "PAGINATION_NUMBER_INVALID", n);
    }
    assert.deepEqual(registry.asked, []);
  }
});

test("the link to the next page leads to this mirror, by the client's own way", async () => {
  for (const [target, link] of [
    ["/v2/a/b/tags/list?n=2", "/v2/a/b/tags/list?n=2&last=2"],
    ["/v2/docker.io/a/b/tags/list", "/v2/docker.io/a/b/tags/list?n=2&last=2"],
    ["/docker.io/v2/a/b/tags/list", "/docker.io/v2/a/b/tags/list?n=2&last=2"],
    ["/v2/a/b/tags/list?ns=docker.io&n=2", "/v2/a/b/tags/list?ns=docker.io&n=2&last=2"],
  ]) {
    const tags = answered(page({ tags: ["1", "2"] }, { nextQuery: "n=2&last=2" }), bypass);
    const seen = await ask(createFakeRegistry({ tags }), target ?? "");
    assert.equal(seen.headers["link"], `<${link}>; rel="next"`);
  }
});

test("referrers are an index, exactly typed, with the filter that was applied", async () => {
  const index = { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] };
  const filtered = page(index, { filtersApplied: "artifactType", nextQuery: "artifactType=x&last=1" });
  const registry = createFakeRegistry({ referrers: answered(filtered, bypass) });
  const seen = await ask(registry, `/v2/a/b/referrers/${otherDigest}?artifactType=x&ns=docker.io`);
  assert.equal(seen.status, 200);
  assert.deepEqual(JSON.parse(seen.body.toString()), index);
  assert.deepEqual(seen.headers, {
    ...listingHeaders,
    "content-type": mediaTypes.index,
    "content-length": String(seen.body.length),
    "oci-filters-applied": "artifactType",
    link: `</v2/a/b/referrers/${otherDigest}?ns=docker.io&artifactType=x&last=1>; rel="next"`,
  });
  assert.deepEqual(registry.asked, [`referrers a/b ${otherDigest} artifactType=x`]);
  assert.equal(seen.facts.reference, otherDigest);
  const plain = await ask(
    createFakeRegistry({ referrers: answered(page(index), bypass) }),
    `/v2/a/b/referrers/${otherDigest}`,
  );
  assert.equal(plain.headers["oci-filters-applied"], undefined);
  assert.equal(plain.headers["link"], undefined);
});

test("referrers that nobody lists are a 404, whose code is not NAME_UNKNOWN: clients then look for the tag", async () => {
  assertError(await ask(createFakeRegistry(), `/v2/a/b/referrers/${otherDigest}`), 404, "NOT_FOUND");
});

test("HEAD of referrers tells the same", async () => {
  const referrers = answered(page({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] }), bypass);
  const path = `/v2/a/b/referrers/${otherDigest}`;
  const [get, head] = await Promise.all(
    ["GET", "HEAD"].map((method) => ask(createFakeRegistry({ referrers }), path, { method })),
  );
  assert.deepEqual([head?.status, head?.headers], [200, get?.headers]);
});

test("a malformed subject is a 400", async () => {
  assertError(await ask(createFakeRegistry(), "/v2/a/b/referrers/sha256:baddigest"), 400, "DIGEST_INVALID");
});

test("a stale listing warns", async () => {
  const stale = { hit: false, forward: "stale", staleReason: "unreachable" } as const;
  const registry = createFakeRegistry({ tags: answered(page({ tags: ["1"] }), stale) });
  const seen = await ask(registry, "/v2/a/b/tags/list");
  assert.equal(seen.status, 200);
  assert.match(seen.headers["warning"] ?? "", /^299 - "docker\.io failed \(unreachable\);/);
  assert.equal(seen.headers["cache-status"], "entrepot; fwd=stale; detail=unreachable");
});
