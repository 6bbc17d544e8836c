import type { Clock } from "../concurrency/clock.ts";
import type { BucketStore } from "../store/bucket-store.ts";
import { errorOf } from "../store/object-store.ts";

const probeAgainMs = 60_000;
const sweepAgainMs = 60 * 60_000;
const sweepEveryMs = 24 * 60 * 60_000;
/** A running upload tells of itself every few minutes: nobody goes on with one that was silent for so long. */
const staleMs = 24 * 60 * 60_000;

/** Told of the bucket's state as it is found in the background, for the log. */
export interface UpkeepObserver {
  /** The bucket can be used; `lacks` has a sentence for each thing that its server cannot do. */
  usable(lacks: readonly string[]): void;
  /** It could not be tried, and is tried again; told once. */
  unusable(error: Error): void;
  /** Uploads were ended that somebody had left open. */
  swept(uploads: number): void;
  /** Open uploads could not be looked for; it is tried again. */
  unswept(error: Error): void;
}

/** What the upkeep works with. */
export interface UpkeepOptions {
  readonly store: Pick<BucketStore, "probe" | "sweepUploads">;
  readonly clock: Pick<Clock, "wait">;
  readonly observer: UpkeepObserver;
}

/**
 * Sees to the bucket in the background: finds out once whether it can be used and what its server lacks, and ends
 * uploads that were left open, at the start and once a day. Nothing waits for it.
 */
export class BucketUpkeep {
  readonly #options: UpkeepOptions;
  readonly #stopping = new AbortController();

  constructor(options: UpkeepOptions) {
    this.#options = options;
  }

  start(): void {
    void this.#keepProbing();
    void this.#keepSweeping();
  }

  /** Begins nothing more, and tells nothing more; what is under way ends with the store. */
  stop(): void {
    this.#stopping.abort();
  }

  async #keepProbing(): Promise<void> {
    const { store, observer } = this.#options;
    for (let failures = 0; !this.#stopping.signal.aborted; failures++) {
      try {
        const { lacks } = await store.probe();
        if (!this.#stopping.signal.aborted) observer.usable(lacks);
        return;
      } catch (error) {
        if (failures === 0 && !this.#stopping.signal.aborted) observer.unusable(errorOf(error));
      }
      await this.#pause(probeAgainMs);
    }
  }

  async #keepSweeping(): Promise<void> {
    const { store, observer } = this.#options;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      let pauseMs = sweepEveryMs;
      try {
        const uploads = await store.sweepUploads(staleMs);
        if (uploads > 0 && !signal.aborted) observer.swept(uploads);
      } catch (error) {
        if (!signal.aborted) observer.unswept(errorOf(error));
        pauseMs = sweepAgainMs;
      }
      await this.#pause(pauseMs);
    }
  }

  async #pause(ms: number): Promise<void> {
    // Stopping ends the loop.
    await this.#options.clock.wait(ms, this.#stopping.signal).catch(() => undefined);
  }
}
