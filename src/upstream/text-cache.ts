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
 * Texts of one upstream, by what they were asked for: at most `maxTexts`, of 4 Ki characters on average; the longest
 * unused goes first. A text that is too long to be remembered is given all the same.
 */
export class TextCache {
  readonly #clock: Clock;
  readonly #texts: LRUCache<string, { readonly value: string; readonly goodUntil: number }>;
  readonly #flights = new Map<string, Flight>();

  constructor(clock: Clock, maxTexts: number) {
    this.#clock = clock;
    this.#texts = new LRUCache({
      max: maxTexts,
      maxSize: maxTexts * meanLength,
      sizeCalculation: ({ value }, key) => value.length + key.length,
    });
  }

  /** A text that is still good, without asking anybody. */
  peek(key: string): string | undefined {
    const text = this.#texts.get(key);
    return text !== undefined && this.#clock.monotonic() < text.goodUntil ? text.value : undefined;
  }

  /**
   * A text that is still good, fetched where there is none. Who asks for the same key at the same time shares one
   * fetch. An abort by `signal` leaves the others alone; the fetch is aborted when the last of them has left.
   * That there is none (`undefined`) is not remembered, nor is a failure.
   */
  async get(key: string, fetch: FetchText, signal: AbortSignal): Promise<string | undefined> {
    signal.throwIfAborted();
    const cached = this.peek(key);
    if (cached !== undefined) return cached;
    const flight = this.#flights.get(key) ?? this.#launch(key, fetch);
    flight.waiters += 1;
    try {
      return await settleOrAbort(flight.promise, signal);
    } finally {
      flight.waiters -= 1;
      if (flight.waiters === 0 && this.#flights.get(key) === flight) {
        this.#flights.delete(key);
        flight.controller.abort();
      }
    }
  }

  /** Forgets a text that was refused; one that has taken its place meanwhile stays. */
  drop(key: string, value: string): void {
    if (this.#texts.peek(key)?.value === value) this.#texts.delete(key);
  }

  #launch(key: string, fetch: FetchText): Flight {
    const controller = new AbortController();
    const fetchAndKeep = async (): Promise<string | undefined> => {
      try {
        const text = await fetch(controller.signal);
        if (text === undefined) return undefined;
        const goodUntil = this.#clock.monotonic() + text.lifetimeSeconds * 1000 * usedPart;
        this.#texts.set(key, { value: text.value, goodUntil });
        return text.value;
      } finally {
        if (this.#flights.get(key) === flight) this.#flights.delete(key);
      }
    };
    const flight: Flight = { promise: Promise.resolve().then(fetchAndKeep), controller, waiters: 0 };
    this.#flights.set(key, flight);
    return flight;
  }
}
