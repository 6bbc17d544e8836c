import assert from "node:assert/strict";
import { test } from "node:test";
import type { RetentionReport } from "../../../src/bucket/retention.ts";
import { Jobs } from "../../../src/jobs/jobs.ts";
import type { JobState } from "../../../src/jobs/job.ts";
import { retainSteps } from "../../../src/jobs/retain.ts";

const report: RetentionReport = {
  by: "one",
  at: 1_000,
  objects: 7,
  bytes: 700,
  condemned: 2,
  removed: 3,
  removedBytes: 300,
  isShort: false,
};

async function run(found: RetentionReport | undefined, dryRun = false): Promise<{ job: JobState; asked: unknown[] }> {
  const asked: unknown[] = [];
  const runs = {
    isLimited: true,
    retain: async (options: object, signal: AbortSignal) => {
      asked.push(options);
      assert.equal(signal.aborted, false);
      return found;
    },
  };
  const ignore = (): void => undefined;
  const jobs = new Jobs({ started: ignore, stepEnded: ignore, ended: ignore });
  return { job: await jobs.start("retain", { dryRun }, retainSteps(runs, { dryRun })).ended, asked };
}

test("a run tells what it found and did, and a dry run what it would do", async () => {
  for (const dryRun of [false, true]) {
    const { job, asked } = await run(report, dryRun);
    assert.equal(job.state, "succeeded");
    const counts = { examined: 7, "bytes examined": 700, removed: 3, "bytes freed": 300, "removed next time": 2 };
    assert.deepEqual(job.steps[0]?.counts, counts);
    assert.deepEqual(asked, [{ dryRun }]);
  }
});

test("it fails while another instance is at it", async () => {
  const { job } = await run(undefined);
  assert.deepEqual([job.state, job.error], ["failed", "another instance is looking through the bucket"]);
});

test("who stops it does not wait for a bucket that hangs", async () => {
  const ignore = (): void => undefined;
  const jobs = new Jobs({ started: ignore, stepEnded: ignore, ended: ignore });
  const asked = Promise.withResolvers<void>();
  const retain = (): Promise<undefined> => {
    asked.resolve();
    return new Promise(() => undefined);
  };
  const runs = { isLimited: true, retain };
  const job = jobs.start("retain", { dryRun: false }, retainSteps(runs, { dryRun: false }));
  await asked.promise;
  await jobs.close();
  assert.equal((await job.ended).state, "cancelled");
});

test("without a bucket, or without a limit of it, there is nothing to do", () => {
  const runs = { isLimited: false, retain: async () => undefined };
  for (const without of [undefined, runs]) {
    assert.throws(() => retainSteps(without, { dryRun: true }), { code: "UNSUPPORTED" });
  }
});
