import { closeSync, type Dirent, fstatSync, opendirSync, openSync, readSync, statSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { describeFile, readQuietly, versionOf } from "./filesystem-reader.ts";
import type { FileReader, StoredFile } from "./local-upkeep.ts";
import { codeOf, type Key, type ListOptions, type OpenObject, type Span, StoreError } from "./object-store.ts";
import { listInOrder } from "./ordered-listing.ts";
import { isAbsence, pathOf } from "./root.ts";

/** How long it works before whatever else there is to do in its thread gets a turn, in milliseconds. */
const sliceMs = 5;
const chunkBytes = 64 * 1024;
const namesAtOnce = 256;

/**
 * A view of a folder of objects for a thread that may wait for the disk, while another one changes the folder. It takes
 * no lock and changes nothing, sees each object as the owner's readers do, and what it reads does not count as used.
 *
 * All of it happens in its thread: the few threads that Node has for files are left to those who serve clients.
 */
export class ThreadReader implements FileReader {
  readonly #root: string;
  #sliceEndsAt = 0;

  constructor(root: string) {
    this.#root = root;
  }

  async head(key: Key): Promise<StoredFile | undefined> {
    await this.#giveWay();
    const info = orAbsent(() => statSync(pathOf(this.#root, key)), key);
    return info && describeFile(key, info);
  }

  async get(key: Key): Promise<OpenObject | undefined> {
    await this.#giveWay();
    const file = orAbsent(() => openQuietly(pathOf(this.#root, key)), key);
    if (file === undefined) return undefined;
    const info = orAbsent(() => fstatSync(file), key);
    if (info?.isFile() !== true) {
      closeSync(file);
      return undefined;
    }
    return {
      sizeBytes: info.size,
      version: versionOf(info),
      read: (span) => read(file, span),
      close: async () => closeSync(file),
    };
  }

  list(prefix: Key, options?: ListOptions): AsyncGenerator<StoredFile> {
    const entries = (folder: Key): Iterable<Dirent> => readNames(pathOf(this.#root, folder), folder);
    return listInOrder(prefix, { entries, head: (key) => this.head(key) }, options);
  }

  async #giveWay(): Promise<void> {
    if (performance.now() < this.#sliceEndsAt) return;
    await turn();
    this.#sliceEndsAt = performance.now() + sliceMs;
  }
}

function* readNames(path: string, key: Key): Generator<Dirent> {
  const folder = orAbsent(() => opendirSync(path, { bufferSize: namesAtOnce }), key, "listed");
  if (folder === undefined) return;
  try {
    for (;;) {
      const entry = orAbsent(() => folder.readSync(), key, "listed");
      if (entry === undefined || entry === null) return;
      yield entry;
    }
  } finally {
    folder.closeSync();
  }
}

async function* read(file: number, span: Span): AsyncGenerator<Uint8Array> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(chunkBytes, span.end - span.start));
  for (let position = span.start; position < span.end;) {
    let count: number;
    try {
      count = readSync(file, buffer, 0, Math.min(buffer.length, span.end - position), position);
    } catch (error) {
      throw new StoreError(`a file could not be read at ${position}`, error);
    }
    if (count === 0) throw new StoreError(`a file ends at ${position}, before ${span.end}`, undefined);
    position += count;
    yield buffer.subarray(0, count);
  }
}

function openQuietly(path: string): number {
  try {
    return openSync(path, readQuietly);
  } catch (error) {
    // Only a file's owner may ask for that.
    if (codeOf(error) !== "EPERM") throw error;
    return openSync(path, "r");
  }
}

function orAbsent<T>(work: () => T, key: Key, what = "read"): T | undefined {
  try {
    return work();
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw new StoreError(`${key} could not be ${what}`, error);
  }
}
