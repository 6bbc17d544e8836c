import type { RetentionRuns } from "../bucket/retention-runs.ts";
import { settleOrAbort } from "../concurrency/settle-or-abort.ts";
import { OciError } from "../oci/errors.ts";
import type { Step } from "./job.ts";

/**
 * Retention in the bucket at once, as a job. A dry run says what a run would do now.
 *
 * @param runs `undefined` where there is no bucket.
 * @throws {OciError} UNSUPPORTED where nothing limits what a bucket may hold.
 */
export function retainSteps(
  runs: Pick<RetentionRuns, "retain" | "isLimited"> | undefined,
  { dryRun }: { readonly dryRun: boolean },
): readonly Step[] {
  if (runs?.isLimited !== true) {
    throw new OciError("UNSUPPORTED", "there is no bucket with a limit: storage.s3 has neither max_age nor max_size");
  }
  return [
    {
      name: "bucket",
      title: "Look through the bucket, and remove what is unused",
      run: async (progress, signal) => {
        // Who stops it need not wait for a bucket that hangs.
        const report = await settleOrAbort(runs.retain({ dryRun }, signal), signal);
        if (report === undefined) throw new Error("another instance is looking through the bucket");
        progress.count("examined", report.objects);
        progress.count("bytes examined", report.bytes);
        progress.count("removed", report.removed);
        progress.count("bytes freed", report.removedBytes);
        progress.count("removed next time", report.condemned);
      },
    },
  ];
}
