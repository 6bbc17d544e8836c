import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { startMirror } from "../support/mirror.ts";
import { createUpstream } from "../support/upstream.ts";

test("a cold pull comes from the upstream, a warm one without it", async () => {
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/test", "1", { layers: 3, layerBytes: 200_000 });
  await using mirror = await startMirror(upstream.host);
  const cold = await mirror.get("/v2/library/test/manifests/1");
  assert.equal(cold.status, 200);
  assert.equal(cold.headers["docker-content-digest"], image.digest);
  for (const digest of [...image.manifests, ...image.blobs]) {
    const kind = image.manifests.includes(digest) ? "manifests" : "blobs";
    const got = await mirror.get(`/v2/library/test/${kind}/${digest}`);
    assert.equal(got.status, 200);
    assert.equal(digestOf(got.body), digest);
  }
  await upstream.down();
  const asked = upstream.requests.length;
  for (const digest of image.blobs) {
    const got = await mirror.get(`/v2/library/test/blobs/${digest}`);
    assert.equal(got.status, 200);
    assert.equal(got.headers["cache-status"], "entrepot; hit");
    assert.equal(digestOf(got.body), digest);
  }
  const warm = await mirror.get("/v2/library/test/manifests/1");
  assert.deepEqual(warm.body, cold.body);
  assert.equal(warm.headers["cache-status"], "entrepot; hit");
  assert.equal(upstream.requests.length, asked);
});
