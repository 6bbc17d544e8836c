import { UpstreamError, type UpstreamFailure } from "../upstream/upstream.ts";
import type { CacheStatus } from "./registry.ts";

/** Answers, if unwelcome ones: what is stored must not stand in for them. */
const answers: ReadonlySet<UpstreamFailure> = new Set(["refused", "denied"]);

/** Whether an answer that was stored may stand in for an upstream that failed so. */
export function standsIn(error: unknown): error is UpstreamError {
  return error instanceof UpstreamError && !answers.has(error.failure);
}

/** The cache status of a stored answer that stands in for an upstream that failed. */
export function staleStatus(error: UpstreamError): CacheStatus {
  const status = error.status === undefined ? {} : { forwardStatus: error.status };
  return { hit: false, forward: "stale", ...status, staleReason: error.failure };
}

/** The cache status of a stored answer for something that its upstream no longer has. */
export const deletedStatus: CacheStatus = { hit: false, forward: "stale", forwardStatus: 404, staleReason: "deleted" };
