import type { EvictObserver, Shortage } from "./jobs/evict.ts";
import type { JobObserver } from "./jobs/job.ts";
import type { Logger } from "./observe/log.ts";
import type { Metrics } from "./observe/metrics.ts";
import type { LedgerObserver } from "./registry/ledger/client.ts";

/** A shortage that lasts is told again after this time. */
const repeatShortageMs = 10 * 60_000;

/** What the storage and the work on it tell of themselves. */
export interface StorageObservers {
  readonly ledger: LedgerObserver;
  readonly evictor: EvictObserver;
  readonly jobs: JobObserver;
}

/** Makes the observers of the storage. */
export function createStorageObservers(metrics: Metrics, log: Logger, now: () => number): StorageObservers {
  const toldShortages = new Map<string, number>();
  const tellShortage = ({ namespace, missingBytes, pinnedBytes, kept }: Shortage): void => {
    metrics.shortages.inc();
    const toldAt = toldShortages.get(namespace ?? "");
    if (toldAt !== undefined && now() - toldAt < repeatShortageMs) return;
    toldShortages.set(namespace ?? "", now());
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
      rebuilt: ({ objects, durationMs }) => {
        const level = durationMs < 1_000 ? "debug" : "info";
        log[level]({ objects, ms: Math.round(durationMs) }, "the ledger is in line with the storage");
      },
      failed: (error) => log.error({ err: error }, "the ledger failed: it is opened again"),
    },
    evictor: {
      removed: (candidate) => {
        metrics.evictions.inc({ kind: candidate.kind });
        metrics.evictedBytes.inc(candidate.freesBytes);
        log.debug({ ...candidate }, "removed from the cache");
      },
      stuck: tellShortage,
      failed: (error) => log.error({ err: error }, "room could not be made"),
    },
    jobs: {
      started: ({ id, kind, dryRun }) => log.info({ job: id, kind, dryRun }, "a job begins"),
      stepEnded: ({ id, kind }, { name, state, durationMs, counts }) =>
        log.info({ job: id, kind, step: name, state, ms: durationMs, counts }, "a step of a job ended"),
      ended: ({ id, kind, state, startedAt, endedAt = startedAt }, error) => {
        metrics.jobs.inc({ kind, state });
        const fields = { job: id, kind, state, ms: endedAt - startedAt };
        if (error === undefined) log.info(fields, "a job ended");
        else log.warn({ ...fields, err: error }, "a job failed");
      },
    },
  };
}
