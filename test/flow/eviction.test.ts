/*
 * Readers of content that is being removed: whoever removes it, why ever, and whenever, what they read is whole.
 */
import assert from "node:assert/strict";
import { Agent } from "node:http";
import { test } from "node:test";
import { chooseSeed, createRandom } from "../support/random.ts";
import "../support/network.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { createBarrier } from "../support/barrier.ts";
import { adminListen, adminOf } from "../support/cache-admin.ts";
import { danglingTags, linkName, readCacheFolder } from "../support/cache-folder.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { until } from "../support/event-loop.ts";
import { open, request } from "../support/http.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../support/mirror.ts";
import { openFilesBelow } from "../support/open-files.ts";
import { soaks } from "../support/soak.ts";
import { inspectStorage } from "../support/storage.ts";
import { createUpstream } from "../support/upstream.ts";

/** How long the race is at least. */
const seconds = soaks ? 60 : 3;
const readers = 100;
const leastPurges = 8;
const images = 60;
const layerBytes = 60_000;
const limitBytes = 4 * 1024 * 1024;
/** A tag or link that takes another's place lies beside it for a moment. */
const replacedBytes = 16 * 4096;
/** Of so many images, one in four readers asks for any, the others for one of the first ten. */
const favourites = 10;

/** A store of at most so many bytes, whose content may go as soon as nobody uses it. */
function limited(maxBytes: number): MirrorOptions {
  return {
    graceMs: 0,
    config: { adminListen, log: { level: "warn", format: "json" } },
    storage: { maxSize: { kind: "bytes", bytes: maxBytes }, highWatermark: 0.9, lowWatermark: 0.7 },
  };
}

/** A mirror whose ledger is there: until then nothing is stored. */
async function startLimited(host: string, maxBytes: number): Promise<Mirror> {
  const mirror = await startMirror(host, limited(maxBytes));
  await until(async () => (await adminOf(mirror).usage()).exact);
  return mirror;
}

/** Everything that is left when nobody reads any more must be in order. */
async function expectOrder(mirror: Mirror, maxBytes: number): Promise<void> {
  await mirror.app.idle();
  const admin = adminOf(mirror);
  await admin.evict({ dryRun: true });
  const folder = readCacheFolder(mirror.root);
  assert.deepEqual(danglingTags(folder), []);
  assert.ok(folder.chargedBytes <= maxBytes, `${folder.chargedBytes} bytes are stored`);
  const { bytes, exact, reservedBytes } = await admin.usage();
  assert.deepEqual({ bytes, exact, reservedBytes }, { bytes: folder.chargedBytes, exact: true, reservedBytes: 0 });
  assert.deepEqual((await inspectStorage(mirror.root)).temporary, []);
  await until(() => openFilesBelow(mirror.root).every((path) => /\/(?:lock|ledger)[^/]*$/.test(path)));
}

test(
  "a hundred readers race eviction and purges: nobody gets anything wrong, and the limit is kept all the time",
  { timeout: (seconds + 60) * 1000 },
  async (context) => {
    await using upstream = await createUpstream();
    const all = Array.from({ length: images }, (_, index) => {
      const repository = `library/app${index % 6}`;
      const tag = `v${index}`;
      return { repository, tag, ...upstream.addImage(repository, tag, { layers: 3, layerBytes }) };
    });
    await using mirror = await startLimited(upstream.host, limitBytes);
    const admin = adminOf(mirror);
    const random = createRandom(chooseSeed(context));
    const pick = (): (typeof all)[number] => {
      const image = all[Math.floor(random() * (random() < 0.25 ? images : favourites))];
      assert.ok(image !== undefined);
      return image;
    };
    const deadline = performance.now() + seconds * 1000;
    const agent = new Agent({ keepAlive: true, maxSockets: readers });
    const tally = { pulls: 0, blobs: 0, bytes: 0, samples: 0, purges: 0, highest: 0, slowestMs: 0 };

    const ask = async (path: string, options: { method?: string; range?: string } = {}): Promise<Buffer> => {
      const started = performance.now();
      const { status, body } = await request(`${mirror.url}/v2/${path}`, {
        agent,
        ...(options.method !== undefined && { method: options.method }),
        ...(options.range !== undefined && { headers: { range: options.range } }),
      });
      assert.equal(status, options.range === undefined ? 200 : 206, `${path}: ${body.subarray(0, 300).toString()}`);
      tally.slowestMs = Math.max(tally.slowestMs, performance.now() - started);
      return body;
    };
    const readBlob = async (repository: string, digest: Digest): Promise<void> => {
      const path = `${repository}/blobs/${digest}`;
      const way = random();
      tally.blobs++;
      if (way < 0.1) {
        await ask(path, { method: "HEAD" });
      } else if (way < 0.2) {
        const part = await ask(path, { range: "bytes=10-109" });
        assert.equal(part.length, 100);
      } else {
        const body = await ask(path);
        assert.equal(digestOf(body), digest);
        tally.bytes += body.length;
      }
    };
    const pull = async (): Promise<void> => {
      const image = pick();
      const reference = random() < 0.5 ? image.tag : image.digest;
      const manifest = await ask(`${image.repository}/manifests/${reference}`);
      assert.equal(digestOf(manifest), image.digest);
      for (const digest of image.blobs) await readBlob(image.repository, digest);
      tally.pulls++;
    };
    const sample = (): void => {
      const { chargedBytes, temporaryBytes } = readCacheFolder(mirror.root);
      tally.samples++;
      tally.highest = Math.max(tally.highest, chargedBytes + temporaryBytes);
      const told = `${chargedBytes} + ${temporaryBytes} bytes are stored`;
      assert.ok(chargedBytes <= limitBytes, told);
      assert.ok(chargedBytes + temporaryBytes <= limitBytes + replacedBytes, told);
    };
    const purge = async (): Promise<void> => {
      const { repository, tag, digest, blobs } = pick();
      const targets = [`docker.io/${repository}:${tag}`, `docker.io/${repository}@${digest}`, blobs[0] ?? ""];
      await admin.purge(targets[Math.floor(random() * targets.length)] ?? "");
      tally.purges++;
    };
    let failed = false;
    const repeat = async (work: () => Promise<unknown>): Promise<void> => {
      try {
        // A busy machine takes longer for what must have happened.
        while (!failed && (performance.now() < deadline || tally.purges < leastPurges)) await work();
      } catch (error) {
        // The others need not go on for a minute.
        failed = true;
        throw error;
      }
    };
    let next = 0;
    const clients = Array.from({ length: readers }, () =>
      repeat(async () => {
        await pull();
        next++;
        if (next % 20 === 0) sample();
        if (next % 50 === 0) await purge();
      }),
    );
    const evicting = repeat(() => admin.evict({ dryRun: false }));
    try {
      await Promise.all([...clients, evicting]);
    } finally {
      agent.destroy();
    }
    await expectOrder(mirror, limitBytes);
    const transfers = upstream.count({ method: "GET", path: /\/blobs\// });
    const evicted = await mirror.metric("entrepot_evictions_total", { kind: "link" });
    context.diagnostic(JSON.stringify({ seconds, ...tally, transfers, evicted }));
    assert.ok(evicted > images, `only ${evicted} were evicted`);
    assert.ok(tally.samples > 10 && tally.purges >= leastPurges, JSON.stringify(tally));
    assert.ok(tally.highest > limitBytes / 2, "the limit was never in sight");
    // What most readers want is what was used lately, so that most of it is there.
    assert.ok(transfers < tally.blobs / 2, `${transfers} transfers for ${tally.blobs} blobs`);
    assert.equal(await mirror.metric("entrepot_fills_total", { outcome: "failed" }), 0);
  },
);

const megabyte = 1024 * 1024;

test("who reads slowly what is purged and evicted meanwhile reads it to its end", async () => {
  await using upstream = await createUpstream();
  const bytes = pseudoRandomBytes(30 * megabyte, "slow");
  const digest = upstream.addBlob(bytes);
  const path = `/v2/library/slow/blobs/${digest}`;
  await using mirror = await startLimited(upstream.host, 40 * megabyte);
  const admin = adminOf(mirror);
  assert.ok((await mirror.get(path)).body.equals(bytes));
  await mirror.app.idle();
  const reader = await open(`${mirror.url}${path}`);
  const begun = await reader.take(100_000);
  // Others need the room, but it is being read.
  for (const name of ["1", "2"]) {
    const other = upstream.addBlob(pseudoRandomBytes(8 * megabyte, name));
    assert.equal(digestOf((await mirror.get(`/v2/library/other/blobs/${other}`)).body), other);
  }
  await mirror.app.idle();
  assert.ok(readCacheFolder(mirror.root).blobs.has(digest));
  assert.equal((await admin.purge(digest))?.contentsInUse, 1);
  const slow = linkName("docker.io/library/slow", digest);
  assert.ok(!readCacheFolder(mirror.root).links.has(slow));
  const again = await open(`${mirror.url}${path}`);
  assert.ok(Buffer.concat([begun, await reader.rest()]).equals(bytes));
  assert.ok((await again.rest()).equals(bytes));
  await expectOrder(mirror, 40 * megabyte);
  // Nobody reads it any more, so that it makes room again.
  const last = upstream.addBlob(pseudoRandomBytes(38 * megabyte, "last"));
  assert.equal(digestOf((await mirror.get(`/v2/library/other/blobs/${last}`)).body), last);
  await expectOrder(mirror, 40 * megabyte);
  assert.deepEqual([...readCacheFolder(mirror.root).blobs.keys()], [last]);
});

test("who reads what is still coming reads it to its end, though its repository is purged and all is evicted", async () => {
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/slow", "1");
  const bytes = pseudoRandomBytes(4 * megabyte, "coming");
  const digest = upstream.addBlob(bytes);
  const path = `/v2/library/slow/blobs/${digest}`;
  await using mirror = await startLimited(upstream.host, 6 * megabyte);
  const admin = adminOf(mirror);
  assert.equal((await mirror.get("/v2/library/slow/manifests/1")).status, 200);
  await mirror.app.idle();
  const barrier = createBarrier();
  upstream.when({ path, times: 1 }, { stallAfterBytes: 2 * megabyte, stallAt: barrier });
  const reader = await open(`${mirror.url}${path}`);
  const begun = await reader.take(100_000);
  assert.ok((await admin.usage()).reservedBytes >= bytes.length);
  assert.ok((await admin.purge("docker.io/library/slow")) !== undefined);
  await admin.evict({ dryRun: false });
  assert.equal(readCacheFolder(mirror.root).links.size, 0);
  barrier.release();
  assert.ok(Buffer.concat([begun, await reader.rest()]).equals(bytes));
  await expectOrder(mirror, 6 * megabyte);
  const before = upstream.requests.length;
  assert.ok((await mirror.get(path)).body.equals(bytes));
  assert.equal(upstream.requests.length, before, "it was stored, as it came after the purge");
  assert.equal((await mirror.get(`/v2/library/slow/manifests/${image.digest}`)).status, 200);
});
