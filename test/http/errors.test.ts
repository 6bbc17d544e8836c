import assert from "node:assert/strict";
import { test } from "node:test";
import { OciError } from "../../src/oci/errors.ts";
import { errorReply } from "../../src/http/reply.ts";
import { LedgerNotReady } from "../../src/ledger/ledger.ts";
import type { PullRegistry } from "../../src/registry/registry.ts";
import { StoreError } from "../../src/store/object-store.ts";
import { UpstreamError, type UpstreamFailure } from "../../src/upstream/upstream.ts";
import {
  answered,
  ask,
  assertError,
  createFakeRegistry,
  fakeManifest,
  otherDigest,
  type FakeRegistry,
} from "./fake-registry.ts";

const secret = "https://user:hunter2@cdn.example.com/blob?X-Amz-Signature=5ec4e7";

/** Everything that can be asked of a repository. */
const questions = [
  ["GET", "/v2/a/b/manifests/latest"],
  ["HEAD", "/v2/a/b/manifests/latest"],
  ["GET", `/v2/a/b/manifests/${otherDigest}`],
  ["GET", `/v2/a/b/blobs/${otherDigest}`],
  ["HEAD", `/v2/a/b/blobs/${otherDigest}`],
  ["GET", "/v2/a/b/tags/list"],
  ["GET", `/v2/a/b/referrers/${otherDigest}`],
] as const;

function failing(error: Error): FakeRegistry {
  const fail = (): Promise<never> => Promise.reject(error);
  const registry: PullRegistry = {
    resolve: fail,
    manifest: fail,
    statBlob: fail,
    openBlob: fail,
    tags: fail,
    referrers: fail,
  };
  return createFakeRegistry(registry);
}

function failed(failure: UpstreamFailure, options: ConstructorParameters<typeof UpstreamError>[3] = {}): UpstreamError {
  return new UpstreamError("registry.example.com", failure, `it failed at ${secret}`, options);
}

/** Asserts one answer to everything that can be asked, that it tells no secret, and that the log gets the reason. */
async function assertAlways(error: Error, status: number, code: string): Promise<Record<string, string>> {
  let headers: Record<string, string> = {};
  for (const [method, target] of questions) {
    const seen = await ask(failing(error), target, { method });
    assertError(seen, status, code, `${method} ${target}`);
    assert.doesNotMatch(seen.body.toString(), /hunter2|X-Amz|cdn\.example\.com|\/var\/lib/);
    assert.equal(seen.facts.error, error);
    headers = seen.headers;
  }
  return headers;
}

test("3.7: an upstream that is not configured and not allowed is a 404 NAME_UNKNOWN", async () => {
  for (const target of [
    "/v2/a/b/manifests/latest?ns=quay.io",
    "/v2/quay.io/a/b/manifests/latest",
    "/quay.io/v2/a/b/manifests/latest",
    `/v2/a/b/blobs/${otherDigest}?ns=10.0.0.1`,
    "/v2/localhost/a/tags/list",
  ]) {
    const registry = createFakeRegistry();
    assertError(await ask(registry, target), 404, "NAME_UNKNOWN", target);
    assert.deepEqual(registry.asked, []);
  }
});

test("3.7: a known tag behind a failing upstream is a stale 200", async () => {
  const cache = { hit: false, forward: "stale", forwardStatus: 503, staleReason: "status" } as const;
  const manifest = fakeManifest();
  const registry = createFakeRegistry({
    manifest: answered(manifest, cache),
    resolve: answered(manifest.descriptor, cache),
  });
  for (const method of ["GET", "HEAD"]) {
    const seen = await ask(registry, "/v2/a/b/manifests/latest", { method });
    assert.equal(seen.status, 200);
    assert.equal(seen.headers["cache-status"], "entrepot; fwd=stale; fwd-status=503; detail=status");
    assert.match(seen.headers["warning"] ?? "", /^299 - "/);
  }
});

test("3.7: what is unknown behind a failing upstream is a 502, and a 504 for a time-out", async () => {
  await assertAlways(failed("unreachable"), 502, "UNAVAILABLE");
  await assertAlways(failed("status", { status: 500 }), 502, "UNAVAILABLE");
  await assertAlways(failed("token"), 502, "UNAVAILABLE");
  await assertAlways(failed("timeout"), 504, "UNAVAILABLE");
});

test("3.7: what is unknown behind an upstream's 429 is a 503 with its Retry-After", async () => {
  const without = await assertAlways(failed("rate-limited", { status: 429 }), 503, "TOOMANYREQUESTS");
  assert.equal(without["retry-after"], undefined);
  for (const [seconds, header] of [
    [60, "60"],
    [0.2, "1"],
    [0, "0"],
  ] as const) {
    const headers = await assertAlways(failed("rate-limited", { retryAfterSeconds: seconds }), 503, "TOOMANYREQUESTS");
    assert.equal(headers["retry-after"], header);
  }
});

test("3.7: what the upstream does not have, or does not show, is a 404 without its challenge", async () => {
  const codes: Record<string, string> = {
    manifests: "MANIFEST_UNKNOWN",
    blobs: "BLOB_UNKNOWN",
    tags: "NAME_UNKNOWN",
    referrers: "NOT_FOUND",
  };
  for (const [method, target] of questions) {
    const seen = await ask(createFakeRegistry(), target, { method });
    assertError(seen, 404, codes[target.split("/")[4] ?? ""] ?? "", target);
  }
  for (const status of [401, 403]) {
    const headers = await assertAlways(failed("denied", { status }), 404, "NAME_UNKNOWN");
    assert.equal(headers["WWW-Authenticate"] ?? headers["www-authenticate"], undefined);
  }
  await assertAlways(failed("offline"), 404, "NOT_FOUND");
});

test("3.7: a digest that does not match, and all that breaks the protocol, is a 502", async () => {
  await assertAlways(failed("invalid"), 502, "UNAVAILABLE");
  const cause = new OciError("MANIFEST_INVALID", "this is a Docker schema 1 manifest");
  await assertAlways(failed("invalid", { cause }), 502, "MANIFEST_INVALID");
  const seen = await ask(failing(failed("invalid", { cause })), "/v2/a/b/manifests/latest");
  assert.match(assertError(seen, 502, "MANIFEST_INVALID"), /schema 1/);
});

test("an address that the namespace may not reach is a 404, like any that is not mirrored", async () => {
  await assertAlways(failed("refused"), 404, "NAME_UNKNOWN");
});

test("a store that cannot be read is a 503, and a bug a 500; neither tells the client what is inside", async () => {
  await assertAlways(
    new StoreError("/var/lib/entrepot/blobs could not be read", new Error(secret)),
    503,
    "UNAVAILABLE",
  );
  await assertAlways(new TypeError(`undefined is not ${secret}`), 500, "UNKNOWN");
});

test("bad requests are refused in OCI form, and nobody is asked", async () => {
  const rows: [target: string, status: number, code: string][] = [
    ["/v2/A/manifests/latest", 400, "NAME_INVALID"],
    ["/v2/a//b/manifests/latest", 400, "NAME_INVALID"],
    ["/v2/a/../b/manifests/latest", 400, "NAME_INVALID"],
    ["/v2/../../etc/manifests/latest", 400, "NAME_INVALID"],
    ["/v2/%2e%2e/manifests/latest", 400, "NAME_INVALID"],
    ["/v2/a%2Fb/manifests/latest", 400, "NAME_INVALID"],
    ["/v2/a%2/manifests/latest", 400, "NAME_INVALID"],
    ["/v2/a%00/manifests/latest", 400, "NAME_INVALID"],
    ["/v2/a_/manifests/latest", 400, "NAME_INVALID"],
    [`/v2/${"a".repeat(256)}/manifests/latest`, 400, "NAME_INVALID"],
    ["/v2/a/manifests/-tag", 404, "MANIFEST_UNKNOWN"],
    [`/v2/a/manifests/${"t".repeat(129)}`, 404, "MANIFEST_UNKNOWN"],
    ["/v2/a/manifests/t%2Fu", 404, "MANIFEST_UNKNOWN"],
    ["/v2/a/manifests/sha256:baddigeststring", 400, "DIGEST_INVALID"],
    ["/v2/a/manifests/md5:d41d8cd98f00b204e9800998ecf8427e", 400, "DIGEST_INVALID"],
    [`/v2/a/blobs/sha256:${"0A".repeat(32)}`, 400, "DIGEST_INVALID"],
    ["/v2/a/blobs/latest", 400, "DIGEST_INVALID"],
    ["/v2/a/manifests/latest?ns=..", 400, "NAME_INVALID"],
    ["/v2/a/manifests/latest?ns=docker.io&ns=ghcr.io", 400, "NAME_INVALID"],
    ["/v2/a/manifests/latest?ns=%zz", 400, "NAME_INVALID"],
    ["/v2/a/manifests/latest?ns=docker.io%0d%0ax", 400, "NAME_INVALID"],
    [`/v2/a/manifests/latest?${"x".repeat(5_000)}`, 414, "URI_TOO_LONG"],
    ["/v2/_catalog", 404, "NOT_FOUND"],
    ["/v2/a", 404, "NOT_FOUND"],
    ["/v1/a/manifests/latest", 404, "NOT_FOUND"],
    ["*", 404, "NOT_FOUND"],
    ["", 404, "NOT_FOUND"],
    ["http://example.com/v2/a/manifests/latest", 404, "NOT_FOUND"],
  ];
  for (const [target, status, code] of rows) {
    const registry = createFakeRegistry();
    const seen = await ask(registry, target);
    assertError(seen, status, code, target);
    assert.deepEqual(registry.asked, [], target);
  }
});

test("what would change something is a 405 that says what is allowed", async () => {
  for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]) {
    for (const target of [
      "/v2/",
      "/v2/a/b/manifests/latest",
      `/v2/a/b/blobs/${otherDigest}`,
      "/v2/a/b/blobs/uploads/",
    ]) {
      const registry = createFakeRegistry();
      const seen = await ask(registry, target, { method });
      assertError(seen, 405, "UNSUPPORTED", `${method} ${target}`);
      assert.equal(seen.headers["allow"], "GET, HEAD");
      assert.deepEqual(registry.asked, []);
    }
  }
  for (const target of ["/v2/a/b/blobs/uploads/", "/v2/a/b/blobs/uploads/5f2b"]) {
    assertError(await ask(createFakeRegistry(), target), 405, "UNSUPPORTED", target);
  }
});

test("who asks before it is known what is stored is told when to come again", () => {
  const { status, headers } = errorReply(new LedgerNotReady());
  assert.deepEqual([status, headers["Retry-After"]], [503, 5]);
});
