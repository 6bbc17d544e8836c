import { randomFillSync } from "node:crypto";
import { closeSync, existsSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { dirname } from "node:path";

const chunkBytes = 1024 * 1024;
/** Twice what SQLite's log of writes grows to before it is used again from its beginning. */
const chunks = 8;
/** How much must be free, as a multiple of it: a small volume is not to be filled by it. */
const freeFactor = 4;

/** A file that only takes room on the ledger's volume: it goes when that is full, so that the ledger can be written. */
export class Ballast {
  readonly path: string;

  /** @param path Where the file is, or will be. */
  constructor(path: string) {
    this.path = path;
  }

  /** What it takes when it is there. */
  static readonly sizeBytes: number = chunks * chunkBytes;

  /** Makes it where there is room; whether it is there. */
  keep(): boolean {
    if (existsSync(this.path)) return true;
    try {
      const { bavail, bsize } = statfsSync(dirname(this.path));
      if (bavail * bsize < freeFactor * Ballast.sizeBytes) return false;
      this.#write();
      return true;
    } catch {
      this.drop();
      return false;
    }
  }

  /** Removes it; false where nothing was gained by that. */
  drop(): boolean {
    try {
      rmSync(this.path);
      return true;
    } catch {
      return false;
    }
  }

  #write(): void {
    // Not zeros: some file systems store none.
    const chunk = randomFillSync(Buffer.alloc(chunkBytes));
    const file = openSync(this.path, "w");
    try {
      for (let count = 0; count < chunks; count++) writeSync(file, chunk);
    } finally {
      closeSync(file);
    }
  }
}
