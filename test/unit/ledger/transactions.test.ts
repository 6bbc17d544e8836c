import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { openDatabase } from "../../../src/ledger/schema.ts";
import { Transactions } from "../../../src/ledger/transactions.ts";
import { openFilesBelow } from "../../support/open-files.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

test("work takes effect as a whole or not at all, also while it is held", () => {
  const database = new DatabaseSync(":memory:");
  database.exec("CREATE TABLE numbers (number INTEGER)");
  const transactions = new Transactions(database);
  const add = (number: number): number => {
    database.prepare("INSERT INTO numbers VALUES (?)").run(number);
    return count();
  };
  const count = (): number => Number(database.prepare("SELECT count(*) AS count FROM numbers").get()?.["count"]);
  assert.equal(
    transactions.run(() => add(1)),
    1,
  );
  const failure = new Error("it fails midway");
  const failing = (): never => {
    add(2);
    throw failure;
  };
  assert.throws(() => transactions.run(failing), failure);
  assert.equal(count(), 1);
  transactions.hold();
  assert.equal(
    transactions.run(() => add(3)),
    2,
  );
  assert.throws(() => transactions.run(failing), failure);
  assert.ok(transactions.isHolding);
  assert.equal(count(), 2);
  transactions.commit();
  assert.ok(!transactions.isHolding);
  assert.equal(count(), 2);
  transactions.hold();
  transactions.run(() => add(4));
  database.exec("ROLLBACK");
  assert.throws(() => transactions.commit(), /no transaction/);
  assert.deepEqual([transactions.isHolding, count()], [false, 2]);
  assert.equal(database.isTransaction, false);
  database.close();
});

test("what is held needs no temporary file, however much one piece of work changes", async () => {
  await using folder = await createTemporaryDirectory();
  const { database } = openDatabase(join(folder.path, "ledger.sqlite"), 1024 * 1024);
  const transactions = new Transactions(database);
  database.exec("CREATE TABLE texts (text TEXT)");
  const many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)";
  database.exec(`${many} INSERT INTO texts SELECT printf('%500d', i) FROM n`);
  // SQLite has removed their names already.
  const temporary = (): string[] => openFilesBelow("").filter((path) => path.includes("etilqs_"));
  const changeAll = (): string[] =>
    transactions.run(() => {
      database.exec("UPDATE texts SET text = text || 'x'");
      return temporary();
    });
  transactions.hold();
  assert.deepEqual(changeAll(), []);
  transactions.commit();
  assert.equal(database.prepare("PRAGMA temp_store").get()?.["temp_store"], 1, "everything else may have files");
  using other = new DatabaseSync(join(folder.path, "ledger.sqlite"), { timeout: 0 });
  other.exec("BEGIN IMMEDIATE");
  assert.throws(() => transactions.hold(), /locked/);
  assert.ok(!transactions.isHolding);
  assert.equal(database.prepare("PRAGMA temp_store").get()?.["temp_store"], 1);
  other.exec("ROLLBACK");
  database.close();
});
