import type { EvictObserver, Shortage } from "../jobs/evict.ts";
import type { JobObserver } from "../jobs/job.ts";
import { problemsOf } from "../jobs/verify.ts";
import type { Logger } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Digest } from "../oci/digest.ts";
import type { LedgerObserver } from "../ledger/client.ts";

/** Failures to remove something are told no more often. */
const repeatFailureMs = 60_000;
/** A shortage that lasts is told again after this time. */
const repeatShortageMs = 10 * 60_000;

/** What the storage and the work on it tell of themselves. */
export interface StorageObservers {
  readonly ledger: LedgerObserver;
  readonly evictor: EvictObserver;
  readonly jobs: JobObserver;
  /** Stored content did not have its digest, and was put aside. */
  readonly damaged: (digest: Digest) => void;
}

/** Makes the observers of the storage. */
export function createStorageObservers(metrics: Metrics, log: Logger, monotonic: () => number): StorageObservers {
  let toldFailureAt = -Infinity;
  const toldShortages = new Map<string, number>();
  const tellShortage = ({ namespace, missingBytes, pinnedBytes, kept }: Shortage): void => {
    metrics.shortages.inc();
    const toldAt = toldShortages.get(namespace ?? "");
    if (toldAt !== undefined && monotonic() - toldAt < repeatShortageMs) return;
    toldShortages.set(namespace ?? "", monotonic());
    log.warn(
      { ...(namespace !== undefined && { namespace }), missingBytes, pinnedBytes, kept },
      "there is no room, and nothing more that may be removed: what does not fit is passed on but not cached",
    );
  };
  return {
    ledger: {
      rebuilding: (reason) => {
        metrics.ledgerRebuilds.inc();
        log.debug({ reason }, "the ledger is being brought in line with the storage, in the background");
      },
      rebuilt: ({ objects, unreadable, durationMs }) => {
        const fields = { objects, ...(unreadable > 0 && { unreadable }), ms: Math.round(durationMs) };
        const level = unreadable > 0 ? "warn" : durationMs < 1_000 ? "debug" : "info";
        log[level](fields, "the ledger is in line with the storage");
      },
      failed: (error) => log.error({ err: error }, "the ledger could not be written or read: it is tried again"),
    },
    evictor: {
      removed: (candidate) => {
        metrics.evictions.inc({ kind: candidate.kind });
        metrics.evictedBytes.inc(candidate.freesBytes);
        log.debug({ ...candidate }, "removed from the cache");
      },
      stuck: tellShortage,
      failed: (error) => {
        if (monotonic() - toldFailureAt < repeatFailureMs) return;
        toldFailureAt = monotonic();
        log.error({ err: error }, "something could not be removed from the cache to make room");
      },
    },
    damaged: (digest) => {
      metrics.quarantined.inc();
      log.warn({ digest }, "stored content was damaged: it was put aside, and its next use fetches it anew");
    },
    jobs: {
      started: ({ id, kind, dryRun }) => log.info({ job: id, kind, dryRun }, "a job begins"),
      stepEnded: ({ id, kind }, { name, state, durationMs, counts, error }) => {
        const fields = { job: id, kind, step: name, state, ms: durationMs, counts };
        if (error === undefined) log.info(fields, "a step of a job ended");
        else log.warn({ ...fields, error }, "a step of a job failed");
      },
      ended: (job, error) => {
        const { id, kind, dryRun, state, startedAt, endedAt = startedAt } = job;
        metrics.jobs.inc({ kind, state });
        // Of a dry run nothing is better than it was.
        if (state === "succeeded" && !dryRun) metrics.jobSucceededAt.set({ kind }, endedAt / 1_000);
        if (kind === "verify") for (const [what, count] of problemsOf(job)) metrics.verifyProblems.inc({ what }, count);
        const fields = { job: id, kind, state, ms: endedAt - startedAt };
        if (error === undefined) log.info(fields, "a job ended");
        else log.warn({ ...fields, err: error }, "a job failed");
      },
    },
  };
}
