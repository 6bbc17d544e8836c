import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import type { JobObserver, Step } from "../../../src/jobs/job.ts";
import { Jobs } from "../../../src/jobs/jobs.ts";
import { Schedule, type ScheduleOptions } from "../../../src/jobs/schedule.ts";
import { createBarrier } from "../../support/barrier.ts";
import { turn } from "../../support/event-loop.ts";
import { createManualClock, type ManualClock } from "./manual-clock.ts";

const hour = 3_600_000;
const mostStarts = 20;
const silent: JobObserver = { started: () => undefined, stepEnded: () => undefined, ended: () => undefined };

interface Setup {
  readonly clock: ManualClock;
  readonly jobs: Jobs;
  readonly schedule: Schedule;
  /** Hours since the start at which a job began. */
  readonly starts: number[];
  readonly errors: unknown[];
  /** When a job ended well, as remembered; hours since the start. */
  remembered(): number | undefined;
}

/** A schedule of a job every 10 hours; `lastAt` is when an earlier process ended one, in hours before the start. */
function setUp(lastAt: number | undefined, run: Step["run"], options: Partial<ScheduleOptions> = {}): Setup {
  const clock = createManualClock(1_000 * hour);
  const startedAt = clock.now();
  const jobs = new Jobs(silent, clock);
  const starts: number[] = [];
  const errors: unknown[] = [];
  let remembered = lastAt === undefined ? undefined : startedAt - lastAt * hour;
  const step: Step = {
    name: "one",
    title: "Do one",
    run: async (progress, signal) => {
      starts.push((clock.now() - startedAt) / hour);
      // A job that is due again and again would let nothing else happen.
      if (starts.length > mostStarts) void schedule.close();
      await run(progress, signal);
    },
  };
  const schedule = new Schedule({
    jobs,
    kind: "verify",
    steps: () => [step],
    intervalMs: 10 * hour,
    recall: async () => remembered,
    remember: async (endedAt) => {
      remembered = endedAt;
    },
    onError: (error) => errors.push(error),
    clock,
    random: () => 0,
    ...options,
  });
  return {
    clock,
    jobs,
    schedule,
    starts,
    errors,
    remembered: () => (remembered === undefined ? undefined : (remembered - startedAt) / hour),
  };
}

test("the first job is due an interval after the last one of an earlier process, the next after its end", async () => {
  const setup = setUp(7, () => setup.clock.wait(2 * hour, new AbortController().signal));
  await turn(5);
  // No longer than an hour: the clock may be put right.
  assert.deepEqual(setup.clock.waits, [hour]);
  await setup.clock.pass(40 * hour);
  assert.deepEqual(setup.starts, [3, 15, 27, 39]);
  assert.equal(setup.remembered(), 29);
  await setup.clock.pass(2 * hour);
  await setup.schedule.close();
  await setup.clock.pass(100 * hour);
  assert.deepEqual(setup.starts, [3, 15, 27, 39]);
  assert.deepEqual(setup.clock.waits, []);
  assert.deepEqual(setup.errors, []);
});

for (const [what, lastAt] of [
  ["there never was one", undefined],
  ["the last one was long ago", 1_000],
  ["a wrong clock noted the last one", -500],
] as const) {
  test(`a job is due at once, but for some delay, where ${what}`, async () => {
    const setup = setUp(lastAt, async () => undefined, { random: () => 0.5 });
    await setup.clock.pass(12 * hour);
    // Half of the longest delay, ten minutes.
    assert.deepEqual(setup.starts, [1 / 12, 10 + 2 / 12]);
    await setup.schedule.close();
  });
}

test("the delay of a short interval is short", async () => {
  const setup = setUp(undefined, async () => undefined, { random: () => 1, intervalMs: hour });
  await setup.clock.pass(hour);
  assert.deepEqual(setup.starts, [1 / 20]);
  await setup.schedule.close();
});

test("an infinite interval is never", async () => {
  const setup = setUp(undefined, async () => undefined, { intervalMs: Infinity });
  await setup.clock.pass(100_000 * hour);
  assert.deepEqual(setup.starts, []);
  assert.deepEqual(setup.clock.waits, []);
  await setup.schedule.close();
});

test("a job that fails is not remembered, and tried again after an interval", async () => {
  const setup = setUp(undefined, async () => {
    throw new Error("no disk");
  });
  await setup.clock.pass(25 * hour);
  assert.deepEqual(setup.starts, [0, 10, 20]);
  assert.equal(setup.remembered(), undefined);
  assert.deepEqual(setup.errors, []);
  await setup.schedule.close();
});

test("a job that somebody else has ended puts the next one off, one that runs is waited for", async () => {
  const setup = setUp(5, async () => undefined);
  const others: Step = {
    name: "others",
    title: "Do it by hand",
    run: () => setup.clock.wait(4 * hour, new AbortController().signal),
  };
  await setup.clock.pass(3 * hour);
  const other = setup.jobs.start("verify", { dryRun: true }, [others]);
  await setup.clock.pass(3 * hour);
  // Due at 5, but another one runs until 7.
  assert.deepEqual(setup.starts, []);
  await setup.clock.pass(4 * hour);
  await other.ended;
  assert.deepEqual(setup.starts, [7]);
  assert.deepEqual(setup.errors, []);
  await setup.schedule.close();
});

test("a memory that fails is told of, and asked again", async () => {
  let fails = true;
  const setup = setUp(undefined, async () => undefined, {
    recall: async () => {
      if (fails) throw new Error("no disk");
      return undefined;
    },
  });
  await setup.clock.pass(hour / 2);
  assert.equal(setup.errors.length, 1);
  assert.deepEqual(setup.starts, []);
  fails = false;
  await setup.clock.pass(hour);
  assert.deepEqual(setup.starts, [1]);
  await setup.schedule.close();
});

test("a success that cannot be noted is told of, and not repeated before its time", async () => {
  const setup = setUp(undefined, async () => undefined, {
    remember: async () => {
      throw new Error("no disk");
    },
  });
  await setup.clock.pass(12 * hour);
  assert.deepEqual(setup.starts, [0, 10]);
  assert.equal(setup.errors.length, 2);
  await setup.schedule.close();
});

test("closing cancels the job that was started, and waits for its end", async () => {
  const setup = setUp(undefined, (_progress, signal) => setup.clock.wait(5 * hour, signal));
  await turn(5);
  assert.equal(setup.jobs.list()[0]?.state, "running");
  await setup.schedule.close();
  assert.equal(setup.jobs.list()[0]?.state, "cancelled");
  assert.equal(setup.remembered(), undefined);
});

test("a time that is set while it waits changes nothing: neither an hour back nor an hour forward", async () => {
  for (const setMs of [-hour, hour]) {
    const { clock, schedule, starts } = setUp(4, async () => undefined);
    await clock.pass(hour);
    clock.set(setMs);
    await clock.pass(5 * hour - 1);
    assert.deepEqual(starts, [], "it begins before its time");
    await clock.pass(1);
    assert.equal(starts.length, 1);
    clock.set(setMs);
    await clock.pass(10 * hour - 1);
    assert.equal(starts.length, 1, "it begins again before its time");
    await clock.pass(1);
    assert.equal(starts.length, 2);
    await schedule.close();
  }
});

test("nothing is started that was still being prepared when the schedule was closed", async () => {
  const barrier = createBarrier();
  const setup = setUp(undefined, async () => undefined, {
    steps: async () => {
      await barrier.wait();
      return [{ name: "one", title: "Do one", run: async () => undefined }];
    },
  });
  await barrier.reached;
  const closed = setup.schedule.close();
  barrier.release();
  await closed;
  assert.deepEqual(setup.jobs.list(), []);
});

test("jobs that have ended leave no listener behind", async (context) => {
  const setup = setUp(undefined, async () => undefined);
  const waits = context.mock.method(setup.clock, "wait");
  await setup.clock.pass(25 * hour);
  assert.deepEqual(setup.starts, [0, 10, 20]);
  const signal = waits.mock.calls.at(-1)?.arguments[1];
  assert.ok(signal !== undefined);
  assert.equal(getEventListeners(signal, "abort").length, 1, "that of the wait for the next job");
  await setup.schedule.close();
});
