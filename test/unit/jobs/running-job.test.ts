import assert from "node:assert/strict";
import { test } from "node:test";
import type { JobObserver } from "../../../src/jobs/job.ts";
import { Jobs } from "../../../src/jobs/jobs.ts";

const silent: JobObserver = { started: () => undefined, stepEnded: () => undefined, ended: () => undefined };

test("a job that is cancelled while its last step ends has succeeded", async () => {
  const jobs = new Jobs(silent);
  const cancelsItself = async (): Promise<void> => void jobs.cancel(job.id);
  const job = jobs.start("verify", { dryRun: false }, [{ name: "one", title: "Do one", run: cancelsItself }]);
  const { state, steps } = await job.ended;
  assert.deepEqual([state, steps[0]?.state], ["succeeded", "done"]);
});

test("what was done before a step said its total counts as done", async () => {
  const jobs = new Jobs(silent);
  const step = {
    name: "one",
    title: "Do one",
    run: async (progress) => {
      progress.advance(2);
      progress.total(5, "objects");
    },
  } satisfies Parameters<Jobs["start"]>[2][number];
  const { steps } = await jobs.start("verify", { dryRun: false }, [step]).ended;
  assert.deepEqual([steps[0]?.done, steps[0]?.total, steps[0]?.unit], [2, 5, "objects"]);
});

test("what a step names is told, as far as people read it, and what is more is counted", async () => {
  const jobs = new Jobs(silent);
  const step = {
    name: "one",
    title: "Do one",
    run: async (progress) => {
      for (let count = 0; count < 1_003; count++) progress.note(`thing ${count}`);
    },
  } satisfies Parameters<Jobs["start"]>[2][number];
  const { steps } = await jobs.start("collect", { dryRun: true }, [step]).ended;
  const { notes, counts } = steps[0] ?? assert.fail("no step");
  assert.deepEqual([notes?.length, notes?.at(-1), counts], [1_000, "thing 999", { "not named": 3 }]);
});
