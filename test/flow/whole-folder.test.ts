/*
 * `max_size` is what the whole folder may take, as `du` has it: content and records, and whatever lies there besides.
 */
import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import "../support/network.ts";
import { blobKey, quarantineKey } from "../../src/store/layout.ts";
import { adminListen, adminOf } from "../support/cache-admin.ts";
import { entriesBelow, readCacheFolder } from "../support/cache-folder.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { until } from "../support/event-loop.ts";
import { type Mirror, startMirror } from "../support/mirror.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream } from "../support/upstream.ts";

const megabyte = 1024 * 1024;
const block = 4096;
const high = 0.95;

/** What a folder takes with all that is in it, in whole blocks. */
function diskUsage(root: string): number {
  const seen = new Set<number>();
  const paths = [root, ...entriesBelow(root).map((entry) => join(entry.parentPath, entry.name))];
  let blocks = 0;
  for (const path of paths) {
    const info = statSync(path, { throwIfNoEntry: false });
    if (info === undefined || seen.has(info.ino)) continue;
    seen.add(info.ino);
    // A folder takes a block where it takes any; an empty file none.
    blocks += Math.max(info.isDirectory() ? 1 : 0, Math.ceil(info.size / block));
  }
  return blocks * block;
}

async function start(host: string, root: string, bytes: number): Promise<Mirror> {
  const mirror = await startMirror(host, {
    root,
    graceMs: 0,
    config: { adminListen, log: { level: "warn", format: "json" } },
    storage: { maxSize: { kind: "bytes", bytes }, highWatermark: high, lowWatermark: high },
  });
  await until(async () => (await adminOf(mirror).usage()).exact);
  return mirror;
}

test("many small images of many repositories: the folder never takes more, and most of it is of use", async () => {
  const maxBytes = 5 * megabyte;
  await using upstream = await createUpstream();
  await using folder = await createTemporaryDirectory();
  const root = join(folder.path, "root");
  const images = Array.from({ length: 90 }, (_, number) => {
    const repository = `team/app-${number % 30}/part`;
    return { repository, ...upstream.addImage(repository, `v${number}`, { layers: 3, layerBytes: 20_000 }) };
  });
  await using mirror = await start(upstream.host, root, maxBytes);
  let highest = 0;
  const sample = (): void => {
    const bytes = diskUsage(root);
    highest = Math.max(highest, bytes);
    assert.ok(bytes <= maxBytes, `${bytes} of ${maxBytes}`);
  };
  const waiting = images.values();
  const clients = Array.from({ length: 6 }, async () => {
    for (const { repository, digest, blobs } of waiting) {
      for (const path of [`manifests/${digest}`, ...blobs.map((blob) => `blobs/${blob}`), "tags/list"]) {
        assert.equal((await mirror.get(`/v2/${repository}/${path}`)).status, 200);
      }
      sample();
    }
  });
  await Promise.all(clients);
  await mirror.app.idle();
  await adminOf(mirror).evict({ dryRun: true });
  sample();
  assert.ok(highest > maxBytes * 0.6, `it never came to more than ${highest}`);
  const { bytes, besides, limitBytes = 0 } = await adminOf(mirror).usage();
  assert.equal(limitBytes, maxBytes);
  assert.equal(bytes, readCacheFolder(root).chargedBytes);
  const told = bytes + besides.ledgerBytes + besides.foldersBytes + besides.quarantineBytes + besides.othersBytes;
  const found = diskUsage(root);
  assert.ok(told >= found && told < found * 1.3, `${told} are told of ${found}`);
  assert.ok(bytes > maxBytes * 0.4, `${bytes} are left for content: ${JSON.stringify(besides)}`);
  assert.equal(await mirror.metric("entrepot_storage_bytes", { kind: "ledger" }), besides.ledgerBytes);
  // What is evicted takes its folders along.
  await adminOf(mirror).purge("docker.io/");
  await mirror.app.idle();
  const left = entriesBelow(root).filter((each) => each.isDirectory());
  const folders = left.filter(({ parentPath }) => parentPath !== root).map((each) => join(each.parentPath, each.name));
  assert.deepEqual(
    folders.filter((folder) => readdirSync(folder).length === 0),
    [],
  );
  // What is not there is the repositories; content that was busy when it was evicted may be.
  assert.deepEqual(readdirSync(join(root, "repositories")), []);
});

test("a store of 100 MiB has room for 80 MiB of content", async () => {
  await using upstream = await createUpstream();
  await using folder = await createTemporaryDirectory();
  const root = join(folder.path, "root");
  await using mirror = await start(upstream.host, root, 100 * megabyte);
  const all = Array.from({ length: 10 }, (_, number) =>
    upstream.addBlob(pseudoRandomBytes(8 * megabyte, `blob ${number}`)),
  );
  for (const blob of all) assert.equal((await mirror.get(`/v2/library/a/blobs/${blob}`)).status, 200);
  await mirror.app.idle();
  assert.equal(readCacheFolder(root).blobs.size, 10);
  assert.ok(diskUsage(root) <= 100 * megabyte);
});

test("damaged content that was put aside counts, and goes before anything that is sound", async () => {
  const maxBytes = 40 * megabyte;
  await using upstream = await createUpstream();
  await using folder = await createTemporaryDirectory();
  const root = join(folder.path, "root");
  await using mirror = await start(upstream.host, root, maxBytes);
  const admin = adminOf(mirror);
  const pull = async (name: string, size: number) => {
    const blob = upstream.addBlob(pseudoRandomBytes(size, name));
    assert.equal((await mirror.get(`/v2/library/a/blobs/${blob}`)).status, 200);
    await mirror.app.idle();
    return blob;
  };
  const damaged = await pull("damaged", 700_000);
  const sound = await pull("sound", 20 * megabyte);
  await writeFile(join(root, blobKey(damaged)), Buffer.alloc(700_000));
  await admin.verify();
  const { quarantineBytes } = (await admin.usage()).besides;
  assert.equal(quarantineBytes, Math.ceil(700_000 / block) * block);
  assert.equal(await mirror.metric("entrepot_storage_bytes", { kind: "quarantine" }), quarantineBytes);
  const { bytes, besides } = await admin.usage();
  const free = maxBytes * high - bytes - Object.values(besides).reduce((sum, each) => sum + each, 0);
  // Without what was put aside there is room enough.
  const last = await pull("last", Math.floor(free) + 400_000);
  await admin.evict({ dryRun: true });
  assert.equal((await admin.usage()).besides.quarantineBytes, 0);
  assert.equal(statSync(join(root, quarantineKey(damaged)), { throwIfNoEntry: false }), undefined);
  const { blobs } = readCacheFolder(root);
  assert.ok(blobs.has(sound) && blobs.has(last));
  assert.ok(diskUsage(root) <= maxBytes);
});

test("of a limit that is too small for anything it is said so; pulls go on", async () => {
  await using upstream = await createUpstream();
  await using folder = await createTemporaryDirectory();
  await using mirror = await start(upstream.host, join(folder.path, "root"), 300_000);
  await mirror.logged({ msg: "max_size is too small for a cache: hardly anything can be stored" });
  const blob = upstream.addBlob(pseudoRandomBytes(200_000, "blob"));
  assert.equal((await mirror.get(`/v2/library/a/blobs/${blob}`)).status, 200);
});
