import type { LRUCache } from "lru-cache";
import { boundedMap } from "../concurrency/bounded-map.ts";
import type { Key, ObjectStore } from "../store/object-store.ts";
import { KeyedQueue } from "../concurrency/keyed-queue.ts";
import { readRecord } from "../store/read-record.ts";

/** Who keeps account of a record that is written. */
export interface RecordWrite<T> {
  /**
   * Called with the record's size when its turn to be written has come. Where it answers false the record is not wanted
   * any more, and is forgotten; `later`: it is not written now, stays as it is shown, and is set again.
   */
  admit(sizeBytes: number): Promise<boolean | "later">;
  /** What has to be stored before it, once it was admitted: where that fails, it is not written. */
  before?(): Promise<void>;
  /** Called where it was admitted and could not be written, with what is stored in its place. */
  correct(stored: T | undefined): Promise<void>;
}

/** The write of a record that nobody keeps account of. */
export const unaccounted: RecordWrite<unknown> = { admit: async () => true, correct: async () => undefined };

/** How records of a kind are kept. */
export interface RecordsOptions<T> {
  /** Whether what was read is such a record. */
  readonly isRecord: (value: unknown) => value is T;
  /** How many stay in memory; 0: none. */
  readonly maxInMemory: number;
  /** Whether a record that could not be stored stays in memory, for as long as there is room. */
  readonly believesUnstored?: boolean;
}

/**
 * Small JSON records of one kind, by key. What is set or removed is so for readers at once, and reaches the store in
 * the order in which it was asked for, key by key. One process owns the store and every write goes through here, so
 * that what is in memory is what is, or will be, stored.
 */
export class Records<T extends object> {
  readonly #store: ObjectStore;
  readonly #believesUnstored: boolean;
  readonly #isRecord: (value: unknown) => value is T;
  readonly #memory: LRUCache<Key, T> | undefined;
  readonly #reading = new Map<Key, Promise<T | undefined>>();
  /** The last record of each key that is being written, also where none stays in memory. */
  readonly #unwritten = new Map<Key, T>();
  /** Writes and removals. */
  readonly #writing = new KeyedQueue<Key>();
  /** How many removals of a key are waiting or under way. */
  readonly #removing = new Map<Key, number>();

  constructor(store: ObjectStore, { isRecord, maxInMemory, believesUnstored = false }: RecordsOptions<T>) {
    this.#believesUnstored = believesUnstored;
    this.#store = store;
    this.#isRecord = isRecord;
    this.#memory = maxInMemory > 0 ? boundedMap(maxInMemory) : undefined;
  }

  /** A record. What cannot be read as one was torn by a power failure, and is as good as absent. */
  async get(key: Key): Promise<T | undefined> {
    const known = this.peek(key);
    if (known !== undefined || this.#removing.has(key)) return known;
    const reading = this.#reading.get(key) ?? this.#read(key);
    this.#reading.set(key, reading);
    try {
      return await reading;
    } finally {
      if (this.#reading.get(key) === reading) this.#reading.delete(key);
    }
  }

  /** The record as far as it is in memory. */
  peek(key: Key): T | undefined {
    return this.#memory?.get(key) ?? this.#unwritten.get(key);
  }

  /** Lets readers see a record that will be written. */
  show(key: Key, record: T): void {
    this.#memory?.set(key, record);
  }

  /** Takes back what `show` has shown, where nothing else was shown since: the store says what is. */
  forget(key: Key, record: T): void {
    if (this.#memory?.peek(key) === record) this.#memory.delete(key);
    if (this.#unwritten.get(key) === record) this.#unwritten.delete(key);
  }

  /** Whether it is being removed. */
  isRemoving(key: Key): boolean {
    return this.#removing.has(key);
  }

  /** The record as it is stored, whatever will be. */
  async stored(key: Key): Promise<T | undefined> {
    return readRecord(this.#store, key, this.#isRecord);
  }

  /**
   * Sets a record. Where it cannot be written it is forgotten, unless such records are believed all the same
   * (`believesUnstored`).
   *
   * @param durable Whether it must outlive a power failure once this resolves.
   */
  async set(key: Key, record: T, durable: boolean, books: RecordWrite<T>): Promise<void> {
    this.show(key, record);
    this.#unwritten.set(key, record);
    const bytes = Buffer.from(JSON.stringify(record));
    await this.#writing.run(key, async () => {
      try {
        const admitted = await books.admit(bytes.length);
        if (admitted === false) this.forget(key, record);
        if (admitted === true) await this.#write(key, bytes, durable, books);
      } catch (error) {
        if (!this.#believesUnstored) this.forget(key, record);
        throw error;
      } finally {
        if (this.#unwritten.get(key) === record) this.#unwritten.delete(key);
      }
    });
  }

  /**
   * Removes a record, in order with writes: readers find it absent at once, also those that are reading it now, and
   * what is set from now on is written after it is gone. When its turn has come, `around` is called, and calls `erase`.
   */
  async remove(key: Key, around: (erase: () => Promise<void>) => Promise<void>): Promise<void> {
    this.#memory?.delete(key);
    this.#unwritten.delete(key);
    this.#removing.set(key, (this.#removing.get(key) ?? 0) + 1);
    await this.#writing.run(key, async () => {
      try {
        // A read that has begun would put what it finds into the memory after the removal.
        await this.#reading.get(key)?.catch(() => undefined);
        await around(() => this.#store.delete(key));
      } finally {
        const left = (this.#removing.get(key) ?? 1) - 1;
        if (left > 0) this.#removing.set(key, left);
        else this.#removing.delete(key);
      }
    });
  }

  async #read(key: Key): Promise<T | undefined> {
    const record = await this.stored(key);
    // What was set while the store was read is newer than what was read.
    const newer = this.peek(key);
    if (newer !== undefined || this.#removing.has(key)) return newer;
    if (record !== undefined) this.#memory?.set(key, record);
    return record;
  }

  async #write(key: Key, bytes: Buffer, durable: boolean, books: RecordWrite<T>): Promise<void> {
    try {
      await books.before?.();
      await this.#store.put(key, bytes, { durable });
    } catch (error) {
      const stored = await this.stored(key).catch(() => "unknown" as const);
      if (stored !== "unknown") await books.correct(stored);
      throw error;
    }
  }
}
