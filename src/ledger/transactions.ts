import type { DatabaseSync } from "node:sqlite";
import { memoryBounds } from "./schema.ts";

/** How many of its pages are held that cannot be written; some hundred changes touch so many in a large ledger. */
const heldKiB = 16_384;

/** Runs work in transactions of a database: all of it takes effect, or nothing. */
export class Transactions {
  readonly #database: DatabaseSync;
  #isHolding = false;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** Whether what is done stays in memory. */
  get isHolding(): boolean {
    return this.#isHolding;
  }

  /**
   * @throws what the work throws, and what SQLite does where it cannot be written; then nothing has changed. Where SQLite
   *   itself fails, what is held may be lost: `isHolding` tells.
   */
  run<T>(work: () => T): T {
    const [begin, end, undo] = this.#isHolding
      ? ["SAVEPOINT work", "RELEASE work", "ROLLBACK TO work; RELEASE work"]
      : ["BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"];
    this.#database.exec(begin);
    try {
      const result = work();
      this.#database.exec(end);
      return result;
    } catch (error) {
      // Some failures have rolled it back already.
      if (this.#database.isTransaction) this.#database.exec(undo);
      else this.#letGo();
      throw error;
    }
  }

  /**
   * From now on what is done stays in memory, in one transaction, and needs no room on the disk; whoever asks sees it.
   * When it has become too much, work throws.
   *
   * @throws where somebody else has locked the database.
   */
  hold(): void {
    this.#isHolding = true;
    try {
      // Temporary files would need room, too: often it is the same disk. What does not fit into the cache is written,
      // which fails.
      this.#database.exec(`PRAGMA temp_store = MEMORY; BEGIN IMMEDIATE; PRAGMA cache_size = -${heldKiB}`);
    } catch (error) {
      this.#letGo();
      throw error;
    }
  }

  /** Writes what is held. @throws where it cannot be; then it is lost. */
  commit(): void {
    try {
      this.#database.exec("COMMIT");
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    } finally {
      this.#letGo();
    }
  }

  #letGo(): void {
    if (!this.#isHolding) return;
    this.#isHolding = false;
    this.#database.exec(memoryBounds);
  }
}
