import assert from "node:assert/strict";
import { test } from "node:test";
import type { Namespace } from "../../../src/oci/reference.ts";
import { type CollectTools, collectSteps } from "../../../src/jobs/collect.ts";
import { Jobs } from "../../../src/jobs/jobs.ts";
import type { JobState } from "../../../src/jobs/job.ts";
import { hostedStateKey } from "../../../src/store/hosted-layout.ts";
import { Lease } from "../../../src/store/lease.ts";
import { app, CollectedWorld, dayMs, graceMs, layer } from "../../support/collected-world.ts";
import { pushBlobs } from "../../support/hosted-content.ts";

function toolsOf(world: CollectedWorld, more: Partial<CollectTools> = {}): CollectTools {
  return {
    store: world.memory,
    ...world.instance,
    namespaces: [{ namespace: "apps" as Namespace, retention: [], immutableTags: [], expiryMs: dayMs }],
    graceMs,
    isPinned: () => false,
    monotonic: () => 0,
    lease: undefined,
    assertSafe: undefined,
    ...more,
  };
}

/** A world with a blob that nothing reaches. */
async function worldWithGarbage(): Promise<CollectedWorld> {
  const world = new CollectedWorld();
  await pushBlobs(world.instance, app, [layer]);
  world.now += graceMs;
  return world;
}

function run(tools: CollectTools, dryRun = false): Promise<JobState> {
  const ignore = (): void => undefined;
  const jobs = new Jobs({ started: ignore, stepEnded: ignore, ended: ignore });
  return jobs.start("collect", { dryRun }, collectSteps(tools, { dryRun })).ended;
}

function leaseOf({ memory }: CollectedWorld): Lease {
  return new Lease({ store: memory, key: hostedStateKey("collection"), ttlMs: dayMs, monotonic: () => 0 });
}

test("a pass counts what it removed, step by step, and a dry run names it", async () => {
  const world = await worldWithGarbage();
  const dry = await run(toolsOf(world), true);
  const job = await run(toolsOf(world));
  const [tags, links, content, uploads] = job.steps;
  assert.equal(job.state, "succeeded");
  assert.deepEqual(
    [tags?.counts, links?.counts, content?.counts, uploads?.counts],
    [
      {},
      { examined: 1, removed: 1, repositories: 1, "repositories removed": 1 },
      { examined: 1, removed: 1, "bytes freed": layer.bytes.length },
      {},
    ],
  );
  const named = dry.steps.flatMap(({ notes = [] }) => notes);
  assert.deepEqual(named, [`apps/team/app@${layer.digest}`, "apps/team/app is empty", layer.digest]);
  assert.deepEqual(
    dry.steps.map(({ counts }) => counts),
    job.steps.map(({ counts }) => counts),
  );
});

test("one instance at a time does it, and gives the right to it back; who only looks does not ask", async () => {
  const world = await worldWithGarbage();
  const other = leaseOf(world);
  const keys = await world.keys();
  assert.equal(await other.acquire(), true);
  const refused = await run(toolsOf(world, { lease: leaseOf(world) }));
  assert.deepEqual([refused.state, refused.error], ["failed", "another instance is collecting"]);
  assert.equal((await run(toolsOf(world, { lease: leaseOf(world) }), true)).state, "succeeded");
  assert.deepEqual(new Set(await world.keys()), new Set([...keys, hostedStateKey("collection")]));
  await other.release();
  assert.equal((await run(toolsOf(world, { lease: leaseOf(world) }))).state, "succeeded");
  assert.deepEqual(await world.keys(), [hostedStateKey("collection")]);
  assert.equal(await other.acquire(), true, "it was given back");
});

test("in a store that it is not safe in nothing is removed", async () => {
  const world = await worldWithGarbage();
  const keys = await world.keys();
  let asked = 0;
  const assertSafe = async (): Promise<void> => {
    asked++;
    throw new Error("conditions of deletes are ignored");
  };
  const job = await run(toolsOf(world, { assertSafe }));
  assert.deepEqual([job.state, job.error, asked], ["failed", "conditions of deletes are ignored", 1]);
  assert.deepEqual(await world.keys(), keys);
});

test("where nothing is hosted there is nothing to do", () => {
  assert.throws(() => collectSteps(undefined, { dryRun: true }), { code: "UNSUPPORTED" });
});
