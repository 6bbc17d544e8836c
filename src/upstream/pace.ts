import type { Clock } from "../concurrency/clock.ts";

/**
 * The least that a body must bring, in bytes a second of the time in which somebody waits for it: less than any line
 * that is of use, and too little to hold a connection with for a byte now and then.
 */
const leastBytesPerSecond = 1_024;
/** Over so much waiting it is taken, in milliseconds; pauses are what the idle time-out is for. */
const windowMs = 30_000;
/** And over so many pieces: one that came late, after a pause that the idle time-out allows, is not slow. */
const leastPieces = 4;

/** Judges how fast a body comes, by the time alone in which somebody waits for it: a slow reader is not its fault. */
export class Pace {
  readonly #clock: Pick<Clock, "monotonic">;
  #wantedAt = 0;
  #waitedMs = 0;
  #bytes = 0;
  #pieces = 0;

  constructor(clock: Pick<Clock, "monotonic">) {
    this.#clock = clock;
  }

  /** From now on somebody waits. */
  want(): void {
    this.#wantedAt = this.#clock.monotonic();
  }

  /** Notes what has come for who waits; false: it comes too slowly to go on with. */
  came(bytes: number): boolean {
    this.#waitedMs += this.#clock.monotonic() - this.#wantedAt;
    this.#bytes += bytes;
    this.#pieces += 1;
    if (this.#waitedMs < windowMs || this.#pieces < leastPieces) return true;
    const isSlow = this.#bytes < (this.#waitedMs / 1_000) * leastBytesPerSecond;
    this.#waitedMs = 0;
    this.#bytes = 0;
    this.#pieces = 0;
    return !isSlow;
  }
}
