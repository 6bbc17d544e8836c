import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { Transactions } from "../../../src/ledger/transactions.ts";

test("work takes effect as a whole or not at all, and a preview not at all", () => {
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
  assert.equal(
    transactions.preview(() => add(3)),
    2,
  );
  assert.throws(() => transactions.preview(failing), failure);
  assert.equal(count(), 1);
  assert.equal(database.isTransaction, false);
  database.close();
});
