import { basename, dirname, join, relative, resolve } from "node:path";
import { constants, type Dirent, type Stats } from "node:fs";
import { type FileHandle, lstat, open, realpath } from "node:fs/promises";
import type { BufferPool } from "./buffers.ts";
import { readSpan } from "./file-reader.ts";
import { entriesOf, readQuietly, versionOf } from "./filesystem-reader.ts";
import {
  codeOf,
  type DatedObject,
  type Key,
  type ListOptions,
  type OpenObject,
  StoreError,
  type Version,
} from "./object-store.ts";
import { listInOrder } from "./ordered-listing.ts";
import { isAbsence, orAbsent, pathOf } from "./root.ts";

/** How deep a folder is looked at: a repository's name has 128 parts at most. */
const maxDepth = 132;

/** Another program's objects, which are only read. */
export interface ForeignReader {
  /** As `ObjectReader.list`, of everything with an empty prefix; what is no object, such as a symbolic link, is left out. */
  list(prefix: Key, options?: ListOptions): AsyncIterable<DatedObject>;
  /** As `ObjectReader.get`. */
  get(key: Key): Promise<OpenObject | undefined>;
  /** How many objects are worth reading at a time, as it is far away; one by default. */
  readonly atOnce?: number;
  /** Ends what is under way, as nothing will be read any more. */
  interrupt?(): Promise<void>;
}

/**
 * Another program's folder. Nothing is written in it, symbolic links in it are not followed, and what is neither file nor
 * folder is not touched; the program may go on writing there meanwhile.
 */
export class ForeignFolder implements ForeignReader {
  /** Without symbolic links. */
  readonly root: string;
  readonly #pool: BufferPool;

  private constructor(root: string, pool: BufferPool) {
    this.root = root;
    this.#pool = pool;
  }

  /** Opens a folder; `path` itself may be a link to it. @throws the system's error where there is none. */
  static async open(path: string, pool: BufferPool): Promise<ForeignFolder> {
    return new ForeignFolder(await realpath(path), pool);
  }

  /** Whether another folder, which need not exist, is this one, or one of both is in the other. @throws the system's error. */
  async meets(other: string): Promise<boolean> {
    const real = await realTarget(other);
    return isWithin(this.root, real) || isWithin(real, this.root);
  }

  /** Whether there is a folder of this name in it, which is no link to one. */
  async hasFolder(name: Key): Promise<boolean> {
    return (await this.#lookUp(name))?.isDirectory() === true;
  }

  /** Whether there is anything of this name in it. */
  async has(name: Key): Promise<boolean> {
    return (await this.#lookUp(name)) !== undefined;
  }

  async *list(prefix: Key, options?: ListOptions): AsyncGenerator<DatedObject> {
    if (!(await this.hasFolder(prefix))) {
      // What is below it may be there, where it is itself away.
      if (prefix === "") throw new StoreError(`${this.root} is not there`, undefined);
      return;
    }
    const head = (key: Key): Promise<DatedObject | undefined> => this.#head(key);
    yield* listInOrder(prefix, { entries: (folder) => this.#entries(folder), head }, options);
  }

  async get(key: Key): Promise<OpenObject | undefined> {
    const path = pathOf(this.root, key);
    const folder = await orAbsent(realpath(dirname(path)), `${key} could not be looked up`);
    // A folder on the way that is a link leads elsewhere.
    const file = folder === dirname(path) ? await orAbsent(this.#open(path), `${key} could not be opened`) : undefined;
    if (file === undefined) return undefined;
    try {
      const info = await file.stat();
      if (!info.isFile()) {
        await file.close();
        return undefined;
      }
      return {
        sizeBytes: info.size,
        file: key,
        version: foreignVersion(info),
        read: (span) => readSpan(file, span, this.#pool),
        close: () => file.close().catch(() => undefined),
      };
    } catch (error) {
      await file.close().catch(() => undefined);
      throw new StoreError(`${key} could not be opened`, error);
    }
  }

  async #head(key: Key): Promise<DatedObject | undefined> {
    const info = await this.#lookUp(key);
    if (info?.isFile() !== true) return undefined;
    return { key, sizeBytes: info.size, version: foreignVersion(info), writtenAt: Math.floor(info.mtimeMs) };
  }

  #lookUp(key: Key): Promise<Stats | undefined> {
    return orAbsent(lstat(pathOf(this.root, key)), `${key} could not be looked up`);
  }

  /** Opens what is no link, and does not wait where it is a pipe by now. */
  async #open(path: string): Promise<FileHandle | undefined> {
    const careful = constants.O_NOFOLLOW | constants.O_NONBLOCK;
    try {
      return await open(path, readQuietly | careful);
    } catch (error) {
      if (codeOf(error) === "ELOOP") return undefined;
      // Only a file's owner may ask that reading be not noted.
      if (codeOf(error) !== "EPERM") throw error;
      return open(path, constants.O_RDONLY | careful);
    }
  }

  async *#entries(folder: Key): AsyncGenerator<Dirent> {
    if (folder.split("/").length > maxDepth) return;
    yield* entriesOf(pathOf(this.root, folder), folder);
  }
}

/** Others may change a file in place, and set its time back. */
function foreignVersion(info: Stats): Version {
  return `${versionOf(info)}-${info.ctimeMs}` as Version;
}

/** Where a folder is, or would be, without symbolic links. */
async function realTarget(path: string): Promise<string> {
  const whole = resolve(path);
  try {
    return await realpath(whole);
  } catch (error) {
    if (!isAbsence(error) || dirname(whole) === whole) throw error;
    return join(await realTarget(dirname(whole)), basename(whole));
  }
}

function isWithin(outer: string, inner: string): boolean {
  const way = relative(outer, inner);
  return way === "" || !(way === ".." || way.startsWith("../"));
}
