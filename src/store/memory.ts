import { readWhole } from "./read-whole.ts";
import {
  assertCondition,
  type DatedStore,
  type Key,
  type ListOptions,
  type OpenObject,
  type PutOptions,
  type Source,
  StoreError,
  type Version,
} from "./object-store.ts";
import type { FileReader, StoredFile } from "./local-upkeep.ts";

interface Held extends StoredFile {
  readonly bytes: Uint8Array;
}

/** An object store that lives as long as the process: for tests. */
export class MemoryStore implements DatedStore {
  readonly #objects = new Map<Key, Held>();
  readonly #now: () => number;
  #puts = 0;

  /** @param now Milliseconds since 1970. */
  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  async head(key: Key): Promise<StoredFile | undefined> {
    return infoOf(this.#objects.get(key));
  }

  async get(key: Key): Promise<OpenObject | undefined> {
    const held = this.#objects.get(key);
    return held && openBytes(held);
  }

  async put(key: Key, source: Source, options: PutOptions = {}): Promise<Version> {
    const bytes = await bytesOf(key, source);
    assertCondition(key, this.#objects.get(key), options.if);
    const version = String(++this.#puts) as Version;
    this.#objects.set(key, {
      key,
      bytes,
      sizeBytes: bytes.length,
      version,
      writtenAt: this.#now(),
      usedAt: this.#now(),
    });
    return version;
  }

  async delete(key: Key, options: { readonly if?: Version } = {}): Promise<void> {
    assertCondition(key, this.#objects.get(key), options.if);
    this.#objects.delete(key);
  }

  async *list(prefix: Key, { after = "" as Key }: ListOptions = {}): AsyncGenerator<StoredFile> {
    const keys = [...this.#objects.keys()].filter((key) => key.startsWith(`${prefix}/`) && key > after);
    for (const key of keys.toSorted()) {
      const info = infoOf(this.#objects.get(key));
      if (info !== undefined) yield info;
    }
  }

  /** See `LocalUpkeep`. */
  get caretaker(): FileReader {
    return this;
  }

  /** See `LocalUpkeep`. */
  async move(from: Key, to: Key): Promise<boolean> {
    const held = this.#objects.get(from);
    if (held === undefined) return false;
    this.#objects.delete(from);
    this.#objects.set(to, { ...held, key: to });
    return true;
  }

  /** See `LocalUpkeep`. */
  async renew(key: Key): Promise<boolean> {
    const held = this.#objects.get(key);
    if (held !== undefined) await this.put(key, held.bytes);
    return held !== undefined;
  }

  now(): number {
    return this.#now();
  }

  async close(): Promise<void> {
    this.#objects.clear();
  }
}

function infoOf(held: Held | undefined): StoredFile | undefined {
  if (held === undefined) return undefined;
  const { bytes: _bytes, ...info } = held;
  return info;
}

function openBytes({ bytes, version }: Pick<Held, "bytes" | "version">): OpenObject {
  return {
    sizeBytes: bytes.length,
    version,
    async *read(span) {
      if (span.end > span.start) yield bytes.subarray(span.start, span.end);
    },
    close: async () => undefined,
  };
}

async function bytesOf(key: Key, source: Source): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return Uint8Array.from(source);
  try {
    return (await readWhole(await source.open(), Infinity)) ?? new Uint8Array(0);
  } catch (error) {
    throw new StoreError(`${key} could not be stored`, error);
  }
}
