import type { Logger } from "./observe/log.ts";
import type { Metrics } from "./observe/metrics.ts";
import type { FillObserver } from "./registry/fill.ts";
import type { StoreFailureListener } from "./store/metered.ts";
import type { UpstreamObserver } from "./upstream/transport.ts";
import type { UpstreamError } from "./upstream/upstream.ts";

/** What the parts of the program tell of themselves goes to the log and the metrics here, and nowhere else. */
export interface Observers {
  readonly store: StoreFailureListener;
  readonly fills: FillObserver;
  /** The observer of one namespace's client. */
  upstream(namespace: string): UpstreamObserver;
  /** Told of each question to a namespace's upstream that failed. */
  outage(namespace: string): (error: UpstreamError) => void;
}

/** Makes the observers. `label` gives the name under which metrics count a namespace. */
export function createObservers(metrics: Metrics, log: Logger, label: (namespace: string) => string): Observers {
  return {
    store: (operation, error) => metrics.storageErrors.inc({ operation, code: error.code ?? "other" }),
    fills: observeFills(metrics, log, label),
    upstream: (namespace) => ({
      request: ({ kind, status, durationMs }) => {
        const labels = { namespace: label(namespace), kind };
        metrics.upstreamRequests.inc({ ...labels, status: status ?? "error" });
        metrics.upstreamSeconds.observe(labels, durationMs / 1000);
      },
    }),
    outage: (namespace) => (error) => {
      log.warn({ namespace, failure: error.failure, status: error.status, err: error }, "the upstream failed");
    },
  };
}

function observeFills(metrics: Metrics, log: Logger, label: (namespace: string) => string): FillObserver {
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
      if (error === undefined) return;
      const what = outcome === "unstored" ? "the blob was passed on but not stored" : "the fill failed";
      log.warn({ ...id, digest, outcome, err: error }, what);
    },
  };
}
