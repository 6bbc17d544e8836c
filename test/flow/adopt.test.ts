/*
 * The cache of mcronce/oci-registry, taken over by the real program: what it held is served without the upstream.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, open, readdir, readFile, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import "../support/network.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { addEarlierImage, earlierBlobKey, type EarlierCache, writeEarlierFolder } from "../support/earlier-cache.ts";
import { buildImage } from "../support/image.ts";
import { startMirror } from "../support/mirror.ts";
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

/** Adopts a folder in a process of its own. `onLine` is told of lines as they come, and may kill it. */
async function adopt(from: string, root: string, onLine: (kill: () => void) => void = () => undefined): Promise<Ended> {
  const child = spawn(process.execPath, [main, "adopt", from, "--root", root, "--yes"], { env: {} });
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
    onLine(() => child.kill("SIGKILL"));
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  const [exitCode] = (await once(child, "close")) as [number | null];
  return { exitCode, out, err };
}

/** All files of a folder, with their bytes' digests and their times. */
async function snapshot(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const lines = files.map(async (path) => `${path} ${digestOf(await readFile(path))} ${(await stat(path)).mtimeMs}`);
  return (await Promise.all(lines)).toSorted();
}

test("what the earlier system cached is served without the upstream, and a stale tag is asked for", async () => {
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  const [from, root] = [join(folder.path, "earlier"), join(folder.path, "root")];
  const image = buildImage({ platforms: 2 });
  const cache: EarlierCache = new Map();
  addEarlierImage(cache, image, "docker.io/library/a", "fresh", Date.now() - minute);
  addEarlierImage(cache, image, "docker.io/library/a", "stale", Date.now() - 60 * minute);
  await writeEarlierFolder(from, cache);
  // What lies there besides: a link to a secret, a download that was cut, folders that are empty, and other files.
  const [damaged = ""] = image.blobs.keys().map(earlierBlobKey);
  await truncate(join(from, damaged), 1);
  await writeFile(join(folder.path, "secret"), "secret");
  const secret = earlierBlobKey(digestOf(Buffer.from("secret")));
  await mkdir(join(from, secret, ".."), { recursive: true });
  await symlink(join(folder.path, "secret"), join(from, secret));
  await mkdir(join(folder.path, "outside"));
  await writeFile(join(folder.path, "outside/tag"), "{}");
  await symlink(join(folder.path, "outside"), join(from, "manifests/docker.io/outside"));
  await mkdir(join(from, "manifests/gone.example.com/a/b"), { recursive: true });
  await writeFile(join(from, "blobs/README"), "");
  const before = await snapshot(from);

  const { exitCode, out, err } = await adopt(from, root);
  assert.deepEqual([exitCode, err], [0, ""], out);
  assert.match(out, /^tags +2 +0 +0$/m);
  assert.match(out, /^blobs +5 +0 +2 +1 misnamed, 1 torn$/m);
  assert.deepEqual(await snapshot(from), before);

  await using mirror = await startMirror(upstream.host, { root });
  await mirror.get("/v2/library/a/manifests/stale");
  assert.ok(upstream.count({ path: "/v2/library/a/manifests/stale" }) > 0);
  await upstream.down();
  const fresh = await mirror.get("/v2/library/a/manifests/fresh");
  assert.deepEqual([fresh.status, digestOf(fresh.body)], [200, image.root.digest]);
  assert.equal(fresh.headers["content-type"], image.root.mediaType);
  assert.match(String(fresh.headers["cache-status"]), /; hit/);
  for (const [digest, bytes] of image.blobs) {
    const { status, body } = await mirror.get(`/v2/library/a/blobs/${digest}`);
    if (earlierBlobKey(digest) === damaged) assert.notEqual(status, 200);
    else assert.deepEqual([status, digestOf(body)], [200, digestOf(bytes)]);
  }
});

test("a run that is killed leaves nothing wrong, and the next one does the rest", async () => {
  await using folder = await createTemporaryDirectory();
  const [from, root] = [join(folder.path, "earlier"), join(folder.path, "root")];
  const cache: EarlierCache = new Map();
  const images = Array.from({ length: 4 }, (_, number) => buildImage({ layerBytes: 300_000, seed: `${number}` }));
  for (const [number, image] of images.entries()) {
    addEarlierImage(cache, image, `docker.io/library/a${number}`, "1", Date.now() - minute);
  }
  await writeEarlierFolder(from, cache);
  const first = await adopt(from, root, (kill) => kill());
  assert.equal(first.exitCode, null);
  const { blobs } = await inspectStorage(root);
  const { exitCode, out, err } = await adopt(from, root);
  assert.deepEqual([exitCode, err], [0, ""], out);
  const stored = await inspectStorage(root);
  assert.deepEqual(stored.temporary, []);
  const all = images.flatMap((image) => [image.root.digest, ...image.blobs.keys()]);
  assert.deepEqual(stored.blobs, all.toSorted());
  assert.ok(blobs.every((digest) => all.includes(digest)));
});

test("a file of which a sparse terabyte is claimed is not read", async () => {
  await using folder = await createTemporaryDirectory();
  const [from, root] = [join(folder.path, "earlier"), join(folder.path, "root")];
  const image = buildImage();
  const cache: EarlierCache = new Map();
  addEarlierImage(cache, image, "docker.io/library/a", "1", Date.now() - minute);
  await writeEarlierFolder(from, cache);
  const [blob = ""] = image.blobs.keys().map(earlierBlobKey);
  for (const path of [blob, "manifests/docker.io/library/a/1"]) {
    await using file = await open(join(from, path), "r+");
    await file.truncate(1024 ** 4);
  }
  const { exitCode, out } = await adopt(from, root);
  assert.equal(exitCode, 0);
  assert.match(out, /^tags +0 +0 +1 +1 too large$/m);
  assert.match(out, /^blobs +2 +0 +1 +1 wrong size$/m);
});
