import assert from "node:assert/strict";
import { copyFile, readdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { pageName } from "../../../src/store/layout.ts";
import { LedgerDatabase } from "../../../src/ledger/database.ts";
import { isDamage, isResult, isUnwritable, removeDatabase } from "../../../src/ledger/schema.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";
import { ask, digest, repository, tag } from "./ledger-model.ts";

const id = repository("docker.io/a");

/** A closed ledger that holds a link. */
async function fill(path: string): Promise<void> {
  const database = new LedgerDatabase(path);
  assert.equal(database.reason, "absent");
  database.apply([{ kind: "link", id, digest: digest(1), at: 1 }]);
  database.endScan();
  database.close();
}

function usedAt(database: LedgerDatabase): number | undefined {
  return ask(database, "holding", id, digest(1)).usedAt;
}

test("closed well, it is as it was; and nothing else is left in the folder", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "ledger.sqlite");
  await fill(path);
  assert.deepEqual(await readdir(folder.path), ["ledger.sqlite"]);
  const database = new LedgerDatabase(path);
  assert.equal(database.reason, undefined);
  assert.equal(database.totals?.bytes, 4096);
  database.close();
});

test("not closed, all that was told is there, and the files are to be read", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "ledger.sqlite");
  await fill(path);
  const running = new LedgerDatabase(path);
  running.apply([{ kind: "link", id, digest: digest(2), at: 2 }]);
  // What a process leaves that is killed now.
  for (const suffix of ["", "-wal"]) await copyFile(`${path}${suffix}`, join(folder.path, `copy${suffix}`));
  running.close();
  const database = new LedgerDatabase(join(folder.path, "copy"));
  assert.equal(database.reason, "not closed");
  assert.equal(database.totals?.bytes, 2 * 4096);
  // Closed before the files were read, it is no better than before.
  database.close();
  const again = new LedgerDatabase(join(folder.path, "copy"));
  assert.equal(again.reason, "not closed");
  again.doubt();
  assert.equal(again.totals, undefined);
  again.close();
  const doubted = new LedgerDatabase(join(folder.path, "copy"));
  assert.equal(doubted.reason, "not complete");
  assert.equal(doubted.totals, undefined);
  doubted.beginScan();
  doubted.endScan();
  doubted.close();
  const right = new LedgerDatabase(join(folder.path, "copy"));
  assert.equal(right.reason, undefined);
  right.close();
});

const damages: [string, (path: string) => Promise<void>, string][] = [
  ["is no database", (path) => writeFile(path, "x".repeat(10_000)), "damaged"],
  ["is empty", (path) => truncate(path, 0), "absent"],
  ["is cut off", (path) => truncate(path, 4096), "damaged"],
  [
    "is of another version",
    async (path) => {
      const database = new DatabaseSync(path);
      database.exec("PRAGMA user_version = 99");
      database.close();
    },
    "another version",
  ],
  [
    "lacks its state",
    async (path) => {
      const database = new DatabaseSync(path);
      database.exec("DELETE FROM meta");
      database.close();
    },
    "damaged",
  ],
];
for (const [what, damage, reason] of damages) {
  test(`a file that ${what} is made anew`, async () => {
    await using folder = await createTemporaryDirectory();
    const path = join(folder.path, "ledger.sqlite");
    await fill(path);
    await damage(path);
    const database = new LedgerDatabase(path);
    assert.equal(database.reason, reason);
    assert.equal(database.totals, undefined);
    database.beginScan();
    database.endScan();
    assert.equal(usedAt(database), undefined);
    database.apply([{ kind: "link", id, digest: digest(1), at: 3 }]);
    assert.equal(usedAt(database), 3);
    database.close();
  });
}

test("where no file can be, it throws", async () => {
  await using folder = await createTemporaryDirectory();
  assert.throws(() => new LedgerDatabase(join(folder.path, "none", "ledger.sqlite")), /unable to open/);
});

test("nothing is left in the tables of what is gone", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "ledger.sqlite");
  const database = new LedgerDatabase(path);
  database.apply([
    { kind: "content", digest: digest(1), sizeBytes: 1, at: 1 },
    { kind: "children", digest: digest(1), children: [digest(2), digest(3)] },
    { kind: "link", id, digest: digest(1), at: 1 },
    { kind: "link", id, digest: digest(2), at: 1 },
    { kind: "tag", id, tag: tag("lts"), digest: digest(1), at: 1 },
    { kind: "page", id, page: "tags", name: pageName(""), sizeBytes: 1, at: 1 },
  ]);
  database.apply([
    { kind: "page-removed", id, page: "tags", name: pageName("") },
    { kind: "tag-removed", id, tag: tag("lts") },
    { kind: "link-removed", id, digest: digest(2) },
    { kind: "link-removed", id, digest: digest(1) },
    { kind: "content-removed", digest: digest(1) },
  ]);
  database.close();
  const file = new DatabaseSync(path);
  for (const table of ["namespaces", "repositories", "contents", "children", "links", "tags", "pages"]) {
    assert.deepEqual(file.prepare(`SELECT * FROM ${table}`).all(), [], table);
  }
  file.close();
});

test("a ledger that somebody has locked is left as it is, and there when the lock is gone", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "ledger.sqlite");
  await fill(path);
  const other = new DatabaseSync(path);
  other.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; UPDATE meta SET bytes = bytes");
  assert.throws(() => new LedgerDatabase(path), /locked/);
  other.exec("ROLLBACK");
  other.close();
  const database = new LedgerDatabase(path);
  assert.equal(database.reason, undefined);
  assert.equal(usedAt(database), 1);
  database.close();
});

test("a database's files are removed, all of them", async () => {
  await using folder = await createTemporaryDirectory();
  for (const suffix of ["", "-wal", "-shm", "-journal"])
    await writeFile(join(folder.path, `ledger.sqlite${suffix}`), "");
  await writeFile(join(folder.path, "ledger.ballast"), "");
  removeDatabase(join(folder.path, "ledger.sqlite"));
  assert.deepEqual(await readdir(folder.path), ["ledger.ballast"]);
});

test("what SQLite says is damage, a disk or a lock that does not let it be written, or neither", () => {
  for (const [code, expected] of [
    [1, "damage"],
    [5, "unwritable"],
    [8, "unwritable"],
    [10, "unwritable"],
    [11, "damage"],
    [13, "unwritable"],
    [14, "neither"],
    [19, "damage"],
    [26, "damage"],
    // Of 8, 10 and 11: another file is at its path, a write fails, an index is wrong.
    [1032, "damage"],
    [778, "unwritable"],
    [779, "damage"],
  ] as const) {
    const error = Object.assign(new Error("by SQLite"), { errcode: code });
    const said = isDamage(error) ? "damage" : isUnwritable(error) ? "unwritable" : "neither";
    assert.equal(said, expected, String(code));
    assert.equal(isDamage(error) && isUnwritable(error), false);
    assert.equal(isResult(error), true);
  }
  for (const error of [new Error("another"), undefined]) {
    assert.deepEqual([isDamage(error), isUnwritable(error), isResult(error)], [false, false, false]);
  }
});
