import { LRUCache } from "lru-cache";
import { KeyedQueue } from "../concurrency/keyed-queue.ts";
import { type DatedStore, type Key, PreconditionFailed, type Version } from "../store/object-store.ts";
import { readStored, type StoredRecord, writeStored } from "./stored-record.ts";

/** How many records of a listing are read at a time. */
const readsAtOnce = 16;

/** A record, and where it is stored. */
export interface Entry<T> extends StoredRecord<T> {
  readonly key: Key;
}

/** How records of a kind are kept. */
export interface CatalogOptions<T> {
  readonly store: DatedStore;
  /** Whether what was read is such a record. */
  readonly isRecord: (value: unknown) => value is T;
  /** How much stays in memory, in the units of `weigh`. */
  readonly maxInMemory: number;
  /** What a record takes of that; 1 where nothing is said. */
  readonly weigh?: (record: T) => number;
  /** How old what is in memory may be, in milliseconds: 0 where others write to the store, too, and it must be true. */
  readonly maxAgeMs: number;
  readonly monotonic: () => number;
}

/** What becomes of a record: this, nothing any more, or what it is. */
export type Decision<T> = { readonly set: T } | "remove" | "keep";

interface Remembered<T> extends Entry<T> {
  readonly at: number;
}

/** An object at a key; one that does not read as a record is there all the same, and can be replaced. */
interface Found<T> {
  readonly version: Version;
  readonly entry: Entry<T> | undefined;
}

/**
 * Small records of one kind in a store that others may write to as well: each change is made to what is there, and to
 * nothing else (compare and set), and outlives a power failure when it resolves. What is removed by one and set by
 * another in the same moment is either; nothing is ever lost between two that both set.
 *
 * Each writing makes another version, also of an equal record.
 */
export class Catalog<T extends object> {
  readonly #options: CatalogOptions<T>;
  readonly #memory: LRUCache<Key, Remembered<T>>;
  /** What is changed here is changed one after the other, so that only others are ever in the way. */
  readonly #changing = new KeyedQueue<Key>();
  /** The last look at each key that is being looked at: a change that ends meanwhile takes it away, as it may be old. */
  readonly #reading = new Map<Key, symbol>();

  constructor(options: CatalogOptions<T>) {
    this.#options = options;
    const { maxInMemory: maxSize, weigh = () => 1 } = options;
    this.#memory = new LRUCache({ maxSize, sizeCalculation: ({ record }) => Math.ceil(weigh(record)) });
  }

  /** The record at a key. */
  async get(key: Key): Promise<Entry<T> | undefined> {
    const known = this.#memory.get(key);
    const { maxAgeMs, monotonic } = this.#options;
    if (known !== undefined && (maxAgeMs === Infinity || monotonic() - known.at < maxAgeMs)) return known;
    return (await this.#read(key))?.entry;
  }

  /**
   * Makes of what is there what `decide` says, which is called again where somebody else was first.
   *
   * @returns what is there then.
   * @throws what `decide` throws: nothing has changed.
   * @throws {StoreError}
   */
  async change(key: Key, decide: (found: Entry<T> | undefined) => Decision<T>): Promise<Entry<T> | undefined> {
    return this.#changing.run(key, async () => {
      let found = await this.#read(key);
      for (;;) {
        const decision = decide(found?.entry);
        try {
          if (decision === "keep") return found?.entry;
          if (decision !== "remove") return await this.#write(key, decision.set, found?.version);
          if (found !== undefined) await this.#options.store.delete(key, { if: found.version });
          this.#forget(key);
          return undefined;
        } catch (error) {
          // What failed may have been done.
          this.#forget(key);
          if (!(error instanceof PreconditionFailed)) throw error;
          found = await this.#read(key);
        }
      }
    });
  }

  /** Sees to it that a record is younger than `maxAgeMs`, as it is relied upon; `undefined` where there is none. */
  async renew(key: Key, maxAgeMs: number): Promise<Entry<T> | undefined> {
    const { store } = this.#options;
    const isYoung = ({ writtenAt }: Entry<T>): boolean => store.now() - writtenAt < maxAgeMs;
    const known = await this.get(key);
    if (known === undefined || isYoung(known)) return known;
    return this.change(key, (found) => (found === undefined || isYoung(found) ? "keep" : { set: found.record }));
  }

  /** Changes a record as it was seen; false where it is another one by now, also an equal one that was written again. */
  async changeSeen({ key, version }: Entry<T>, decision: Decision<T>): Promise<boolean> {
    let isSeen = false;
    await this.change(key, (found) => {
      isSeen = found?.version === version;
      return isSeen ? decision : "keep";
    });
    return isSeen;
  }

  /**
   * All records below a prefix, in the order of their keys. What is there and cannot be read as one is left out.
   *
   * @param onUnreadable Told of what is left out.
   */
  async *list(
    prefix: Key,
    { after, onUnreadable }: { readonly after?: Key | undefined; readonly onUnreadable?: (key: Key) => void } = {},
  ): AsyncGenerator<Entry<T>> {
    const reading: Promise<Entry<T> | undefined>[] = [];
    const { store } = this.#options;
    try {
      for await (const { key, version } of store.list(prefix, after === undefined ? {} : { after })) {
        const known = this.#memory.get(key);
        const read = async (): Promise<Entry<T> | undefined> => {
          const found = await this.#read(key);
          if (found !== undefined && found.entry === undefined) onUnreadable?.(key);
          return found?.entry;
        };
        const entry = known?.version === version ? Promise.resolve(known) : read();
        // Whoever takes it hears of its failure.
        entry.catch(() => undefined);
        reading.push(entry);
        if (reading.length < readsAtOnce) continue;
        const next = await reading.shift();
        if (next !== undefined) yield next;
      }
      for (const next of reading) {
        const entry = await next;
        if (entry !== undefined) yield entry;
      }
    } finally {
      await Promise.allSettled(reading);
    }
  }

  async #read(key: Key): Promise<Found<T> | undefined> {
    const { store, isRecord, monotonic } = this.#options;
    const at = monotonic();
    const look = Symbol(key);
    this.#reading.set(key, look);
    try {
      const found = await readStored(store, key, isRecord);
      if (found === undefined) {
        this.#memory.delete(key);
        return undefined;
      }
      const { version, stored } = found;
      if (stored === undefined) return { version, entry: undefined };
      const entry = { key, ...stored };
      if (this.#reading.get(key) === look) this.#memory.set(key, { ...entry, at });
      return { version, entry };
    } finally {
      if (this.#reading.get(key) === look) this.#reading.delete(key);
    }
  }

  async #write(key: Key, record: T, before: Version | undefined): Promise<Entry<T>> {
    const { store, monotonic } = this.#options;
    const at = monotonic();
    const entry = { key, ...(await writeStored(store, key, record, before ?? "absent")) };
    this.#reading.delete(key);
    this.#memory.set(key, { ...entry, at });
    return entry;
  }

  /** What is in memory of a key, and what is being read of it, may be old. */
  #forget(key: Key): void {
    this.#reading.delete(key);
    this.#memory.delete(key);
  }
}
