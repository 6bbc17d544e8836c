/* What a ledger does not say while it does not know it, what it does not believe, and what it need not be told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LedgerDatabase } from "../../../src/ledger/database.ts";
import { type LedgerChange, LedgerNotReady } from "../../../src/ledger/ledger.ts";
import { ask, digest, repository } from "./ledger-model.ts";

const id = repository("docker.io/library/alpine");
const now = 1_000_000_000_000;
const everything = { usedBefore: Infinity, pins: [], limit: 10 };
const link = (number: number, at: number): LedgerChange => ({ kind: "link", id, digest: digest(number), at });

test("before it knows all of the store it says of nothing that it may be removed", () => {
  const database = new LedgerDatabase(":memory:", () => now);
  database.apply([link(1, 1)]);
  assert.throws(() => ask(database, "candidates", everything), LedgerNotReady);
  assert.throws(() => ask(database, "purgePlan", { kind: "namespace", namespace: id.namespace }), LedgerNotReady);
  assert.throws(() => ask(database, "holders", digest(1)), LedgerNotReady);
  assert.throws(() => ask(database, "holding", id, digest(1)), LedgerNotReady);
  assert.equal(database.totals, undefined);
  database.endScan();
  assert.equal(ask(database, "candidates", everything).length, 1);
  assert.equal(ask(database, "purgePlan", { kind: "namespace", namespace: id.namespace }).links.length, 1);
  database.close();
});

test("what the files say was used in the future was used now", () => {
  const database = new LedgerDatabase(":memory:", () => now);
  database.beginScan();
  database.applyScanned([link(1, now + 1), link(2, now - 1)]);
  const usedAt = (number: number): number | undefined => ask(database, "holding", id, digest(number)).usedAt;
  database.endScan();
  assert.deepEqual([1, 2].map(usedAt), [now, now - 1]);
  database.close();
});

test("what a manifest refers to is to be found out once, and of nothing that cannot be a manifest", () => {
  const database = new LedgerDatabase(":memory:", () => now);
  database.apply([
    { kind: "content", digest: digest(1), sizeBytes: 100, at: 1 },
    { kind: "content", digest: digest(2), sizeBytes: 100_000_000, at: 1 },
    link(3, 1),
  ]);
  const wanted = (): boolean[] => [1, 2, 3, 4].map((number) => database.wantsChildren(digest(number)));
  assert.deepEqual(wanted(), [true, false, false, false]);
  database.apply([{ kind: "children", digest: digest(1), children: [] }]);
  assert.deepEqual(wanted(), [false, false, false, false]);
  database.close();
});
