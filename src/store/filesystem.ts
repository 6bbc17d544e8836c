import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import {
  access,
  copyFile,
  mkdir,
  open,
  opendir,
  readFile,
  rename,
  rm,
  stat,
  unlink,
  writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { BufferPool } from "./buffers.ts";
import { readSpan } from "./file-reader.ts";
import { acquireLock, type Lock } from "./lock.ts";
import type { Key, ObjectInfo, ObjectStore, OpenObject, Source } from "./object-store.ts";
import { StoreError } from "./object-store.ts";

const format = "entrepot 1\n";
const dataFolders = ["blobs", "repositories"];
const temporaryFolder = "tmp";

/** The folder is in use by another process, or holds something that is not ours: starting on it would do harm. */
export class RootError extends Error {
  override readonly name = "RootError";
}

/**
 * An object store in a folder: a key is a path below `root`. What is not finished yet lies in `root/tmp`, is flushed,
 * and is moved to its place by `rename`.
 *
 * One process at a time owns the folder. A folder that cannot be written is opened all the same, so that what it holds
 * can be served; then `unwritable` says why, and each `put` fails.
 */
export class FilesystemStore implements ObjectStore {
  /** Where staging files belong: the same file system as the objects, so that `put` can move them. */
  readonly temporaryPath: string;
  /** Why the folder could not be written when it was opened. */
  readonly unwritable: StoreError | undefined;
  readonly #root: string;
  readonly #pool: BufferPool;
  readonly #lock: Lock | undefined;

  private constructor(root: string, pool: BufferPool, lock: Lock | undefined, unwritable: StoreError | undefined) {
    this.#root = root;
    this.#pool = pool;
    this.#lock = lock;
    this.unwritable = unwritable;
    this.temporaryPath = join(root, temporaryFolder);
  }

  /**
   * Opens `root`, which is made where it does not exist, and removes what an earlier process left unfinished.
   *
   * @throws {RootError} another process has it, its format is of another version, or it holds another program's data.
   */
  static async open(root: string, pool: BufferPool = new BufferPool()): Promise<FilesystemStore> {
    let lock: Lock | undefined;
    try {
      await mkdir(join(root, temporaryFolder), { recursive: true });
      await access(join(root, temporaryFolder), constants.W_OK);
      lock = acquireLock(join(root, "lock"));
      if (lock === undefined) {
        throw new RootError(`${root} is in use by another process; give each process a folder of its own`);
      }
      await claimFormat(root);
    } catch (error) {
      lock?.release();
      if (error instanceof RootError) throw error;
      return new FilesystemStore(root, pool, undefined, new StoreError(`${root} cannot be written`, error));
    }
    const store = new FilesystemStore(root, pool, lock, undefined);
    await store.#sweep();
    return store;
  }

  async head(key: Key): Promise<ObjectInfo | undefined> {
    const info = await orAbsent(stat(this.#path(key)), `${key} could not be looked up`);
    return info?.isFile() ? { key, sizeBytes: info.size } : undefined;
  }

  async get(key: Key): Promise<OpenObject | undefined> {
    const file = await orAbsent(open(this.#path(key), "r"), `${key} could not be opened`);
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

  async put(key: Key, source: Source, options: { durable?: boolean } = {}): Promise<void> {
    const durable = options.durable ?? true;
    const target = this.#path(key);
    const staged = join(this.temporaryPath, randomUUID());
    let path = staged;
    try {
      if (source instanceof Uint8Array) {
        await writeFile(staged, source, { flag: "wx", flush: durable });
      } else if (dirname(source.path) === this.temporaryPath) {
        path = source.path;
        if (durable) await flush(path);
      } else {
        await copyFile(source.path, staged, constants.COPYFILE_EXCL);
        if (durable) await flush(staged);
      }
      const folder = dirname(target);
      await mkdir(folder, { recursive: true });
      await rename(path, target);
      if (durable) await flush(folder);
      if (!(source instanceof Uint8Array) && path === staged) await rm(source.path, { force: true });
    } catch (error) {
      await rm(staged, { force: true }).catch(() => undefined);
      throw new StoreError(`${key} could not be stored`, error);
    }
  }

  async delete(key: Key): Promise<void> {
    await orAbsent(unlink(this.#path(key)), `${key} could not be deleted`);
  }

  async *list(prefix: Key): AsyncGenerator<ObjectInfo> {
    const folder = await orAbsent(opendir(this.#path(prefix)), `${prefix} could not be listed`);
    if (folder === undefined) return;
    for await (const entry of folder) {
      const key = `${prefix}/${entry.name}` as Key;
      if (entry.isDirectory()) {
        yield* this.list(key);
      } else {
        const info = await this.head(key);
        if (info !== undefined) yield info;
      }
    }
  }

  /** Whether a small file can be written now; throws `StoreError` where it cannot. */
  async probe(): Promise<void> {
    const path = join(this.temporaryPath, randomUUID());
    try {
      await writeFile(path, format, { flag: "wx" });
    } catch (error) {
      throw new StoreError(`${this.#root} cannot be written`, error);
    } finally {
      await rm(path, { force: true }).catch(() => undefined);
    }
  }

  async close(): Promise<void> {
    this.#lock?.release();
  }

  /** What lies in the temporary folder when a process starts was left by one that was killed. */
  async #sweep(): Promise<void> {
    const folder = await opendir(this.temporaryPath);
    for await (const entry of folder) {
      await rm(join(this.temporaryPath, entry.name), { recursive: true, force: true });
    }
  }

  #path(key: Key): string {
    if (key.startsWith("/") || key.split("/").includes("..")) throw new StoreError(`${key} is not a key`, undefined);
    return join(this.#root, key);
  }
}

async function claimFormat(root: string): Promise<void> {
  const path = join(root, "format");
  const found = await orAbsent(readFile(path, "utf8"), "the format file could not be read");
  if (found === format) return;
  if (found !== undefined) {
    throw new RootError(
      `${path} says ${JSON.stringify(found.trim())}, this version reads ${JSON.stringify(format.trim())}`,
    );
  }
  for (const name of [...dataFolders, "manifests"]) {
    if ((await orAbsent(stat(join(root, name)), `${name} could not be looked up`)) !== undefined) {
      throw new RootError(
        `${root} holds data of another program (${name}/ without a format file); use an empty folder`,
      );
    }
  }
  await writeFile(path, format, { flush: true });
}

async function flush(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** `undefined` where the path (or a folder on the way) does not exist, `StoreError` for every other failure. */
async function orAbsent<T>(operation: Promise<T>, message: string): Promise<T | undefined> {
  try {
    return await operation;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "ENOENT" || code === "ENOTDIR" || code === "EISDIR") return undefined;
    throw new StoreError(message, error);
  }
}
