import { type Clock, systemClock } from "../concurrency/clock.ts";

/** Debts below this are not waited for: timers are coarse, and small objects are many. */
const slackMs = 10;

/** Limits how many bytes a second are worked on, over all who take from it. Idle time is not saved up. */
export class Rate {
  readonly #bytesPerSecond: number;
  readonly #clock: Clock;
  /** When all that was taken so far is paid for. */
  #paidAt = -Infinity;

  /** @param bytesPerSecond `undefined`: no limit. */
  constructor(bytesPerSecond: number | undefined, clock: Clock = systemClock) {
    this.#bytesPerSecond = bytesPerSecond ?? Infinity;
    this.#clock = clock;
  }

  /** Resolves when `bytes` may be worked on; rejects when the signal aborts. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const now = this.#clock.monotonic();
    const startsAt = Math.max(this.#paidAt, now);
    this.#paidAt = startsAt + (bytes / this.#bytesPerSecond) * 1000;
    if (startsAt - now >= slackMs) await this.#clock.wait(startsAt - now, signal);
  }
}
