import type { Clock } from "../concurrency/clock.ts";
import { errorOf } from "../store/object-store.ts";
import type { RetentionReport } from "./retention.ts";
import type { Usage } from "./usage.ts";

const flushMs = 15 * 60_000;
/** Between two runs every instance has written down what it uses, several times. */
const runMs = 6 * 3_600_000;
const firstRunMs = 3_600_000;

/** Told of what is done by the clock. */
export interface RetentionObserver {
  /** A run is over, which this instance has made. */
  retained(report: RetentionReport): void;
  /** What is used could not be written down, or a run was broken off: both are tried again. */
  unretained(error: Error): void;
}

/** What is done by the clock, and whom it tells. */
export interface RetentionRunsOptions {
  readonly usage: Usage;
  /** One run; see `retain`. Left out, the bucket has no limits, and only what is used is written down. */
  readonly retain: ((signal: AbortSignal) => Promise<RetentionReport | undefined>) | undefined;
  readonly clock: Clock;
  readonly observer: RetentionObserver;
}

/** Writes down what is used of the bucket every 15 minutes and at the end, and runs retention every six hours. */
export class RetentionRuns {
  readonly #options: RetentionRunsOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(options: RetentionRunsOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Breaks a run off, and writes down what is left to be. */
  async close(): Promise<void> {
    this.#stopping.abort(new Error("the process is stopping"));
    await this.#running;
    await this.#try(() => this.#options.usage.flush());
  }

  async #run(): Promise<void> {
    const { usage, retain, clock, observer } = this.#options;
    const { signal } = this.#stopping;
    let nextRunAt = clock.monotonic() + firstRunMs;
    for (;;) {
      await clock.wait(flushMs, signal).catch(() => undefined);
      if (signal.aborted) return;
      await this.#try(() => usage.flush());
      if (retain === undefined || clock.monotonic() < nextRunAt) continue;
      nextRunAt = clock.monotonic() + runMs;
      await this.#try(async () => {
        const report = await retain(signal);
        if (report !== undefined) observer.retained(report);
      });
    }
  }

  async #try(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#options.observer.unretained(errorOf(error));
    }
  }
}
