import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { Transactions } from "../../../src/ledger/transactions.ts";

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
