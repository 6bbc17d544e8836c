import type { Logger } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { BoardObserver, ReplicaId } from "../replicas/board.ts";

/** Failures to settle who fetches something are told no more often. */
const repeatFailureMs = 60_000;

/** What replicas tell of each other. */
export interface ReplicasObserver extends BoardObserver {
  /** A replica is left alone for a while. */
  readonly leftAlone: (id: ReplicaId, error: Error) => void;
  /** It could not be settled who fetches something, so that this one does. */
  readonly unsettled: (error: Error) => void;
  /** What another replica asked for could not be done; it is tried again. */
  readonly disobeyed: (error: Error) => void;
}

/** Makes the observer of replicas. */
export function observeReplicas(metrics: Metrics, log: Logger, monotonic: () => number): ReplicasObserver {
  let toldAt = -Infinity;
  return {
    joined: (replica) => log.info({ ...replica }, "another replica is there"),
    strange: (id) => log.warn({ id }, "what says to be a replica has another secret, or none: it is not believed"),
    left: (replica) => log.info({ ...replica }, "a replica is gone"),
    failed: (error) => log.warn({ err: error }, "the bucket does not tell which replicas are there"),
    recovered: () => log.info("the bucket tells again which replicas are there"),
    leftAlone: (id, error) => {
      metrics.replicaFailures.inc({ kind: "peer" });
      log.info({ id, err: error }, "a replica does not answer as it should: others are asked for a while");
    },
    disobeyed: (error) => log.warn({ err: error }, "what another replica asked for could not be done"),
    unsettled: (error) => {
      metrics.replicaFailures.inc({ kind: "lease" });
      if (monotonic() - toldAt < repeatFailureMs) return;
      toldAt = monotonic();
      log.warn({ err: error }, "it cannot be settled which replica fetches something: each fetches it");
    },
  };
}
