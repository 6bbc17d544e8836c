import { LRUCache } from "lru-cache";
import type { Clock } from "../concurrency/clock.ts";
import { settleOrAbort } from "../concurrency/settle-or-abort.ts";

/** A text that is good for a while: a token, or the challenge of a registry. */
export interface PassingText {
  readonly value: string;
  /** From its receipt on. */
  readonly lifetimeSeconds: number;
}

/** Fetches a text; `undefined`: the server says that there is none to be had. */
export type FetchText = (signal: AbortSignal) => Promise<PassingText | undefined>;

/** Texts of one upstream, by what they were asked for. */
export interface TextCache {
  /** A text that is still good, without asking anybody. */
  peek(key: string): string | undefined;
  /**
   * A text that is still good, fetched where there is none. Who asks for the same key at the same time shares one
   * fetch. An abort by `signal` leaves the others alone; the fetch is aborted when the last of them has left.
   * That there is none (`undefined`) is not remembered, nor is a failure.
   */
  get(key: string, fetch: FetchText, signal: AbortSignal): Promise<string | undefined>;
  /** Forgets a text that was refused; one that has taken its place meanwhile stays. */
  drop(key: string, value: string): void;
}

interface Flight {
  readonly promise: Promise<string | undefined>;
  readonly controller: AbortController;
  waiters: number;
}

/** The part of a lifetime that is used; the rest is for slow requests and clocks of different speed. */
const usedPart = 0.9;

/** How long the texts of a cache are on average at most: servers choose their length. */
const meanLength = 4 * 1024;

/**
 * Makes an empty cache of at most `maxTexts` texts, of 4 Ki characters on average; the longest unused goes first. A text
 * that is too long to be remembered is given all the same.
 */
export function createTextCache(clock: Clock, maxTexts: number): TextCache {
  const texts = new LRUCache<string, { readonly value: string; readonly goodUntil: number }>({
    max: maxTexts,
    maxSize: maxTexts * meanLength,
    sizeCalculation: ({ value }, key) => value.length + key.length,
  });
  const flights = new Map<string, Flight>();

  const peek = (key: string): string | undefined => {
    const text = texts.get(key);
    return text !== undefined && clock.monotonic() < text.goodUntil ? text.value : undefined;
  };

  const launch = (key: string, fetch: FetchText): Flight => {
    const controller = new AbortController();
    const fetchAndKeep = async (): Promise<string | undefined> => {
      try {
        const text = await fetch(controller.signal);
        if (text === undefined) {
          return undefined;
        }
        texts.set(key, { value: text.value, goodUntil: clock.monotonic() + text.lifetimeSeconds * 1000 * usedPart });
        return text.value;
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
      if (texts.peek(key)?.value === value) {
        texts.delete(key);
      }
    },
  };
}
