import type { JobState } from "../../src/jobs/job.ts";
import { problemsOf } from "../../src/jobs/verify.ts";

/** How many things a scrub found wrong, whether they were put right or not. */
export function countProblems(job: JobState): number {
  return [...problemsOf(job).values()].reduce((sum, count) => sum + count, 0);
}
