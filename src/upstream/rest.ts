import type { LRUCache } from "lru-cache";
import { boundedMap } from "../concurrency/bounded-map.ts";
import type { Clock } from "../concurrency/clock.ts";
import type { UpstreamError } from "./upstream.ts";

/** Nobody rests for longer, whatever was asked for: a mistaken or hostile `Retry-After` must not end a host for good. */
const longestRestSeconds = 3600;
export const longestRestMs: number = longestRestSeconds * 1000;
/** How many who rest are remembered, where nothing else is said. */
const usuallyRemembered = 1024;

/** The headers of a response. */
export interface Headed {
  /** A header by its lower-case name. */
  header(name: string): string | undefined;
}

/** For how many seconds a response asks to be left alone (`Retry-After`), an hour at most; `undefined`: it does not. */
export function askedRestSeconds(response: Headed, now: number): number | undefined {
  const seconds = parseRetryAfter(response.header("retry-after"), now);
  return seconds === undefined ? undefined : Math.min(seconds, longestRestSeconds);
}

/** For how many milliseconds who failed so is left alone: as long as it asked for within an hour, and `leastMs` at least. */
export function restMs({ retryAfterSeconds = 0 }: UpstreamError, leastMs: number): number {
  return Math.max(leastMs, Math.min(retryAfterSeconds, longestRestSeconds) * 1000);
}

/** Reads `Retry-After` (RFC 9110 §10.2.3), seconds or a date, as seconds from now; `undefined`: none, or unreadable. */
function parseRetryAfter(header: string | undefined, now: number): number | undefined {
  const text = header?.trim() ?? "";
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  const date = /[a-z]/i.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, Math.ceil((date - now) / 1000));
}

/** Who rests, and for how long yet. Its size is bounded; the longest unused goes first. */
export class Rests<Who extends object | string> {
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #until: LRUCache<Who, number>;

  constructor(clock: Pick<Clock, "monotonic">, maxEntries: number = usuallyRemembered) {
    this.#clock = clock;
    this.#until = boundedMap(maxEntries);
  }

  /** From now on, for so long; a rest that ends later stays. */
  begin(who: Who, ms: number): void {
    this.#until.set(who, Math.max(this.#clock.monotonic() + ms, this.#until.get(who) ?? 0));
  }

  /** Who rests, with how much is left, in milliseconds. */
  get resting(): readonly (readonly [Who, number])[] {
    const now = this.#clock.monotonic();
    return [...this.#until.entries()].flatMap(([who, until]) => (until > now ? [[who, until - now] as const] : []));
  }

  /** How much of its rest is left, in milliseconds; 0: it does not rest. */
  leftMs(who: Who): number {
    return Math.max(0, (this.#until.get(who) ?? 0) - this.#clock.monotonic());
  }
}
