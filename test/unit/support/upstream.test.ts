import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { createHasher, digestOf } from "../../../src/oci/digest.ts";
import { createBarrier } from "../../support/barrier.ts";
import { largeContent, pseudoRandomBytes } from "../../support/content.ts";
import { BrokenBody, open, request } from "../../support/http.ts";
import { mediaTypes } from "../../support/image.ts";
import "../../support/network.ts";
import { createUpstream } from "../../support/upstream.ts";

const bytes = pseudoRandomBytes(300_000, "upstream.test");

test("an image is served by tag and digest, with everything that it lists", async () => {
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/test", "1", { layers: 3, platforms: 2 });
  const root = await request(`http://${upstream.host}/v2/library/test/manifests/1`);
  assert.equal(root.status, 200);
  assert.equal(root.headers["content-type"], mediaTypes.index);
  assert.equal(root.headers["docker-content-digest"], image.digest);
  assert.equal(digestOf(root.body), image.digest);
  assert.equal(image.manifests.length, 2);
  assert.equal(image.blobs.length, 8);
  for (const digest of image.manifests) {
    const manifest = await request(`http://${upstream.host}/v2/library/test/manifests/${digest}`);
    assert.equal(digestOf(manifest.body), digest);
    const document = JSON.parse(manifest.body.toString()) as { layers: { digest: string; size: number }[] };
    for (const layer of document.layers) {
      const blob = await request(`http://${upstream.host}/v2/library/test/blobs/${layer.digest}`);
      assert.equal(digestOf(blob.body), layer.digest);
      assert.equal(Number(blob.headers["content-length"]), layer.size);
      gunzipSync(blob.body);
    }
  }
  assert.equal(upstream.count({ path: /\/blobs\// }), 6);
  assert.equal(upstream.count({ method: "HEAD" }), 0);
});

test("HEAD has the headers and no body, and what is absent is 404 in OCI form", async () => {
  await using upstream = await createUpstream();
  const digest = upstream.addBlob(bytes, { repository: "a/b" });
  const head = await request(`http://${upstream.host}/v2/a/b/blobs/${digest}`, { method: "HEAD" });
  assert.equal(head.headers["content-length"], String(bytes.length));
  assert.equal(head.body.length, 0);
  const absent = await request(`http://${upstream.host}/v2/other/blobs/${digest}`);
  assert.equal(absent.status, 404);
  assert.match(absent.body.toString(), /BLOB_UNKNOWN/);
  assert.equal(upstream.bytesSent({ path: `/a/b/blobs/${digest}` }), 0);
});

const ranges: [range: string, status: number, contentRange: string | undefined, start: number, end: number][] = [
  ["bytes=0-9", 206, "bytes 0-9/300000", 0, 10],
  ["bytes=299990-", 206, "bytes 299990-299999/300000", 299_990, 300_000],
  ["bytes=-5", 206, "bytes 299995-299999/300000", 299_995, 300_000],
  ["bytes=299999-400000", 206, "bytes 299999-299999/300000", 299_999, 300_000],
  ["bytes=300000-", 416, "bytes */300000", 0, 0],
  ["bytes=0-1,3-4", 200, undefined, 0, 300_000],
];
for (const [range, status, contentRange, start, end] of ranges) {
  test(`Range: ${range} is answered ${status}`, async () => {
    await using upstream = await createUpstream();
    const digest = upstream.addBlob(bytes);
    const part = await request(`http://${upstream.host}/v2/x/blobs/${digest}`, { headers: { range } });
    assert.equal(part.status, status);
    assert.equal(part.headers["content-range"], contentRange);
    assert.ok(part.body.equals(bytes.subarray(start, end)));
  });
}

test("a large blob has the bytes of its digest, from any offset", async () => {
  await using upstream = await createUpstream();
  const sizeBytes = 5 * 1024 * 1024 + 17;
  const digest = upstream.addLargeBlob(sizeBytes, 1);
  const whole = await request(`http://${upstream.host}/v2/x/blobs/${digest}`);
  assert.equal(digestOf(whole.body), digest);
  assert.equal(upstream.bytesSent({ method: "GET" }), sizeBytes);
  const start = 65_536 * 3 + 5;
  const rest = await request(`http://${upstream.host}/v2/x/blobs/${digest}`, {
    headers: { range: `bytes=${start}-` },
  });
  assert.ok(rest.body.equals(whole.body.subarray(start)));
  const blocks = new Set<string>();
  for (const chunk of largeContent(sizeBytes, 1).read(0, sizeBytes)) {
    blocks.add(createHash("sha256").update(chunk).digest("hex"));
  }
  assert.equal(blocks.size, Math.ceil(sizeBytes / 65_536));
  assert.notEqual(upstream.addLargeBlob(sizeBytes, 2), digest);
});

test("tags are listed in pages", async () => {
  await using upstream = await createUpstream();
  const digest = upstream.addManifest("a", "2", { schemaVersion: 2 });
  upstream.setTag("a", "1", digest);
  upstream.setTag("a", "3", digest);
  upstream.setTag("a", "4", digest);
  upstream.removeTag("a", "4");
  const first = await request(`http://${upstream.host}/v2/a/tags/list?n=2`);
  assert.deepEqual(JSON.parse(first.body.toString()), { name: "a", tags: ["1", "2"] });
  assert.equal(first.headers.link, '</v2/a/tags/list?n=2&last=2>; rel="next"');
  const last = await request(`http://${upstream.host}/v2/a/tags/list?n=2&last=2`);
  assert.deepEqual(JSON.parse(last.body.toString()), { name: "a", tags: ["3"] });
  assert.equal(last.headers.link, undefined);
});

test("referrers are found by their subject, and there may be no API for them", async () => {
  await using upstream = await createUpstream();
  const subject = upstream.addManifest("a", "1", { schemaVersion: 2 });
  const referrer = upstream.addReferrer("a", subject, "application/example");
  upstream.addReferrer("a", subject, "application/other");
  const page = await request(`http://${upstream.host}/v2/a/referrers/${subject}?artifactType=application/example`);
  const { manifests } = JSON.parse(page.body.toString()) as { manifests: { digest: string }[] };
  assert.deepEqual(
    manifests.map(({ digest }) => digest),
    [referrer],
  );
  assert.equal(page.headers["oci-filters-applied"], "artifactType");
  await using plain = await createUpstream({ referrers: false });
  assert.equal((await request(`http://${plain.host}/v2/a/referrers/${subject}`)).status, 404);
});

test("the first entry that fits is used, as often as it was asked for", async () => {
  await using upstream = await createUpstream();
  const digest = upstream.addBlob(bytes);
  upstream.when({ path: `/blobs/${digest}`, times: 1 }, { status: 503, headers: { "retry-after": "1" } });
  upstream.when({ path: /blobs/, times: 2 }, { status: 500 });
  const statuses: number[] = [];
  for (let round = 0; round < 4; round += 1) {
    statuses.push((await request(`http://${upstream.host}/v2/x/blobs/${digest}`)).status);
  }
  assert.deepEqual(statuses, [503, 500, 500, 200]);
  assert.deepEqual(
    upstream.requests.map(({ status }) => status),
    statuses,
  );
  upstream.when({}, { status: 500 });
  upstream.behave();
  assert.equal((await request(`http://${upstream.host}/v2/`)).status, 200);
});

test("a cut gets exactly so many bytes across", async () => {
  await using upstream = await createUpstream();
  const digest = upstream.addBlob(bytes);
  for (const cutAfterBytes of [0, 1, 65_536, 200_000, bytes.length - 1]) {
    upstream.when({ times: 1 }, { cutAfterBytes });
    const failure = await rejection(request(`http://${upstream.host}/v2/x/blobs/${digest}`));
    assert.ok(failure instanceof BrokenBody, String(failure));
    assert.equal(failure.receivedBytes, cutAfterBytes);
    assert.equal(failure.headers["content-length"], String(bytes.length));
    assert.equal(upstream.requests.at(-1)?.bytesSent, cutAfterBytes);
  }
});

test("a connection is reset, or closed before an answer", async () => {
  await using upstream = await createUpstream();
  const digest = upstream.addBlob(bytes);
  upstream.when({ times: 1 }, { cutAfterBytes: 1000, cutBy: "reset" });
  const broken = await rejection(request(`http://${upstream.host}/v2/x/blobs/${digest}`));
  assert.ok(broken instanceof BrokenBody, String(broken));
  upstream.when({ times: 1 }, { hangUp: true });
  const failure = await rejection(request(`http://${upstream.host}/v2/x/blobs/${digest}`));
  assert.equal((failure as NodeJS.ErrnoException).code, "ECONNRESET");
  assert.equal(upstream.requests[1]?.status, undefined);
});

test("a stalled body goes on when it is let, and ends when the client leaves", async () => {
  await using upstream = await createUpstream();
  const digest = upstream.addBlob(bytes);
  const stallAt = createBarrier();
  upstream.when({ times: 1 }, { stallAfterBytes: 100_000, stallAt });
  using response = await open(`http://${upstream.host}/v2/x/blobs/${digest}`);
  const start = await response.take(100_000);
  await stallAt.reached;
  assert.equal(upstream.bytesSent({ path: digest }), 100_000);
  stallAt.release();
  assert.ok(Buffer.concat([start, await response.rest()]).equals(bytes));

  upstream.when({ times: 1 }, { stallAfterBytes: 10 });
  const left = await open(`http://${upstream.host}/v2/x/blobs/${digest}`);
  await left.take(10);
  left.destroy();
  await upstream.requests[1]?.closed;
  assert.equal(upstream.requests[1]?.bytesSent, 10);
});

test("an answer waits at a barrier, and requests can be waited for", async () => {
  await using upstream = await createUpstream();
  const pauseAt = createBarrier();
  upstream.when({ path: "/v2/" }, { pauseAt });
  const both = [request(`http://${upstream.host}/v2/`), request(`http://${upstream.host}/v2/`)];
  const second = await upstream.arrived({ path: "/v2/" }, 2);
  await pauseAt.arrivals(2);
  assert.equal(second.status, undefined);
  pauseAt.release();
  assert.deepEqual(
    (await Promise.all(both)).map(({ status }) => status),
    [200, 200],
  );
  assert.equal((await upstream.arrived({ path: "/v2/" })).status, 200);
});

test("it lies about length, content, coding and ranges", async () => {
  await using upstream = await createUpstream();
  const digest = upstream.addBlob(bytes);
  const url = `http://${upstream.host}/v2/x/blobs/${digest}`;
  upstream.when({ times: 1 }, { announceLength: false });
  const chunked = await request(url);
  assert.equal(chunked.headers["content-length"], undefined);
  assert.ok(chunked.body.equals(bytes));

  upstream.when({ times: 1 }, { announceLength: bytes.length + 1 });
  const short = await rejection(request(url));
  assert.equal((short as BrokenBody).receivedBytes, bytes.length);

  upstream.when({ times: 1 }, { announceLength: 1000 });
  assert.ok((await request(url)).body.equals(bytes.subarray(0, 1000)));

  upstream.when({ times: 2 }, { corruptByteAt: 70_000 });
  const corrupt = (await request(url)).body;
  assert.notEqual(corrupt[70_000], bytes[70_000]);
  const corruptPart = (await request(url, { headers: { range: "bytes=69999-70001" } })).body;
  assert.ok(corruptPart.equals(corrupt.subarray(69_999, 70_002)));
  corrupt[70_000] = bytes[70_000] ?? 0;
  assert.ok(corrupt.equals(bytes));

  upstream.when({ times: 1 }, { gzip: true });
  const compressed = await request(url);
  assert.equal(compressed.headers["content-encoding"], "gzip");
  assert.ok(gunzipSync(compressed.body).equals(bytes));

  upstream.when({ times: 1 }, { ignoreRange: true });
  assert.equal((await request(url, { headers: { range: "bytes=0-9" } })).status, 200);

  upstream.when({ times: 1 }, { dripBytes: 100_000 });
  assert.ok((await request(url)).body.equals(bytes));

  upstream.when({ times: 1 }, { body: "<html>", headers: { "content-type": "text/html" } });
  const page = await request(url);
  assert.equal(page.headers["content-type"], "text/html");
  assert.equal(page.headers["content-length"], "6");

  upstream.when({ times: 1 }, { redirectTo: "http://example.com/" });
  assert.equal((await request(url)).headers.location, "http://example.com/");

  upstream.when({ times: 1 }, { challenge: "Basic realm=x" });
  const challenged = await request(url);
  assert.equal(challenged.status, 401);
  assert.equal(challenged.headers["www-authenticate"], "Basic realm=x");
});

test("a token is asked for, issued and revoked", async () => {
  await using upstream = await createUpstream();
  const digest = upstream.addBlob(bytes);
  const credentials = { username: "user", password: "secret" };
  const tokens = upstream.requireToken({ credentials });
  const url = `http://${upstream.host}/v2/a/b/blobs/${digest}`;
  const challenged = await request(url);
  assert.equal(
    challenged.headers["www-authenticate"],
    `Bearer realm="http://${upstream.host}/token",service="scripted",scope="repository:a/b:pull"`,
  );
  const realm = `http://${upstream.host}/token?scope=repository:a/b:pull`;
  assert.equal((await request(realm)).status, 401);
  const basic = `Basic ${Buffer.from("user:secret").toString("base64")}`;
  const issued = await request(realm, { headers: { authorization: basic } });
  const { token } = JSON.parse(issued.body.toString()) as { token: string };
  const authorization = `Bearer ${token}`;
  assert.equal((await request(url, { headers: { authorization } })).status, 200);
  const elsewhere = url.replace("/a/b/", "/c/");
  assert.equal((await request(elsewhere, { headers: { authorization } })).status, 401);
  assert.equal(tokens.issued, 1);
  tokens.revoke();
  assert.equal((await request(url, { headers: { authorization } })).status, 401);
  upstream.when({ path: "/token" }, { status: 500 });
  assert.equal((await request(realm, { headers: { authorization: basic } })).status, 500);
});

test("Basic is asked for", async () => {
  await using upstream = await createUpstream();
  upstream.requireBasic({ username: "user", password: "secret" });
  const url = `http://${upstream.host}/v2/`;
  assert.match((await request(url)).headers["www-authenticate"] ?? "", /^Basic/);
  const authorization = `Basic ${Buffer.from("user:secret").toString("base64")}`;
  assert.equal((await request(url, { headers: { authorization } })).status, 200);
});

test("it goes down, breaking what is on its way, and comes back on the same port", async () => {
  await using upstream = await createUpstream();
  const url = `http://${upstream.host}/v2/`;
  const pauseAt = createBarrier();
  upstream.when({ times: 1 }, { pauseAt });
  const waiting = rejection(request(url));
  await pauseAt.reached;
  await upstream.down();
  assert.equal(((await waiting) as NodeJS.ErrnoException).code, "ECONNRESET");
  assert.equal(((await rejection(request(url))) as NodeJS.ErrnoException).code, "ECONNREFUSED");
  await upstream.up();
  assert.equal((await request(url)).status, 200);
});

test("a connection that a client leaves open is an error at the end", async () => {
  const upstream = await createUpstream({ graceMs: 1 });
  const response = await open(`http://${upstream.host}/v2/x/blobs/${upstream.addLargeBlob(64 * 1024 * 1024, 1)}`);
  await assert.rejects(() => upstream[Symbol.asyncDispose](), /1 connections .* stayed open/);
  response.destroy();
});

test("hashing a body as it comes gives its digest", async () => {
  await using upstream = await createUpstream();
  const digest = upstream.addBlob(bytes);
  using response = await open(`http://${upstream.host}/v2/x/blobs/${digest}`);
  const sha256 = createHasher("sha256").update(bytes).digest("hex");
  assert.deepEqual(await response.hash(), { sha256, sizeBytes: bytes.length });
});

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return assert.fail("it did not fail");
}
