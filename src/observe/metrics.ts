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
  /** The media type of `render`'s text. */
  readonly contentType: string;
  /** All of them in Prometheus' text format. */
  render(): Promise<string>;
}

/** Makes a set of instruments of its own; nothing is shared with other sets in the process. */
export function createMetrics(version: string): Metrics {
  const registry = new Registry();
  const registers = [registry];
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
      help: "Fills that ended: committed, unstored (right, but not stored), absent, reused or failed.",
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
    contentType: registry.contentType,
    render: () => registry.metrics(),
  };
}
