/* Mirrors that share a bucket: what one has fetched the others have, whatever becomes of folders and upstreams. */
import assert from "node:assert/strict";
import { test } from "node:test";
import "../support/network.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { NamePattern } from "../../src/oci/name-pattern.ts";
import { parseNamespace, parseRepository, parseTag } from "../../src/oci/reference.ts";
import { blobKey, linkKey, tagKey } from "../../src/store/layout.ts";
import { createBarrier } from "../support/barrier.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { MemoryBucket } from "../support/bucket.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../support/mirror.ts";
import { request, type WholeResponse } from "../support/http.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { addPlainImage, type PlainImage, pullPlainImage } from "../support/plain-image.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const minute = 60_000;
const id = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/test") };

/** An image in the upstream, with a layer that is copied on its way and one that is copied when it is stored. */
function addImage(upstream: ScriptedUpstream, tag: string): PlainImage {
  return addPlainImage(upstream, tag, pseudoRandomBytes(9 * 1024 * 1024, tag), pseudoRandomBytes(1_000, tag));
}

async function start(upstream: ScriptedUpstream, bucket: MemoryBucket, options: MirrorOptions = {}): Promise<Mirror> {
  return startMirror(upstream.host, { bucketStore: bucket, ...options });
}

test("an instance with an empty folder serves all that another has fetched, and its upstream is not asked, nor there", async () => {
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  const image = addImage(upstream, "1");
  {
    await using first = await start(upstream, bucket);
    await pullPlainImage(first, image);
    await first.app.idle();
  }
  const requests = upstream.requests.length;
  await using second = await start(upstream, bucket);
  for (const path of ["manifests/1", `blobs/${image.blobs[0]?.digest}`]) {
    const { headers } = await second.get(`/v2/library/test/${path}`);
    assert.match(String(headers["cache-status"]), /^entrepot; fwd=uri-miss;.* stored; detail=bucket$/);
  }
  await pullPlainImage(second, image);
  assert.equal(upstream.requests.length, requests);
  await second.app.idle();
  assert.equal(bucket.open, 0);
  await upstream.down();
  await using third = await start(upstream, bucket, { now: () => Date.now() + 1_000 * minute });
  await pullPlainImage(third, image);
});

test("a blob that is asked for alone, of an image that another instance has, comes from the bucket", async () => {
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  const image = addImage(upstream, "1");
  {
    await using first = await start(upstream, bucket);
    await pullPlainImage(first, image);
    await first.app.idle();
  }
  await upstream.down();
  await using second = await start(upstream, bucket);
  for (const { digest, bytes } of image.blobs) {
    const head = await second.get(`/v2/library/test/blobs/${digest}`, { method: "HEAD" });
    assert.equal(head.headers["content-length"], String(bytes.length));
    assert.ok((await second.get(`/v2/library/test/blobs/${digest}`)).body.equals(bytes));
  }
  const { digest } = image.blobs[0] ?? assert.fail();
  const other = await second.get(`/v2/library/other/blobs/${digest}`);
  assert.notEqual(other.status, 200, "no other repository is known to contain it");
});

test("what is in the folder costs no question to the bucket", async () => {
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  const image = addImage(upstream, "1");
  await using mirror = await start(upstream, bucket);
  await pullPlainImage(mirror, image);
  await mirror.app.idle();
  bucket.asked.length = 0;
  await pullPlainImage(mirror, image);
  assert.deepEqual(bucket.asked, []);
});

test("a tag that one instance has checked is fresh for the others, for as long as for itself", async () => {
  let now = Date.UTC(2026, 0, 1);
  const settings = { now: () => now, upstream: { manifestInvalidationMs: 10 * minute } };
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  const image = addImage(upstream, "1");
  await using first = await start(upstream, bucket, settings);
  await using second = await start(upstream, bucket, settings);
  await pullPlainImage(first, image);
  await first.app.idle();
  await pullPlainImage(second, image);
  await second.app.idle();
  now += 11 * minute;
  await pullPlainImage(first, image);
  await first.app.idle();
  const requests = upstream.requests.length;
  await pullPlainImage(second, image);
  assert.equal(upstream.requests.length, requests, "the first one has just checked it");
  now += 9 * minute + 59_000;
  await pullPlainImage(second, image);
  assert.equal(upstream.requests.length, requests);
  now += 2_000;
  await pullPlainImage(second, image);
  assert.equal(upstream.requests.length, requests + 1, "that check was for ten minutes, whoever heard of it");
});

test("a bucket that fails is missed by nobody, and gets what it lacks when it is back", async () => {
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  await using folder = await createTemporaryDirectory();
  const image = addImage(upstream, "1");
  bucket.failure = new Error("SlowDown");
  {
    await using mirror = await start(upstream, bucket, { root: `${folder.path}/root` });
    await pullPlainImage(mirror, image);
    await pullPlainImage(mirror, image);
    assert.equal((await mirror.get("/readyz")).status, 200);
    await mirror.logged({ msg: "the bucket fails: what the folder does not have comes from the upstream" });
    await mirror.app.idle();
    assert.ok((await mirror.metric("entrepot_bucket_waiting_objects")) > 0);
  }
  assert.deepEqual(await bucket.keys(), []);
  bucket.failure = undefined;
  {
    await using again = await start(upstream, bucket, { root: `${folder.path}/root` });
    await bucketHolds(bucket, again, image);
  }
  await upstream.down();
  await using other = await start(upstream, bucket);
  await pullPlainImage(other, image);
});

/** Resolves when the bucket has an image, which a mirror is copying. */
async function bucketHolds(bucket: MemoryBucket, mirror: Mirror, image: PlainImage): Promise<void> {
  const wanted = [tagKey(id, parseTag("1")), ...image.blobs.map(({ digest }) => blobKey(digest))];
  for (;;) {
    await mirror.app.idle();
    const keys = new Set(await bucket.keys());
    if (wanted.every((key) => keys.has(key))) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("damage in the bucket reaches nobody, and is mended", async () => {
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  const image = addImage(upstream, "1");
  {
    await using first = await start(upstream, bucket);
    await pullPlainImage(first, image);
    await first.app.idle();
  }
  for (const { digest, bytes } of image.blobs) {
    const damaged = Buffer.from(bytes);
    damaged[bytes.length >> 1] = (damaged[bytes.length >> 1] ?? 0) ^ 1;
    await bucket.plant(blobKey(digest), damaged);
  }
  await bucket.plant(blobKey(image.digest), Buffer.from("{}"));
  await using second = await start(upstream, bucket);
  const manifest = await second.get("/v2/library/test/manifests/1");
  assert.equal(digestOf(manifest.body), image.digest, "a manifest is looked at before it is served");
  for (const { digest, bytes } of image.blobs) {
    const first = await second.get(`/v2/library/test/blobs/${digest}`).catch(() => undefined);
    if (first?.status === 200) assert.ok(first.body.equals(bytes));
    await second.app.idle();
    const again = await second.get(`/v2/library/test/blobs/${digest}`);
    assert.ok(again.body.equals(bytes));
  }
  await second.app.idle();
  await upstream.down();
  await using third = await start(upstream, bucket);
  await pullPlainImage(third, image);
});

test("a repository whose upstream sends other bytes than the bucket has gets no link, and takes nothing from it", async () => {
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  const image = addImage(upstream, "1");
  const [, layer = assert.fail()] = image.blobs;
  {
    await using first = await start(upstream, bucket);
    await pullPlainImage(first, image);
    await first.app.idle();
  }
  const wrong = Buffer.from(layer.bytes);
  wrong[0] = (wrong[0] ?? 0) ^ 1;
  upstream.addBlob(wrong, { repository: "library/wrong", digest: layer.digest });
  const path = `/v2/library/wrong/blobs/${layer.digest}`;
  await using third = await start(upstream, bucket, { storage: { maxObjectBytes: 1024 } });
  // So that the content is known to be there.
  await third.get(`/v2/library/test/blobs/${layer.digest}`);
  await third.app.idle();
  await assert.rejects(third.get(path));
  await third.app.idle();
  assert.ok((await bucket.keys()).includes(blobKey(layer.digest)));
  const others = { ...id, repository: parseRepository("library/wrong") };
  assert.ok(!(await bucket.keys()).includes(linkKey(others, layer.digest)));
});

test("a bucket that breaks on the way is one more broken connection", async () => {
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  const image = addImage(upstream, "1");
  {
    await using first = await start(upstream, bucket);
    await pullPlainImage(first, image);
    await first.app.idle();
  }
  await using second = await start(upstream, bucket);
  bucket.breaksAt = 4 * 1024 * 1024;
  const [, layer] = image.blobs;
  const body = second.get(`/v2/library/test/blobs/${layer?.digest}`);
  await second.logged({ msg: "the upstream's connection broke; the fill goes on" });
  bucket.breaksAt = undefined;
  assert.ok((await body).body.equals(layer?.bytes ?? Buffer.alloc(0)));
  await second.app.idle();
  assert.equal(bucket.open, 0);
});

test("a blob that the folder has no room for is in the bucket all the same", async () => {
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  const image = addImage(upstream, "1");
  const storage = { maxObjectBytes: 1024 * 1024 };
  {
    await using first = await start(upstream, bucket, { storage });
    await pullPlainImage(first, image);
    await first.app.idle();
  }
  await upstream.down();
  await using second = await start(upstream, bucket, { storage });
  await pullPlainImage(second, image);
});

test("repositories that fetch the same blob at once, without room in the folder, each have a link to it", async () => {
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  const bytes = pseudoRandomBytes(9 * 1024 * 1024, "shared");
  const repositories = ["library/a", "library/b"];
  const digest = digestOf(bytes);
  for (const repository of repositories) upstream.addBlob(bytes, { repository });
  const together = createBarrier();
  upstream.when({ path: /\/blobs\//, method: "GET" }, { pauseAt: together });
  await using mirror = await start(upstream, bucket, { storage: { maxObjectBytes: 1024 * 1024 } });
  const pulls = repositories.map((repository) => mirror.get(`/v2/${repository}/blobs/${digest}`));
  await together.arrivals(2);
  together.release();
  for (const { body } of await Promise.all(pulls)) assert.ok(body.equals(bytes));
  await mirror.app.idle();
  const links = repositories.map((name) => linkKey({ ...id, repository: parseRepository(name) }, digest));
  assert.deepEqual((await bucket.keys()).toSorted(), [blobKey(digest), ...links]);
  assert.equal(bucket.asked.filter((what) => what.startsWith("upload ")).length, 1, "it is sent once");
});

test("clients are sent to the bucket for what the mode says, and nobody is who may not have it", async () => {
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  const image = addImage(upstream, "1");
  const [{ digest } = assert.fail(), layer = assert.fail()] = image.blobs;
  const path = `/v2/library/test/blobs/${digest}`;
  const expectRedirect = async (mirror: Mirror, of: Digest = digest): Promise<void> => {
    const { status, headers, body } = await mirror.get(`/v2/library/test/blobs/${of}`);
    assert.equal(status, 307);
    assert.equal(headers.location, `http://bucket.example.com/${blobKey(of)}?signed`);
    assert.equal(headers["cache-control"], "no-store");
    assert.equal(headers["docker-content-digest"], of);
    assert.equal(body.length, 0);
  };
  {
    await using never = await start(upstream, bucket);
    await pullPlainImage(never, image);
    await never.app.idle();
    assert.equal((await never.get(path)).status, 200);
  }
  {
    await using always = await start(upstream, bucket, { redirect: "always" });
    assert.equal((await always.get("/v2/library/test/manifests/1")).status, 200, "manifests are served");
    await expectRedirect(always);
    assert.equal((await always.get(path, { method: "HEAD" })).status, 200);
    assert.equal((await always.get(`/v2/library/other/blobs/${digest}`)).status, 404, "it is not known to contain it");
    bucket.failure = new Error("SlowDown");
    assert.equal((await always.get(`/v2/library/test/blobs/${layer.digest}`)).status, 200);
    bucket.failure = undefined;
  }
  {
    await using denying = await start(upstream, bucket, {
      redirect: "always",
      upstream: { deny: [new NamePattern("library/test")] },
    });
    assert.equal((await denying.get(path)).status, 403);
  }
  await using cold = await start(upstream, bucket, { redirect: "cold" });
  await expectRedirect(cold);
  await cold.app.idle();
  assert.equal(bucket.open, 0);
});

test("nobody is sent to the bucket for what is not there any more", async () => {
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  const image = addImage(upstream, "1");
  let now = Date.now();
  const statuses = async (mirror: Mirror): Promise<number[]> => {
    const found: number[] = [];
    for (const { digest, bytes } of image.blobs) {
      const { status, body } = await mirror.get(`/v2/library/test/blobs/${digest}`);
      if (status === 200) assert.ok(body.equals(bytes));
      found.push(status);
    }
    await mirror.app.idle();
    return found;
  };
  for (const redirect of ["always", "cold"] as const) {
    {
      await using other = await start(upstream, bucket);
      await pullPlainImage(other, image);
      await other.app.idle();
    }
    await using mirror = await start(upstream, bucket, { redirect, now: () => now });
    assert.equal((await mirror.get("/v2/library/test/manifests/1")).status, 200);
    assert.deepEqual(await statuses(mirror), [307, 307, 307]);
    for (const { digest } of image.blobs) await bucket.delete(blobKey(digest));
    now += 5_000;
    assert.deepEqual(await statuses(mirror), [200, 200, 200], "the upstream has it");
    const again = redirect === "always" ? 307 : 200;
    assert.deepEqual(await statuses(mirror), [again, again, again], "it was copied again");
  }
});

test("what was purged does not come back from the bucket", async () => {
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  const image = addImage(upstream, "1");
  const config = { adminListen: { kind: "tcp", host: "127.0.0.1", port: 0 } } as const;
  await using mirror = await start(upstream, bucket, { config });
  await mirror.logged({ msg: "the ledger is in line with the storage" });
  await pullPlainImage(mirror, image);
  await mirror.app.idle();
  const purge = async (): Promise<WholeResponse> =>
    request(`${mirror.app.addresses[1]}/_admin/purge`, {
      method: "POST",
      body: JSON.stringify({ target: "docker.io/library/test" }),
      headers: { "Content-Type": "application/json" },
    });
  const answer = await purge();
  assert.equal(answer.status, 200);
  const { bucketObjects } = JSON.parse(answer.body.toString()) as { readonly bucketObjects: number };
  assert.equal(bucketObjects, 1 + 1 + image.blobs.length);
  assert.equal((await purge()).status, 404);
  await upstream.down();
  assert.notEqual((await mirror.get("/v2/library/test/manifests/1")).status, 200);
  for (const { digest } of image.blobs)
    assert.notEqual((await mirror.get(`/v2/library/test/blobs/${digest}`)).status, 200);
});
