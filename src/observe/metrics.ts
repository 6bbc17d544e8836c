import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";

const seconds = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** Every instrument of the program. Label values are bounded: what clients can make up is counted as `other`. */
export interface Metrics {
  readonly requests: Counter<"endpoint" | "method" | "status">;
  readonly requestSeconds: Histogram<"endpoint">;
  readonly responseBytes: Counter<"endpoint">;
  readonly requestsInFlight: Gauge;
  readonly cacheRequests: Counter<"namespace" | "kind" | "result">;
  readonly upstreamRequests: Counter<"namespace" | "kind" | "status">;
  readonly upstreamSeconds: Histogram<"namespace" | "kind">;
  readonly upstreamState: Gauge<"namespace">;
  readonly rateLimit: Gauge<"namespace">;
  readonly rateLimitRemaining: Gauge<"namespace">;
  readonly fillsActive: Gauge<"namespace">;
  readonly fills: Counter<"namespace" | "outcome">;
  readonly fillBytes: Counter<"namespace">;
  readonly fillResumes: Counter<"namespace">;
  readonly storageErrors: Counter<"operation" | "code">;
  readonly storageBytes: Gauge<"kind">;
  readonly storageLimit: Gauge;
  readonly volumeFree: Gauge;
  readonly namespaceBytes: Gauge<"namespace">;
  readonly evictions: Counter<"kind">;
  readonly evictedBytes: Counter;
  readonly shortages: Counter;
  readonly ledgerRebuilds: Counter;
  readonly jobs: Counter<"kind" | "state">;
  readonly jobSucceededAt: Gauge<"kind">;
  readonly collected: Counter<"what">;
  readonly collectedBytes: Counter;
  readonly verifyProblems: Counter<"what">;
  readonly quarantined: Counter;
  readonly layoutProblems: Gauge<"namespace">;
  readonly layoutDamaged: Counter<"namespace">;
  readonly bucketRequests: Counter<"outcome">;
  readonly bucketCopies: Counter;
  readonly bucketCopiedBytes: Counter;
  readonly bucketCopyFailures: Counter;
  readonly bucketWaiting: Gauge;
  readonly bucketBytes: Gauge;
  readonly bucketRemoved: Counter;
  readonly bucketRetained: Gauge;
  readonly replicaFailures: Counter<"kind">;
  /** Calls `update` before each `render`, to set gauges of what is known anyway. */
  onRender(update: () => void): void;
  /** The media type of `render`'s text. */
  readonly contentType: string;
  /** All of them in Prometheus' text format. */
  render(): Promise<string>;
}

/** Makes a set of instruments of its own; nothing is shared with other sets in the process. */
export function createMetrics(version: string): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const updates: (() => void)[] = [];
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: "entrepot_build_info",
    help: "The version that runs; always 1.",
    labelNames: ["version"],
    registers,
  })
    .labels(version)
    .set(1);
  return {
    requests: new Counter({
      name: "entrepot_http_requests_total",
      help: "Requests that were answered or given up by the client.",
      labelNames: ["endpoint", "method", "status"],
      registers,
    }),
    requestSeconds: new Histogram({
      name: "entrepot_http_request_duration_seconds",
      help: "Time from a request's arrival to the last byte of its answer.",
      labelNames: ["endpoint"],
      buckets: seconds,
      registers,
    }),
    responseBytes: new Counter({
      name: "entrepot_http_response_body_bytes_total",
      help: "Bytes of bodies that were sent to clients.",
      labelNames: ["endpoint"],
      registers,
    }),
    requestsInFlight: new Gauge({
      name: "entrepot_http_requests_in_flight",
      help: "Requests that are being answered.",
      registers,
    }),
    cacheRequests: new Counter({
      name: "entrepot_cache_requests_total",
      help: "Pulls by what the cache did: hit, miss, joined (another client's fill), revalidated, stale or bypass.",
      labelNames: ["namespace", "kind", "result"],
      registers,
    }),
    upstreamRequests: new Counter({
      name: "entrepot_upstream_requests_total",
      help: "HTTP exchanges with upstreams, their redirects and token servers; status is error where none came.",
      labelNames: ["namespace", "kind", "status"],
      registers,
    }),
    upstreamSeconds: new Histogram({
      name: "entrepot_upstream_request_duration_seconds",
      help: "Time to an upstream's response headers.",
      labelNames: ["namespace", "kind"],
      buckets: seconds,
      registers,
    }),
    upstreamState: new Gauge({
      name: "entrepot_upstream_state",
      help: "Whether an upstream is asked: 0 it is, 1 it is being tried, 2 it has failed and is given a rest.",
      labelNames: ["namespace"],
      registers,
    }),
    rateLimit: new Gauge({
      name: "entrepot_upstream_rate_limit",
      help: "Requests that an upstream allows in its window, as it said last, for the account with most left.",
      labelNames: ["namespace"],
      registers,
    }),
    rateLimitRemaining: new Gauge({
      name: "entrepot_upstream_rate_limit_remaining",
      help: "Requests that are left of it.",
      labelNames: ["namespace"],
      registers,
    }),
    fillsActive: new Gauge({
      name: "entrepot_fills_active",
      help: "Blobs that are being fetched.",
      labelNames: ["namespace"],
      registers,
    }),
    fills: new Counter({
      name: "entrepot_fills_total",
      help: "Fills that ended: committed, unstored (right, but not stored), absent, reused, abandoned (before it began) or failed.",
      labelNames: ["namespace", "outcome"],
      registers,
    }),
    fillBytes: new Counter({
      name: "entrepot_fill_bytes_total",
      help: "Bytes of blobs that came from upstreams.",
      labelNames: ["namespace"],
      registers,
    }),
    fillResumes: new Counter({
      name: "entrepot_fill_resumes_total",
      help: "Transfers that broke and were taken up again.",
      labelNames: ["namespace"],
      registers,
    }),
    storageErrors: new Counter({
      name: "entrepot_storage_errors_total",
      help: "Operations of the store that failed.",
      labelNames: ["operation", "code"],
      registers,
    }),
    storageBytes: new Gauge({
      name: "entrepot_storage_bytes",
      help: "Bytes of the storage: used by what is stored, reserved for what is being stored, and what is there besides.",
      labelNames: ["kind"],
      registers,
    }),
    storageLimit: new Gauge({
      name: "entrepot_storage_limit_bytes",
      help: "What used and reserved bytes together may come to now, by max_size and min_free.",
      registers,
    }),
    volumeFree: new Gauge({
      name: "entrepot_storage_volume_free_bytes",
      help: "Free bytes of the volume that the storage lies on.",
      registers,
    }),
    namespaceBytes: new Gauge({
      name: "entrepot_storage_namespace_bytes",
      help: "Bytes that a namespace holds; content of several namespaces counts in each.",
      labelNames: ["namespace"],
      registers,
    }),
    evictions: new Counter({
      name: "entrepot_evictions_total",
      help: "What was removed to make room or as nobody used it: link (a repository's manifest or blob), page, content.",
      labelNames: ["kind"],
      registers,
    }),
    evictedBytes: new Counter({
      name: "entrepot_evicted_bytes_total",
      help: "Bytes that were freed so.",
      registers,
    }),
    shortages: new Counter({
      name: "entrepot_storage_shortages_total",
      help: "Times that room was needed and nothing more could be removed.",
      registers,
    }),
    ledgerRebuilds: new Counter({
      name: "entrepot_ledger_rebuilds_total",
      help: "Times that the ledger was brought in line with what is stored.",
      registers,
    }),
    jobs: new Counter({
      name: "entrepot_jobs_total",
      help: "Jobs (collect, evict, retain, verify, warm) that ended: succeeded, failed or cancelled.",
      labelNames: ["kind", "state"],
      registers,
    }),
    jobSucceededAt: new Gauge({
      name: "entrepot_job_last_success_timestamp_seconds",
      help: "When a job of a kind last succeeded in this process, dry runs aside; seconds since 1970.",
      labelNames: ["kind"],
      registers,
    }),
    collected: new Counter({
      name: "entrepot_collected_total",
      help: "What collect jobs removed: tags, links (manifests and blobs of a repository), content, uploads.",
      labelNames: ["what"],
      registers,
    }),
    collectedBytes: new Counter({
      name: "entrepot_collected_bytes_total",
      help: "Bytes that were freed so.",
      registers,
    }),
    verifyProblems: new Counter({
      name: "entrepot_verify_problems_total",
      help: "What verify jobs found wrong: damaged, dangling, failed (to be read), torn, wrong size; dry runs too.",
      labelNames: ["what"],
      registers,
    }),
    bucketRequests: new Counter({
      name: "entrepot_bucket_requests_total",
      help: "Questions to the bucket, by what came of them: found, absent or failed (also not asked, as it has failed).",
      labelNames: ["outcome"],
      registers,
    }),
    bucketCopies: new Counter({
      name: "entrepot_bucket_copies_total",
      help: "Objects that were copied to the bucket.",
      registers,
    }),
    bucketCopiedBytes: new Counter({
      name: "entrepot_bucket_copied_bytes_total",
      help: "Bytes that were copied to the bucket.",
      registers,
    }),
    bucketCopyFailures: new Counter({
      name: "entrepot_bucket_copy_failures_total",
      help: "Objects that could not be copied to the bucket; they are tried again.",
      registers,
    }),
    replicaFailures: new Counter({
      name: "entrepot_replica_failures_total",
      help: "What each replica had to do by itself: a `peer` did not answer as it should, a `lease` could not be settled.",
      labelNames: ["kind"],
      registers,
    }),
    bucketWaiting: new Gauge({
      name: "entrepot_bucket_waiting_objects",
      help: "Objects that are not in the bucket yet, as far as is known.",
      registers,
    }),
    bucketBytes: new Gauge({
      name: "entrepot_bucket_bytes",
      help: "Bytes of the objects in the bucket, when any instance looked through it last, less what was removed then.",
      registers,
    }),
    bucketRemoved: new Counter({
      name: "entrepot_bucket_removed_total",
      help: "Objects that this instance has removed from the bucket, as nobody used them.",
      registers,
    }),
    bucketRetained: new Gauge({
      name: "entrepot_bucket_retention_timestamp_seconds",
      help: "When any instance looked through the bucket last for what nobody uses, by its server's clock.",
      registers,
    }),
    layoutProblems: new Gauge({
      name: "entrepot_layout_problems",
      help: "Problems that the last look at a namespace's image layouts has found.",
      labelNames: ["namespace"],
      registers,
    }),
    layoutDamaged: new Counter({
      name: "entrepot_layout_damaged_total",
      help: "Times that content of an image layout was not given out, as it was not what its digest says.",
      labelNames: ["namespace"],
      registers,
    }),
    quarantined: new Counter({
      name: "entrepot_storage_quarantined_total",
      help: "Stored content that did not have its digest, and was put aside.",
      registers,
    }),
    contentType: registry.contentType,
    onRender: (update) => void updates.push(update),
    render: () => {
      for (const update of updates) update();
      return registry.metrics();
    },
  };
}
