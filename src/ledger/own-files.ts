import { statfsSync, statSync } from "node:fs";
import { dirname, join, parse } from "node:path";
import { Ballast } from "./ballast.ts";
import { chargedBytes } from "./ledger.ts";
import { databaseFiles, removeDatabase } from "./schema.ts";

/** The share of a store that the database's log of writes may take. */
const logShare = 1 / 128;
const leastLogBytes = 64 * 1024;
const mostLogBytes = 4 * 1024 * 1024;
/** The share of a store that ballast may take. */
const ballastShare = 1 / 32;

/** The ledger's own files: the database with what SQLite adds to it, and the ballast. In a small store they are small. */
export class OwnFiles {
  /** The database's. */
  readonly path: string;
  /** About how large its log of writes may become. */
  readonly logBytes: number;
  readonly #ballast: Ballast;
  readonly #hasBallast: boolean;

  /** @param maxBytes What the store may take in all, where that is a size. */
  constructor(path: string, maxBytes: number = Infinity) {
    this.path = path;
    this.logBytes = Math.min(mostLogBytes, Math.max(leastLogBytes, Math.floor(maxBytes * logShare)));
    this.#hasBallast = Ballast.sizeBytes <= maxBytes * ballastShare;
    const { dir, name } = parse(path);
    this.#ballast = new Ballast(join(dir, `${name}.ballast`));
  }

  /** Whether there is as much ballast as there is to be, from now on. */
  keepBallast(): boolean {
    if (this.#hasBallast) return this.#ballast.keep();
    this.#ballast.drop();
    return true;
  }

  /** Gives the ballast up; false where nothing was gained by that. */
  dropBallast(): boolean {
    return this.#ballast.drop();
  }

  /** Whether there is as much room as the database's log of writes takes, and as much again. */
  hasRoom(): boolean {
    try {
      const { bavail, bsize } = statfsSync(dirname(this.path));
      return bavail * bsize >= 2 * this.logBytes;
    } catch {
      return false;
    }
  }

  /** Removes the database. */
  remove(): void {
    try {
      removeDatabase(this.path);
    } catch {
      // Opening it says what the matter is.
    }
  }

  /** What they take of the disk, in bytes. What cannot be looked up counts as nothing. */
  measure(): number {
    let bytes = 0;
    for (const file of [...databaseFiles(this.path), this.#ballast.path]) {
      try {
        const info = statSync(file, { throwIfNoEntry: false });
        if (info !== undefined) bytes += chargedBytes(info.size);
      } catch {
        // Whoever opens it says what the matter is.
      }
    }
    return bytes;
  }
}
