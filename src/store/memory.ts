import { readFile, rm } from "node:fs/promises";
import type { Key, ObjectInfo, ObjectStore, OpenObject, Source } from "./object-store.ts";
import { StoreError } from "./object-store.ts";

/** An object store that lives as long as the process: for tests. */
export class MemoryStore implements ObjectStore {
  readonly #objects = new Map<Key, Uint8Array>();

  async head(key: Key): Promise<ObjectInfo | undefined> {
    const bytes = this.#objects.get(key);
    return bytes && { key, sizeBytes: bytes.length };
  }

  async get(key: Key): Promise<OpenObject | undefined> {
    const bytes = this.#objects.get(key);
    if (bytes === undefined) return undefined;
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
      this.#objects.set(key, Uint8Array.from(source));
      return;
    }
    try {
      this.#objects.set(key, await readFile(source.path));
      await rm(source.path);
    } catch (error) {
      throw new StoreError(`${key} could not be stored`, error);
    }
  }

  async delete(key: Key): Promise<void> {
    this.#objects.delete(key);
  }

  async *list(prefix: Key): AsyncGenerator<ObjectInfo> {
    for (const [key, bytes] of this.#objects) {
      if (key.startsWith(`${prefix}/`)) yield { key, sizeBytes: bytes.length };
    }
  }

  async close(): Promise<void> {
    this.#objects.clear();
  }
}
