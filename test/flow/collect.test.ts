/*
 * What is hosted by a real mirror, and collected: by the administration's API, by the clock, and in a folder on which no
 * mirror runs.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Config } from "../../src/config/file-schema.ts";
import { digestOf, type Digest } from "../../src/oci/digest.ts";
import { NamePattern } from "../../src/oci/name-pattern.ts";
import { adminListen } from "../support/cache-admin.ts";
import { ageHosted } from "../support/hosted-stores.ts";
import { indexOf, Pusher, startHosted } from "../support/hosted.ts";
import { runJob, runOffline, stepOf } from "../support/jobs.ts";
import { type Mirror, mirrorConfig, plainHosted } from "../support/mirror.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";

const dayMs = 86_400_000;
const never = { intervalMs: Infinity, graceMs: 3_600_000 };
const retention = [{ repositories: undefined, tags: [new NamePattern("pr-*")], keepLast: 1, keepWithinMs: undefined }];

interface Pushed {
  readonly kept: Digest;
  readonly child: Digest;
  readonly gone: Digest;
  readonly old: Digest;
}

/** Pushes an index with its child, an image that nothing reaches, and two tags of which a rule keeps one. */
async function push(mirror: Mirror): Promise<Pushed> {
  const pusher = new Pusher(mirror);
  const childDocument = await pusher.imageDocument("child");
  const childBytes = Buffer.from(JSON.stringify(childDocument));
  const child = digestOf(childBytes);
  assert.equal((await pusher.manifest(child, childDocument)).status, 201);
  const index = indexOf([childDocument]);
  assert.equal((await pusher.manifest("kept", index)).status, 201);
  const old = await pusher.image("pr-1");
  await pusher.image("pr-2");
  const gone = await pusher.image("gone");
  assert.equal((await pusher.ask("/manifests/gone", { method: "DELETE" })).status, 202);
  return { kept: digestOf(Buffer.from(JSON.stringify(index))), child, gone, old };
}

async function statuses(mirror: Mirror, digests: readonly Digest[]): Promise<number[]> {
  const pusher = new Pusher(mirror);
  return Promise.all(
    digests.map(async (digest) => (await pusher.ask(`/manifests/${digest}`, { method: "GET" })).status),
  );
}

/** A folder with what was pushed a day ago. */
async function agedFolder(stack: AsyncDisposableStack): Promise<{ readonly root: string; readonly pushed: Pushed }> {
  const { path } = stack.use(await createTemporaryDirectory());
  const root = join(path, "root");
  await using mirror = await startHosted({ root, hosted: { retention }, config: { collection: never } });
  const pushed = await push(mirror);
  await mirror.close();
  await ageHosted(root, dayMs);
  return { root, pushed };
}

test("a dry run names what would go, a run removes it, and nothing else", async () => {
  await using stack = new AsyncDisposableStack();
  const { root, pushed } = await agedFolder(stack);
  const { kept, child, gone, old } = pushed;
  await using mirror = await startHosted({ root, hosted: { retention }, config: { collection: never, adminListen } });
  const dry = await runJob(mirror, { kind: "collect", dryRun: true });
  assert.equal(dry.state, "succeeded", dry.error ?? "");
  const [first, second = ""] = stepOf(dry, "tags").notes ?? [];
  assert.equal(first, "stays apps/team/web:pr-2 (one of the last 1)");
  assert.match(second, /^goes apps\/team\/web:pr-1 \(pushed .*, and no rule keeps it\)$/);
  const named = stepOf(dry, "links").notes ?? [];
  for (const digest of [gone, old]) assert.ok(named.includes(`apps/team/web@${digest}`));
  assert.equal(named.length, 6, "with a configuration and a layer each");
  assert.deepEqual(await new Pusher(mirror).tags(), ["kept", "pr-1", "pr-2"]);
  // It was only looked at: none of it has become young.
  const job = await runJob(mirror, { kind: "collect" });
  assert.equal(job.state, "succeeded", job.error ?? "");
  assert.deepEqual(
    job.steps.map(({ counts }) => counts["removed"] ?? 0),
    [1, 6, 6, 0],
  );
  assert.deepEqual(
    job.steps.map(({ notes }) => notes),
    [undefined, undefined, undefined, undefined],
  );
  assert.deepEqual(await statuses(mirror, [kept, child, gone, old]), [200, 200, 404, 404]);
  assert.deepEqual(await new Pusher(mirror).tags(), ["kept", "pr-2"]);
  assert.equal(await mirror.metric("entrepot_collected_total", { what: "links" }), 6);
  assert.ok((await mirror.metric("entrepot_collected_bytes_total")) > 0);
  assert.equal(await mirror.metric("entrepot_jobs_total", { kind: "collect", state: "succeeded" }), 2);
});

test("what is asked for by HEAD stays, with all that it refers to", async () => {
  await using stack = new AsyncDisposableStack();
  const { root, pushed } = await agedFolder(stack);
  await using mirror = await startHosted({ root, config: { collection: never, adminListen } });
  const pusher = new Pusher(mirror);
  assert.equal(await pusher.digest(pushed.gone), pushed.gone);
  const { counts } = stepOf(await runJob(mirror, { kind: "collect" }), "links");
  assert.equal(counts["removed"], undefined);
  assert.equal((await pusher.ask(`/blobs/${digestOf(Buffer.from("a layer of gone"))}`)).status, 200);
});

test("it is done by the clock, and not again before its time, whoever has the folder", async () => {
  await using stack = new AsyncDisposableStack();
  const { root, pushed } = await agedFolder(stack);
  const config = { collection: { ...never, intervalMs: dayMs } };
  {
    await using mirror = await startHosted({ root, config, random: () => 0 });
    await mirror.logged({ msg: "a job ended", kind: "collect", state: "succeeded" });
    assert.deepEqual(await statuses(mirror, [pushed.kept, pushed.gone]), [200, 404]);
  }
  const state = await readFile(join(root, "hosted/state/collected"), "utf8");
  assert.ok(Math.abs((JSON.parse(state) as { record: { endedAt: number } }).record.endedAt - Date.now()) < 60_000);
  await using mirror = await startHosted({ root, config: { ...config, adminListen }, random: () => 0 });
  await runJob(mirror, { kind: "collect", dryRun: true });
  const begun = mirror.log().filter(({ msg, kind }) => msg === "a job begins" && kind === "collect");
  assert.deepEqual(
    begun.map(({ dryRun }) => dryRun),
    [true],
  );
});

test("it can be done where no mirror runs, and is refused where nothing is hosted", async () => {
  await using stack = new AsyncDisposableStack();
  const { root, pushed } = await agedFolder(stack);
  const config: Config = mirrorConfig("127.0.0.1:9", root, { config: { hosted: [plainHosted], collection: never } });
  const job = await runOffline(config, { kind: "collect" });
  assert.equal(job.state, "succeeded", job.error ?? "");
  assert.equal(stepOf(job, "content").counts["removed"], 3);
  await using mirror = await startHosted({ root, config: { collection: never } });
  assert.deepEqual(await statuses(mirror, [pushed.kept, pushed.child, pushed.gone]), [200, 200, 404]);
  await mirror.close();
  await assert.rejects(runOffline({ ...config, hosted: [] }, { kind: "collect" }), { code: "UNSUPPORTED" });
});
