import type { Clock } from "../../src/concurrency/clock.ts";
import { turn } from "./event-loop.ts";

interface Wait {
  readonly until: number;
  readonly end: () => void;
}

/** A clock that stands still until a test lets time pass. */
export class TestClock implements Clock {
  #ms = 0;
  readonly #waits = new Set<Wait>();

  /** How many wait for it. */
  get waiting(): number {
    return this.#waits.size;
  }

  now(): number {
    return Date.UTC(2026, 0, 1) + this.#ms;
  }

  monotonic(): number {
    return this.#ms;
  }

  async wait(ms: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = (): void => {
      this.#waits.delete(wait);
      reject(signal.reason as Error);
    };
    const wait: Wait = {
      until: this.#ms + ms,
      end: () => {
        this.#waits.delete(wait);
        signal.removeEventListener("abort", abort);
        resolve();
      },
    };
    signal.addEventListener("abort", abort, { once: true });
    this.#waits.add(wait);
    return promise;
  }

  /** Lets time pass: who waits for less goes on in its turn, with all that follows from that. */
  async pass(ms: number): Promise<void> {
    const end = this.#ms + ms;
    await turn(3);
    for (;;) {
      const [next] = [...this.#waits].toSorted((a, b) => a.until - b.until);
      if (next === undefined || next.until > end) break;
      this.#ms = Math.max(this.#ms, next.until);
      next.end();
      await turn(3);
    }
    this.#ms = end;
    await turn(3);
  }
}
