import { constants, type Dir, type Stats } from "node:fs";
import { type FileHandle, open, opendir, stat } from "node:fs/promises";
import type { BufferPool } from "./buffers.ts";
import { readSpan } from "./file-reader.ts";
import { codeOf, type Key, type ObjectInfo, type ObjectReader, type OpenObject, StoreError } from "./object-store.ts";
import { orAbsent, pathOf } from "./root.ts";

/** How many names a listing takes from the system at once. */
const namesAtOnce = 256;
/** How many files a listing looks up at once: one of the few threads for files is kept busy, most are left to others. */
const lookUpsAtOnce = 2;

interface OpenFolder {
  readonly key: Key;
  readonly names: Dir;
}

/** How a file is opened so that reading it does not count as use. Systems other than Linux do not have that. */
export const readQuietly: number = constants.O_RDONLY | (constants.O_NOATIME ?? 0);

/** What is known of a file without reading it; `undefined` for what is no file. */
export function describeFile(key: Key, info: Stats): ObjectInfo | undefined {
  if (!info.isFile()) return undefined;
  return { key, sizeBytes: info.size, usedAt: Math.floor(Math.max(info.mtimeMs, info.atimeMs)) };
}

/** What the filesystem store does without changing anything; a key is a path below `root`. */
export class FilesystemReader implements ObjectReader {
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

  async head(key: Key): Promise<ObjectInfo | undefined> {
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

  /** Holds one open folder for each level and a few objects, however many there are. */
  async *list(prefix: Key, onUnreadable?: (error: StoreError) => void): AsyncGenerator<ObjectInfo> {
    const path: OpenFolder[] = [];
    const skip = (error: unknown): undefined => {
      if (onUnreadable === undefined) throw error;
      onUnreadable(error instanceof StoreError ? error : new StoreError("a folder could not be read", error));
      return undefined;
    };
    const enter = async (key: Key): Promise<void> => {
      const opened = opendir(this.path(key), { bufferSize: namesAtOnce });
      const names = await orAbsent(opened, `${key} could not be listed`);
      if (names !== undefined) path.push({ key, names });
    };
    try {
      await enter(prefix);
      for (let folder = path.at(-1); folder !== undefined; folder = path.at(-1)) {
        // Of the first folder everything would be left out.
        const some = readSome(folder);
        const { files, inner, ended } = (await (path.length > 1 ? some.catch(skip) : some)) ?? unreadRest;
        for (const info of await Promise.all(files.map((key) => this.head(key).catch(skip)))) {
          if (info !== undefined) yield info;
        }
        if (ended) await path.pop()?.names.close();
        if (inner !== undefined) await enter(inner).catch(skip);
      }
    } catch (error) {
      throw error instanceof StoreError ? error : new StoreError(`${prefix} could not be listed`, error);
    } finally {
      for (const { names } of path) await names.close().catch(() => undefined);
    }
  }
}

/** Some of a folder: files, up to a folder in it or the end. */
interface FolderPart {
  readonly files: readonly Key[];
  readonly inner?: Key;
  readonly ended?: boolean;
}

/** What is left of a folder that cannot be read on. */
const unreadRest: FolderPart = { files: [], ended: true };

/** The next few files of a folder. */
async function readSome(folder: OpenFolder): Promise<FolderPart> {
  const files: Key[] = [];
  while (files.length < lookUpsAtOnce) {
    // A folder that was removed since it was opened has no more entries.
    const entry = await folder.names.read();
    if (entry === null) return { files, ended: true };
    const key = `${folder.key}/${entry.name}` as Key;
    if (entry.isDirectory()) return { files, inner: key };
    files.push(key);
  }
  return { files };
}
