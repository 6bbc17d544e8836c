/* When eviction runs, for whom, and when it rests. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { StepProgress } from "../../../src/jobs/job.ts";
import { quarantineKey } from "../../../src/store/layout.ts";
import { createBarrier } from "../../support/barrier.ts";
import { never, turn } from "../../support/event-loop.ts";
import { addBlobs, block, createEvictWorld, type EvictWorld, named, repository, runSteps } from "./evict-world.ts";

const a = repository("docker.io/library/a");
/** How long eviction rests after there was not enough to remove. */
const shortMs = 5_000;

/** A world that is too full, of what was used a moment ago. */
async function createShort(): Promise<EvictWorld> {
  const world = createEvictWorld(8, 60_000);
  for (const name of ["x", "y"]) await world.add(a, name, { at: world.now, blocks: 4 });
  return world;
}

/** How often candidates have been asked for when all runs are over. */
async function asked(world: EvictWorld): Promise<number> {
  await turn(5);
  return world.asked.filter((what) => what === "candidates").length;
}

test("after there was not enough to remove it rests, until a while has passed or something was stored", async () => {
  const world = await createShort();
  assert.equal(await world.evictor.makeRoom(a.namespace, block, never()), false);
  assert.equal(await asked(world), 1);
  world.evictor.relieve();
  assert.equal(await asked(world), 1);
  await world.add(a, "z", { at: world.now });
  world.evictor.relieve();
  assert.equal(await asked(world), 2);
  world.evictor.relieve();
  world.now += shortMs - 1;
  world.evictor.relieve();
  assert.equal(await asked(world), 2);
  world.now += 1;
  world.evictor.relieve();
  assert.equal(await asked(world), 3);
});

test("however often it is called, one run brings everything below the low watermarks", async () => {
  const world = await createShort();
  for (let count = 0; count < 10; count++) world.evictor.relieve();
  assert.equal(await asked(world), 1);
});

test("a run that fails is not begun again at once", async () => {
  const world = createEvictWorld(4);
  await addBlobs(world, 4, a);
  const error = new Error("the ledger is gone");
  world.onCandidates = () => {
    throw error;
  };
  world.evictor.relieve();
  assert.equal(await asked(world), 1);
  world.evictor.relieve();
  assert.equal(await asked(world), 1);
  assert.deepEqual(world.failures, [error]);
});

test("a run for one who has given up stops", async () => {
  const world = createEvictWorld(20);
  const names = await addBlobs(world, 10, a);
  const first = new AbortController();
  world.onCandidates = () => first.abort();
  assert.equal(await world.evictor.makeRoom(a.namespace, 8 * block, first.signal), false);
  assert.deepEqual(await world.left(a, names), names);
  const second = new AbortController();
  world.onDelete = async () => second.abort();
  assert.equal(await world.evictor.makeRoom(a.namespace, 8 * block, second.signal), false);
  assert.deepEqual(await world.left(a, names), names.slice(1));
  assert.deepEqual(world.shortages, []);
});

test("a run that was given up says nothing of the next", async () => {
  const world = createEvictWorld(20);
  const names = await addBlobs(world, 10, a);
  const asker = new AbortController();
  world.onCandidates = () => asker.abort();
  assert.equal(await world.evictor.makeRoom(a.namespace, 8 * block, asker.signal), false);
  world.evictor.relieve();
  assert.equal(await asked(world), 2);
  assert.deepEqual(await world.left(a, names), names.slice(5));
});

test("one who has given up while others were served gets no run", async () => {
  const world = createEvictWorld(20);
  const names = await addBlobs(world, 11, a);
  const barrier = createBarrier();
  world.onDelete = () => barrier.wait();
  const first = world.evictor.makeRoom(a.namespace, 0, never());
  await barrier.reached;
  const asker = new AbortController();
  const second = world.evictor.makeRoom(a.namespace, 16 * block, asker.signal);
  asker.abort();
  barrier.release();
  assert.deepEqual([await first, await second], [true, false]);
  assert.deepEqual(await world.left(a, names), names.slice(6));
  assert.equal(await asked(world), 1);
});

test("a job that is cancelled does not wait for the run before it", async () => {
  const world = createEvictWorld(4);
  await addBlobs(world, 4, a);
  const barrier = createBarrier();
  world.onDelete = () => barrier.wait();
  const running = world.evictor.makeRoom(a.namespace, 0, never());
  await barrier.reached;
  const [step] = world.evictor.steps({ dryRun: false });
  const progress: StepProgress = {
    count: () => undefined,
    total: () => undefined,
    advance: () => undefined,
    note: () => undefined,
  };
  const cancel = new AbortController();
  const reason = new Error("cancelled");
  const job = step?.run(progress, cancel.signal);
  cancel.abort(reason);
  let outcome: unknown;
  void job?.catch((error: unknown) => {
    outcome = error;
  });
  await turn(5);
  assert.equal(outcome, reason);
  barrier.release();
  assert.equal(await running, true);
});

test("closing stops a job, too, after the object that is being removed", async () => {
  const world = createEvictWorld(4);
  const names = await addBlobs(world, 10, a);
  const barrier = createBarrier();
  world.onDelete = () => barrier.wait();
  const job = runSteps(world, false);
  const stopped = assert.rejects(job, /the process is stopping/);
  await barrier.reached;
  const closed = world.evictor.close();
  barrier.release();
  await closed;
  await stopped;
  assert.deepEqual(await world.left(a, names), names.slice(1));
});

test("what was used within the grace stays, however short the idle time is", async () => {
  const world = createEvictWorld(1_000, 60_000);
  world.retention = () => ({ idleMs: 1_000, keeps: false });
  await world.add(a, "old", { at: world.now - 60_001 });
  await world.add(a, "young", { at: world.now - 60_000 });
  await world.evictor.tidy();
  assert.deepEqual(await world.left(a, ["old", "young"]), ["young"]);
});

test("the tidying goes by what the volume has left now", async () => {
  const world = createEvictWorld(1_000);
  const names = await addBlobs(world, 4, a);
  world.volume = { totalBytes: 100 * block, freeBytes: 0 };
  await world.evictor.tidy();
  assert.deepEqual(await world.left(a, names), names.slice(2));
});

test("the job goes by what the volume has left now", async () => {
  const world = createEvictWorld(1_000);
  const names = await addBlobs(world, 4, a);
  world.volume = { totalBytes: 100 * block, freeBytes: 0 };
  await runSteps(world, false);
  assert.deepEqual(await world.left(a, names), names.slice(2));
});

test("what pins hold is added up once in a few seconds, and a dry run says of no shortage", async () => {
  const world = createEvictWorld(4);
  await addBlobs(world, 4, a);
  world.pins = [`docker.io/library/a`];
  const sums = (): number => world.asked.filter((what) => what === "pinnedBytes").length;
  await runSteps(world, true);
  assert.deepEqual(world.shortages, []);
  for (const [passMs, expected] of [
    [0, 1],
    [shortMs - 1, 1],
    [1, 2],
  ] as const) {
    world.now += passMs;
    assert.equal(await world.evictor.makeRoom(a.namespace, 0, never()), false);
    assert.equal(sums(), expected);
  }
  assert.equal(world.shortages.length, 3);
  assert.ok(await world.has(a, "library/a 1"), named("library/a 1"));
});

test("a dry run leaves what was put aside; a run removes it before anything that is sound", async () => {
  const world = createEvictWorld(12);
  await addBlobs(world, 5, a);
  const damaged = await world.add(a, "damaged", { at: world.now });
  await world.content.quarantineBlob(damaged);
  await runSteps(world, true);
  assert.deepEqual(world.deleted, []);
  await runSteps(world, false);
  assert.equal(world.deleted[0], quarantineKey(damaged));
  assert.ok(world.deleted.length > 1);
});
