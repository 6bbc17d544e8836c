import { setTimeout as sleep } from "node:timers/promises";
import { type Clock, systemClock } from "../concurrency/clock.ts";
import { type JobKind, JobRunning, type Step } from "./job.ts";
import type { Jobs } from "./jobs.ts";

/** What is to be done when. */
export interface ScheduleOptions {
  readonly jobs: Jobs;
  readonly kind: JobKind;
  /** The steps of the next job. */
  readonly steps: () => readonly Step[] | Promise<readonly Step[]>;
  /** From the end of one job to the start of the next; `Infinity`: never. */
  readonly intervalMs: number;
  /** When such a job last succeeded, in this process or an earlier one. */
  readonly recall: () => Promise<number | undefined>;
  readonly remember: (endedAt: number) => Promise<void>;
  /** Told of what `recall`, `remember` and `steps` throw; jobs tell of their failures themselves. */
  readonly onError: (error: unknown) => void;
  readonly clock?: Clock;
  /** From 0 to 1. */
  readonly random?: (() => number) | undefined;
}

/** No timer is set for longer: clocks are put right, and others run such jobs, too. */
const longestWaitMs = 3_600_000;
const longestDelayMs = 600_000;

/** Keeps no process alive. */
const backgroundClock: Clock = {
  ...systemClock,
  wait: (ms, signal) => sleep(ms, undefined, { signal, ref: false }),
};

/**
 * Runs a job again and again. The first is due when the interval since the last one's end, in whatever process, has
 * passed; all are a little late, so that several mirrors do not work at the same time. A job that failed is tried again
 * after an interval.
 */
export class Schedule {
  readonly #options: ScheduleOptions;
  readonly #clock: Clock;
  /** Moments of the monotonic clock, here and in what follows. */
  readonly #startedAt: number;
  readonly #delayMs: number;
  readonly #abort = new AbortController();
  readonly #ended: Promise<void>;
  /** When a job that was started here ended last, however it ended. */
  #triedAt = -Infinity;
  /** What was recalled, and when that was: from then on nobody's setting the time changes how long is waited for. */
  #recalled = { endedAt: NaN, at: -Infinity };

  constructor(options: ScheduleOptions) {
    const { intervalMs, clock = backgroundClock, random = Math.random } = options;
    this.#options = options;
    this.#clock = clock;
    this.#startedAt = clock.monotonic();
    this.#delayMs = random() * Math.min(intervalMs / 20, longestDelayMs);
    this.#ended = intervalMs === Infinity ? Promise.resolve() : this.#run(this.#abort.signal);
  }

  /** Starts no more, cancels the job that was started here, and waits for its end. */
  async close(): Promise<void> {
    this.#abort.abort();
    await this.#ended;
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const leftMs = (await this.#dueAt()) - this.#clock.monotonic();
        if (leftMs > 0) {
          await this.#pause(leftMs, signal);
        } else if (!signal.aborted) {
          await this.#once(signal);
        }
      } catch (error) {
        // Somebody else's job counts when it has ended.
        if (!(error instanceof JobRunning)) this.#options.onError(error);
        await this.#pause(Math.min(this.#options.intervalMs, longestWaitMs), signal);
      }
    }
  }

  async #dueAt(): Promise<number> {
    const endedAt = (await this.#options.recall()) ?? -Infinity;
    if (endedAt !== this.#recalled.endedAt) {
      const agoMs = this.#clock.now() - endedAt;
      // What is said to have ended in the future was noted by a clock that was wrong, or read by one.
      if (agoMs < 0) this.#recalled = { endedAt: NaN, at: -Infinity };
      else this.#recalled = { endedAt, at: this.#clock.monotonic() - agoMs };
    }
    const { intervalMs } = this.#options;
    return Math.max(Math.max(this.#recalled.at, this.#triedAt) + intervalMs, this.#startedAt) + this.#delayMs;
  }

  async #once(signal: AbortSignal): Promise<void> {
    const { jobs, kind, steps, remember } = this.#options;
    const next = await steps();
    if (signal.aborted) return;
    const job = jobs.start(kind, { dryRun: false }, next);
    const cancel = (): void => {
      jobs.cancel(job.id);
    };
    signal.addEventListener("abort", cancel, { once: true });
    const { state, endedAt } = await job.ended;
    signal.removeEventListener("abort", cancel);
    this.#triedAt = this.#clock.monotonic();
    if (state === "succeeded" && endedAt !== undefined) await remember(endedAt);
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    // Aborting ends the loop.
    await this.#clock.wait(Math.min(ms, longestWaitMs), signal).catch(() => undefined);
  }
}
