import type { BucketObserver } from "../bucket/questions.ts";
import type { CopyObserver } from "../bucket/copy-queue.ts";
import type { RetentionObserver } from "../bucket/retention-runs.ts";
import type { UpkeepObserver } from "../bucket/upkeep.ts";
import type { Logger } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";

/** Failures to copy are told no more often. */
const repeatFailureMs = 60_000;
/** And that nobody can tell what is used. */
const repeatUnretainedMs = 6 * 3_600_000;

/** What the bucket and the work on it tell of themselves. */
export interface BucketObservers {
  readonly bucket: BucketObserver;
  readonly copies: CopyObserver;
  readonly upkeep: UpkeepObserver;
  readonly retention: RetentionObserver;
  /** Told of what fails beside copying to the bucket. */
  readonly uncopied: (error: unknown) => void;
}

/** Makes the observers of the bucket. */
export function observeBucket(metrics: Metrics, log: Logger, monotonic: () => number): BucketObservers {
  let unretainedAt = -Infinity;
  return {
    bucket: {
      asked: (outcome) => metrics.bucketRequests.inc({ outcome }),
      failed: (error) =>
        log.warn({ err: error }, "the bucket fails: what the folder does not have comes from the upstream"),
      recovered: () => log.info("the bucket answers again"),
    },
    copies: observeCopies(metrics, log, monotonic),
    upkeep: {
      usable: (lacks) => {
        if (lacks.length === 0) log.info("the bucket can be used");
        else log.warn({ lacks }, "the bucket can be used, but its server lacks something");
      },
      unusable: (error) =>
        log.warn({ err: error }, "the bucket cannot be used now: it is tried again, and the folder does until then"),
      swept: (uploads) => log.info({ uploads }, "uploads to the bucket were ended that had been left open"),
      unswept: (error) => log.warn({ err: error }, "uploads that were left open could not be looked for in the bucket"),
    },
    retention: {
      removed: () => metrics.bucketRemoved.inc(),
      retained: (report) => {
        log.info({ ...report }, "the bucket was looked through for what nobody uses");
        if (report.isShort) {
          log.warn("the bucket holds more than it may, and all that is left was just used or is pinned");
        }
      },
      unretained: (error) => {
        // What is written down every quarter of an hour fails as long as the bucket does.
        if (monotonic() - unretainedAt < repeatUnretainedMs) return;
        unretainedAt = monotonic();
        log.warn({ err: error }, "the bucket could not be looked through for what nobody uses: it is tried again");
      },
    },
    uncopied: (error) => log.error({ err: error }, "the folder could not be compared with the bucket"),
  };
}

function observeCopies(metrics: Metrics, log: Logger, monotonic: () => number): CopyObserver {
  let toldAt = -Infinity;
  return {
    copied: (sizeBytes) => {
      metrics.bucketCopies.inc();
      metrics.bucketCopiedBytes.inc(sizeBytes);
    },
    failed: (error) => {
      metrics.bucketCopyFailures.inc();
      if (monotonic() - toldAt < repeatFailureMs) return;
      toldAt = monotonic();
      log.warn({ err: error }, "something could not be copied to the bucket: it is tried again");
    },
  };
}
