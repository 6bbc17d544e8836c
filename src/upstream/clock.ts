import { setTimeout as sleep } from "node:timers/promises";

/** The time, and waiting: what a test replaces. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Waits; rejects at once when the signal aborts. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  wait: (ms, signal) => sleep(ms, undefined, { signal }),
};
