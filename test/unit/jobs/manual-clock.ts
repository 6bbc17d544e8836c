import type { Clock } from "../../../src/concurrency/clock.ts";
import { turn } from "../../support/event-loop.ts";

/** A clock that stands still until the test moves it. */
export interface ManualClock extends Clock {
  /** What somebody waits for, in milliseconds from now. */
  readonly waits: readonly number[];
  /** Lets time pass: who waited for it goes on, in order, and what follows from that has happened when it resolves. */
  pass(ms: number): Promise<void>;
  /** Sets the time, forward or back, without any passing. */
  set(ms: number): void;
}

/** Makes a clock that shows `time`. */
export function createManualClock(time = 1_000_000): ManualClock {
  let now = time;
  let setMs = 0;
  let waiting: { readonly at: number; readonly end: () => void }[] = [];
  return {
    now: () => now + setMs,
    monotonic: () => now,
    set: (ms) => void (setMs += ms),
    get waits() {
      return waiting.map(({ at }) => at - now);
    },
    wait: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) {
          reject(signal.reason);
          return;
        }
        const end = (): void => {
          signal.removeEventListener("abort", leave);
          resolve();
        };
        const waiter = { at: now + ms, end };
        const leave = (): void => {
          waiting = waiting.filter((each) => each !== waiter);
          reject(signal.reason);
        };
        signal.addEventListener("abort", leave, { once: true });
        waiting.push(waiter);
      }),
    async pass(ms) {
      const end = now + ms;
      await turn(5);
      for (;;) {
        const [next] = waiting.filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at);
        if (next === undefined) break;
        waiting = waiting.filter((each) => each !== next);
        now = next.at;
        next.end();
        await turn(5);
      }
      now = end;
    },
  };
}
