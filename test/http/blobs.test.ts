import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { blobKey } from "../../src/store/layout.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import {
  answered,
  ask,
  assertError,
  createFakeRegistry,
  fakeBlob,
  type FakeBlob,
  otherDigest,
  type Seen,
} from "./fake-registry.ts";

const bytes = pseudoRandomBytes(3_000, "blob");
const digest = digestOf(bytes);
const target = `/v2/a/b/blobs/${digest}`;

/** Asks for a blob, and asserts that what was opened was closed once. */
async function get(
  headers: Record<string, string> = {},
  blob: FakeBlob = fakeBlob(bytes),
): Promise<Seen & { asked: string[] }> {
  const registry = createFakeRegistry({ openBlob: answered(blob), statBlob: answered({ sizeBytes: blob.sizeBytes }) });
  const seen = await ask(registry, target, { headers });
  assert.equal(blob.closed, registry.asked.some((question) => question.startsWith("openBlob")) ? 1 : 0);
  return { ...seen, asked: registry.asked };
}

const expectedHeaders = {
  "content-type": "application/octet-stream",
  "content-length": "3000",
  "accept-ranges": "bytes",
  "docker-content-digest": digest,
  etag: `"${digest}"`,
  "cache-control": "no-transform",
  "content-disposition": "attachment",
  "x-content-type-options": "nosniff",
  "docker-distribution-api-version": "registry/2.0",
  "oci-namespace": "docker.io",
  "cache-status": "entrepot; hit",
};

test("GET gives the exact bytes, with every header that clients need and no other", async () => {
  const seen = await get();
  assert.equal(seen.status, 200);
  assert.deepEqual(seen.body, bytes);
  assert.deepEqual(seen.headers, expectedHeaders);
  assert.deepEqual(seen.asked, [`openBlob a/b ${digest}`]);
  assert.equal(seen.facts.endpoint, "blob");
  assert.equal(seen.facts.reference, digest);
});

test("HEAD tells the same, opens nothing, and knows no ranges", async () => {
  for (const headers of [{}, { range: "bytes=0-5" }, { range: "nonsense" }, { range: "bytes=9-1" }]) {
    const registry = createFakeRegistry({ statBlob: answered({ sizeBytes: 3_000 }) });
    const seen = await ask(registry, target, { method: "HEAD", headers });
    assert.equal(seen.status, 200);
    assert.deepEqual(seen.headers, expectedHeaders);
    assert.deepEqual(registry.asked, [`statBlob a/b ${digest}`]);
  }
});

test("a size that nobody knows is not made up, and the blob is then whole", async () => {
  const blob = { ...fakeBlob(bytes), sizeBytes: undefined };
  const { "content-length": _length, ...rest } = expectedHeaders;
  const seen = await ask(createFakeRegistry({ openBlob: answered(blob) }), target, { headers: { range: "bytes=0-5" } });
  assert.equal(seen.status, 200);
  assert.deepEqual(seen.body, bytes);
  assert.deepEqual(seen.headers, rest);
  const head = await ask(createFakeRegistry({ statBlob: answered({ sizeBytes: undefined }) }), target, {
    method: "HEAD",
  });
  assert.equal(head.status, 200);
  assert.deepEqual(head.headers, rest);
});

test("a single range is a 206 with exactly its bytes, the same on a hit and on a miss", async () => {
  const miss = { hit: false, forward: "uri-miss", stored: true } as const;
  for (const [range, start, end] of [
    ["bytes=500-1499", 500, 1_500],
    ["bytes=500-", 500, 3_000],
    ["bytes=-500", 2_500, 3_000],
    ["bytes=2000-5000", 2_000, 3_000],
    ["bytes=0-", 0, 3_000],
    ["bytes=0-0", 0, 1],
    ["bytes=2999-2999", 2_999, 3_000],
    ["bytes=-9999", 0, 3_000],
    ["Bytes = 10-19", 10, 20],
    ["bytes=10-19,", 10, 20],
    ["bytes=0-99999999999999999999", 0, 3_000],
  ] as const) {
    for (const cache of [{ hit: true }, miss]) {
      const blob = fakeBlob(bytes);
      const registry = createFakeRegistry({ openBlob: answered(blob, cache) });
      const seen = await ask(registry, target, { headers: { range } });
      assert.equal(seen.status, 206, range);
      assert.deepEqual(seen.body, bytes.subarray(start, end), range);
      assert.deepEqual(
        { ...seen.headers, "cache-status": "" },
        {
          ...expectedHeaders,
          "content-length": String(end - start),
          "content-range": `bytes ${start}-${end - 1}/3000`,
          "cache-status": "",
        },
      );
      assert.equal(blob.closed, 1);
    }
  }
});

test("a range that cannot be satisfied is a 416 that tells the size", async () => {
  for (const range of ["bytes=5000-10000", "bytes=3000-", "bytes=500-0", "bytes=-0"]) {
    const seen = await get({ range });
    assertError(seen, 416, "RANGE_INVALID", range);
    assert.equal(seen.headers["content-range"], "bytes */3000");
  }
});

test("a malformed range is refused before anything is asked", async () => {
  for (const range of ["bytes=", "bytes=-", "bytes=a-b", "bytes=1", "bytes", "bytes=1-2-3", "bytes=0x1-5", "bytes=,"]) {
    const seen = await get({ range });
    assertError(seen, 416, "RANGE_INVALID", range);
    assert.deepEqual(seen.asked, []);
  }
});

test("several ranges and other units are answered whole: podman breaks on a single part", async () => {
  for (const range of ["bytes=0-1,5-9", "bytes=0-1, -5", "items=0-5", "bytes=9999-,0-5"]) {
    const seen = await get({ range });
    assert.equal(seen.status, 200, range);
    assert.deepEqual(seen.body, bytes);
    assert.equal(seen.headers["content-range"], undefined);
  }
});

test("an empty blob is 200 for bytes=0-, which containerd asks of anything", async () => {
  for (const [range, status] of [
    [undefined, 200],
    ["bytes=0-", 200],
    ["bytes=-5", 200],
    ["bytes=1-", 416],
  ] as const) {
    const seen = await get(range === undefined ? {} : { range }, fakeBlob(Buffer.alloc(0)));
    assert.equal(seen.status, status, range ?? "no range");
    if (status === 416) continue;
    assert.equal(seen.headers["content-length"], "0");
    assert.equal(seen.body.length, 0);
  }
});

test("If-Range lets the range stand for the entity tag only", async () => {
  for (const [condition, status] of [
    [`"${digest}"`, 206],
    [`W/"${digest}"`, 200],
    [`"${otherDigest}"`, 200],
    ["Wed, 21 Oct 2026 07:28:00 GMT", 200],
  ] as const) {
    const seen = await get({ range: "bytes=1-2", "if-range": condition });
    assert.equal(seen.status, status, condition);
  }
});

test("If-None-Match is a 304 that opens nothing; a range does not matter then", async () => {
  for (const headers of [{}, { range: "bytes=0-5" }]) {
    const seen = await get({ "if-none-match": `"${digest}"`, ...headers });
    assert.equal(seen.status, 304);
    assert.equal(seen.body.length, 0);
    assert.equal(seen.headers["etag"], `"${digest}"`);
    assert.equal(seen.headers["content-length"], undefined);
    assert.deepEqual(seen.asked, [`statBlob a/b ${digest}`]);
  }
  assert.equal((await get({ "if-none-match": `"${otherDigest}"` })).status, 200);
  const absent = await ask(createFakeRegistry(), target, { headers: { "if-none-match": "*" } });
  assertError(absent, 404, "BLOB_UNKNOWN");
});

test("If-Match with another entity tag is a 412 that opens nothing, before a range and If-None-Match", async () => {
  for (const headers of [{}, { range: "bytes=0-5" }, { "if-none-match": `"${digest}"` }, { "if-range": "x" }]) {
    for (const condition of [`"${otherDigest}"`, `W/"${digest}"`]) {
      const seen = await get({ "if-match": condition, ...headers });
      assertError(seen, 412, "PRECONDITION_FAILED");
      assert.deepEqual(seen.asked, [`statBlob a/b ${digest}`]);
    }
  }
  for (const condition of ["*", `"${otherDigest}", "${digest}"`]) {
    assert.equal((await get({ "if-match": condition })).status, 200);
    assert.equal((await get({ "if-match": condition, range: "bytes=1-2" })).status, 206);
    assert.equal((await get({ "if-match": condition, "if-none-match": "*" })).status, 304);
  }
  const absent = await ask(createFakeRegistry(), target, { headers: { "if-match": `"${otherDigest}"` } });
  assertError(absent, 404, "BLOB_UNKNOWN");
});

test("a blob that is absent is a 404", async () => {
  for (const method of ["GET", "HEAD"]) {
    assertError(await ask(createFakeRegistry(), target, { method }), 404, "BLOB_UNKNOWN");
  }
});

describe("nginx is told to send a file", () => {
  const file = blobKey(digest);
  const throughNginx = { "x-sendfile-type": "X-Accel-Redirect" };
  const askNginx = async (
    headers: Record<string, string>,
    blob: FakeBlob = Object.assign(fakeBlob(bytes), { file }),
  ): Promise<Seen> => {
    const registry = createFakeRegistry({ openBlob: answered(blob), statBlob: answered({ sizeBytes: bytes.length }) });
    return ask(registry, target, { headers, accelRedirect: "/internal/" });
  };

  test("with the header fields of the blob, whatever range is asked for, and closes it", async () => {
    for (const headers of [{}, { range: "bytes=1-2" }]) {
      const blob = Object.assign(fakeBlob(bytes), { file });
      const seen = await askNginx({ ...throughNginx, ...headers }, blob);
      assert.equal(seen.status, 200);
      const { "accept-ranges": _ranges, ...rest } = expectedHeaders;
      assert.deepEqual(seen.headers, {
        ...rest,
        "content-length": "0",
        "x-accel-redirect": `/internal/${file}`,
        vary: "X-Sendfile-Type",
      });
      assert.equal(blob.closed, 1);
      assert.deepEqual(seen.facts.cache, { hit: true });
    }
  });

  test("only where it said that it does, it is configured, and there is a file", async () => {
    const whole = [
      await askNginx({}),
      await askNginx({ "x-sendfile-type": "X-Sendfile" }),
      await askNginx(throughNginx, fakeBlob(bytes)),
      await ask(createFakeRegistry({ openBlob: answered(Object.assign(fakeBlob(bytes), { file })) }), target, {
        headers: throughNginx,
      }),
      // nginx would compare it with an ETag that it does not have yet.
      await askNginx({ ...throughNginx, "if-match": `"${digest}"` }),
      await askNginx({ ...throughNginx, range: "bytes=1-2", "if-range": '"other"' }),
    ];
    for (const seen of whole) {
      assert.equal(seen.status, 200);
      assert.deepEqual(seen.body, bytes);
      assert.deepEqual(seen.headers, expectedHeaders);
    }
  });

  test("not what needs no file: conditions that do not hold, and ranges that cannot be", async () => {
    for (const [status, headers] of [
      [304, { "if-none-match": `"${digest}"` }],
      [412, { "if-match": `"${otherDigest}"` }],
      [416, { range: "bytes=3000-" }],
    ] as const) {
      const seen = await askNginx({ ...throughNginx, ...headers });
      assert.equal(seen.status, status);
      assert.equal(seen.headers["x-accel-redirect"], undefined);
    }
  });
});

test("a sha512 request is answered with the sha512 digest", async () => {
  const sha512 = digestOf(bytes, "sha512");
  const seen = await ask(createFakeRegistry({ openBlob: answered(fakeBlob(bytes)) }), `/v2/a/b/blobs/${sha512}`);
  assert.equal(seen.status, 200);
  assert.equal(seen.headers["docker-content-digest"], sha512);
});

test("a body that cannot be completed fails while it is read, and is closed", async () => {
  const error = new Error("the upstream broke");
  const blob = fakeBlob(bytes);
  blob.read = async function* () {
    yield bytes.subarray(0, 10);
    throw error;
  };
  await assert.rejects(ask(createFakeRegistry({ openBlob: answered(blob) }), target), error);
  assert.equal(blob.closed, 1);
});
