import { type BucketObservers, observeBucket } from "./bucket-observers.ts";
import type { EvictObserver, Shortage } from "../jobs/evict.ts";
import { observeReplicas, type ReplicasObserver } from "./replicas-observer.ts";
import type { JobObserver } from "../jobs/job.ts";
import { problemsOf } from "../jobs/verify.ts";
import type { LayoutsObserver } from "../layout/layouts.ts";
import type { LedgerObserver } from "../ledger/client.ts";
import type { Logger } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Digest } from "../oci/digest.ts";
import { limitReached } from "../registry/bookkeeping.ts";
import type { FillObserver } from "../registry/fill-tools.ts";
import type { StoreFailureListener } from "../store/metered.ts";
import { StoreError } from "../store/object-store.ts";
import type { BudgetState } from "../upstream/budget.ts";
import type { ProblemListener } from "../upstream/credentials/source.ts";
import type { BreakerObserver, BreakerState } from "../upstream/breaker.ts";
import type { UpstreamObserver } from "../upstream/transport.ts";
import { UpstreamError, type UpstreamFailure } from "../upstream/upstream.ts";

/** Failures to remove something are told no more often. */
const repeatFailureMs = 60_000;
/** A shortage that lasts is told again after this time. */
const repeatShortageMs = 10 * 60_000;

/** What the parts of the program tell of themselves goes to the log and the metrics here, and nowhere else. */
export interface Observers extends BucketObservers {
  readonly replicas: ReplicasObserver;
  readonly store: StoreFailureListener;
  readonly fills: FillObserver;
  readonly ledger: LedgerObserver;
  readonly evictor: EvictObserver;
  readonly jobs: JobObserver;
  /** Stored content did not have its digest, and was put aside. */
  readonly damaged: (digest: Digest) => void;
  /** What is hosted did not have its digest, or its size. */
  readonly hostedDamaged: (digest: Digest) => void;
  /** What is wrong in a namespace of image layouts. */
  layouts(namespace: string): LayoutsObserver;
  /** Told why something was passed on but not cached, where nobody waits for that. */
  uncached(error: unknown): void;
  /** The observer of one namespace's client. */
  upstream(namespace: string): UpstreamObserver;
  /** Told of credentials of a namespace that could not be renewed while the old ones still do. */
  credentials(namespace: string): ProblemListener;
  /** The observer of one namespace's breaker. */
  breaker(namespace: string): BreakerObserver;
  /** Told what is left of a configured namespace's rate limit, and whether the reserve was reached or left with it. */
  budget(namespace: string): (state: BudgetState, turned: boolean) => void;
}

/** What the observers must know. */
export interface ObserversOptions {
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly monotonic: () => number;
  /** The configured ones. */
  readonly namespaces: ReadonlySet<string>;
}

const stateNumbers: Record<BreakerState, number> = { closed: 0, "half-open": 1, open: 2 };
/** How far apart the lines about one kind of failure of the storage are, in milliseconds. */
const storageLineMs = 60_000;
/** The operations whose failure costs a question to the upstream; the others' costs what would have been stored. */
const reading: ReadonlySet<string> = new Set(["head", "get", "read"]);
/** What clients bring about every day, by asking for what is not there or for a lot at once. */
const everyday: ReadonlySet<UpstreamFailure> = new Set(["denied", "offline", "busy"]);

/** Makes the observers. Namespaces that are not configured are counted together, as `other`. */
export function createObservers({ metrics, log, monotonic, namespaces }: ObserversOptions): Observers {
  const label = (namespace: string): string => (namespaces.has(namespace) ? namespace : "other");
  // An error that was told where it happened is not told again by who was waiting for it.
  const told = new WeakSet<Error>();
  const storage = observeStorage(metrics, log, monotonic, told);
  return {
    store: (operation, error) => storage.failed(operation, error),
    fills: observeFills(metrics, log, label, told, storage),
    // What the store fails with was told, or is its limit.
    uncached: (error) =>
      log[error instanceof StoreError ? "debug" : "error"]({ err: error }, "an answer was not cached"),
    upstream: (namespace) => ({
      request: ({ kind, status, durationMs }) => {
        const labels = { namespace: label(namespace), kind };
        metrics.upstreamRequests.inc({ ...labels, status: status ?? "error" });
        metrics.upstreamSeconds.observe(labels, durationMs / 1000);
      },
    }),
    ledger: observeLedger(metrics, log),
    evictor: observeEvictor(metrics, log, monotonic),
    jobs: observeJobs(metrics, log),
    damaged: (digest) => {
      metrics.quarantined.inc();
      log.warn({ digest }, "stored content was damaged: it was put aside, and its next use fetches it anew");
    },
    hostedDamaged: (digest) => {
      log.error({ digest }, "hosted content is damaged, and is not given out: push it again");
    },
    layouts: (namespace) => ({
      problem: (path, problem) => log.warn({ namespace, path }, `images cannot be served: ${problem}`),
      looked: (problems) => metrics.layoutProblems.set({ namespace }, problems),
      damaged: (path, digest, problem) => {
        metrics.layoutDamaged.inc({ namespace });
        log.error({ namespace, path, digest }, `content was not given out: ${problem}`);
      },
      unreachable: (error) => log.warn({ namespace, err: error }, "images cannot be looked for"),
    }),
    ...observeBucket(metrics, log, monotonic),
    replicas: observeReplicas(metrics, log, monotonic),
    credentials: (namespace) => (problem) => log.warn({ namespace, err: problem }, "credentials are not renewed"),
    budget: (namespace) => (state, turned) => {
      metrics.rateLimit.set({ namespace }, state.limit);
      metrics.rateLimitRemaining.set({ namespace }, state.remaining);
      if (!turned) return;
      const what = "the upstream's rate limit is nearly used up: tags are checked less often";
      if (state.low) log.warn({ namespace, ...state }, what);
      else log.info({ namespace, ...state }, "the upstream's rate limit has room again");
    },
    breaker: (namespace) => {
      let isOpen = false;
      return {
        failed: (error) => {
          told.add(error);
          const level = isOpen || isHeld(error) || everyday.has(error.failure) ? "debug" : "warn";
          log[level]({ namespace, failure: error.failure, status: error.status, err: error }, "the upstream failed");
        },
        changed: (state) => {
          isOpen = state === "open";
          if (namespaces.has(namespace)) metrics.upstreamState.set({ namespace }, stateNumbers[state]);
          if (isOpen) log.warn({ namespace }, "the upstream is given a rest: what is not cached fails at once");
          if (state === "closed") log.info({ namespace }, "the upstream answers again");
        },
      };
    },
  };
}

/**
 * Whether nothing was sent, as the upstream had asked to be left alone (also said of its token server): the answer that
 * asked for it was told, and every question until then fails so.
 */
function isHeld(error: UpstreamError): boolean {
  if (error.failure === "token" && error.cause instanceof UpstreamError) return isHeld(error.cause);
  return error.failure === "rate-limited" && error.status === undefined;
}

/** What is told of the storage. */
interface StorageObserver {
  failed(operation: Parameters<StoreFailureListener>[0] | "spool", error: StoreError): void;
  /** A blob has been stored, from its staging file to its place. */
  wrote(): void;
}

/** Counts all failures; the log gets a line a minute for each operation and code, not one for each blob of each pull. */
function observeStorage(metrics: Metrics, log: Logger, monotonic: () => number, told: WeakSet<Error>): StorageObserver {
  const lines = new Map<string, { toldAt: number; failures: number }>();
  let writing = true;
  return {
    failed: (operation, error) => {
      told.add(error);
      const code = error.code ?? "other";
      metrics.storageErrors.inc({ operation, code });
      const key = `${operation} ${code}`;
      const line = lines.get(key) ?? { toldAt: -Infinity, failures: 0 };
      lines.set(key, line);
      line.failures++;
      if (monotonic() - line.toldAt < storageLineMs) return;
      const { failures } = line;
      Object.assign(line, { toldAt: monotonic(), failures: 0 });
      if (reading.has(operation)) {
        log.warn(
          { operation, code, failures, err: error },
          "the storage fails: content is fetched although it is cached",
        );
      } else {
        writing = false;
        log.warn({ operation, code, failures, err: error }, "the storage fails: content is passed on but not cached");
      }
    },
    wrote: () => {
      if (!writing) log.info("the storage can be written again");
      writing = true;
    },
  };
}

function observeFills(
  metrics: Metrics,
  log: Logger,
  label: (namespace: string) => string,
  told: WeakSet<Error>,
  storage: StorageObserver,
): FillObserver {
  return {
    started: (namespace) => metrics.fillsActive.inc({ namespace: label(namespace) }),
    received: (namespace, bytes) => metrics.fillBytes.inc({ namespace: label(namespace) }, bytes),
    resumed: (id, digest, offset, error) => {
      metrics.fillResumes.inc({ namespace: label(id.namespace) });
      log.info({ ...id, digest, offset, err: error }, "the upstream's connection broke; the fill goes on");
    },
    ended: (id, digest, outcome, error) => {
      const namespace = label(id.namespace);
      metrics.fillsActive.dec({ namespace });
      metrics.fills.inc({ namespace, outcome });
      if (outcome === "committed") storage.wrote();
      if (error === undefined || outcome === "abandoned") return;
      // What fails outside of the store is the staging file.
      const isSpool = error instanceof StoreError && error.code !== limitReached && !told.has(error);
      if (isSpool) storage.failed("spool", error);
      const what = outcome === "unstored" ? "the blob was passed on but not stored" : "the fill failed";
      if (error instanceof StoreError) log.debug({ ...id, digest, outcome, err: error }, what);
      else if (!told.has(error)) log.warn({ ...id, digest, outcome, err: error }, what);
    },
  };
}

function observeLedger(metrics: Metrics, log: Logger): LedgerObserver {
  return {
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
  };
}

function observeEvictor(metrics: Metrics, log: Logger, monotonic: () => number): EvictObserver {
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
  };
}

function observeJobs(metrics: Metrics, log: Logger): JobObserver {
  return {
    started: ({ id, kind, dryRun }) => log.info({ job: id, kind, dryRun }, "a job begins"),
    stepEnded: ({ id, kind, dryRun }, { name, state, durationMs, counts, error }) => {
      if (kind === "collect" && !dryRun) {
        metrics.collected.inc({ what: name }, counts["removed"] ?? 0);
        metrics.collectedBytes.inc(counts["bytes freed"] ?? 0);
      }
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
  };
}
