import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "../support/image.ts";
import { answered, ask, assertError, createFakeRegistry, fakeManifest, otherDigest } from "./fake-registry.ts";

const manifest = fakeManifest();
const { digest } = manifest.descriptor;

function registryOf(content = manifest): ReturnType<typeof createFakeRegistry> {
  return createFakeRegistry({ manifest: answered(content), resolve: answered(content.descriptor) });
}

test("GET gives the exact bytes, with every header that clients need and no other", async () => {
  const registry = registryOf();
  const { status, headers, body, facts } = await ask(registry, "/v2/alpine/manifests/latest");
  assert.equal(status, 200);
  assert.deepEqual(body, manifest.bytes);
  assert.deepEqual(headers, {
    "content-type": mediaTypes.manifest,
    "content-length": String(manifest.bytes.length),
    "docker-content-digest": digest,
    etag: `"${digest}"`,
    "cache-control": "no-transform",
    "x-content-type-options": "nosniff",
    "docker-distribution-api-version": "registry/2.0",
    "oci-namespace": "docker.io",
    "cache-status": "entrepot; hit",
  });
  assert.deepEqual(registry.asked, ["manifest library/alpine latest"]);
  assert.deepEqual(facts, {
    endpoint: "manifest",
    namespace: "docker.io",
    label: "docker.io",
    repository: "library/alpine",
    reference: "latest",
    cache: { hit: true },
  });
});

test("HEAD tells the same from the descriptor alone", async () => {
  const registry = registryOf();
  const get = await ask(registry, `/v2/library/alpine/manifests/${digest}`);
  const head = await ask(registry, `/v2/library/alpine/manifests/${digest}`, { method: "HEAD" });
  assert.equal(head.status, 200);
  assert.deepEqual(head.headers, get.headers);
  assert.equal(head.body.length, 0);
  assert.deepEqual(registry.asked, [`manifest library/alpine ${digest}`, `resolve library/alpine ${digest}`]);
});

test("the media type is the stored one, whatever the client accepts", async () => {
  for (const mediaType of [
    mediaTypes.index,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
  ]) {
    const content = fakeManifest(mediaType);
    for (const accept of [undefined, "*/*", "text/html", "application/vnd.docker.distribution.manifest.v1+json"]) {
      for (const method of ["GET", "HEAD"]) {
        const headers = accept === undefined ? {} : { accept };
        const seen = await ask(registryOf(content), "/v2/a/b/manifests/1", { method, headers });
        assert.equal(seen.status, 200);
        assert.equal(seen.headers["content-type"], mediaType);
      }
    }
  }
});

test("a sha512 request is answered with the sha512 digest", async () => {
  const sha512 = digestOf(manifest.bytes, "sha512");
  const content = { ...manifest, descriptor: { ...manifest.descriptor, digest: sha512 } };
  const seen = await ask(registryOf(content), `/v2/a/b/manifests/${sha512}`);
  assert.equal(seen.headers["docker-content-digest"], sha512);
  assert.equal(seen.headers["etag"], `"${sha512}"`);
});

test("If-None-Match with the entity tag, a list that has it, its weak form or a star is a 304", async () => {
  for (const [condition, status] of [
    [`"${digest}"`, 304],
    [`W/"${digest}"`, 304],
    [`"${otherDigest}" , "${digest}"`, 304],
    ["*", 304],
    [`"${otherDigest}"`, 200],
    [digest, 200],
    ["", 200],
  ] as const) {
    for (const method of ["GET", "HEAD"]) {
      const headers = { "if-none-match": condition };
      const seen = await ask(registryOf(), "/v2/a/b/manifests/latest", { method, headers });
      assert.equal(seen.status, status, condition);
      assert.equal(seen.headers["docker-content-digest"], digest);
      assert.equal(seen.headers["etag"], `"${digest}"`);
      if (status === 304) {
        assert.equal(seen.body.length, 0);
        assert.equal(seen.headers["content-length"], undefined);
        assert.equal(seen.headers["content-type"], undefined);
        assert.equal(seen.headers["cache-status"], "entrepot; hit");
      }
    }
  }
});

test("If-Match without the entity tag is a 412; a weak one is not it", async () => {
  for (const [condition, status] of [
    [`"${digest}"`, 200],
    [`"${otherDigest}" , "${digest}"`, 200],
    ["*", 200],
    [`W/"${digest}"`, 412],
    [`W/"${digest}", "${otherDigest}"`, 412],
    [`"${otherDigest}"`, 412],
    [digest, 412],
    ["", 412],
  ] as const) {
    for (const method of ["GET", "HEAD"]) {
      const seen = await ask(registryOf(), "/v2/a/b/manifests/latest", { method, headers: { "if-match": condition } });
      if (status === 412) assertError(seen, 412, "PRECONDITION_FAILED", condition);
      else assert.deepEqual([seen.status, seen.headers["docker-content-digest"]], [200, digest], condition);
    }
  }
});

test("If-Match is looked at before If-None-Match, and neither where there is nothing", async () => {
  const target = "/v2/a/b/manifests/latest";
  const failing = { "if-match": `"${otherDigest}"`, "if-none-match": `"${digest}"` };
  assertError(await ask(registryOf(), target, { headers: failing }), 412, "PRECONDITION_FAILED");
  const unmodified = await ask(registryOf(), target, { headers: { ...failing, "if-match": "*" } });
  assert.equal(unmodified.status, 304);
  for (const condition of ["*", `"${otherDigest}"`]) {
    const seen = await ask(createFakeRegistry(), target, { headers: { "if-match": condition } });
    assertError(seen, 404, "MANIFEST_UNKNOWN", condition);
  }
});

test("Range is ignored: a manifest is always whole", async () => {
  for (const range of ["bytes=0-", "bytes=5-9", "bytes=-1", "bytes=999999-", "nonsense"]) {
    const seen = await ask(registryOf(), "/v2/a/b/manifests/latest", { headers: { range } });
    assert.equal(seen.status, 200);
    assert.deepEqual(seen.body, manifest.bytes);
    assert.equal(seen.headers["content-range"], undefined);
    assert.equal(seen.headers["accept-ranges"], undefined);
  }
});

test("what the cache did is told by RFC 9211, and a stale answer warns", async () => {
  const rows = [
    [{ hit: true }, "entrepot; hit"],
    [
      { hit: false, forward: "uri-miss", forwardStatus: 200, stored: true },
      "entrepot; fwd=uri-miss; fwd-status=200; stored",
    ],
    [
      { hit: false, forward: "stale", forwardStatus: 200, collapsed: true },
      "entrepot; fwd=stale; fwd-status=200; collapsed",
    ],
    [{ hit: false, forward: "uri-miss", stored: true, collapsed: true }, "entrepot; fwd=uri-miss; stored; collapsed"],
    [{ hit: false, forward: "stale", staleReason: "timeout" }, "entrepot; fwd=stale; detail=timeout"],
    [
      { hit: false, forward: "stale", forwardStatus: 429, staleReason: "rate-limited" },
      "entrepot; fwd=stale; fwd-status=429; detail=rate-limited",
    ],
  ] as const;
  for (const [cache, expected] of rows) {
    const registry = createFakeRegistry({
      manifest: answered(manifest, cache),
      resolve: answered(manifest.descriptor, cache),
    });
    for (const method of ["GET", "HEAD"]) {
      const seen = await ask(registry, "/v2/a/b/manifests/latest", { method });
      assert.equal(seen.status, 200);
      assert.equal(seen.headers["cache-status"], expected);
      if ("staleReason" in cache)
        assert.match(seen.headers["warning"] ?? "", /^299 - "docker\.io failed \([a-z-]+\);[^"]*"$/);
      else assert.equal(seen.headers["warning"], undefined);
    }
  }
});

test("a manifest that is absent is a 404 that lets clients fall back", async () => {
  for (const method of ["GET", "HEAD"]) {
    const registry = createFakeRegistry();
    for (const reference of ["latest", `sha256-${"0a".repeat(32)}.sig`, digest]) {
      const seen = await ask(registry, `/v2/a/b/manifests/${reference}`, { method });
      assertError(seen, 404, "MANIFEST_UNKNOWN", reference);
    }
  }
});

test("the namespace that was meant is named, by whichever way it was", async () => {
  for (const target of [
    "/v2/a/b/manifests/1?ns=docker.io",
    "/v2/docker.io/a/b/manifests/1",
    "/docker.io/v2/a/b/manifests/1",
  ]) {
    const registry = registryOf();
    const seen = await ask(registry, target);
    assert.equal(seen.headers["oci-namespace"], "docker.io");
    assert.deepEqual(registry.asked, ["manifest a/b 1"]);
  }
});
