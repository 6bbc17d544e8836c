import type { Clock } from "./clock.ts";

/** So much is counted at a time, in milliseconds. */
const sliceMs = 50;

/**
 * An amount of time that others may take, counted in slices between which this process takes in what has come. One that
 * was held up itself for a second, by other work or by the machine, counts a slice of it, not all: what was late then were
 * not the others. Whoever makes one stops it.
 */
export class Allowance {
  /** Resolves when it is used up; never where it was stopped before. */
  readonly over: Promise<void>;
  readonly #stopping = new AbortController();
  #leftMs: number;

  constructor(clock: Pick<Clock, "wait">, ms: number) {
    this.#leftMs = ms;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.over = promise;
    this.#run(clock).then(resolve, () => undefined);
  }

  /** How much of it is left, in milliseconds; 0: it is used up. */
  get leftMs(): number {
    return Math.max(0, this.#leftMs);
  }

  stop(): void {
    this.#stopping.abort();
  }

  async #run(clock: Pick<Clock, "wait">): Promise<void> {
    const { signal } = this.#stopping;
    do {
      const ms = Math.min(sliceMs, this.leftMs);
      await clock.wait(ms, signal);
      this.#leftMs -= ms;
    } while (this.#leftMs > 0);
  }
}
