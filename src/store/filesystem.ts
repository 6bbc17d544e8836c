import type { Stats } from "node:fs";
import { type FileHandle, lstat, open, readdir, rm, statfs, utimes, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { boundedMap } from "../concurrency/bounded-map.ts";
import { KeyedQueue } from "../concurrency/keyed-queue.ts";
import { BufferPool } from "./buffers.ts";
import { FilesystemReader, versionOf } from "./filesystem-reader.ts";
import { openInPlace, putInPlace, removeEmptied, removeEmptyFolders } from "./folders.ts";
import { hostedUploadKey, hostedUploadsPrefix } from "./hosted-layout.ts";
import type { Lock } from "./lock.ts";
import type { FileReader, LocalUpkeep, Removed, StoredFile } from "./local-upkeep.ts";
import {
  assertCondition,
  type DatedStore,
  type Key,
  type ListOptions,
  type OpenObject,
  PreconditionFailed,
  type PutOptions,
  type Source,
  type Staged,
  StoreError,
  type Version,
} from "./object-store.ts";
import { flush, flushFolders, format, isAbsence, orAbsent, own, RootError, temporaryFolder } from "./root.ts";
import { TemporaryFolder } from "./temporary-folder.ts";

const retryMs = 3_000;
/** Of how many folders it is remembered that they are flushed. */
const lastingFolders = 4_096;

/**
 * An object store in a folder: a key is a path below `root`. What is not finished yet lies in `root/tmp`, is flushed,
 * and is moved to its place by `rename`.
 *
 * One process at a time owns the folder. A folder that cannot be written is opened all the same, so that what it holds
 * can be served; then `unwritable` says why, and `put` and `probe` fail. They also try again, every few seconds, to own
 * the folder: nothing is stored without the lock and the format file.
 */
export class FilesystemStore implements DatedStore, LocalUpkeep {
  readonly temporaryPath: string;
  readonly caretaker: FileReader;
  readonly #root: string;
  readonly #uploadsPath: string;
  readonly #reader: FilesystemReader;
  readonly #temporary: TemporaryFolder;
  readonly #now: () => number;
  /** What takes its place, or goes, one after the other for each key: a condition holds until the write is done. */
  readonly #placing = new KeyedQueue<Key>();
  /** Folders whose names are known to outlive a power failure, and those of the folders that lead to them. */
  readonly #lasting = boundedMap<string, true>(lastingFolders);
  #lock: Lock | undefined;
  #unwritable: StoreError | undefined;
  /** The latest attempt to own the folder; `endedAt` is infinite while it runs. */
  #attempt: Promise<void> = Promise.resolve();
  #attemptEndedAt = -Infinity;
  #swept: Removed = { count: 0, bytes: 0 };

  private constructor(root: string, pool: BufferPool, now: () => number) {
    this.#root = root;
    this.#now = now;
    this.#reader = new FilesystemReader(root, pool, { notesUse: true });
    this.caretaker = new FilesystemReader(root, pool, { notesUse: false });
    this.temporaryPath = join(root, temporaryFolder);
    this.#uploadsPath = this.#reader.path(hostedUploadsPrefix);
    this.#temporary = new TemporaryFolder(this.temporaryPath);
  }

  /** Why the folder cannot be written, as of the last attempt; `undefined` from the first that succeeds on. */
  get unwritable(): StoreError | undefined {
    return this.#unwritable;
  }

  get swept(): Removed {
    return this.#swept;
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
    store.#swept = await store.#temporary.sweep();
    return store;
  }

  head(key: Key): Promise<StoredFile | undefined> {
    return this.#reader.head(key);
  }

  get(key: Key): Promise<OpenObject | undefined> {
    return this.#reader.get(key);
  }

  list(prefix: Key, options?: ListOptions): AsyncGenerator<StoredFile> {
    return this.#reader.list(prefix, options);
  }

  /**
   * Stores an object. Where a folder cannot be flushed after the object is in its place, the put has succeeded all the
   * same: the object is whole and visible. A power failure may lose it, and then it is absent, never wrong.
   *
   * @throws {StoreError} it is not stored; `unwritable` where the folder is not ours to write.
   */
  async put(key: Key, source: Source, options: PutOptions = {}): Promise<Version> {
    const { durable = true, if: condition } = options;
    const target = this.#reader.path(key);
    await this.#becomeWritable();
    const staged = this.#temporary.newPath();
    try {
      const path = await this.#stage(source, staged, durable);
      return await this.#placing.run(key, async () => {
        if (condition !== undefined) assertCondition(key, await this.head(key), condition);
        const version = versionOf(await lstat(path));
        await this.#placeAndFlush(path, target, durable);
        return version;
      });
    } catch (error) {
      await rm(staged, { force: true }).catch(() => undefined);
      throw error instanceof PreconditionFailed ? error : new StoreError(`${key} could not be stored`, error);
    }
  }

  /**
   * Opens the file of an upload to be written, and makes it where there is none. It outlives the process. Who got it
   * closes it.
   *
   * @throws {StoreError}
   */
  async openUpload(session: string): Promise<{ readonly path: string; readonly file: FileHandle }> {
    const key = hostedUploadKey(session);
    await this.#becomeWritable();
    try {
      const path = this.#reader.path(key);
      return { path, file: await openInPlace(path) };
    } catch (error) {
      throw new StoreError(`${key} could not be opened`, error);
    }
  }

  /** The file of an upload as it is now, for `put` to take to itself; `undefined` where there is none. */
  async stagedUpload(session: string): Promise<(Staged & StoredFile) | undefined> {
    const key = hostedUploadKey(session);
    const found = await this.head(key);
    return found && { ...found, path: this.#reader.path(key), open: () => this.#openExpected(key) };
  }

  /** By the clock of this machine, as the files' times are. */
  now(): number {
    return Date.now();
  }

  async move(from: Key, to: Key): Promise<boolean> {
    const source = this.#reader.path(from);
    const target = this.#reader.path(to);
    if ((await this.head(from)) === undefined) return false;
    await this.#becomeWritable();
    // In one order for all, so that none waits for another that waits for it.
    const [first = from, second = to] = [from, to].toSorted();
    const place = (): Promise<void> => this.#placeAndFlush(source, target, true);
    try {
      await this.#placing.run(first, () => this.#placing.run(second, place));
      await flushFolders(dirname(source), dirname(source));
      await this.#removeEmptied(dirname(source));
    } catch (error) {
      if (isAbsence(error) && (await this.head(from)) === undefined) return false;
      throw new StoreError(`${from} could not be moved to ${to}`, error);
    }
    return true;
  }

  async renew(key: Key): Promise<boolean> {
    await this.#becomeWritable();
    return this.#placing.run(key, async () => {
      if ((await this.head(key)) === undefined) return false;
      const now = new Date();
      await orAbsent(utimes(this.#reader.path(key), now, now), `${key} could not be renewed`);
      return true;
    });
  }

  /**
   * Deletes an object, and the folders that hold nothing without it.
   *
   * @throws {StoreError} it is there still; or it is gone, but its space is not free (`removeLeftovers` tries again).
   */
  async delete(key: Key, options: { readonly if?: Version } = {}): Promise<void> {
    await this.#placing.run(key, async () => {
      // Folders are not objects, and must not be taken away.
      const found = await this.head(key);
      assertCondition(key, found, options.if);
      if (found === undefined) return;
      await this.#becomeWritable();
      try {
        const path = this.#reader.path(key);
        await this.#temporary.remove(path);
        await this.#removeEmptied(dirname(path));
      } catch (error) {
        throw new StoreError(`${key} could not be deleted`, error);
      }
    });
  }

  async removeEmptyFolders(prefix: Key, { dryRun = false }: { dryRun?: boolean } = {}): Promise<number> {
    const path = this.#reader.path(prefix);
    if (!dryRun) await this.#becomeWritable();
    try {
      this.#lasting.clear();
      return (await removeEmptyFolders(path, dryRun)).count;
    } catch (error) {
      throw new StoreError(`the empty folders below ${prefix} could not be removed`, error);
    }
  }

  async removeLeftovers(olderThanMs: number, { dryRun = false }: { dryRun?: boolean } = {}): Promise<Removed> {
    if (!dryRun) await this.#becomeWritable();
    try {
      return await this.#temporary.removeOlder(Date.now() - olderThanMs, dryRun);
    } catch (error) {
      throw new StoreError("what is left in the temporary folder could not be removed", error);
    }
  }

  async measureOthers(isCounted: (name: string) => boolean): Promise<number> {
    let bytes = this.#temporary.leftBytes;
    for (const folder of [this.#root, join(this.#root, "state")]) {
      const entries = await orAbsent(readdir(folder, { withFileTypes: true }), `${folder} could not be listed`);
      for (const entry of entries ?? []) {
        if (!entry.isFile() || isCounted(entry.name)) continue;
        const path = join(folder, entry.name);
        bytes += sizeOnDisk(await orAbsent(lstat(path), `${path} could not be looked up`));
      }
    }
    return bytes;
  }

  async volume(): Promise<{ readonly totalBytes: number; readonly freeBytes: number }> {
    try {
      const { bsize, blocks, bavail } = await statfs(this.#root);
      return { totalBytes: bsize * blocks, freeBytes: bsize * bavail };
    } catch (error) {
      throw new StoreError(`the volume of ${this.#root} could not be looked up`, error);
    }
  }

  async probe(): Promise<void> {
    await this.#becomeWritable();
    const path = this.#temporary.newPath();
    try {
      await writeFile(path, format, { flag: "wx" });
    } catch (error) {
      throw new StoreError(`${this.#root} cannot be written`, error);
    } finally {
      await rm(path, { force: true }).catch(() => undefined);
    }
  }

  /** A source as a file that is whole, and flushed where it is to be `durable`: one of its own at `path`, or `source`'s. */
  async #stage(source: Source, path: string, durable: boolean): Promise<string> {
    if (source instanceof Uint8Array) {
      await writeFile(path, source, { flag: "wx", flush: durable });
      return path;
    }
    const folder = dirname(source.path);
    if (folder === this.temporaryPath || folder === this.#uploadsPath) {
      if (durable) await flush(source.path);
      return source.path;
    }
    const object = await source.open();
    try {
      await using file = await open(path, "wx");
      await file.writeFile(object.read({ start: 0, end: object.sizeBytes }));
      if (durable) await file.sync();
    } finally {
      await object.close();
    }
    return path;
  }

  async #openExpected(key: Key): Promise<OpenObject> {
    const object = await this.get(key);
    if (object === undefined) throw new StoreError(`${key} is gone`, undefined);
    return object;
  }

  /** Renames a file to its place, and makes that outlive a power failure where it is to be `durable`. */
  async #placeAndFlush(path: string, target: string, durable: boolean): Promise<void> {
    // It may have been closed since.
    throwIfDefined(this.#unwritable);
    const { folder, made } = await putInPlace(path, target);
    // Folders that are new are flushed also for an object that need not be durable: later ones in them may have to be.
    if (durable || made !== undefined) await this.#flushUpTo(folder, made);
  }

  /**
   * Flushes the names in a folder, and those of the folders that lead to it as far as that is not known to be done: who
   * made one may not have come to it, or to its end.
   */
  async #flushUpTo(folder: string, made: string | undefined): Promise<void> {
    // The root may be written in any way: relative, or with a slash at its end.
    const root = resolve(this.#root);
    let top = resolve(made === undefined ? folder : dirname(made));
    while (top !== root && !this.#lasting.has(top)) top = dirname(top);
    await flushFolders(folder, top);
    for (let path = resolve(folder); path.length > top.length; path = dirname(path)) this.#lasting.set(path, true);
  }

  /** Removes the folders that hold nothing without what was taken away from this one. */
  async #removeEmptied(folder: string): Promise<void> {
    await removeEmptied(folder, this.#root, (path) => this.#lasting.delete(resolve(path)));
  }

  /**
   * Waits for what is taking its place or being deleted, and gives the folder to others: it is not written any more.
   * Closing again does nothing.
   */
  async close(): Promise<void> {
    await this.#attempt.catch(() => undefined);
    this.#unwritable = new StoreError(`${this.#root} is closed`, undefined);
    // Nor is it tried to own it again.
    this.#attemptEndedAt = Infinity;
    await this.#placing.idle();
    await this.#temporary.idle();
    this.#lock?.release();
    this.#lock = undefined;
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
}

/** What a file takes of the disk, in bytes. */
function sizeOnDisk(info: Stats | undefined): number {
  return info === undefined ? 0 : Math.max(info.size, info.blocks * 512);
}

function throwIfDefined(error: Error | undefined): void {
  if (error !== undefined) throw error;
}
