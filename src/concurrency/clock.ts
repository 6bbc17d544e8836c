import { setTimeout as sleep } from "node:timers/promises";

/** The time, and waiting: what a test replaces. */
export interface Clock {
  /** Milliseconds since 1970, for what is stored, shown or sent. It may be set, forward and back. */
  readonly now: () => number;
  /** Milliseconds since some moment, for all that is only waited for: whoever sets the time does not change it. */
  readonly monotonic: () => number;
  /** Waits; rejects at once when the signal aborts. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  wait: (ms, signal) => sleep(ms, undefined, { signal }),
};
