import type { Background } from "../concurrency/background.ts";
import { Changes } from "../concurrency/changes.ts";
import type { Clock } from "../concurrency/clock.ts";
import { errorOf, type Key } from "../store/object-store.ts";
import { Refusals } from "./refusals.ts";

/** How many objects are copied at a time, besides those that are copied on their way. */
const copiesAtOnce = 4;
/** How many keys wait at most. */
const maxWaiting = 10_000;
const firstRestMs = 1_000;
const longestRestMs = 60_000;

/** Told of copies, for metrics and the log. */
export interface CopyObserver {
  /** An object is in the bucket by now. */
  copied(sizeBytes: number): void;
  /** An object could not be copied. It is tried again, unless the folder does not have it, or the bucket refuses it. */
  failed(error: Error): void;
}

/** What a queue of copies works with. */
export interface CopyQueueOptions {
  /** Copies what is at a key, as it is now. Throws what fails. */
  readonly copy: (key: Key) => Promise<void>;
  /** Where copies run. */
  readonly running: Background;
  readonly clock: Pick<Clock, "wait">;
  readonly observer: CopyObserver;
  /** Gives up what waits; what is under way is to end by it, too. */
  readonly signal: AbortSignal;
}

/**
 * When what is copied: keys wait, of which there is a bounded number, a few are copied at a time, and each by one at a
 * time. A failure lets all rest, for longer each time, and its key waits again; one that is refused while others are taken
 * is left out in the end.
 */
export class CopyQueue {
  readonly #options: CopyQueueOptions;
  /** In the order in which they are copied. */
  readonly #waiting = new Set<Key>();
  readonly #copying = new Map<Key, Promise<void>>();
  readonly #changes = new Changes();
  readonly #refusals = new Refusals();
  /** What has its turn: it waits for a copy of its key that is under way, or is being copied. */
  readonly #taken = new Set<Key>();
  #failures = 0;
  #isResting = false;

  constructor(options: CopyQueueOptions) {
    this.#options = options;
    options.signal.addEventListener("abort", () => this.#waiting.clear(), { once: true });
  }

  /** How many objects wait or are being copied for that, as far as is known. */
  get length(): number {
    return this.#waiting.size + this.#taken.size;
  }

  /** Whether nothing is copied now, as the bucket has just failed. */
  get isResting(): boolean {
    return this.#isResting;
  }

  /** Has the object at a key copied when its turn has come; false where too many wait already. */
  add(key: Key): boolean {
    if (this.#options.signal.aborted) return true;
    const isTaken = this.#waiting.size < maxWaiting || this.#waiting.has(key);
    if (isTaken) this.#waiting.add(key);
    this.#work();
    return isTaken;
  }

  /** Has an object not copied that waits to be; resolves when no copy of it is under way. */
  async leaveOut(key: Key): Promise<void> {
    this.#waiting.delete(key);
    for (let copy = this.#copying.get(key); copy !== undefined; copy = this.#copying.get(key)) {
      await copy.catch(() => undefined);
    }
  }

  /** Resolves when what is at a key neither waits nor is being copied; and when this is closed. */
  async settled(key: Key): Promise<void> {
    const { signal } = this.#options;
    const isPending = (): boolean => this.#waiting.has(key) || this.#taken.has(key) || this.#copying.has(key);
    while (!signal.aborted && isPending()) {
      const copy = this.#copying.get(key) ?? this.#changes.next(signal);
      await copy.catch(() => undefined);
    }
  }

  /** Resolves when half of the places to wait are free; rejects when `signal` aborts before. */
  async waitForRoom(signal: AbortSignal): Promise<void> {
    while (this.#waiting.size >= maxWaiting / 2) await this.#changes.next(signal);
  }

  /** Whether what is at a key is being copied. */
  isCopying(key: Key): boolean {
    return this.#copying.has(key);
  }

  /** Copies what is at a key, unless that goes on already. Throws what fails. */
  async once(key: Key, copy: () => Promise<void>): Promise<void> {
    const copying = this.#copying.get(key) ?? copy().finally(() => this.#copying.delete(key));
    this.#copying.set(key, copying);
    await copying;
  }

  /** Notes that the bucket has taken something. */
  noteCopied(sizeBytes: number): void {
    this.#refusals.noteCopied();
    this.#failures = 0;
    this.#options.observer.copied(sizeBytes);
  }

  #work(): void {
    for (const key of this.#waiting) {
      if (this.#isResting || this.#taken.size >= copiesAtOnce) return;
      // It changed while it is being copied: its next turn comes then.
      if (this.#taken.has(key)) continue;
      this.#waiting.delete(key);
      this.#taken.add(key);
      this.#options.running.run(() => this.#take(key));
    }
  }

  async #take(key: Key): Promise<void> {
    const { copy, observer, signal } = this.#options;
    try {
      // What is being copied may have been read before it changed.
      await this.#copying.get(key)?.catch(() => undefined);
      await this.once(key, () => copy(key));
      this.#refusals.forget(key);
    } catch (error) {
      if (!signal.aborted) {
        observer.failed(errorOf(error));
        if (this.#refusals.mayTryAgain(key)) {
          this.#waiting.add(key);
          this.#rest();
        }
      }
    } finally {
      this.#taken.delete(key);
      this.#changes.tell();
      this.#work();
    }
  }

  /** One failure, of one or several at once, lets all rest. */
  #rest(): void {
    if (this.#isResting) return;
    this.#isResting = true;
    const { clock, signal } = this.#options;
    const ms = Math.min(longestRestMs, firstRestMs * 2 ** this.#failures++);
    const rested = clock.wait(ms, signal).catch(() => undefined);
    void rested.then(() => {
      this.#isResting = false;
      this.#work();
    });
  }
}
