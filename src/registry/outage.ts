import { UpstreamError } from "../upstream/upstream.ts";
import type { CacheStatus } from "./registry.ts";

const restMs = 5_000;
const longestRestMs = 5 * 60_000;

/** Whether an answer that was stored may stand in for an upstream that failed so. */
export function standsIn(error: unknown): error is UpstreamError {
  return error instanceof UpstreamError && error.failure !== "refused";
}

/** The cache status of a stored answer that stands in for an upstream. */
export function staleStatus(error: UpstreamError): CacheStatus {
  const status = error.status === undefined ? {} : { forwardStatus: error.status };
  return { hit: false, forward: "stale", ...status, staleReason: error.failure };
}

/**
 * How one upstream does. After a failure it is given a rest: while that lasts, whoever can be served from the cache is
 * served at once, instead of waiting for the next failure.
 */
export class Outage {
  readonly #now: () => number;
  readonly #onFailure: (error: UpstreamError) => void;
  #until = 0;
  #last: UpstreamError | undefined;

  /** `onFailure` is told of each question that failed, once, however many clients waited for it. */
  constructor(now: () => number, onFailure: (error: UpstreamError) => void) {
    this.#now = now;
    this.#onFailure = onFailure;
  }

  /** The failure that the upstream rests after, while it rests. */
  get current(): UpstreamError | undefined {
    return this.#now() < this.#until ? this.#last : undefined;
  }

  /** Runs a question to the upstream and notes how it went. */
  async watch<T>(question: Promise<T>): Promise<T> {
    try {
      const answer = await question;
      this.#until = 0;
      return answer;
    } catch (error) {
      if (error instanceof UpstreamError) this.#onFailure(error);
      if (standsIn(error) && error.failure !== "invalid") {
        this.#last = error;
        const rest = Math.min(longestRestMs, Math.max(restMs, (error.retryAfterSeconds ?? 0) * 1000));
        this.#until = this.#now() + rest;
      }
      throw error;
    }
  }
}
