import type { DatabaseSync } from "node:sqlite";

/** Runs work in transactions of a database: all of it takes effect, or nothing. */
export class Transactions {
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** @throws what the work throws, and what SQLite does where it cannot be written; then nothing has changed. */
  run<T>(work: () => T): T {
    return this.#within(work, "COMMIT");
  }

  /** What the work comes to, of which nothing is kept; it needs no room on the disk. */
  preview<T>(work: () => T): T {
    // Otherwise what does not fit into the cache would be written.
    this.#database.exec("PRAGMA cache_spill = OFF");
    try {
      return this.#within(work, "ROLLBACK");
    } finally {
      this.#database.exec("PRAGMA cache_spill = ON");
    }
  }

  #within<T>(work: () => T, end: "COMMIT" | "ROLLBACK"): T {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      const result = work();
      this.#database.exec(end);
      return result;
    } catch (error) {
      // Some failures have rolled it back already.
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
  }
}
