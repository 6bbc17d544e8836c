/*
 * Scrubbing the storage of a real mirror: what is damaged is found and put right, what is sound is left in peace.
 */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { describe, test } from "node:test";
import "../support/network.ts";
import type { JobState } from "../../src/jobs/job.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../src/oci/reference.ts";
import { blobKey, linkKey, quarantineKey, tagKey } from "../../src/store/layout.ts";
import { adminListen, adminOf } from "../support/cache-admin.ts";
import { danglingTags, readCacheFolder } from "../support/cache-folder.ts";
import { until } from "../support/event-loop.ts";
import { request } from "../support/http.ts";
import { mediaTypes } from "../support/image.ts";
import { runJob, runOffline, stepOf } from "../support/jobs.ts";
import { type Mirror, mirrorConfig, type MirrorOptions, startMirror } from "../support/mirror.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { type AddedImage, createUpstream, type ScriptedUpstream } from "../support/upstream.ts";
import { countProblems } from "../support/problems.ts";

const day = 24 * 3_600_000;
const app = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/app") };
const tag = parseTag("1");
const verify = { kind: "verify" } as const;
const repair = { kind: "verify", repair: true } as const;

function start(upstream: ScriptedUpstream, options: MirrorOptions = {}): Promise<Mirror> {
  return startMirror(upstream.host, { ...options, config: { adminListen, ...options.config } });
}

/** Pulls an image without an index, all of it. */
async function pull(mirror: Mirror, repository: string, { blobs, digest }: AddedImage): Promise<void> {
  const manifest = await mirror.get(`/v2/${repository}/manifests/1`);
  assert.equal(manifest.status, 200);
  assert.equal(digestOf(manifest.body), digest);
  for (const blob of blobs) {
    const { status, body } = await mirror.get(`/v2/${repository}/blobs/${blob}`);
    assert.equal(status, 200);
    assert.equal(digestOf(body), blob);
  }
}

/** A mirror that has an image, `library/app:1`, and has just been started: nothing of it is in memory. */
async function startWithImage(upstream: ScriptedUpstream, image: AddedImage, options?: MirrorOptions): Promise<Mirror> {
  await using folder = new AsyncDisposableStack();
  const { path } = folder.use(await createTemporaryDirectory());
  const root = `${path}/root`;
  await using first = await start(upstream, { root });
  await pull(first, "library/app", image);
  await first.close();
  const mirror = await start(upstream, { ...options, root });
  await untilExact(mirror);
  const kept = folder.move();
  return {
    ...mirror,
    async [Symbol.asyncDispose]() {
      await mirror[Symbol.asyncDispose]();
      await kept.disposeAsync();
    },
  };
}

async function write(root: string, key: string, bytes: string | Uint8Array, ageMs = 0): Promise<void> {
  const path = join(root, key);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
  const time = (Date.now() - ageMs) / 1_000;
  await utimes(path, time, time);
}

async function flipBit(path: string): Promise<void> {
  const bytes = await readFile(path);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  await writeFile(path, bytes);
}

/** All that a storage holds, but for the lock and the ledger; it looks no more used than before. */
async function snapshot(root: string): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = relative(root, path);
    if (/^(?:lock|ledger)/.test(name)) continue;
    const { atime, mtime } = await stat(path);
    found.set(name, entry.isDirectory() ? "folder" : await readFile(path, "base64"));
    await utimes(path, atime, mtime);
  }
  return found;
}

function problemsAndWaste(job: JobState): Record<string, number> {
  const waste = ["orphans", "leftovers", "empty", "bytes that differ"];
  const counts = job.steps.flatMap((step) => Object.entries(step.counts));
  const found = Object.fromEntries(counts.filter(([what, count]) => waste.includes(what) && count > 0));
  return { ...found, ...(countProblems(job) > 0 && { problems: countProblems(job) }) };
}

/** Waits until the ledger is in line with the storage. */
async function untilExact(mirror: Mirror): Promise<void> {
  await until(async () => (await adminOf(mirror).usage()).exact);
}

async function expectExactLedger(mirror: Mirror): Promise<void> {
  await untilExact(mirror);
  const { bytes, exact } = await adminOf(mirror).usage();
  assert.deepEqual([bytes, exact], [readCacheFolder(mirror.root).chargedBytes, true]);
}

interface Damage {
  readonly what: string;
  readonly plant: (root: string, image: AddedImage) => Promise<unknown>;
  /** The step that finds it, and what it counts; then what the repair counts. */
  readonly found: readonly [step: string, what: string];
  readonly repaired?: string;
  /** Whether it is a problem, not only waste. */
  readonly isProblem: boolean;
  /** What the next pull asks the upstream for, once. */
  readonly asked?: (image: AddedImage) => string;
}

const layerOf = (image: AddedImage): Digest => image.blobs.at(-1) as Digest;
const askedForLayer = (image: AddedImage): string => `/blobs/${layerOf(image)}`;
const orphan = Buffer.from("nobody's");
const record = { digest: digestOf(orphan), mediaType: mediaTypes.manifest, size: orphan.length, checkedAt: 1 };

const damages: readonly Damage[] = [
  {
    what: "a flipped bit",
    plant: (root, image) => flipBit(join(root, blobKey(layerOf(image)))),
    found: ["content", "damaged"],
    repaired: "quarantined",
    isProblem: true,
    asked: askedForLayer,
  },
  {
    what: "a truncated blob",
    plant: (root, image) => truncate(join(root, blobKey(layerOf(image))), 100),
    found: ["content", "damaged"],
    repaired: "quarantined",
    isProblem: true,
    asked: askedForLayer,
  },
  {
    what: "a damaged manifest",
    plant: (root, image) => flipBit(join(root, blobKey(image.digest))),
    found: ["content", "damaged"],
    repaired: "quarantined",
    isProblem: true,
    asked: () => "/manifests/1",
  },
  {
    what: "a manifest that is gone",
    plant: (root, image) => rm(join(root, blobKey(image.digest))),
    found: ["tags", "dangling"],
    repaired: "removed",
    isProblem: true,
    asked: () => "/manifests/1",
  },
  {
    what: "a blob that is gone",
    plant: (root, image) => rm(join(root, blobKey(layerOf(image)))),
    found: ["links", "without content"],
    isProblem: false,
    asked: askedForLayer,
  },
  {
    what: "a torn link",
    plant: (root, image) => write(root, linkKey(app, layerOf(image)), '{"mediaType":"applica'),
    found: ["links", "torn"],
    repaired: "removed",
    isProblem: true,
  },
  {
    what: "a link with another size",
    plant: (root, image) => write(root, linkKey(app, layerOf(image)), '{"mediaType":"a/b","sizeBytes":7}'),
    found: ["links", "wrong size"],
    repaired: "corrected",
    isProblem: true,
  },
  {
    what: "an empty tag record",
    plant: (root) => write(root, tagKey(app, tag), ""),
    found: ["tags", "torn"],
    repaired: "removed",
    isProblem: true,
    asked: () => "/manifests/1",
  },
  {
    what: "a tag that stands for nothing",
    plant: (root) => write(root, tagKey(app, tag), JSON.stringify(record)),
    found: ["tags", "dangling"],
    repaired: "removed",
    isProblem: true,
    asked: () => "/manifests/1",
  },
  {
    what: "content that nobody holds",
    plant: (root) => write(root, blobKey(digestOf(orphan)), orphan, day),
    found: ["orphans", "orphans"],
    repaired: "removed",
    isProblem: false,
  },
  {
    what: "an empty folder",
    plant: (root) => mkdir(join(root, "repositories/docker.io/library/empty"), { recursive: true }),
    found: ["folders", "empty"],
    repaired: "removed",
    isProblem: false,
  },
  {
    what: "an unfinished file of long ago",
    plant: (root) => write(root, "tmp/old", "12345", 2 * day),
    found: ["leftovers", "leftovers"],
    repaired: "removed",
    isProblem: false,
  },
];

describe("a scrub of a mirror that runs", () => {
  for (const { what, plant, found, repaired, isProblem, asked } of damages) {
    test(`${what}: a dry run finds it, a repair puts it right, and the next pull is whole`, async () => {
      await using upstream = await createUpstream();
      const image = upstream.addImage("library/app", "1");
      await using mirror = await startWithImage(upstream, image);
      await plant(mirror.root, image);
      const before = await snapshot(mirror.root);
      const dry = await runJob(mirror, verify);
      assert.equal(dry.state, "succeeded", String(dry.error));
      const [step, count] = found;
      assert.equal(stepOf(dry, step).counts[count], 1);
      assert.equal(countProblems(dry) > 0, isProblem);
      assert.deepEqual(await snapshot(mirror.root), before);

      const repairing = await runJob(mirror, repair);
      assert.equal(repairing.state, "succeeded", String(repairing.error));
      if (repaired !== undefined) assert.equal(stepOf(repairing, step).counts[repaired], 1);
      await expectExactLedger(mirror);
      if (isProblem) assert.equal(await mirror.metric("entrepot_verify_problems_total", { what: count }), 2);

      const path = asked?.(image) ?? /./;
      const askedBefore = upstream.count({ method: "GET", path });
      await pull(mirror, "library/app", image);
      await mirror.app.idle();
      if (asked !== undefined) assert.equal(upstream.count({ method: "GET", path }), askedBefore + 1);
      assert.deepEqual(problemsAndWaste(await runJob(mirror, verify)), {});
      await expectExactLedger(mirror);
    });
  }

  test("beside pulls, fills and evictions finds nothing wrong, and breaks nothing", async () => {
    await using upstream = await createUpstream();
    const images = Array.from({ length: 6 }, (_, index) => {
      const repository = `library/busy-${index}`;
      return { repository, image: upstream.addImage(repository, "1", { layers: 3, layerBytes: 60_000 }) };
    });
    // Room for about half of it, besides the ledger and the folders.
    const storage = {
      ...mirrorConfig(upstream.host, "").storage,
      maxSize: { kind: "bytes", bytes: 1_500_000 } as const,
    };
    await using folder = await createTemporaryDirectory();
    const root = `${folder.path}/root`;
    await using mirror = await start(upstream, { root, graceMs: 0, config: { storage: { ...storage, root } } });
    let pulls = 0;
    let scrubs = 0;
    let hasFailed = false;
    const areDone = (): boolean => hasFailed || (scrubs >= 6 && pulls >= 60);
    // Each goes through all images in turn, so that they do not fit together, however quick which client is.
    const clients = [0, 2, 4].map(async (first) => {
      for (let next = first; !areDone(); next++) {
        const { repository, image } = images[next % images.length] as (typeof images)[number];
        await pull(mirror, repository, image);
        pulls++;
      }
    });
    const scrubbing = async (): Promise<void> => {
      for (; !areDone(); scrubs++) {
        const job = await runJob(mirror, scrubs % 2 === 0 ? repair : verify);
        assert.equal(job.state, "succeeded", String(job.error));
        assert.equal(countProblems(job), 0, JSON.stringify(job.steps.map(({ name, counts }) => [name, counts])));
      }
    };
    const all = [...clients, scrubbing()];
    // The others stop, too, where one fails.
    for (const each of all) each.catch(() => (hasFailed = true));
    await Promise.all(all);
    await mirror.app.idle();
    assert.ok((await mirror.metric("entrepot_evictions_total", { kind: "link" })) > 0);
    assert.equal(await mirror.metric("entrepot_storage_quarantined_total"), 0);
    await adminOf(mirror).evict({ dryRun: true });
    await expectExactLedger(mirror);
    assert.deepEqual(danglingTags(readCacheFolder(root)), []);
    assert.equal(countProblems(await runJob(mirror, verify)), 0);
  });

  test("does not make what it reads look used, to a ledger that is made anew", async () => {
    await using upstream = await createUpstream();
    await using folder = await createTemporaryDirectory();
    const root = `${folder.path}/root`;
    const names = ["a", "b", "c"];
    await using first = await start(upstream, { root });
    for (const name of names) await pull(first, `library/${name}`, upstream.addImage(`library/${name}`, "1"));
    await first.close();
    const files = [...(await filesOf(root, "blobs")), ...(await filesOf(root, "repositories"))];
    // All times are different, and such that any system that notes reads at all would note one now.
    for (const [index, path] of files.entries()) {
      const usedAt = (Date.now() - 2 * day - index * 60_000) / 1_000;
      await utimes(path, usedAt, usedAt - 1_000);
    }
    const before = await usedRepositories(upstream, root);
    assert.equal(new Set(before.map(({ usedAt }) => usedAt)).size, names.length);
    await using scrubbing = await start(upstream, { root });
    assert.equal((await runJob(scrubbing, repair)).state, "succeeded");
    await scrubbing.close();
    assert.deepEqual(await usedRepositories(upstream, root), before);
  });

  test("leaves young content to the pull that may be about to link it, but not where there is no mirror", async () => {
    await using upstream = await createUpstream();
    const image = upstream.addImage("library/app", "1");
    await using mirror = await startWithImage(upstream, image);
    await write(mirror.root, blobKey(digestOf(orphan)), orphan);
    assert.deepEqual(stepOf(await runJob(mirror, repair), "orphans").counts["in use"], 1);
    await mirror.close();
    const job = await runOffline(mirrorConfig(upstream.host, mirror.root), repair);
    assert.equal(job.state, "succeeded", String(job.error));
    assert.equal(stepOf(job, "orphans").counts["removed"], 1);
    await assert.rejects(stat(join(mirror.root, blobKey(digestOf(orphan)))), { code: "ENOENT" });
  });
});

async function filesOf(root: string, name: string): Promise<string[]> {
  const entries = await readdir(join(root, name), { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** The repositories and when they were used, by a ledger that is made anew of the files. */
async function usedRepositories(
  upstream: ScriptedUpstream,
  root: string,
): Promise<{ repository: string; usedAt: number }[]> {
  for (const name of await readdir(root)) if (name.startsWith("ledger")) await rm(join(root, name));
  await using mirror = await start(upstream, { root });
  await untilExact(mirror);
  const { body } = await request(`${mirror.app.addresses[1]}/_admin/repositories`);
  const { items } = JSON.parse(body.toString()) as { items: { repository: string; usedAt: number }[] };
  return items.map(({ repository, usedAt }) => ({ repository, usedAt }));
}

describe("what is found damaged while it is served", () => {
  for (const [what, range] of [
    ["whole", undefined],
    ["in part", "bytes=0-99"],
  ] as const) {
    test(`${what} is put aside and told of once, and the next pull is right`, async () => {
      await using upstream = await createUpstream();
      const image = upstream.addImage("library/app", "1", { layerBytes: 400_000 });
      await using mirror = await startWithImage(upstream, image, { config: { checkCacheDigest: true } });
      const layer = layerOf(image);
      const path = `/v2/library/app/blobs/${layer}`;
      await flipBit(join(mirror.root, blobKey(layer)));
      const damaged = await readFile(join(mirror.root, blobKey(layer)));
      const headers = range === undefined ? {} : { range };
      await assert.rejects(mirror.get(path, { headers }));
      assert.ok((await readFile(join(mirror.root, quarantineKey(layer)))).equals(damaged));
      const asked = upstream.count({ path });
      for (let count = 0; count < 2; count++) await pull(mirror, "library/app", image);
      await mirror.app.idle();
      assert.equal(upstream.count({ path }), asked + 1);
      await expectOneWarning(mirror, layer);
      await expectExactLedger(mirror);
    });
  }

  test("as a manifest is fetched anew at once", async () => {
    await using upstream = await createUpstream();
    const image = upstream.addImage("library/app", "1");
    await using mirror = await startWithImage(upstream, image);
    await flipBit(join(mirror.root, blobKey(image.digest)));
    await pull(mirror, "library/app", image);
    await mirror.app.idle();
    await stat(join(mirror.root, quarantineKey(image.digest)));
    await expectOneWarning(mirror, image.digest);
    await expectExactLedger(mirror);
  });
});

async function expectOneWarning(mirror: Mirror, digest: Digest): Promise<void> {
  const told = mirror.log().filter(({ level, digest: named }) => level === 40 && named === digest);
  assert.deepEqual(
    told.map(({ msg }) => msg),
    ["stored content was damaged: it was put aside, and its next use fetches it anew"],
  );
  assert.equal(await mirror.metric("entrepot_storage_quarantined_total"), 1);
}
