import { setImmediate as turn } from "node:timers/promises";
import { open, stat } from "node:fs/promises";
import { BufferPool } from "../../src/store/buffers.ts";
import { readSpan } from "../../src/store/file-reader.ts";
import {
  assertCondition,
  type Key,
  type ListOptions,
  type ObjectInfo,
  type ObjectStore,
  type OpenObject,
  type PutOptions,
  type Source,
  type Staged,
  StoreError,
  type Version,
} from "../../src/store/object-store.ts";
import { readWhole } from "../../src/store/read-whole.ts";

/** A store that does some things in another way, and the rest as `store` does. */
export function storeWith(store: ObjectStore, changed: Partial<ObjectStore>): ObjectStore {
  return {
    head: (key) => store.head(key),
    get: (key) => store.get(key),
    put: (key, source, options) => store.put(key, source, options),
    delete: (key, options) => store.delete(key, options),
    list: (prefix, options) => store.list(prefix, options),
    close: () => store.close(),
    ...changed,
  };
}

/** A file that is whole, as a source. */
export async function stagedFile(path: string): Promise<Staged> {
  const { size } = await stat(path);
  return stagedAt(path, size);
}

/** A file of so many bytes, or one that is to be missed. */
export function stagedAt(path: string, sizeBytes: number): Staged {
  return {
    path,
    sizeBytes,
    async open() {
      const file = await open(path);
      const pool = new BufferPool();
      return {
        sizeBytes,
        version: path as Version,
        read: (span) => readSpan(file, span, pool),
        close: () => file.close(),
      };
    },
  };
}

const pageSize = 2;

/**
 * A store that is in all that the contract leaves open as little like a folder as can be, so that nothing above counts
 * on one: each operation takes some turns, a listing comes in pages that are asked for one by one, what is read comes a
 * few bytes at a time in memory that is used again, each write makes another version of even the same bytes, and a
 * staged file is only ever opened.
 */
export class RemoteStore implements ObjectStore {
  readonly #objects = new Map<Key, { readonly bytes: Uint8Array; readonly version: Version }>();
  #writes = 0;

  async head(key: Key): Promise<ObjectInfo | undefined> {
    await turn();
    const held = this.#objects.get(key);
    return held && { key, sizeBytes: held.bytes.length, version: held.version };
  }

  async get(key: Key): Promise<OpenObject | undefined> {
    await turn();
    const held = this.#objects.get(key);
    return held && { sizeBytes: held.bytes.length, version: held.version, read: readInParts(held.bytes), close: turn };
  }

  async put(key: Key, source: Source, options: PutOptions = {}): Promise<Version> {
    const bytes = await bytesOf(source);
    await turn();
    const held = this.#objects.get(key);
    assertCondition(key, held && { key, sizeBytes: held.bytes.length, version: held.version }, options.if);
    const version = `"${(++this.#writes).toString(36)}"` as Version;
    this.#objects.set(key, { bytes, version });
    await turn();
    return version;
  }

  async delete(key: Key, options: { readonly if?: Version } = {}): Promise<void> {
    await turn();
    const held = this.#objects.get(key);
    assertCondition(key, held && { key, sizeBytes: held.bytes.length, version: held.version }, options.if);
    this.#objects.delete(key);
  }

  async *list(prefix: Key, { after = "" as Key }: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    for (let last = after; ;) {
      await turn();
      const page = [...this.#objects.keys()]
        .filter((key) => key.startsWith(`${prefix}/`) && key > last)
        .toSorted()
        .slice(0, pageSize);
      for (const key of page) {
        const info = await this.head(key);
        if (info !== undefined) yield info;
        last = key;
      }
      if (page.length < pageSize) return;
    }
  }

  async close(): Promise<void> {
    this.#objects.clear();
  }
}

async function bytesOf(source: Source): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return Uint8Array.from(source);
  try {
    return (await readWhole(await source.open(), Infinity)) ?? new Uint8Array(0);
  } catch (error) {
    throw new StoreError("a staged file could not be read", error);
  }
}

function readInParts(bytes: Uint8Array): OpenObject["read"] {
  return async function* ({ start, end }) {
    const most = Math.max(1, Math.ceil(bytes.length / 7));
    const buffer = new Uint8Array(Math.min(most, end - start));
    for (let position = start; position < end; position += most) {
      const part = bytes.subarray(position, Math.min(end, position + most));
      await turn();
      buffer.set(part);
      yield buffer.subarray(0, part.length);
    }
  };
}
