import assert from "node:assert/strict";
import { test } from "node:test";
import type { LedgerChange } from "../../../src/ledger/ledger.ts";
import { RecentChanges } from "../../../src/ledger/recent-changes.ts";
import { digest, repository } from "./ledger-model.ts";

const id = repository("docker.io/library/alpine");
const link = (number: number, at = 1): LedgerChange => ({ kind: "link", id, digest: digest(number), at });
const removed = (number: number): LedgerChange => ({ kind: "link-removed", id, digest: digest(number) });

test("what was added last and not removed since is remembered, in order, as it was told last", () => {
  const recent = new RecentChanges();
  for (const change of [link(1), link(2), link(3), link(1, 5), removed(2)]) recent.note(change);
  recent.note({ kind: "use", id, digest: digest(9), at: 1 });
  recent.note({ kind: "children", digest: digest(9), children: [] });
  assert.deepEqual(recent.list(), [link(3), link(1, 5)]);
  recent.note(link(2, 7));
  assert.deepEqual(recent.list(), [link(3), link(1, 5), link(2, 7)]);
});

test("of very much the last is remembered", () => {
  const recent = new RecentChanges();
  for (let number = 0; number < 10_005; number++) recent.note(link(number));
  const list = recent.list();
  assert.equal(list.length, 10_000);
  assert.deepEqual([list[0], list.at(-1)], [link(5), link(10_004)]);
});
