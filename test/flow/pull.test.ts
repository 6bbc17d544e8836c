import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { startMirror } from "../support/mirror.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
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
  await mirror.app.idle();
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

test("a tag that Docker and containerd ask for (HEAD, then GET by digest) outlives a restart without the upstream", async () => {
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/test", "1", { platforms: 1 });
  {
    await using mirror = await startMirror(upstream.host, { root: folder.path });
    const head = await mirror.get("/v2/library/test/manifests/1", { method: "HEAD" });
    assert.equal(head.headers["docker-content-digest"], image.digest);
    for (const digest of image.manifests) await mirror.get(`/v2/library/test/manifests/${digest}`);
    for (const digest of image.blobs) await mirror.get(`/v2/library/test/blobs/${digest}`);
    await mirror.app.idle();
  }
  await upstream.down();
  await using mirror = await startMirror(upstream.host, { root: folder.path });
  const head = await mirror.get("/v2/library/test/manifests/1", { method: "HEAD" });
  assert.equal(head.status, 200);
  assert.equal(head.headers["docker-content-digest"], image.digest);
  assert.equal(head.headers["cache-status"], "entrepot; hit");
});
