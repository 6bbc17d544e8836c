import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { createBarrier } from "../support/barrier.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../support/mirror.ts";
import { inspectStorage } from "../support/storage.ts";
import { type AddedImage, createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const anyBlob = { method: "GET", path: /\/blobs\// };

function startPrefetching(upstream: ScriptedUpstream, options: MirrorOptions = {}): Promise<Mirror> {
  return startMirror(upstream.host, { ...options, upstream: { prefetch: "platform", ...options.upstream } });
}

function blobPath(digest: Digest): string {
  return `/v2/library/test/blobs/${digest}`;
}

async function pullBlobs(mirror: Mirror, image: AddedImage): Promise<void> {
  await Promise.all(
    image.blobs.map(async (digest) => {
      const answer = await mirror.get(blobPath(digest));
      assert.equal(answer.status, 200);
      assert.equal(digestOf(answer.body), digest);
    }),
  );
}

describe("a mirror that prefetches", () => {
  for (const by of ["tag", "digest"] as const) {
    test(`asks for an image's blobs before its client does, each once, on a GET by ${by}`, async () => {
      await using upstream = await createUpstream();
      const image = upstream.addImage("library/test", "1", { layers: 3, layerBytes: 100_000 });
      const barrier = createBarrier();
      upstream.when(anyBlob, { pauseAt: barrier });
      await using mirror = await startPrefetching(upstream);
      const manifest = await mirror.get(`/v2/library/test/manifests/${by === "tag" ? "1" : image.digest}`);
      assert.equal(manifest.status, 200);
      // The client has asked for none of them, and all are asked for; then it joins what is under way.
      await barrier.arrivals(image.blobs.length);
      const pulled = pullBlobs(mirror, image);
      barrier.release();
      await pulled;
      await mirror.app.idle();
      for (const digest of image.blobs) assert.equal(upstream.count({ path: blobPath(digest) }), 1);
      const stored = await inspectStorage(mirror.root);
      for (const digest of image.blobs) assert.ok(stored.blobs.includes(digest));
    });
  }

  test("fetches a large image a few blobs at a time, and whole, though its client has left", async () => {
    await using upstream = await createUpstream();
    const image = upstream.addImage("library/test", "1", { layers: 7 });
    const barrier = createBarrier();
    upstream.when(anyBlob, { pauseAt: barrier });
    await using mirror = await startPrefetching(upstream);
    await mirror.get("/v2/library/test/manifests/1");
    await barrier.arrivals(4);
    // What it would ask for beyond these it would have asked for before this is answered.
    await mirror.get("/v2/library/test/tags/list");
    assert.equal(upstream.count(anyBlob), 4);
    barrier.release();
    await mirror.app.idle();
    const stored = await inspectStorage(mirror.root);
    for (const digest of image.blobs) assert.ok(stored.blobs.includes(digest));
    assert.equal(upstream.count(anyBlob), image.blobs.length);
  });

  test("asks for nothing on HEAD, on the GET of an index, and when the blobs are stored", async () => {
    await using upstream = await createUpstream();
    const image = upstream.addImage("library/test", "1", { platforms: 2 });
    await using mirror = await startPrefetching(upstream);
    await mirror.get("/v2/library/test/manifests/1", { method: "HEAD" });
    await mirror.get("/v2/library/test/manifests/1");
    for (const digest of image.manifests) await mirror.get(`/v2/library/test/manifests/${digest}`, { method: "HEAD" });
    await mirror.app.idle();
    assert.equal(upstream.count(anyBlob), 0);
    for (const digest of image.manifests) await mirror.get(`/v2/library/test/manifests/${digest}`);
    await mirror.app.idle();
    assert.equal(upstream.count(anyBlob), image.blobs.length);
    for (const digest of image.manifests) await mirror.get(`/v2/library/test/manifests/${digest}`);
    await mirror.app.idle();
    assert.equal(upstream.count(anyBlob), image.blobs.length);
  });

  test("harms nobody when it fails: the client's own request is asked anew", async () => {
    await using upstream = await createUpstream();
    const image = upstream.addImage("library/test", "1", { layers: 2 });
    upstream.when(anyBlob, { status: 403 });
    await using mirror = await startPrefetching(upstream);
    const manifest = await mirror.get("/v2/library/test/manifests/1");
    assert.equal(manifest.status, 200);
    await mirror.app.idle();
    upstream.behave();
    await pullBlobs(mirror, image);
  });

  test("stops with the process, and begins nothing more", async () => {
    await using upstream = await createUpstream();
    upstream.addImage("library/test", "1", { layers: 7 });
    const barrier = createBarrier();
    upstream.when(anyBlob, { pauseAt: barrier });
    await using mirror = await startPrefetching(upstream, { config: { shutdownTimeoutMs: 1 } });
    await mirror.get("/v2/library/test/manifests/1");
    await barrier.arrivals(4);
    await mirror.close();
    barrier.release();
    assert.equal(upstream.count(anyBlob), 4);
    assert.deepEqual(
      mirror.log().filter(({ msg }) => msg === "an answer was not cached"),
      [],
    );
  });
});

test("a mirror that does not prefetch asks for blobs when its clients do", async () => {
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/test", "1");
  await using mirror = await startMirror(upstream.host);
  await mirror.get("/v2/library/test/manifests/1");
  await mirror.app.idle();
  assert.equal(upstream.count(anyBlob), 0);
  await pullBlobs(mirror, image);
});
