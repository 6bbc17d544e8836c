import { existsSync, rmSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import type { RebuildReason } from "./messages.ts";

/** Goes up with every change of what the tables are, or mean. */
const version = 2;
const cacheKiB = 2_048;

/*
 * Times of use are `ms * 4 + depth`: what a manifest refers to is a little younger than the manifest, so that among
 * equally old links parents come first. Bytes are charged bytes; content of 0 bytes is not stored.
 */
const tables = `
  -- state: "building" while not all of the store is known, "open" while in use, "closed"; pins: JSON, of links.pinned
  CREATE TABLE meta (state TEXT NOT NULL, bytes INTEGER NOT NULL, pins TEXT NOT NULL);
  INSERT INTO meta VALUES ('building', 0, '[]');

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

/** An opened database, and why it does not hold what the store does. */
export interface OpenedDatabase {
  readonly database: DatabaseSync;
  readonly reason: RebuildReason | undefined;
}

/**
 * Opens the ledger's database at `path` (or `:memory:`), in constant time. What is damaged, or of another version, is
 * removed and made anew.
 *
 * @throws the system's or SQLite's error, where there is no way to have a database there.
 */
export function openDatabase(path: string): OpenedDatabase {
  if (path === ":memory:" || !existsSync(path)) return { database: create(path), reason: "absent" };
  let database: DatabaseSync | undefined;
  let reason: RebuildReason;
  try {
    database = connect(path);
    const found = database.prepare("PRAGMA user_version").get()?.["user_version"];
    if (found === version) {
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
  return { database: create(path), reason };
}

/** Whether an error says that the database is not one, or not as it was left: not that the system failed. */
export function isDamage(error: unknown): boolean {
  // SQLITE_ERROR (tables are missing), SQLITE_CORRUPT, SQLITE_CONSTRAINT, SQLITE_MISMATCH, SQLITE_NOTADB
  return [1, 11, 19, 20, 26].includes(resultOf(error) & 0xff);
}

/** Whether an error says that the disk does not take what is to be written: the database is as it was, and readable. */
export function isUnwritable(error: unknown): boolean {
  // SQLITE_READONLY, SQLITE_IOERR, SQLITE_FULL; not SQLITE_READONLY_DBMOVED: another file is at its path, or none
  const result = resultOf(error);
  return [8, 10, 13].includes(result & 0xff) && result !== 1032;
}

function resultOf(error: unknown): number {
  return error instanceof Error && "errcode" in error && typeof error.errcode === "number" ? error.errcode : 0;
}

/** Removes a database's files. */
export function removeDatabase(path: string): void {
  if (path === ":memory:") return;
  for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(`${path}${suffix}`, { force: true });
}

function create(path: string): DatabaseSync {
  removeDatabase(path);
  const database = connect(path);
  try {
    database.exec(`BEGIN; ${tables} COMMIT`);
  } catch (error) {
    database.close();
    throw error;
  }
  return database;
}

function connect(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: 5_000 });
  try {
    // It is derived from the files: what a power failure takes is read again, so nothing is flushed.
    database.exec(`
      PRAGMA page_size = 4096;
      PRAGMA cache_size = -${cacheKiB};
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = OFF;
      PRAGMA journal_size_limit = 16777216;
      PRAGMA temp_store = FILE;
    `);
  } catch (error) {
    database.close();
    throw error;
  }
  return database;
}
