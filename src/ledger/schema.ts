import { rmSync, statSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { codeOf } from "../store/object-store.ts";
import type { RebuildReason } from "./messages.ts";

/** Goes up with every change of what the tables are, or mean. */
const version = 3;
/** How many of its pages are kept in memory. */
export const cacheKiB = 2_048;
const pageBytes = 4096;
/** For how long it is waited for another's lock, in milliseconds: nobody but people with a tool of their own take one. */
const lockedMs = 500;

/*
 * Times of use are `ms * 4 + depth`: what a manifest refers to is a little younger than the manifest, so that among
 * equally old links parents come first. Bytes are charged bytes; content of 0 bytes is not stored.
 */
const tables = `
  -- state: "building" while not all of the store is known, "open" while in use, "closed"; pins: JSON, of links.pinned;
  -- what folders take: files: how many objects there are; blobs: of these, content; folders: those of repositories
  CREATE TABLE meta (
    state TEXT NOT NULL, bytes INTEGER NOT NULL, pins TEXT NOT NULL, files INTEGER NOT NULL, blobs INTEGER NOT NULL,
    folders INTEGER NOT NULL);
  INSERT INTO meta VALUES ('building', 0, '[]', 0, 0, 0);

  CREATE TABLE namespaces (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL);

  -- pinned: 0 nothing of it, 1 some, 2 all; stale: that, and links.pinned, may be wrong
  CREATE TABLE repositories (
    id INTEGER PRIMARY KEY, namespace INTEGER NOT NULL, name TEXT NOT NULL, bytes INTEGER NOT NULL,
    used INTEGER NOT NULL, stale INTEGER NOT NULL, pinned INTEGER NOT NULL, UNIQUE (namespace, name));
  CREATE INDEX stale_repositories ON repositories (stale) WHERE stale = 1;

  -- holders: links to it; manifest: its children are known
  CREATE TABLE contents (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, bytes INTEGER NOT NULL, holders INTEGER NOT NULL,
    manifest INTEGER NOT NULL, used INTEGER NOT NULL);
  CREATE INDEX loose_contents ON contents (used) WHERE holders = 0 AND bytes > 0;
  CREATE TABLE children (parent INTEGER NOT NULL, child INTEGER NOT NULL, PRIMARY KEY (parent, child)) WITHOUT ROWID;
  CREATE INDEX children_by_child ON children (child);

  CREATE TABLE links (
    repository INTEGER NOT NULL, content INTEGER NOT NULL, namespace INTEGER NOT NULL, pinned INTEGER NOT NULL,
    used INTEGER NOT NULL, PRIMARY KEY (repository, content)) WITHOUT ROWID;
  CREATE INDEX links_by_use ON links (namespace, pinned, used);
  CREATE INDEX links_by_age ON links (used) WHERE pinned = 0;
  CREATE INDEX links_by_content ON links (content, namespace);

  CREATE TABLE tags (
    repository INTEGER NOT NULL, tag TEXT NOT NULL, content INTEGER NOT NULL, used INTEGER NOT NULL,
    PRIMARY KEY (repository, tag)) WITHOUT ROWID;
  CREATE INDEX tags_by_content ON tags (content, repository);

  CREATE TABLE pages (
    repository INTEGER NOT NULL, page TEXT NOT NULL, name TEXT NOT NULL, namespace INTEGER NOT NULL,
    bytes INTEGER NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (repository, page, name)) WITHOUT ROWID;
  CREATE INDEX pages_by_use ON pages (namespace, used);
  CREATE INDEX pages_by_age ON pages (used);

  -- What was told while the store is read, by its key: of that the files say nothing new. used: only a use was told.
  CREATE TABLE told (key TEXT PRIMARY KEY, used INTEGER) WITHOUT ROWID;

  PRAGMA user_version = ${version};
`;

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

/** What a database has of tables and indexes, as a text. */
function readSchema(database: DatabaseSync): string {
  const rows = database.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").all();
  return JSON.stringify(rows);
}

let expected: string | undefined;

/** What it must have. */
function expectedSchema(): string {
  if (expected === undefined) {
    const database = new DatabaseSync(":memory:");
    database.exec(tables);
    expected = readSchema(database);
    database.close();
  }
  return expected;
}

function create(path: string, maxLogBytes: number): DatabaseSync {
  removeDatabase(path);
  const database = connect(path, maxLogBytes);
  try {
    database.exec(`BEGIN; ${tables} COMMIT`);
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
      PRAGMA cache_size = -${cacheKiB};
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = OFF;
      PRAGMA journal_size_limit = ${maxLogBytes};
      PRAGMA wal_autocheckpoint = ${Math.ceil(maxLogBytes / pageBytes)};
      PRAGMA temp_store = FILE;
    `);
  } catch (error) {
    database.close();
    throw error;
  }
  return database;
}
