import { rmSync, statSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { codeOf } from "../store/object-store.ts";
import type { RebuildReason } from "./messages.ts";
import { schema, version } from "./tables.ts";

/** Sets how many of a database's pages are kept in memory, and that what it needs for a moment lies in a file. */
export const memoryBounds = "PRAGMA cache_size = -2048; PRAGMA temp_store = FILE;";
const pageBytes = 4096;
/** For how long it is waited for another's lock, in milliseconds: nobody but people with a tool of their own take one. */
const lockedMs = 500;

/** What the database says cannot be: it is not as it was left. */
export class LedgerDamaged extends Error {
  override readonly name = "LedgerDamaged";
}

/** An opened database, and why it does not hold what the store does. */
export interface OpenedDatabase {
  readonly database: DatabaseSync;
  readonly reason: RebuildReason | undefined;
}

/**
 * Opens the ledger's database at `path` (or `:memory:`), in constant time; its log of writes is kept below about
 * `maxLogBytes`. What is seen to be damaged, or of another version, is removed and made anew.
 *
 * @throws the system's or SQLite's error, where there is no way to have a database there; or where one of its pages is
 *   damaged (`isDamage`).
 */
export function openDatabase(path: string, maxLogBytes: number): OpenedDatabase {
  const file = path === ":memory:" ? undefined : statSync(path, { throwIfNoEntry: false });
  if (file === undefined) return { database: create(path, maxLogBytes), reason: "absent" };
  if (!file.isFile()) return { database: create(path, maxLogBytes), reason: "damaged" };
  let database: DatabaseSync | undefined;
  let reason: RebuildReason;
  try {
    database = connect(path, maxLogBytes);
    const found = database.prepare("PRAGMA user_version").get()?.["user_version"];
    if (found === version && readSchema(database) === expectedSchema()) {
      const state = database.prepare("SELECT state FROM meta").get()?.["state"];
      if (state === "closed") return { database, reason: undefined };
      if (state === "open") return { database, reason: "not closed" };
      if (state === "building") return { database, reason: "not complete" };
    }
    // 0: a process was killed before it had made the tables.
    reason = found === 0 ? "absent" : found === version ? "damaged" : "another version";
  } catch (error) {
    if (!isDamage(error)) {
      database?.close();
      throw error;
    }
    reason = "damaged";
  }
  database?.close();
  return { database: create(path, maxLogBytes), reason };
}

/**
 * Whether an error says that the database is not one, or not as it was left: it is to be made anew. That the system
 * failed, has no room, or that somebody else has locked it is no damage.
 */
export function isDamage(error: unknown): boolean {
  if (error instanceof LedgerDamaged) return true;
  // A number that no JavaScript number can be: none was written.
  if (codeOf(error) === "ERR_OUT_OF_RANGE") return true;
  const result = resultOf(error);
  // SQLITE_ERROR (tables are missing), SQLITE_CORRUPT, SQLITE_TOOBIG, SQLITE_CONSTRAINT, SQLITE_MISMATCH, SQLITE_FORMAT,
  // SQLITE_NOTADB; and SQLITE_READONLY_DBMOVED: another file is at its path, or none
  return [1, 11, 18, 19, 20, 24, 26].includes(result & 0xff) || result === 1032;
}

/**
 * Whether an error says that it cannot be written now, by the disk or by another's lock: the database is as it was, and
 * readable.
 */
export function isUnwritable(error: unknown): boolean {
  // SQLITE_BUSY, SQLITE_READONLY, SQLITE_IOERR, SQLITE_FULL
  return [5, 8, 10, 13].includes(resultOf(error) & 0xff) && !isDamage(error);
}

/** Whether an error is one of SQLite's own. */
export function isResult(error: unknown): boolean {
  return resultOf(error) !== 0;
}

function resultOf(error: unknown): number {
  return error instanceof Error && "errcode" in error && typeof error.errcode === "number" ? error.errcode : 0;
}

/** Removes a database's files, whatever has taken their place. */
export function removeDatabase(path: string): void {
  if (path === ":memory:") return;
  for (const file of databaseFiles(path)) rmSync(file, { force: true, recursive: true });
}

/** The files that a database may have. */
export function databaseFiles(path: string): string[] {
  return ["", "-wal", "-shm", "-journal"].map((suffix) => `${path}${suffix}`);
}

/** What a database has of tables, indexes and triggers, as a text. */
function readSchema(database: DatabaseSync): string {
  const rows = database.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").all();
  return JSON.stringify(rows);
}

let expected: string | undefined;

/** What it must have. */
function expectedSchema(): string {
  if (expected === undefined) {
    const database = new DatabaseSync(":memory:");
    database.exec(schema);
    expected = readSchema(database);
    database.close();
  }
  return expected;
}

function create(path: string, maxLogBytes: number): DatabaseSync {
  removeDatabase(path);
  const database = connect(path, maxLogBytes);
  try {
    database.exec(`BEGIN; ${schema} COMMIT`);
  } catch (error) {
    database.close();
    throw error;
  }
  return database;
}

function connect(path: string, maxLogBytes: number): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: lockedMs });
  try {
    // It is derived from the files: what a power failure takes is read again, so nothing is flushed.
    database.exec(`
      PRAGMA page_size = ${pageBytes};
      ${memoryBounds}
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = OFF;
      PRAGMA journal_size_limit = ${maxLogBytes};
      PRAGMA wal_autocheckpoint = ${Math.ceil(maxLogBytes / pageBytes)};
    `);
  } catch (error) {
    database.close();
    throw error;
  }
  return database;
}
