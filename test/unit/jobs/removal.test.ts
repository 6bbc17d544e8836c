import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { linkKey } from "../../../src/store/layout.ts";
import { StoreError } from "../../../src/store/object-store.ts";
import { never } from "../../support/event-loop.ts";
import { addBlobs, block, createEvictWorld, type EvictWorld, named, repository, runSteps } from "./evict-world.ts";

const a = repository("docker.io/library/a");
const failedMs = 10 * 60_000;
const mostInARow = 16;

/** Lets the links to these fail to be deleted; the names of those that were tried, in order. */
function refuse(world: EvictWorld, names: readonly string[]): string[] {
  const tried: string[] = [];
  world.onDelete = async (key) => {
    const name = names.find((each) => key === linkKey(a, named(each)));
    if (name === undefined) return;
    tried.push(name);
    throw new StoreError(`${key} could not be deleted`, undefined);
  };
  return tried;
}

/** Stops the process's steady clock; what is returned lets time pass. */
function stopClock(context: TestContext): (ms: number) => void {
  let now = performance.now();
  context.mock.timers.enable({ apis: ["setTimeout"] });
  context.mock.method(performance, "now", () => now);
  return (ms) => {
    now += ms;
    // Who has asked for the time may keep it until the timers' next turn.
    context.mock.timers.tick(1);
  };
}

test("all that can be removed goes, however much cannot be, unless it is one after the other", async () => {
  const world = createEvictWorld(1);
  const names = await addBlobs(world, 200, a);
  const stuck = names.filter((_, index) => index % 4 > 0);
  const tried = refuse(world, stuck);
  assert.equal(await world.evictor.makeRoom(a.namespace, 0, never()), false);
  assert.deepEqual(await world.left(a, names), stuck);
  assert.deepEqual(tried, stuck);
  assert.equal(world.failures.length, stuck.length);
  assert.ok(world.failures.every((error) => error instanceof StoreError));
  assert.equal(world.shortages.length, 1);
});

test("a run in which nothing can be removed is given up, and told once for each object and once for itself", async () => {
  const world = createEvictWorld(1);
  const names = await addBlobs(world, 40, a);
  const tried = refuse(world, names);
  assert.equal(await world.evictor.makeRoom(a.namespace, 0, never()), false);
  assert.deepEqual(tried, names.slice(0, mostInARow + 1));
  assert.equal(world.failures.length, mostInARow + 1);
  assert.deepEqual(world.shortages, []);
});

test("what could not be removed is tried again after ten minutes, and not before", async (context) => {
  const pass = stopClock(context);
  const world = createEvictWorld(1);
  const names = await addBlobs(world, 3, a);
  const [stuck = ""] = names;
  const tried = refuse(world, [stuck]);
  await world.evictor.makeRoom(a.namespace, 0, never());
  assert.deepEqual(await world.left(a, names), [stuck]);
  for (const [passMs, times] of [
    [0, 1],
    [failedMs - 1, 1],
    [2, 2],
  ] as const) {
    pass(passMs);
    await world.evictor.makeRoom(a.namespace, 0, never());
    assert.equal(tried.length, times, `after ${passMs} ms more`);
  }
  world.onDelete = async () => undefined;
  pass(failedMs + 1);
  assert.equal(await world.evictor.makeRoom(a.namespace, 0, never()), true);
  assert.deepEqual(await world.left(a, names), []);
});

test("a job counts what it could not remove", async () => {
  const world = createEvictWorld(1);
  const names = await addBlobs(world, 3, a);
  refuse(world, names.slice(0, 2));
  const { limits } = await runSteps(world, false);
  assert.equal(limits?.["failed"], 2);
  assert.equal(limits?.["manifests and blobs"], 1);
});

test("a dry run counts what is idle and too much once", async () => {
  const world = createEvictWorld(20);
  world.retention = () => ({ idleMs: world.now - 2, keeps: false });
  await world.add(a, "idle", { at: 1, blocks: 5 });
  for (const name of ["x", "y", "z"]) await world.add(a, name, { at: 3, blocks: 4 });
  // 21 blocks are used, and 10 are to be left.
  assert.deepEqual(await runSteps(world, true), {
    idle: { "manifests and blobs": 1, "bytes freed": 6 * block },
    limits: { "manifests and blobs": 1, "bytes freed": 5 * block },
  });
});
