import { readFile, rm } from "node:fs/promises";
import type { Key, ObjectInfo, ObjectStore, OpenObject, Source } from "./object-store.ts";
import { StoreError } from "./object-store.ts";

interface Held {
  readonly bytes: Uint8Array;
  readonly usedAt: number;
}

/** An object store that lives as long as the process: for tests. */
export class MemoryStore implements ObjectStore {
  readonly #objects = new Map<Key, Held>();
  readonly #now: () => number;

  /** @param now Milliseconds since 1970. */
  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  async head(key: Key): Promise<ObjectInfo | undefined> {
    const held = this.#objects.get(key);
    return held && { key, sizeBytes: held.bytes.length, usedAt: held.usedAt };
  }

  async get(key: Key): Promise<OpenObject | undefined> {
    const held = this.#objects.get(key);
    if (held === undefined) return undefined;
    const { bytes } = held;
    return {
      sizeBytes: bytes.length,
      async *read(span) {
        if (span.end > span.start) yield bytes.subarray(span.start, span.end);
      },
      close: async () => undefined,
    };
  }

  async put(key: Key, source: Source): Promise<void> {
    if (source instanceof Uint8Array) {
      this.#objects.set(key, { bytes: Uint8Array.from(source), usedAt: this.#now() });
      return;
    }
    try {
      this.#objects.set(key, { bytes: await readFile(source.path), usedAt: this.#now() });
      await rm(source.path);
    } catch (error) {
      throw new StoreError(`${key} could not be stored`, error);
    }
  }

  async move(from: Key, to: Key): Promise<boolean> {
    const held = this.#objects.get(from);
    if (held === undefined) return false;
    this.#objects.delete(from);
    this.#objects.set(to, held);
    return true;
  }

  async delete(key: Key): Promise<void> {
    this.#objects.delete(key);
  }

  async *list(prefix: Key): AsyncGenerator<ObjectInfo> {
    for (const [key, { bytes, usedAt }] of this.#objects) {
      if (key.startsWith(`${prefix}/`)) yield { key, sizeBytes: bytes.length, usedAt };
    }
  }

  async close(): Promise<void> {
    this.#objects.clear();
  }
}
