import { boundedMap } from "../concurrency/bounded-map.ts";
import type { Repository } from "../oci/reference.ts";
import { restMs } from "./rest.ts";
import { type Upstream, UpstreamError } from "./upstream.ts";

/**
 * Whether an upstream is asked (the circuit-breaker pattern):
 * - `closed`: it is.
 * - `open`: it has failed several times in a row; questions fail at once, and nothing is sent.
 * - `half-open`: its rest is over; one question is sent to see how it does, the others still fail.
 */
export type BreakerState = "closed" | "open" | "half-open";

/** Told of what happens to an upstream. */
export interface BreakerObserver {
  /**
   * A question failed: told once, however many clients waited for it, and not while nothing is sent. Those that were
   * under way when the breaker opened are told after that.
   */
  failed(error: UpstreamError): void;
  changed(state: BreakerState): void;
}

const failuresToOpen = 5;
const firstRestMs = 1_000;
const longestRestMs = 30_000;
const spareMs = 5_000;
/** How long the others wait for the question that tries whether the upstream is back; then the next one tries. */
const longestTryMs = 10_000;

/** How many repositories that fail are remembered. */
const maxSpared = 256;

/** For what failure something is spared, and until when. */
interface Sparing {
  readonly error: UpstreamError;
  readonly until: number;
}

/**
 * How one upstream does, from the answers to its questions.
 *
 * After one failure it is `spared` for some seconds: whoever can be served from the cache is served at once. After
 * several in a row it is not asked at all for a while, which doubles from 1 s to 30 s; one answer ends that.
 *
 * A 5xx, or an answer that is late, may be the trouble of one image: only its repository is spared for it, and however
 * often it is asked for again, in a row of failures it counts once.
 */
export class Breaker {
  readonly #monotonic: () => number;
  readonly #observer: BreakerObserver;
  /** What has failed since the last answer: the upstream itself, so many times, and repositories of it. */
  #failures = 0;
  readonly #failedRepositories = new Set<Repository>();
  #last: UpstreamError | undefined;
  #spared: Sparing | undefined;
  readonly #sparedRepositories = boundedMap<Repository, Sparing>(maxSpared);
  /** How often it was given a rest since the last answer. */
  #rests = 0;
  #openUntil = 0;
  /** The question that tries whether the upstream is back. */
  #probe: { readonly until: number } | undefined;
  #state: BreakerState = "closed";

  constructor(monotonic: () => number, observer: BreakerObserver) {
    this.#monotonic = monotonic;
    this.#observer = observer;
  }

  get state(): BreakerState {
    return this.#state;
  }

  /**
   * The failure for which the upstream is spared now, or a repository of it; `undefined` when it does well, as far as is
   * known.
   */
  failing(repository?: Repository): UpstreamError | undefined {
    if (this.#state !== "closed") return this.#last;
    const own = repository === undefined ? undefined : this.#sparedRepositories.get(repository);
    return [this.#spared, own].find((sparing) => sparing !== undefined && this.#monotonic() < sparing.until)?.error;
  }

  /** The same upstream, asked only when the breaker lets it. */
  guard(upstream: Upstream): Upstream {
    const guarded =
      <Rest extends readonly unknown[], T>(question: (repository: Repository, ...rest: Rest) => Promise<T>) =>
      (repository: Repository, ...rest: Rest): Promise<T> =>
        this.#ask(repository, () => question(repository, ...rest));
    return {
      resolve: guarded((...question) => upstream.resolve(...question)),
      manifest: guarded((...question) => upstream.manifest(...question)),
      blob: guarded((...question) => upstream.blob(...question)),
      statBlob: guarded((...question) => upstream.statBlob(...question)),
      tags: guarded((...question) => upstream.tags(...question)),
      referrers: guarded((...question) => upstream.referrers(...question)),
      close: () => upstream.close(),
    };
  }

  /** Notes that a question takes longer than anybody should wait for: its repository is spared as after a failure. */
  late(repository: Repository, error: UpstreamError): void {
    this.#sparedRepositories.set(repository, this.#spare(error));
  }

  /** Notes that the upstream fails for another process: what is cached is served at once, and all else is asked for. */
  hearFailure(error: UpstreamError): void {
    if (this.failing() === undefined) this.#spared = this.#spare(error);
  }

  async #ask<T>(repository: Repository, question: () => Promise<T>): Promise<T> {
    const probe = this.#enter();
    try {
      const answer = await question();
      this.#succeed(repository);
      return answer;
    } catch (error) {
      if (error instanceof UpstreamError) this.#fail(repository, error, probe);
      throw error;
    } finally {
      if (probe === this.#probe) this.#probe = undefined;
    }
  }

  /** Lets a question through, or throws; as what it goes when it is the one that tries whether the upstream is back. */
  #enter(): { readonly until: number } | undefined {
    if (this.#state === "closed") return undefined;
    const last = this.#last;
    const now = this.#monotonic();
    if (last !== undefined && (now < this.#openUntil || now < (this.#probe?.until ?? 0))) {
      throw new UpstreamError(last.host, last.failure, "it has failed several times and is given a rest", {
        cause: last,
      });
    }
    this.#probe = { until: now + longestTryMs };
    this.#change("half-open");
    return this.#probe;
  }

  #succeed(repository: Repository): void {
    this.#failures = 0;
    this.#failedRepositories.clear();
    this.#spared = undefined;
    this.#sparedRepositories.delete(repository);
    this.#rests = 0;
    this.#change("closed");
  }

  #fail(repository: Repository, error: UpstreamError, probe: { readonly until: number } | undefined): void {
    this.#observer.failed(error);
    const cause = originOf(error);
    if (cause.failure === "rate-limited") {
      this.#spared = this.#spare(error);
    } else if (isHostFailure(cause)) {
      // What was under way when it opened tells nothing new: many questions at once that fail are one failure.
      if (this.#state !== "closed" && (probe === undefined || probe !== this.#probe)) return;
      this.#last = error;
      // Who says when to come back speaks for the whole.
      if (cause.failure === "status" && error.retryAfterSeconds === undefined) {
        this.#sparedRepositories.set(repository, this.#spare(error));
      } else {
        this.#spared = this.#spare(error);
      }
      if (cause.failure === "status") this.#failedRepositories.add(repository);
      else this.#failures++;
      if (this.#state !== "closed" || this.#failures + this.#failedRepositories.size >= failuresToOpen) {
        const rest = Math.min(longestRestMs, firstRestMs * 2 ** this.#rests);
        this.#rests++;
        this.#openUntil = this.#monotonic() + rest;
        this.#change("open");
      }
    } else if (cause.failure === "denied" || cause.failure === "status") {
      // It answered, if not what was hoped for.
      this.#succeed(repository);
    }
  }

  #spare(error: UpstreamError): Sparing {
    return { error, until: this.#monotonic() + restMs(error, spareMs) };
  }

  #change(state: BreakerState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#observer.changed(state);
  }
}

/** The failure itself, of one that its token server passed on. */
function originOf(error: UpstreamError): UpstreamError {
  return error.failure === "token" && error.cause instanceof UpstreamError ? originOf(error.cause) : error;
}

/** Whether a host failed, and not what it was asked for: a 4xx is an answer, and so is a token that is of no use. */
function isHostFailure({ failure, status = 500 }: UpstreamError): boolean {
  return failure === "unreachable" || failure === "timeout" || (failure === "status" && status >= 500);
}
