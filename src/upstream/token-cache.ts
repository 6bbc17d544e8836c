import { LRUCache } from "lru-cache";
import type { Clock } from "./clock.ts";
import { settleOrAbort } from "./settle-or-abort.ts";

/** A token as a token server gave it. */
export interface Token {
  readonly value: string;
  /** From its receipt on. */
  readonly lifetimeSeconds: number;
}

/** Fetches a token; `undefined`: the server says that this subject gets none. */
export type FetchToken = (signal: AbortSignal) => Promise<Token | undefined>;

/** The tokens of one upstream, by what they were asked for. */
export interface TokenCache {
  /** A token that is still good, without asking anybody. */
  peek(key: string): string | undefined;
  /**
   * A token that is still good, fetched where there is none. Who asks for the same key at the same time shares one
   * fetch. An abort by `signal` leaves the others alone; the fetch is aborted when the last of them has left.
   * That there is none (`undefined`) is not remembered, nor is a failure.
   */
  get(key: string, fetch: FetchToken, signal: AbortSignal): Promise<string | undefined>;
  /** Forgets a token that was refused; one that has taken its place meanwhile stays. */
  drop(key: string, value: string): void;
}

interface Flight {
  readonly promise: Promise<string | undefined>;
  readonly controller: AbortController;
  waiters: number;
}

/** The part of a token's lifetime that is used; the rest is for slow requests and clocks of different speed. */
const usedPart = 0.9;

/** Makes an empty cache of at most `maxTokens` tokens; the longest unused goes first. */
export function createTokenCache(clock: Clock, maxTokens: number): TokenCache {
  const tokens = new LRUCache<string, { readonly value: string; readonly goodUntil: number }>({ max: maxTokens });
  const flights = new Map<string, Flight>();

  const peek = (key: string): string | undefined => {
    const token = tokens.get(key);
    return token !== undefined && clock.monotonic() < token.goodUntil ? token.value : undefined;
  };

  const launch = (key: string, fetch: FetchToken): Flight => {
    const controller = new AbortController();
    const fetchAndKeep = async (): Promise<string | undefined> => {
      try {
        const token = await fetch(controller.signal);
        if (token === undefined) {
          return undefined;
        }
        tokens.set(key, { value: token.value, goodUntil: clock.monotonic() + token.lifetimeSeconds * 1000 * usedPart });
        return token.value;
      } finally {
        if (flights.get(key) === flight) {
          flights.delete(key);
        }
      }
    };
    const flight: Flight = { promise: Promise.resolve().then(fetchAndKeep), controller, waiters: 0 };
    // Its waiters hear of a failure; when all have left, nobody has to.
    flight.promise.catch(() => {});
    flights.set(key, flight);
    return flight;
  };

  return {
    peek,
    async get(key, fetch, signal) {
      signal.throwIfAborted();
      const cached = peek(key);
      if (cached !== undefined) {
        return cached;
      }
      const flight = flights.get(key) ?? launch(key, fetch);
      flight.waiters += 1;
      try {
        return await settleOrAbort(flight.promise, signal);
      } finally {
        flight.waiters -= 1;
        if (flight.waiters === 0 && flights.get(key) === flight) {
          flights.delete(key);
          flight.controller.abort();
        }
      }
    },
    drop(key, value) {
      if (tokens.peek(key)?.value === value) {
        tokens.delete(key);
      }
    },
  };
}
