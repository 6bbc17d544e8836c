/* The bucket's upkeep: when it is tried, when it is swept, and what is told of that. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BucketUpkeep } from "../../../src/bucket/upkeep.ts";
import { turn } from "../../support/event-loop.ts";

const hour = 3_600_000;

/** An upkeep whose clock goes on when the test says, and what it asked and told. */
class World {
  readonly happened: string[] = [];
  /** What the next probes and sweeps come to; the last of each stays. */
  probes: (readonly string[] | Error | Promise<readonly string[]>)[] = [[]];
  sweeps: (number | Error | Promise<number>)[] = [0];
  readonly waits: { readonly ms: number; readonly end: () => void }[] = [];
  readonly upkeep: BucketUpkeep;

  constructor() {
    const next = <T>(outcomes: (T | Error)[]): T => {
      const [outcome] = outcomes.length > 1 ? outcomes.splice(0, 1) : outcomes;
      if (outcome instanceof Error) throw outcome;
      return outcome as T;
    };
    this.upkeep = new BucketUpkeep({
      store: {
        probe: async () => {
          this.happened.push("probe");
          return { lacks: await next(this.probes) };
        },
        sweepUploads: async (olderThanMs) => {
          this.happened.push(`sweep ${olderThanMs / hour}`);
          return next(this.sweeps);
        },
      },
      clock: {
        wait: async (ms, signal) => {
          signal.throwIfAborted();
          const { promise, resolve, reject } = Promise.withResolvers<void>();
          const wait = { ms, end: resolve };
          this.waits.push(wait);
          signal.addEventListener("abort", () => {
            this.waits.splice(this.waits.indexOf(wait), 1);
            reject(new Error("aborted"));
          });
          return promise;
        },
      },
      observer: {
        usable: (lacks) => this.happened.push(`usable: ${lacks.join()}`),
        unusable: (error) => this.happened.push(`unusable: ${error.message}`),
        swept: (uploads) => this.happened.push(`swept: ${uploads}`),
        unswept: (error) => this.happened.push(`unswept: ${error.message}`),
      },
    });
  }

  /** What happens until nothing more does. */
  async run(step: () => void): Promise<string[]> {
    this.happened.length = 0;
    step();
    await turn(3);
    return this.happened.toSorted();
  }

  /** The wait for so long is over. */
  pass(ms: number): void {
    const index = this.waits.findIndex((wait) => wait.ms === ms);
    const [wait] = index === -1 ? [] : this.waits.splice(index, 1);
    (wait ?? assert.fail(`nobody waits for ${ms} ms`)).end();
  }
}

test("a bucket that can be used is tried once, and swept at the start and once a day", async () => {
  const world = new World();
  world.probes = [["lacks this", "lacks that"]];
  world.sweeps = [2, 0];
  const first = await world.run(() => world.upkeep.start());
  assert.deepEqual(first, ["probe", "sweep 24", "swept: 2", "usable: lacks this,lacks that"]);
  assert.deepEqual(await world.run(() => world.pass(24 * hour)), ["sweep 24"]);
  assert.deepEqual(await world.run(() => world.pass(24 * hour)), ["sweep 24"]);
  world.upkeep.stop();
  await turn(3);
  assert.deepEqual(world.waits, []);
});

test("one that cannot be reached is tried again each minute, told of once, and again when it is there", async () => {
  const world = new World();
  world.probes = [new Error("down"), new Error("down"), []];
  world.sweeps = [new Error("down"), 0];
  const first = await world.run(() => world.upkeep.start());
  assert.deepEqual(first, ["probe", "sweep 24", "unswept: down", "unusable: down"].toSorted());
  assert.deepEqual(await world.run(() => world.pass(60_000)), ["probe"]);
  assert.deepEqual(await world.run(() => world.pass(60_000)), ["probe", "usable: "]);
  assert.deepEqual(await world.run(() => world.pass(hour)), ["sweep 24"], "what could not be swept is, an hour later");
  assert.deepEqual(
    world.waits.map(({ ms }) => ms),
    [24 * hour],
  );
  world.upkeep.stop();
});

test("what ends after it was stopped is not told", async () => {
  const world = new World();
  const sweep = Promise.withResolvers<number>();
  world.sweeps = [sweep.promise];
  const probe = Promise.withResolvers<readonly string[]>();
  world.probes = [probe.promise];
  await world.run(() => world.upkeep.start());
  const late = await world.run(() => {
    world.upkeep.stop();
    probe.resolve([]);
    sweep.reject(new Error("the store was closed"));
  });
  assert.deepEqual(late, []);
  assert.deepEqual(world.waits, []);
});
