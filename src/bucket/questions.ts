import { errorOf } from "../store/object-store.ts";

/** How long a question may take before the upstream is asked in the bucket's place, in milliseconds. */
const patienceMs = 2_000;
const firstRestMs = 1_000;
const longestRestMs = 30_000;

/** Told of what becomes of questions to the bucket; for metrics and the log. */
export interface BucketObserver {
  /** `failed`: nobody can tell; whoever asked does without. */
  asked(outcome: "found" | "absent" | "failed"): void;
  /** The bucket could not be used. Told once for a failure, not while it is spared for that. */
  failed(error: Error): void;
  /** It answers again. */
  recovered(): void;
}

/**
 * Questions to a bucket, as long as anybody should wait for their answers. One that fails, or takes 2 s, has the bucket
 * spared: 1 s, doubling to 30 s, then one question tries whether it is back.
 */
export class Questions {
  readonly #observer: BucketObserver;
  readonly #monotonic: () => number;
  #failures = 0;
  #restUntil = 0;
  /** A question tries whether it is back. */
  #isTrying = false;

  /** @param monotonic As of `Clock`. */
  constructor(observer: BucketObserver, monotonic: () => number) {
    this.#observer = observer;
    this.#monotonic = monotonic;
  }

  /** Whether the last one failed. */
  get isFailing(): boolean {
    return this.#failures > 0;
  }

  /** Whether none is even asked now. */
  get isResting(): boolean {
    return this.#isTrying || this.#monotonic() < this.#restUntil;
  }

  /** What a question finds; `undefined` where there is no answer. `drop` gets one that comes too late. */
  async ask<T>(
    question: () => Promise<T | undefined>,
    drop: (late: T) => Promise<void> = async () => undefined,
  ): Promise<{ readonly found: T | undefined } | undefined> {
    const observer = this.#observer;
    if (this.isResting) {
      observer.asked("failed");
      return undefined;
    }
    const isTrial = this.#failures > 0;
    if (isTrial) this.#isTrying = true;
    const late = Promise.withResolvers<"late">();
    const timer = setTimeout(() => late.resolve("late"), patienceMs);
    try {
      const asked = question();
      const answer = await Promise.race([asked.then((found) => ({ found })), late.promise]);
      if (answer === "late") {
        asked.then((found) => (found === undefined ? undefined : drop(found))).catch(() => undefined);
        throw new Error(`the bucket did not answer in ${patienceMs} ms`);
      }
      this.#succeed();
      observer.asked(answer.found === undefined ? "absent" : "found");
      return answer;
    } catch (error) {
      this.#fail(errorOf(error));
      observer.asked("failed");
      return undefined;
    } finally {
      clearTimeout(timer);
      if (isTrial) this.#isTrying = false;
    }
  }

  #succeed(): void {
    if (this.#failures === 0) return;
    this.#failures = 0;
    this.#restUntil = 0;
    this.#observer.recovered();
  }

  #fail(error: Error): void {
    const now = this.#monotonic();
    // What was under way when the rest began tells nothing new.
    if (now < this.#restUntil) return;
    this.#restUntil = now + Math.min(longestRestMs, firstRestMs * 2 ** this.#failures);
    this.#failures++;
    this.#observer.failed(error);
  }
}
