import { constants, type Dirent, type Stats } from "node:fs";
import { type FileHandle, open, opendir, stat } from "node:fs/promises";
import type { BufferPool } from "./buffers.ts";
import { readSpan } from "./file-reader.ts";
import type { FileReader, StoredFile } from "./local-upkeep.ts";
import { codeOf, type Key, type ListOptions, type OpenObject, StoreError, type Version } from "./object-store.ts";
import { listInOrder } from "./ordered-listing.ts";
import { orAbsent, pathOf } from "./root.ts";

/** How many names a listing takes from the system at once. */
const namesAtOnce = 256;

/** How a file is opened so that reading it does not count as use. Systems other than Linux do not have that. */
export const readQuietly: number = constants.O_RDONLY | (constants.O_NOATIME ?? 0);

/** What is known of a file without reading it; `undefined` for what is no file. */
export function describeFile(key: Key, info: Stats): StoredFile | undefined {
  if (!info.isFile()) return undefined;
  const { mtimeMs, atimeMs } = info;
  const times = { writtenAt: Math.floor(mtimeMs), usedAt: Math.floor(Math.max(mtimeMs, atimeMs)) };
  return { key, sizeBytes: info.size, version: versionOf(info), ...times };
}

/** Files take each other's place by `rename` and are never changed: each has a number of its own, or a time. */
export function versionOf({ ino, mtimeMs, size }: Stats): Version {
  return `${ino}-${mtimeMs}-${size}` as Version;
}

/** What the filesystem store does without changing anything; a key is a path below `root`. */
export class FilesystemReader implements FileReader {
  readonly #root: string;
  readonly #pool: BufferPool;
  readonly #notesUse: boolean;

  /** @param notesUse Whether reading makes `usedAt` later, where the system keeps that; without it, not if avoidable. */
  constructor(root: string, pool: BufferPool, { notesUse }: { readonly notesUse: boolean }) {
    this.#root = root;
    this.#pool = pool;
    this.#notesUse = notesUse;
  }

  /** @throws {StoreError} for what is no key, such as one that would lead out of the folder. */
  path(key: Key): string {
    return pathOf(this.#root, key);
  }

  async head(key: Key): Promise<StoredFile | undefined> {
    const info = await orAbsent(stat(this.path(key)), `${key} could not be looked up`);
    return info && describeFile(key, info);
  }

  async get(key: Key): Promise<OpenObject | undefined> {
    const file = await orAbsent(this.#open(this.path(key)), `${key} could not be opened`);
    if (file === undefined) return undefined;
    try {
      const info = await file.stat();
      if (!info.isFile()) {
        await file.close();
        return undefined;
      }
      const pool = this.#pool;
      return {
        sizeBytes: info.size,
        file: key,
        version: versionOf(info),
        read: (span) => readSpan(file, span, pool),
        // Closing a file that was only read loses nothing, so its failure concerns nobody.
        close: () => file.close().catch(() => undefined),
      };
    } catch (error) {
      await file.close().catch(() => undefined);
      throw new StoreError(`${key} could not be opened`, error);
    }
  }

  async #open(path: string): Promise<FileHandle> {
    if (this.#notesUse) return open(path, "r");
    try {
      return await open(path, readQuietly);
    } catch (error) {
      // Only a file's owner may ask for that.
      if (codeOf(error) !== "EPERM") throw error;
      return open(path, "r");
    }
  }

  list(prefix: Key, options?: ListOptions): AsyncGenerator<StoredFile> {
    const entries = (folder: Key): AsyncGenerator<Dirent> => entriesOf(this.path(folder), folder);
    return listInOrder(prefix, { entries, head: (key) => this.head(key) }, options);
  }
}

/**
 * What lies in the folder at `path`, in any order; nothing where it is absent.
 *
 * @throws {StoreError} it cannot be listed; told by the name `folder`.
 */
export async function* entriesOf(path: string, folder: Key): AsyncGenerator<Dirent> {
  const names = await orAbsent(opendir(path, { bufferSize: namesAtOnce }), `${folder} could not be listed`);
  if (names === undefined) return;
  try {
    // A folder that was removed since it was opened has no more entries.
    for (let entry = await names.read(); entry !== null; entry = await names.read()) yield entry;
  } catch (error) {
    throw new StoreError(`${folder} could not be listed`, error);
  } finally {
    await names.close().catch(() => undefined);
  }
}
