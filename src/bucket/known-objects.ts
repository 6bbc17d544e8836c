import { LRUCache } from "lru-cache";
import { boundedMap } from "../concurrency/bounded-map.ts";
import type { Key } from "../store/object-store.ts";

/** How many keys are remembered of which it is known that they are there. */
const maxKnown = 20_000;
/** What these and their texts take at most. */
const maxKnownBytes = 4 * 1024 * 1024;
/** How long what was there is believed to be: somebody may remove what is old. */
const knownMs = 3_600_000;
/** How long it is believed that nothing is there, and clients are told that something is: others may write and remove. */
const recentMs = 5_000;
const maxAbsent = 5_000;
/** How many keys are remembered of which something there speaks. */
const maxLikely = 10_000;

/** What is at a key: of a record its text, of content its size; and when that was learned. */
interface Known {
  readonly text: string;
  readonly at: number;
}

/** What one instance has learned of the objects of a bucket, which others change too. */
export class KnownObjects {
  readonly #monotonic: () => number;
  readonly #there = new LRUCache<Key, Known>({
    max: maxKnown,
    maxSize: maxKnownBytes,
    sizeCalculation: ({ text }, key) => text.length + key.length,
  });
  /** When it was learned that nothing is at a key. */
  readonly #absent = boundedMap<Key, number>(maxAbsent);

  readonly #likely = boundedMap<Key, true>(maxLikely);

  /** @param monotonic As of `Clock`. */
  constructor(monotonic: () => number) {
    this.#monotonic = monotonic;
  }

  /** What is known to be at a key: a record's text, the size of content. */
  there(key: Key): string | undefined {
    return this.#learned(key, knownMs);
  }

  /** What was at a key a few seconds ago. */
  recent(key: Key): string | undefined {
    return this.#learned(key, recentMs);
  }

  /** Whether nothing was at a key a few seconds ago. */
  isAbsent(key: Key): boolean {
    const at = this.#absent.get(key);
    return at !== undefined && this.#monotonic() - at < recentMs;
  }

  /** Whether something is probably at a key, and it is not known what: a question is worth more than a write. */
  isLikely(key: Key): boolean {
    return this.#likely.has(key) && this.there(key) === undefined;
  }

  /** From here on it is asked again whether something is at a key where nothing was. */
  doubtAbsence(key: Key): void {
    this.#absent.delete(key);
  }

  noteThere(key: Key, text: string): void {
    this.#absent.delete(key);
    this.#there.set(key, { text, at: this.#monotonic() });
  }

  noteAbsent(key: Key): void {
    this.#there.delete(key);
    this.#absent.set(key, this.#monotonic());
  }

  /** Notes that something in the bucket speaks of what is at a key. */
  noteLikely(key: Key): void {
    this.#likely.set(key, true);
  }

  #learned(key: Key, withinMs: number): string | undefined {
    const known = this.#there.get(key);
    return known !== undefined && this.#monotonic() - known.at < withinMs ? known.text : undefined;
  }
}
