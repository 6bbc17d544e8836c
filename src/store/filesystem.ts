import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, mkdir, open, opendir, rename, rm, stat, unlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BufferPool } from "./buffers.ts";
import { readSpan } from "./file-reader.ts";
import type { Lock } from "./lock.ts";
import type { Key, ObjectInfo, ObjectStore, OpenObject, Source } from "./object-store.ts";
import { StoreError } from "./object-store.ts";
import { flush, flushFolders, format, orAbsent, own, RootError, temporaryFolder } from "./root.ts";

const retryMs = 3_000;

/**
 * An object store in a folder: a key is a path below `root`. What is not finished yet lies in `root/tmp`, is flushed,
 * and is moved to its place by `rename`.
 *
 * One process at a time owns the folder. A folder that cannot be written is opened all the same, so that what it holds
 * can be served; then `unwritable` says why, and `put` and `probe` fail. They also try again, every few seconds, to own
 * the folder: nothing is stored without the lock and the format file.
 */
export class FilesystemStore implements ObjectStore {
  /** Where staging files belong: the same file system as the objects, so that `put` can move them. */
  readonly temporaryPath: string;
  readonly #root: string;
  readonly #pool: BufferPool;
  readonly #now: () => number;
  #lock: Lock | undefined;
  #unwritable: StoreError | undefined;
  /** The latest attempt to own the folder; `endedAt` is infinite while it runs. */
  #attempt: Promise<void> = Promise.resolve();
  #attemptEndedAt = -Infinity;

  private constructor(root: string, pool: BufferPool, now: () => number) {
    this.#root = root;
    this.#pool = pool;
    this.#now = now;
    this.temporaryPath = join(root, temporaryFolder);
  }

  /** Why the folder cannot be written, as of the last attempt; `undefined` from the first that succeeds on. */
  get unwritable(): StoreError | undefined {
    return this.#unwritable;
  }

  /**
   * Opens `root`, which is made where it does not exist, and removes what an earlier process left unfinished.
   *
   * @param now Milliseconds, for the time between two attempts to own a folder that could not be written.
   * @throws {RootError} another process has it, its format is of another version, or it holds another program's data.
   */
  static async open(
    root: string,
    pool: BufferPool = new BufferPool(),
    now: () => number = () => performance.now(),
  ): Promise<FilesystemStore> {
    const store = new FilesystemStore(root, pool, now);
    try {
      await store.#own();
    } catch (error) {
      if (error instanceof RootError) throw error;
      return store;
    }
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

  /**
   * Stores an object. Where a folder cannot be flushed after the object is in its place, the put has succeeded all the
   * same: the object is whole and visible. A power failure may lose it, and then it is absent, never wrong.
   *
   * @throws {StoreError} it is not stored; `unwritable` where the folder is not ours to write.
   */
  async put(key: Key, source: Source, options: { durable?: boolean } = {}): Promise<void> {
    const durable = options.durable ?? true;
    const target = this.#path(key);
    await this.#becomeWritable();
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
      const made = await mkdir(folder, { recursive: true });
      await rename(path, target);
      // Folders are flushed also for an object that need not be durable: later ones in them may have to be.
      if (durable || made !== undefined) await flushFolders(folder, made === undefined ? folder : dirname(made));
    } catch (error) {
      await rm(staged, { force: true }).catch(() => undefined);
      throw new StoreError(`${key} could not be stored`, error);
    }
    if (!(source instanceof Uint8Array) && path === staged) {
      await rm(source.path, { force: true }).catch(() => undefined);
    }
  }

  async delete(key: Key): Promise<void> {
    await orAbsent(unlink(this.#path(key)), `${key} could not be deleted`);
  }

  async *list(prefix: Key): AsyncGenerator<ObjectInfo> {
    const folder = await orAbsent(opendir(this.#path(prefix)), `${prefix} could not be listed`);
    if (folder === undefined) return;
    try {
      for await (const entry of folder) {
        const key = `${prefix}/${entry.name}` as Key;
        if (entry.isDirectory()) {
          yield* this.list(key);
        } else {
          const info = await this.head(key);
          if (info !== undefined) yield info;
        }
      }
    } catch (error) {
      throw error instanceof StoreError ? error : new StoreError(`${prefix} could not be listed`, error);
    }
  }

  /** Whether a small file can be written now; throws `StoreError` where it cannot. */
  async probe(): Promise<void> {
    await this.#becomeWritable();
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
    await this.#attempt.catch(() => undefined);
    this.#lock?.release();
  }

  /** @throws {StoreError} `unwritable`, where the folder is still not ours. */
  async #becomeWritable(): Promise<void> {
    if (this.#unwritable === undefined) return;
    // No sweep here: staging files of this process may lie in the temporary folder by now.
    if (this.#now() - this.#attemptEndedAt >= retryMs) this.#attempt = this.#own();
    await this.#attempt.catch(() => undefined);
    throwIfDefined(this.#unwritable);
  }

  /** Takes the lock and sees to the format file; sets `unwritable` and throws the reason where that fails. */
  async #own(): Promise<void> {
    this.#attemptEndedAt = Infinity;
    try {
      this.#lock = await own(this.#root);
      this.#unwritable = undefined;
    } catch (error) {
      this.#unwritable = new StoreError(`${this.#root} cannot be written`, error);
      throw error;
    } finally {
      this.#attemptEndedAt = this.#now();
    }
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

function throwIfDefined(error: Error | undefined): void {
  if (error !== undefined) throw error;
}
