/*
 * Warming: images are brought into the cache by jobs of a mirror that runs, by its schedule, and without one.
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import "../support/network.ts";
import { parseImageReference } from "../../src/oci/image-reference.ts";
import { parsePlatform } from "../../src/oci/platform.ts";
import type { WarmConfig } from "../../src/config/warm-schema.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { createBarrier } from "../support/barrier.ts";
import { adminListen } from "../support/cache-admin.ts";
import { endOfJob, runJob, runOffline, startJob, stepOf } from "../support/jobs.ts";
import { type Mirror, mirrorConfig, type MirrorOptions, startMirror } from "../support/mirror.ts";
import { inspectStorage } from "../support/storage.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const anyBlob = { method: "GET", path: /\/blobs\// };
const noWarming: WarmConfig = { images: [], file: undefined, platforms: [], intervalMs: 6 * 3_600_000, parallel: 4 };

function start(upstream: ScriptedUpstream, options: MirrorOptions = {}): Promise<Mirror> {
  return startMirror(upstream.host, { ...options, config: { adminListen, ...options.config } });
}

/** Pulls an image as a client does; returns the digests of its blobs. */
async function pull(mirror: Mirror, repository: string, reference: string, architecture = "amd64"): Promise<Digest[]> {
  const { status, body } = await mirror.get(`/v2/${repository}/manifests/${reference}`);
  assert.equal(status, 200, `${repository}:${reference}`);
  const { manifests, config, layers } = JSON.parse(body.toString()) as {
    manifests?: { digest: Digest; platform: { architecture: string } }[];
    config?: { digest: Digest };
    layers?: { digest: Digest }[];
  };
  const entry = manifests?.find(({ platform }) => platform.architecture === architecture);
  if (entry !== undefined) return pull(mirror, repository, entry.digest);
  const digests = [config, ...(layers ?? [])].map((blob) => blob?.digest as Digest);
  for (const digest of digests) {
    const blob = await mirror.get(`/v2/${repository}/blobs/${digest}`);
    assert.equal(blob.status, 200);
    assert.equal(digestOf(blob.body), digest);
  }
  return digests;
}

/** The digests of the blobs that the upstream was asked for, in order. */
function blobsAsked(upstream: ScriptedUpstream): string[] {
  const paths = upstream.requests.map(({ path }) => path);
  return paths.flatMap((path) => (path.includes("/blobs/") ? [path.slice(path.lastIndexOf("/") + 1)] : []));
}

test("a list is warmed for the platforms that are wanted, each blob once, and served without the upstream", async () => {
  await using upstream = await createUpstream();
  upstream.addImage("library/many", "1", { platforms: 3 });
  upstream.addImage("team/app", "2", { layers: 4 });
  const untagged = upstream.addImage("library/untagged", "x");
  let now = Date.now();
  await using mirror = await start(upstream, { now: () => now });
  const job = {
    kind: "warm",
    images: ["many:1", "docker.io/team/app:2", `untagged@${untagged.digest}`],
    platforms: ["linux/arm64"],
    parallel: 3,
  } as const;
  const first = await runJob(mirror, job);
  assert.equal(first.state, "succeeded", String(first.error));
  assert.equal(stepOf(first, "summary").counts["images pulled"], 3);
  const asked = blobsAsked(upstream).toSorted();

  // A day later the tags are asked for again, and nothing else.
  now += 24 * 3_600_000;
  const before = upstream.requests.length;
  const second = await runJob(mirror, job);
  assert.equal(second.state, "succeeded", String(second.error));
  assert.equal(stepOf(second, "summary").counts["images already there"], 3);
  const again = upstream.requests.slice(before).map(({ path }) => path);
  assert.deepEqual(again.toSorted(), ["/v2/library/many/manifests/1", "/v2/team/app/manifests/2"]);

  await upstream.down();
  const pulled = [
    ...(await pull(mirror, "library/many", "1", "arm64")),
    ...(await pull(mirror, "team/app", "2")),
    ...(await pull(mirror, "library/untagged", untagged.digest)),
  ];
  // What was asked for is what a client of the platform needs, each once.
  assert.deepEqual(asked, pulled.toSorted());
});

test("what a run had stored when the process ended is not fetched again by the next", async () => {
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/large", "1", { layers: 5 });
  const last = image.blobs.at(-1) ?? "";
  const barrier = createBarrier();
  upstream.when({ path: `/blobs/${last}` }, { stallAfterBytes: 10, stallAt: barrier });
  const job = { kind: "warm", images: ["large:1"], parallel: 1 } as const;
  await using first = await start(upstream, { config: { shutdownTimeoutMs: 1 } });
  await startJob(first, job);
  // One at a time: when the last is asked for, all others are stored.
  await upstream.arrived({ path: `/blobs/${last}` });
  await first.close();
  await first.logged({ msg: "a job ended", kind: "warm", state: "cancelled" });
  barrier.release();
  upstream.behave();
  const { blobs } = await inspectStorage(first.root);
  assert.ok(image.blobs.every((digest) => blobs.includes(digest) === (digest !== last)));

  await using second = await start(upstream, { root: first.root });
  const resumed = await runJob(second, job);
  assert.equal(resumed.state, "succeeded", String(resumed.error));
  const { counts, done, total } = stepOf(resumed, "docker.io/library/large:1");
  assert.deepEqual([counts["blobs already there"], counts["blobs fetched"], done], [image.blobs.length - 1, 1, total]);
  assert.deepEqual(blobsAsked(upstream).toSorted(), [...image.blobs, last].toSorted());
});

test("an image that cannot be had stops no other, and fails the job with its name and reason", async () => {
  await using upstream = await createUpstream();
  upstream.addImage("library/good", "1");
  const broken = upstream.addImage("library/broken", "1");
  upstream.when({ path: `/blobs/${broken.blobs[1]}` }, { corruptByteAt: 100 });
  await using mirror = await start(upstream, { config: { allowUnlisted: false } });
  const images = ["gone:1", "elsewhere.example.com/a:1", "broken:1", "good:1"];
  const job = await runJob(mirror, { kind: "warm", images, parallel: 1 });
  assert.equal(job.state, "failed");
  assert.deepEqual(
    job.steps.map(({ name, state }) => `${name} ${state}`),
    [
      "docker.io/library/gone:1 failed",
      "elsewhere.example.com/a:1 failed",
      "docker.io/library/broken:1 failed",
      "docker.io/library/good:1 done",
      "summary done",
    ],
  );
  const [gone, elsewhere, wrong] = job.steps.map(({ error }) => error ?? "");
  assert.match(gone ?? "", /no manifest 1 in library\/gone/);
  assert.match(elsewhere ?? "", /elsewhere\.example\.com/);
  assert.match(wrong ?? "", /digest/);
  for (const reason of [gone, elsewhere, wrong]) assert.ok(job.error?.includes(reason ?? "?"), String(job.error));
  assert.deepEqual(
    [stepOf(job, "summary").counts["images failed"], stepOf(job, "summary").counts["images pulled"]],
    [3, 1],
  );
  await mirror.logged({ msg: "a step of a job failed", step: "docker.io/library/gone:1", error: gone });
  assert.equal(await mirror.metric("entrepot_jobs_total", { kind: "warm", state: "failed" }), 1);
  assert.equal(await mirror.metric("entrepot_job_last_success_timestamp_seconds", { kind: "warm" }), 0);
  await upstream.down();
  await pull(mirror, "library/good", "1");
});

test("several images are on their way at a time, and no more blobs than may be", async () => {
  await using upstream = await createUpstream();
  const names = ["a", "b", "c", "d"];
  for (const name of names) upstream.addImage(`library/${name}`, "1");
  const barrier = createBarrier();
  upstream.when(anyBlob, { pauseAt: barrier });
  await using mirror = await start(upstream);
  const id = await startJob(mirror, { kind: "warm", images: names.map((name) => `${name}:1`), parallel: 3 });
  await barrier.arrivals(3);
  const repositories = new Set(upstream.requests.map(({ path }) => path.split("/")[3]));
  assert.equal(upstream.count(anyBlob), 3);
  assert.deepEqual(repositories, new Set(["a", "b", "c"]));
  barrier.release();
  assert.equal((await endOfJob(mirror, id)).state, "succeeded");
});

test("what the configuration lists is warmed when a mirror starts", async () => {
  await using upstream = await createUpstream();
  await using folder = await createTemporaryDirectory();
  upstream.addImage("library/listed", "1", { platforms: 2 });
  upstream.addImage("library/filed", "1");
  const file = `${folder.path}/images`;
  await writeFile(file, "# one more, and one that is none\nno image\nfiled:1\n");
  const warm = {
    ...noWarming,
    images: [parseImageReference("listed:1")],
    file,
    platforms: [parsePlatform("linux/amd64")],
  };
  await using mirror = await start(upstream, { config: { warm }, random: () => 0 });
  await mirror.logged({ msg: "a job ended", kind: "warm", state: "succeeded" });
  assert.ok((await mirror.metric("entrepot_job_last_success_timestamp_seconds", { kind: "warm" })) > 1_000_000_000);
  const { err } = await mirror.logged({ msg: "maintenance failed" });
  assert.match(JSON.stringify(err), /cannot be read whole.*line 2/);
  const asked = blobsAsked(upstream);
  await upstream.down();
  const pulled = [...(await pull(mirror, "library/listed", "1")), ...(await pull(mirror, "library/filed", "1"))];
  assert.deepEqual(asked.toSorted(), pulled.toSorted());
});

test("a storage is warmed that no mirror runs on, and served by one that starts without the upstream", async () => {
  await using upstream = await createUpstream();
  await using folder = await createTemporaryDirectory();
  const root = `${folder.path}/root`;
  upstream.addImage("library/packed", "1", { platforms: 2 });
  const config = mirrorConfig(upstream.host, root, {
    config: { warm: { ...noWarming, platforms: [parsePlatform("linux/arm64")] } },
  });
  const job = await runOffline(config, { kind: "warm", images: ["packed:1"] });
  assert.equal(job.state, "succeeded", String(job.error));
  await upstream.down();
  await using mirror = await start(upstream, { root });
  await pull(mirror, "library/packed", "1", "arm64");
});
