import assert from "node:assert/strict";
import { test } from "node:test";
import { type JobObserver, JobRunning, type JobState, type Step, type StepProgress } from "../../../src/jobs/job.ts";
import { Jobs } from "../../../src/jobs/jobs.ts";
import { createBarrier } from "../../support/barrier.ts";
import { never, turn } from "../../support/event-loop.ts";
import { createManualClock } from "./manual-clock.ts";

const silent: JobObserver = { started: () => undefined, stepEnded: () => undefined, ended: () => undefined };

function step(name: string, run: Step["run"] = async () => undefined): Step {
  return { name, title: `Do ${name}`, run };
}

/** A step that waits until it is aborted. */
function endless(name: string): Step {
  return step(name, (_progress, signal) => {
    const { promise, reject } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => reject(new Error("stopped")), { once: true });
    return promise;
  });
}

function statesOf(job: JobState | undefined): string[] {
  return job?.steps.map(({ name, state }) => `${name} ${state}`) ?? [];
}

test("steps run one after another, and are named, counted and timed", async () => {
  const clock = createManualClock(5_000);
  const jobs = new Jobs(silent, clock);
  const steps = [
    step("one", async (progress) => {
      progress.count("examined");
      progress.count("examined", 2);
      progress.count("removed", 0);
      await clock.pass(30);
    }),
    step("two", async (progress) => {
      assert.deepEqual(statesOf(jobs.list()[0]), ["one done", "two running"]);
      progress.advance(1);
      progress.total(10, "bytes");
      progress.advance(3);
      await clock.pass(40);
    }),
  ];
  const job = jobs.start("verify", { dryRun: true }, steps);
  assert.deepEqual(statesOf(job.state), ["one waiting", "two waiting"]);
  const ended = await job.ended;
  assert.deepEqual(ended, {
    id: job.id,
    kind: "verify",
    dryRun: true,
    state: "succeeded",
    startedAt: 5_000,
    endedAt: 5_070,
    steps: [
      { name: "one", title: "Do one", state: "done", durationMs: 30, counts: { examined: 3, removed: 0 } },
      { name: "two", title: "Do two", state: "done", durationMs: 40, counts: {}, done: 4, total: 10, unit: "bytes" },
    ],
  });
  assert.equal(jobs.get(job.id), ended);
  assert.equal(jobs.get("other"), undefined);
});

test("a step that fails fails the job, and those after it are skipped", async () => {
  const told: unknown[] = [];
  const error = new Error("no disk");
  const jobs = new Jobs({
    started: (job) => told.push(["started", job.state, ...statesOf(job)]),
    stepEnded: (job, ended) => told.push(["step", job.state, ended.name, ended.state, ended.counts]),
    ended: (job, reason) => told.push(["ended", job.state, job.error, reason]),
  });
  const failing = step("two", async (progress) => {
    progress.count("examined");
    throw error;
  });
  const { state } = await jobs.start("evict", { dryRun: false }, [step("one"), failing, step("three")]).ended;
  assert.equal(state, "failed");
  assert.deepEqual(statesOf(jobs.list()[0]), ["one done", "two failed", "three skipped"]);
  assert.deepEqual(told, [
    ["started", "running", "one waiting", "two waiting", "three waiting"],
    ["step", "running", "one", "done", {}],
    ["step", "running", "two", "failed", { examined: 1 }],
    ["ended", "failed", "no disk", error],
  ]);
});

/** An independent step that waits to be let on, and then fails where it is given an error. */
function independent(name: string, parallel: number, error?: Error): Step & { readonly letOn: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const run = async (): Promise<void> => {
    await promise;
    if (error !== undefined) throw error;
  };
  return { ...step(name, run), parallel, letOn: resolve };
}

test("independent steps run side by side, as many as may, and others wait for them", async () => {
  const jobs = new Jobs(silent);
  const barrier = createBarrier();
  const before = step("before", () => barrier.wait());
  const [one, two, three] = ["one", "two", "three"].map((name) => independent(name, 2)) as [
    ReturnType<typeof independent>,
    ReturnType<typeof independent>,
    ReturnType<typeof independent>,
  ];
  const { id, ended } = jobs.start("warm", { dryRun: false }, [before, one, two, three, step("after")]);
  const seen = async (): Promise<string> => {
    await turn(5);
    return (jobs.get(id)?.steps ?? []).map(({ state }) => state).join(" ");
  };
  assert.equal(await seen(), "running waiting waiting waiting waiting");
  barrier.release();
  assert.equal(await seen(), "done running running waiting waiting");
  two.letOn();
  assert.equal(await seen(), "done running done running waiting");
  three.letOn();
  assert.equal(await seen(), "done running done done waiting");
  one.letOn();
  assert.equal((await ended).state, "succeeded");
});

test("an independent step that fails fails the job, and nothing else", async () => {
  const told: unknown[] = [];
  const jobs = new Jobs({ ...silent, ended: (_job, error) => told.push(error) });
  const steps = ["one", "two", "three"].map((name) => independent(name, 2, new Error(`${name} is away`)));
  const good = independent("four", 2);
  for (const { letOn } of [...steps, good]) letOn();
  const job = await jobs.start("warm", { dryRun: false }, [...steps, good, step("after")]).ended;
  assert.deepEqual(statesOf(job), ["one failed", "two failed", "three failed", "four done", "after done"]);
  assert.deepEqual(
    job.steps.map(({ error }) => error),
    ["one is away", "two is away", "three is away", undefined, undefined],
  );
  assert.equal(job.state, "failed");
  assert.equal(job.error, "one: one is away; two: two is away; three: three is away");
  const [error] = told;
  assert.ok(error instanceof AggregateError && error.errors.length === 3);
});

test("a job with very many failures names some of them", async () => {
  const jobs = new Jobs(silent);
  const steps = Array.from({ length: 12 }, (_, index) => independent(`${index}`, 12, new Error("away")));
  for (const { letOn } of steps) letOn();
  const { error } = await jobs.start("warm", { dryRun: false }, steps).ended;
  assert.match(error ?? "", /^0: away; .*; 9: away; and 2 more$/);
});

test("cancelling aborts all steps that run, whatever has failed before", async () => {
  const jobs = new Jobs(silent);
  const failed = independent("one", 2, new Error("away"));
  failed.letOn();
  const steps = [failed, { ...endless("two"), parallel: 2 }, { ...endless("three"), parallel: 2 }, step("four")];
  const job = jobs.start("warm", { dryRun: false }, steps);
  await turn(5);
  jobs.cancel(job.id);
  const ended = await job.ended;
  assert.deepEqual(statesOf(ended), ["one failed", "two cancelled", "three cancelled", "four skipped"]);
  assert.deepEqual([ended.state, ended.error], ["cancelled", undefined]);
});

test("cancelling aborts the step that runs, and skips the others", async () => {
  const jobs = new Jobs(silent);
  const job = jobs.start("warm", { dryRun: false }, [step("one"), endless("two"), step("three")]);
  await turn();
  assert.equal(jobs.cancel("other"), false);
  assert.equal(jobs.cancel(job.id), true);
  const ended = await job.ended;
  assert.equal(ended.state, "cancelled");
  assert.equal(ended.error, undefined);
  assert.deepEqual(statesOf(ended), ["one done", "two cancelled", "three skipped"]);
  assert.equal(jobs.cancel(job.id), false);
});

test("a job that is cancelled before its first step does nothing", async () => {
  const jobs = new Jobs(silent);
  const job = jobs.start("warm", { dryRun: false }, [step("one", () => assert.fail("it ran"))]);
  jobs.cancel(job.id);
  assert.deepEqual(statesOf(await job.ended), ["one skipped"]);
  assert.equal(job.state.state, "cancelled");
});

test("one job of a kind runs at a time", async () => {
  const jobs = new Jobs(silent);
  const first = jobs.start("verify", { dryRun: false }, [endless("one")]);
  assert.throws(
    () => jobs.start("verify", { dryRun: true }, []),
    (error) => error instanceof JobRunning && error.id === first.id,
  );
  assert.equal((await jobs.start("evict", { dryRun: false }, []).ended).state, "succeeded");
  jobs.cancel(first.id);
  await first.ended;
  assert.equal((await jobs.start("verify", { dryRun: false }, []).ended).state, "succeeded");
});

test("a state that was handed out never changes", async () => {
  const jobs = new Jobs(silent);
  let progress: StepProgress | undefined;
  const barrier = createBarrier();
  const job = jobs.start("verify", { dryRun: false }, [
    step("one", async (given) => {
      progress = given;
      given.total(2, "objects");
      await barrier.wait();
    }),
  ]);
  await barrier.reached;
  const before = job.state;
  const copy = structuredClone(before);
  assert.equal(job.state, before);
  progress?.count("examined");
  progress?.advance(1);
  assert.notEqual(job.state, before);
  barrier.release();
  await job.ended;
  assert.deepEqual(before, copy);
  assert.throws(() => Object.assign(before.steps[0]?.counts ?? {}, { examined: 7 }), TypeError);
});

test("who follows a job sees it a few times a second, and its end at once", async () => {
  const clock = createManualClock();
  const jobs = new Jobs(silent, clock);
  const barrier = createBarrier();
  let progress: StepProgress | undefined;
  const job = jobs.start("verify", { dryRun: false }, [
    step("one", async (given) => {
      progress = given;
      await barrier.wait();
    }),
  ]);
  await barrier.reached;
  const seen: (number | string)[] = [];
  const followed = (async () => {
    for await (const state of jobs.follow(job.id, never())) {
      seen.push(state.state === "running" ? (state.steps[0]?.counts["examined"] ?? 0) : state.state);
    }
  })();
  for (let ms = 0; ms < 1_000; ms++) {
    progress?.count("examined");
    await clock.pass(1);
  }
  assert.equal(seen.length, 6);
  assert.deepEqual(seen, [0, 200, 400, 600, 800, 1_000]);
  // Nothing new: nothing is told.
  await clock.pass(10_000);
  assert.equal(seen.length, 6);
  barrier.release();
  await job.ended;
  await followed;
  assert.deepEqual(seen.slice(6), ["succeeded"]);
});

test("who follows slowly misses states, but not the last", async () => {
  const clock = createManualClock();
  const jobs = new Jobs(silent, clock);
  const barrier = createBarrier();
  const job = jobs.start("verify", { dryRun: false }, [
    step("one", async (progress) => {
      await barrier.wait();
      for (let count = 0; count < 100; count++) {
        progress.count("examined");
        await clock.pass(1_000);
      }
    }),
  ]);
  await barrier.reached;
  const states = jobs.follow(job.id, never());
  assert.equal((await states.next()).value?.state, "running");
  barrier.release();
  const ended = await job.ended;
  assert.equal((await states.next()).value, ended);
  assert.equal((await states.next()).done, true);
});

test("following ends with the signal, leaves the job alone, and is over at once where there is none", async () => {
  const clock = createManualClock();
  const jobs = new Jobs(silent, clock);
  const job = jobs.start("verify", { dryRun: false }, [endless("one")]);
  const abort = new AbortController();
  const states = jobs.follow(job.id, abort.signal);
  await states.next();
  const next = states.next();
  await turn();
  abort.abort();
  assert.equal((await next).done, true);
  assert.deepEqual(clock.waits, []);
  assert.equal(job.state.state, "running");
  assert.equal((await jobs.follow("other", never()).next()).done, true);
  await jobs.close();
});

test("the last jobs of each kind are remembered", async () => {
  const jobs = new Jobs(silent);
  const verified = jobs.start("verify", { dryRun: false }, []);
  await verified.ended;
  const ids: string[] = [];
  for (let count = 0; count < 30; count++) {
    const job = jobs.start("evict", { dryRun: false }, []);
    ids.unshift(job.id);
    await job.ended;
  }
  const running = jobs.start("evict", { dryRun: false }, [endless("one")]);
  assert.deepEqual(
    jobs.list().map(({ id }) => id),
    [running.id, ...ids.slice(0, 20), verified.id],
  );
  await jobs.close();
});

test("closing cancels what runs, waits for it, and starts nothing more", async () => {
  const jobs = new Jobs(silent);
  const job = jobs.start("verify", { dryRun: false }, [endless("one")]);
  await turn();
  const closed = jobs.close();
  assert.throws(() => jobs.start("evict", { dryRun: false }, []), /no job/);
  await closed;
  assert.equal(job.state.state, "cancelled");
  assert.throws(() => jobs.start("verify", { dryRun: false }, []), /no job/);
});
