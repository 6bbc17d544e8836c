import { OciError, type OciErrorCode } from "../oci/errors.ts";
import { LedgerNotReady } from "../ledger/ledger.ts";
import { limitReached } from "../registry/bookkeeping.ts";
import type { CacheStatus } from "../registry/registry.ts";
import { StoreError } from "../store/object-store.ts";
import { UpstreamError } from "../upstream/upstream.ts";

/** Header fields of a reply. */
export type Headers = Record<string, string | number>;

/** A body that is read while it is sent. Whoever takes the reply calls `close`, once, also when it is not read. */
export interface BodyStream {
  /** The bytes in order; a chunk is valid until the next one is asked for. Throws where the body cannot be completed. */
  read(signal: AbortSignal): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/** What a request was about, for its log line and the metrics. */
export interface Facts {
  /** One of a fixed set of names. */
  endpoint: string;
  namespace?: string;
  /** The namespace as metrics may name it. */
  label?: string;
  repository?: string;
  reference?: string;
  cache?: CacheStatus;
  /** Why the request failed, where the client is not told all. */
  error?: unknown;
}

/** An answer, as data. `http/server` writes it. */
export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly body?: Uint8Array | BodyStream;
}

/** What all answers below `/v2/` carry. */
export const registryHeaders: Headers = {
  "Docker-Distribution-Api-Version": "registry/2.0",
  "X-Content-Type-Options": "nosniff",
};

/** A JSON document as an answer. */
export function jsonReply(status: number, mediaType: string, document: unknown, headers: Headers = {}): Reply {
  const body = Buffer.from(JSON.stringify(document));
  return {
    status,
    headers: { ...registryHeaders, "Content-Type": mediaType, "Content-Length": body.length, ...headers },
    body,
  };
}

/** Writes a `Cache-Status` field (RFC 9211). */
export function formatCacheStatus(cache: CacheStatus): string {
  let text = "entrepot";
  if (cache.hit) text += "; hit";
  if (cache.forward !== undefined) text += `; fwd=${cache.forward}`;
  if (cache.forwardStatus !== undefined) text += `; fwd-status=${cache.forwardStatus}`;
  if (cache.stored === true) text += "; stored";
  if (cache.collapsed === true) text += "; collapsed";
  const detail = cache.staleReason ?? cache.origin;
  if (detail !== undefined) text += `; detail=${detail}`;
  return text;
}

/** The header fields that say how the cache took part, with a `Warning` where the answer is stale. */
export function cacheHeaders(namespace: string, cache: CacheStatus): Headers {
  const headers: Headers = { "OCI-Namespace": namespace, "Cache-Status": formatCacheStatus(cache) };
  if (cache.staleReason !== undefined) {
    headers["Warning"] =
      `299 - "${namespace} failed (${cache.staleReason}); this answer is from the cache and may be old"`;
  }
  return headers;
}

/** For who is told that the mirror cannot answer now. */
const askLater: Headers = { "Retry-After": 5 };

/** The one map from errors to what a client is told: a status, a code and a message in OCI form. */
export function errorReply(error: unknown, extra: Headers = {}): Reply {
  const { status, code, message, detail, headers } = describe(error);
  const errors = [{ code, message, ...(detail !== undefined && { detail }) }];
  return jsonReply(status, "application/json", { errors }, { ...headers, ...extra });
}

/** The codes of a `StoreError` where there is no room, on the disk or within the store's own limit. */
const isFull: ReadonlySet<string | undefined> = new Set(["ENOSPC", "EDQUOT", limitReached]);

interface Description {
  readonly status: number;
  readonly code: OciErrorCode;
  readonly message: string;
  readonly detail?: unknown;
  readonly headers?: Headers;
}

function describe(error: unknown): Description {
  if (error instanceof OciError) {
    const { status, code, message, detail } = error;
    return { status, code, message, detail, ...(code === "UNAVAILABLE" && { headers: askLater }) };
  }
  if (error instanceof LedgerNotReady) {
    return { status: 503, code: "UNAVAILABLE", message: error.message, headers: askLater };
  }
  if (error instanceof UpstreamError) return describeUpstream(error);
  if (error instanceof StoreError) {
    const failure = isFull.has(error.code) ? "is full" : "failed; its log says why";
    return { status: 503, code: "UNAVAILABLE", message: `the storage ${failure}` };
  }
  return { status: 500, code: "UNKNOWN", message: "the mirror failed; its log says why" };
}

function describeUpstream(error: UpstreamError): Description {
  switch (error.failure) {
    case "refused":
      return { status: 404, code: "NAME_UNKNOWN", message: "the registry is not one that this mirror may ask" };
    case "denied":
      // Not their 401 or 403: every client falls back after a 404, and none must go to the upstream's token server.
      return {
        status: 404,
        code: "NAME_UNKNOWN",
        message: "the repository does not exist or the mirror may not read it",
      };
    case "timeout":
      return { status: 504, code: "UNAVAILABLE", message: "the upstream registry did not answer in time" };
    case "rate-limited": {
      // 503 and not 429: containerd repeats a 429 at once, several times, and makes the limit worse.
      const retryAfter = error.retryAfterSeconds;
      const headers = retryAfter === undefined ? {} : { "Retry-After": Math.ceil(retryAfter) };
      return {
        status: 503,
        code: "TOOMANYREQUESTS",
        message: "the upstream registry limits the mirror's rate",
        headers,
      };
    }
    case "busy":
      return {
        status: 503,
        code: "TOOMANYREQUESTS",
        message: "too many wait for the upstream registry already",
        headers: { "Retry-After": error.retryAfterSeconds ?? 1 },
      };
    case "invalid":
      if (error.cause instanceof OciError) {
        return {
          status: 502,
          code: error.cause.code,
          message: `the upstream registry's answer: ${error.cause.message}`,
        };
      }
      return { status: 502, code: "UNAVAILABLE", message: "the upstream registry sent something wrong" };
    case "offline":
      return {
        status: 404,
        code: "NOT_FOUND",
        message: "this is not cached, and its upstream is set to be never asked",
      };
    case "unreachable":
      return { status: 502, code: "UNAVAILABLE", message: "the upstream registry cannot be reached" };
    case "token":
      return { status: 502, code: "UNAVAILABLE", message: "the upstream registry's token server failed" };
    case "status":
      return { status: 502, code: "UNAVAILABLE", message: "the upstream registry failed" };
  }
}
