import { LRUCache } from "lru-cache";
import type { Clock } from "../concurrency/clock.ts";
import { fingerprint } from "./credentials.ts";
import { parseRateLimit, type RateLimit } from "./rate-limit.ts";
import { askedRestSeconds, Rests } from "./rest.ts";
import type { Exchange, HttpResponse, UpstreamObserver } from "./transport.ts";
import { UpstreamError } from "./upstream.ts";

/**
 * What an upstream has said of its limits: by host and by credentials, which are known by their `fingerprint`. Its size
 * is bounded; the longest unused entry goes first.
 */
export interface RateLimits {
  /** A host refused these credentials with 429 or 503, and asked to be left alone for so long. */
  hold(host: string, identity: string, seconds: number): void;
  /** How long the host still wants to be left alone by these credentials, in whole seconds; 0: it may be asked. */
  heldSeconds(host: string, identity: string): number;
  /** The registry told what is left. */
  note(identity: string, limit: RateLimit): void;
  /** The registry refused these credentials with 429. */
  exhaust(identity: string): void;
  /** What is left, as far as it is known now; 0 while a host holds these credentials off or has just refused them. */
  remaining(identity: string): number | undefined;
}

const usuallyRemembered = 1024;
/** How long a 429 without `Retry-After` counts as "nothing left". */
const exhaustedMs = 60_000;
/** A timer may fire this much before its time. */
const timerSlackMs = 5;
/** How long a remainder is believed where no window is told. */
const defaultWindowSeconds = 3600;

/**
 * Makes an empty book of limits; several upstreams and a rotation of credentials may share it.
 *
 * @param maxEntries How many hosts, each with certain credentials, are remembered.
 */
export function createRateLimits(clock: Clock, maxEntries: number = usuallyRemembered): RateLimits {
  const holds = new Rests<string>(clock, maxEntries);
  const exhausted = new Rests<string>(clock, maxEntries);
  const remainders = new LRUCache<string, { readonly count: number; readonly until: number }>({ max: maxEntries });

  return {
    hold(host, identity, seconds) {
      holds.begin(`${host} ${identity}`, seconds * 1000);
      exhausted.begin(identity, seconds * 1000);
    },
    heldSeconds(host, identity) {
      const leftMs = holds.leftMs(`${host} ${identity}`);
      return leftMs > timerSlackMs ? Math.ceil(leftMs / 1000) : 0;
    },
    note(identity, { remaining, windowSeconds = defaultWindowSeconds }) {
      if (remaining !== undefined) {
        remainders.set(identity, { count: remaining, until: clock.monotonic() + windowSeconds * 1000 });
      }
    },
    exhaust: (identity) => exhausted.begin(identity, exhaustedMs),
    remaining(identity) {
      if (exhausted.leftMs(identity) > 0) return 0;
      const remainder = remainders.get(identity);
      return remainder !== undefined && remainder.until > clock.monotonic() ? remainder.count : undefined;
    },
  };
}

/**
 * Obeys `Retry-After` of 429 and 503 (RFC 9110 §10.2.3), per host and credentials: until it has passed, nothing is sent
 * there on behalf of these. It stands below the retries and the queue, so that what waits there is held off as well.
 * Every answer of the registry itself is read for what is left.
 *
 * @returns an exchange that throws `UpstreamError` "rate-limited" with the remaining seconds, without a request.
 */
export function obeyingLimits(
  exchange: Exchange,
  options: {
    readonly upstream: URL;
    readonly limits: RateLimits;
    readonly clock: Clock;
    readonly observer: UpstreamObserver;
  },
): Exchange {
  const { upstream, limits, clock, observer } = options;
  return async (request) => {
    const { host } = request.url;
    const identity = request.identity ?? fingerprint(undefined);
    const heldSeconds = limits.heldSeconds(host, identity);
    if (heldSeconds > 0) {
      throw new UpstreamError(
        upstream.host,
        "rate-limited",
        `${host} is to be left alone for another ${heldSeconds} s`,
        {
          retryAfterSeconds: heldSeconds,
        },
      );
    }
    const response = await exchange(request);
    // What else it was redirected to has limits of its own, or pretends to.
    if (request.url.origin === upstream.origin && request.crossedOrigin !== true) {
      const limit = parseRateLimit((name) => response.header(name));
      if (limit !== undefined) {
        limits.note(identity, limit);
        observer.rateLimit?.({ ...limit, fingerprint: identity });
      }
      if (response.status === 429) {
        limits.exhaust(identity);
      }
    }
    const seconds = holdOf(response, clock.now());
    if (seconds > 0) {
      limits.hold(host, identity, seconds);
    }
    return response;
  };
}

function holdOf(response: HttpResponse, now: number): number {
  const limits = response.status === 429 || response.status === 503;
  return limits ? (askedRestSeconds(response, now) ?? 0) : 0;
}
