import assert from "node:assert/strict";
import { test } from "node:test";
import type { RetentionReport, RetentionRun } from "../../../src/bucket/retention.ts";
import { RetentionRuns } from "../../../src/bucket/retention-runs.ts";
import { turn, until } from "../../support/event-loop.ts";

const minute = 60_000;
const hour = 60 * minute;
const nothing = { objects: 1, bytes: 2, condemned: 0, removed: 0, removedBytes: 0, isShort: false };
const report: RetentionReport = { by: "this one", at: 1, ...nothing };
const others: RetentionReport = { by: "another", at: 2, ...nothing };

/** Runs on a clock that the test moves. */
class World {
  /** What was done and told, in order. */
  readonly told: string[] = [];
  readonly runs: RetentionRuns;
  outcome: (run: RetentionRun, signal: AbortSignal) => Promise<RetentionReport | undefined> = async () => report;
  flush: () => Promise<void> = async () => undefined;
  last: RetentionReport | undefined;
  now = 0;
  /** A run never ends. */
  hangs = false;
  #waits = new Map<number, () => void>();

  /** @param isLimited Whether something limits what the bucket may hold. */
  constructor(isLimited = true) {
    this.runs = new RetentionRuns({
      usage: {
        flush: async () => {
          this.told.push("flush");
          await this.flush();
        },
      },
      pins: { tell: async () => void this.told.push("pins") },
      isLimited,
      retain: (run, signal) => {
        this.told.push(run.dryRun ? "dry run" : `run every ${run.everyMs / hour} h`);
        return this.outcome(run, signal);
      },
      readLast: async () => this.last,
      clock: {
        now: () => this.now,
        monotonic: () => this.now,
        wait: (ms, signal) =>
          new Promise((resolve, reject) => {
            if (signal.aborted) reject(signal.reason as Error);
            this.#waits.set(ms, resolve);
            signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
          }),
      },
      observer: {
        removed: () => undefined,
        retained: ({ by }) => void this.told.push(`by ${by}`),
        unretained: (error) => void this.told.push(error.message),
      },
    });
  }

  /** Lets a quarter of an hour pass, or something else that is waited for. */
  async pass(times = 1, ms = 15 * minute): Promise<void> {
    for (let count = 0; count < times; count++) {
      await until(() => this.#waits.has(ms));
      const wake = this.#waits.get(ms);
      this.#waits.delete(ms);
      this.now += ms;
      wake?.();
    }
    if (ms === 15 * minute) await until(() => this.#waits.has(ms) || this.hangs);
  }

  /** What was told of runs. */
  get ran(): string[] {
    return this.told.filter((what) => what !== "flush" && what !== "pins");
  }
}

test("what is used and pinned is written down at the start, every quarter of an hour, and at the end", async () => {
  const world = new World();
  world.runs.start();
  await until(() => world.told.length > 0);
  assert.deepEqual(world.told, ["pins"]);
  await world.pass();
  assert.deepEqual(world.told, ["pins", "flush", "pins"]);
  await world.runs.close();
  assert.deepEqual(world.told, ["pins", "flush", "pins", "flush"]);
});

test("it is tried after an hour, and then every hour, whether six have passed since the last run of all", async () => {
  const world = new World();
  world.runs.start();
  await world.pass(3);
  assert.deepEqual(world.ran, []);
  await world.pass();
  assert.deepEqual(world.ran, ["run every 6 h", "by this one"]);
  world.outcome = async () => undefined;
  await world.pass(4);
  assert.deepEqual(world.ran.slice(2), ["run every 6 h"], "another instance has made it");
  await world.runs.close();
});

test("without limits it is tried once a day", async () => {
  const world = new World(false);
  world.outcome = async () => undefined;
  world.runs.start();
  await world.pass(95);
  assert.deepEqual(world.ran, []);
  await world.pass(2);
  assert.deepEqual(world.ran, ["run every 6 h"]);
  await world.runs.close();
});

test("the last report is known, whoever made the run", async () => {
  const world = new World();
  world.last = others;
  world.runs.start();
  await until(() => world.runs.last === others);
  world.outcome = () => new Promise(() => undefined);
  const asked = world.runs.retain({ dryRun: true }, new AbortController().signal);
  await until(() => world.ran.includes("dry run"));
  assert.equal(world.runs.last, others);
  void asked;
  world.last = report;
  await world.pass();
  assert.equal(world.runs.last, report);
  const closing = world.runs.close();
  await world.pass(1, 5_000);
  await closing;
});

test("who asks for a run gets one when that of the clock is over, and a dry run is told to nobody else", async () => {
  const world = new World();
  const { signal } = new AbortController();
  const first = Promise.withResolvers<RetentionReport | undefined>();
  world.outcome = () => first.promise;
  const asked = [world.runs.retain({ dryRun: false }, signal), world.runs.retain({ dryRun: true }, signal)];
  await turn();
  assert.deepEqual(world.ran, ["run every 0 h"]);
  first.resolve(report);
  assert.deepEqual(await Promise.all(asked), [report, report]);
  assert.deepEqual(world.ran, ["run every 0 h", "by this one", "dry run"]);
  const failing = world.runs.retain({ dryRun: false }, AbortSignal.abort(new Error("cancelled")));
  await assert.rejects(failing, /cancelled/);
  await world.runs.close();
});

test("what fails is told, and tried again", async () => {
  const world = new World();
  world.flush = async () => {
    throw new Error("SlowDown");
  };
  world.outcome = async () => {
    throw new Error("the run failed");
  };
  world.runs.start();
  await world.pass(8);
  const runs = ["run every 6 h", "the run failed"];
  const hourly = ["SlowDown", "SlowDown", "SlowDown", "SlowDown", ...runs];
  assert.deepEqual(world.ran, [...hourly, ...hourly]);
  await world.runs.close();
});

test("closing breaks a run off, and waits for a bucket that hangs for some seconds only", async () => {
  const world = new World();
  let signalled: AbortSignal | undefined;
  world.outcome = (_run, signal) => {
    signalled = signal;
    world.hangs = true;
    return new Promise(() => undefined);
  };
  world.flush = () => (world.told.includes("run every 6 h") ? new Promise(() => undefined) : Promise.resolve());
  world.runs.start();
  await world.pass(4);
  const closing = world.runs.close();
  assert.equal(signalled?.aborted, true);
  await world.pass(2, 5_000);
  await closing;
  assert.deepEqual(world.ran, ["run every 6 h"]);
});
