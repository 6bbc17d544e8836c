/*
 * A bucket of mcronce/oci-registry, taken over by the real program; what it held is served without the upstream.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import "../support/network.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { bucketConfig } from "../support/bucket-config.ts";
import { addEarlierImage, earlierBlobKey, type EarlierCache, putEarlierBucket } from "../support/earlier-cache.ts";
import { FakeS3 } from "../support/fake-s3.ts";
import { type BuiltImage, buildImage } from "../support/image.ts";
import { type Mirror, startMirror } from "../support/mirror.ts";
import { inspectStorage } from "../support/storage.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream } from "../support/upstream.ts";

const main = join(import.meta.dirname, "../../src/main.ts");
const minute = 60_000;

interface Ended {
  readonly exitCode: number | null;
  readonly out: string;
  readonly err: string;
}

/** Adopts in a process of its own; `onStarted` gets what kills it. */
async function adopt(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  onStarted: (kill: () => void) => void = () => undefined,
): Promise<Ended> {
  const child = spawn(process.execPath, [main, "adopt", ...args, "--yes"], { env });
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  onStarted(() => child.kill("SIGKILL"));
  const [exitCode] = (await once(child, "close")) as [number | null];
  return { exitCode, out, err };
}

/** The bucket's keys as AWS's default chain finds them. */
function chain({ keys: [keys] }: FakeS3): Readonly<Record<string, string>> {
  return { AWS_ACCESS_KEY_ID: keys?.accessKeyId ?? "", AWS_SECRET_ACCESS_KEY: keys?.secretAccessKey ?? "" };
}

/** All that lies in the bucket below none of these, with when it was written. */
function snapshot({ bucket }: FakeS3, but: string): string[] {
  const others = [...bucket.objects].filter(([key]) => !key.startsWith(`${but}/`));
  return others.map(([key, { etag, writtenAt }]) => `${key} ${etag} ${writtenAt}`).toSorted();
}

async function assertServed(mirror: Mirror, image: BuiltImage, tag: string): Promise<void> {
  const manifest = await mirror.get(`/v2/library/a/manifests/${tag}`);
  assert.deepEqual([manifest.status, digestOf(manifest.body)], [200, image.root.digest]);
  assert.equal(manifest.headers["content-type"], image.root.mediaType);
  for (const [digest, bytes] of image.blobs) {
    const { status, body } = await mirror.get(`/v2/library/a/blobs/${digest}`);
    assert.deepEqual([status, digestOf(body)], [200, digestOf(bytes)]);
  }
}

test("what is in the bucket goes to a folder, by AWS's default chain, and is served with its tags' age", async () => {
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  await using s3 = await FakeS3.start({ pageSize: 3 });
  const root = join(folder.path, "root");
  const image = buildImage({ platforms: 2, layerBytes: 400_000 });
  const cache: EarlierCache = new Map();
  addEarlierImage(cache, image, "docker.io/library/a", "fresh", Date.now() - minute);
  addEarlierImage(cache, image, "docker.io/library/a", "stale", Date.now() - 60 * minute);
  const damaged = buildImage({ seed: "damaged" });
  addEarlierImage(cache, damaged, "docker.io/library/damaged", "1", Date.now() - minute);
  const [changed = ""] = damaged.blobs.keys().map(earlierBlobKey);
  const { bytes, writtenAt } = cache.get(changed) ?? assert.fail("there is no such blob");
  cache.set(changed, { bytes: bytes.map((byte) => byte ^ 1) as Buffer, writtenAt });
  putEarlierBucket(s3, cache);
  // What others may have put there: a console's folder, and a client that named a registry as it liked.
  s3.bucket.put("manifests/", Buffer.alloc(0), {});
  s3.bucket.put("manifests/\u{1f600}\u0001/a/1", Buffer.from("{}"), {});
  s3.bucket.put("manifests/\uff5e/a/1", Buffer.from("{}"), {});
  const before = snapshot(s3, "none");

  const { exitCode, out, err } = await adopt(["s3://cache", "--root", root, "--host", s3.endpoint], chain(s3));
  assert.deepEqual([exitCode, err], [0, ""], out);
  assert.match(out, /^tags +3 +0 +2 +2 not mirrored$/m);
  assert.match(out, /^blobs +8 +0 +1 +1 wrong digest$/m);
  assert.deepEqual(snapshot(s3, "none"), before);

  await using mirror = await startMirror(upstream.host, { root });
  await mirror.get("/v2/library/a/manifests/stale");
  assert.ok(upstream.count({ path: "/v2/library/a/manifests/stale" }) > 0);
  await upstream.down();
  await assertServed(mirror, image, "fresh");
});

test("what goes to another prefix of the same bucket is served from there by a mirror with an empty folder", async () => {
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  await using s3 = await FakeS3.start();
  const [root, file] = [join(folder.path, "root"), join(folder.path, "entrepot.json")];
  const image = buildImage({ layers: 2, layerBytes: 400_000 });
  const cache: EarlierCache = new Map();
  addEarlierImage(cache, image, "docker.io/library/a", "1", Date.now() - minute);
  putEarlierBucket(s3, cache);
  const before = snapshot(s3, "entrepot");
  const settings = { bucket: s3.bucketName, endpoint: s3.endpoint, prefix: "entrepot" };
  // The layers go to the bucket alone, all else by way of the folder.
  await writeFile(file, JSON.stringify({ storage: { type: "s3", root, max_object_size: "300KiB", s3: settings } }));
  const { exitCode, out, err } = await adopt(["s3://cache", "--config", file], chain(s3));
  assert.deepEqual([exitCode, err], [0, ""], out);
  assert.deepEqual(snapshot(s3, "entrepot"), before);
  await rm(root, { recursive: true });

  await upstream.down();
  const storage = { type: "s3", s3: bucketConfig(s3, { prefix: "entrepot" }) } as const;
  await using mirror = await startMirror(upstream.host, { root, storage });
  await assertServed(mirror, image, "1");
});

test("a run that is killed leaves nothing wrong, and the next one does the rest", async () => {
  await using folder = await createTemporaryDirectory();
  await using s3 = await FakeS3.start();
  const root = join(folder.path, "root");
  const cache: EarlierCache = new Map();
  const images = Array.from({ length: 4 }, (_, number) => buildImage({ layerBytes: 300_000, seed: `${number}` }));
  for (const [number, image] of images.entries()) {
    addEarlierImage(cache, image, `docker.io/library/a${number}`, "1", Date.now() - minute);
  }
  putEarlierBucket(s3, cache);
  const args = ["s3://cache", "--root", root, "--host", s3.endpoint];
  const first = await adopt(args, chain(s3), (kill) => {
    const nothing = { before: () => undefined };
    // After the first manifest, that of the witness, and those of four images, amid the blobs.
    s3.fail("GetObject", nothing, nothing, nothing, nothing, nothing, nothing, nothing, { before: kill });
  });
  assert.equal(first.exitCode, null);
  const { blobs } = await inspectStorage(root);
  const { exitCode, out, err } = await adopt(args, chain(s3));
  assert.deepEqual([exitCode, err], [0, ""], out);
  const stored = await inspectStorage(root);
  assert.deepEqual(stored.temporary, []);
  const all = images.flatMap((image) => [image.root.digest, ...image.blobs.keys()]);
  assert.deepEqual(stored.blobs, all.toSorted());
  assert.ok(blobs.every((digest) => all.includes(digest)));
});
