import type { Clock } from "../concurrency/clock.ts";
import { errorOf } from "../store/object-store.ts";
import type { RetentionReport, RetentionRun } from "./retention.ts";
import type { SharedPins } from "./shared-pins.ts";
import type { Usage } from "./usage.ts";

const flushMs = 15 * 60_000;
/** How often all instances together look through the bucket. */
const everyMs = 6 * 3_600_000;
/** How often an instance looks whether it is time to; and where it has no limits, whether usage is too old. */
const tryMs = 3_600_000;
const pruneMs = 24 * 3_600_000;
/** How long the end waits for a bucket that does not answer. */
const closeMs = 5_000;

/** Told of what is done by the clock. */
export interface RetentionObserver {
  /** A run has removed an object. */
  removed(): void;
  /** A run is over, which this instance has made. */
  retained(report: RetentionReport): void;
  /** What is used could not be written down, or a run was broken off: both are tried again. */
  unretained(error: Error): void;
}

/** What is done by the clock, and whom it tells. */
export interface RetentionRunsOptions {
  readonly usage: Pick<Usage, "flush">;
  readonly pins: Pick<SharedPins, "tell">;
  /** Whether there is anything that a run would do, but for old usage. */
  readonly isLimited: boolean;
  /** One run; see `retain`. */
  readonly retain: (run: RetentionRun, signal: AbortSignal) => Promise<RetentionReport | undefined>;
  /** The report of the last run of any instance. */
  readonly readLast: () => Promise<RetentionReport | undefined>;
  readonly clock: Clock;
  readonly observer: RetentionObserver;
}

/**
 * Writes down what is used of the bucket, and what is pinned, every 15 minutes and at the end, and runs retention every
 * six hours, or when somebody asks for it.
 */
export class RetentionRuns {
  readonly #options: RetentionRunsOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();
  /** The last run that was asked for: runs of this process come one after another. */
  #lastRun: Promise<unknown> = Promise.resolve();
  #last: RetentionReport | undefined;

  constructor(options: RetentionRunsOptions) {
    this.#options = options;
  }

  /** The report of the last run of any instance, as far as is known here. */
  get last(): RetentionReport | undefined {
    return this.#last;
  }

  /** Whether something limits what the bucket may hold. */
  get isLimited(): boolean {
    return this.#options.isLimited;
  }

  start(): void {
    this.#running = this.#run();
  }

  /**
   * A run that somebody asks for; `undefined` where another instance is at it.
   *
   * @throws {StoreError}
   */
  async retain({ dryRun }: { readonly dryRun: boolean }, signal: AbortSignal): Promise<RetentionReport | undefined> {
    return this.#inTurn({ dryRun, everyMs: 0 }, AbortSignal.any([signal, this.#stopping.signal]));
  }

  /** Breaks a run off, and writes down what is left to be. A bucket that does not answer is not waited for. */
  async close(): Promise<void> {
    this.#stopping.abort(new Error("the process is stopping"));
    await this.#within(Promise.all([this.#running, this.#lastRun]));
    await this.#within(this.#try(() => this.#options.usage.flush()));
  }

  async #run(): Promise<void> {
    const { usage, pins, isLimited, readLast, clock } = this.#options;
    const { signal } = this.#stopping;
    const restMs = isLimited ? tryMs : pruneMs;
    let nextAt = clock.monotonic() + restMs;
    while (!signal.aborted) {
      await this.#try(() => pins.tell());
      await this.#try(async () => {
        this.#last = await readLast();
      });
      await clock.wait(flushMs, signal).catch(() => undefined);
      if (signal.aborted) return;
      await this.#try(() => usage.flush());
      if (clock.monotonic() < nextAt) continue;
      nextAt = clock.monotonic() + restMs;
      await this.#try(() => this.#inTurn({ dryRun: false, everyMs }, signal));
    }
  }

  async #inTurn(run: RetentionRun, signal: AbortSignal): Promise<RetentionReport | undefined> {
    const made = this.#lastRun.then(async () => {
      signal.throwIfAborted();
      const report = await this.#options.retain(run, signal);
      if (report !== undefined && !run.dryRun) {
        this.#last = report;
        this.#options.observer.retained(report);
      }
      return report;
    });
    this.#lastRun = made.catch(() => undefined);
    return made;
  }

  async #try(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#options.observer.unretained(errorOf(error));
    }
  }

  /** Waits for the end of something, but not for long. */
  async #within(work: Promise<unknown>): Promise<void> {
    const over = new AbortController();
    const waited = this.#options.clock.wait(closeMs, over.signal).catch(() => undefined);
    await Promise.race([work, waited]);
    over.abort();
  }
}
