import assert from "node:assert/strict";
import { test } from "node:test";
import { Uses } from "../../../src/ledger/uses.ts";
import { digest, repository, tag } from "./ledger-model.ts";

const id = repository("docker.io/library/alpine");

test("of a link's uses the latest is told, once, with each tag by which it was used", () => {
  const uses = new Uses();
  for (const [at, by] of [
    [3, "lts"],
    [5, undefined],
    [4, "3"],
    [4, "lts"],
  ] as const) {
    assert.equal(uses.note(id, digest(1), by === undefined ? undefined : tag(by), at), false);
  }
  uses.note(id, digest(2), undefined, 1);
  assert.deepEqual(uses.take(), [
    { kind: "use", id, digest: digest(1), tag: "lts", at: 5 },
    { kind: "use", id, digest: digest(1), tag: "3", at: 5 },
    { kind: "use", id, digest: digest(2), at: 1 },
  ]);
  assert.deepEqual(uses.take(), []);
});

test("a use is pending from when it is noted until an answer has seen it that was asked for after it was told", () => {
  const uses = new Uses();
  const isPending = (): boolean => uses.isPending(id, digest(1));
  assert.equal(isPending(), false);
  uses.note(id, digest(1), undefined, 1);
  assert.equal(isPending(), true, "noted");
  const before = uses.mark();
  uses.take();
  const after = uses.mark();
  before();
  assert.equal(isPending(), true, "told");
  uses.note(id, digest(2), undefined, 1);
  uses.take();
  after();
  assert.equal(isPending(), false, "seen");
  assert.equal(uses.isPending(id, digest(2)), true, "it came later");
  uses.note(id, digest(1), undefined, 2);
  after();
  assert.equal(isPending(), true, "used again");
});

test("where too many were told and not seen everything is pending, until an answer has seen all of them", () => {
  const uses = new Uses();
  for (let round = 0; round < 11; round++) {
    for (let number = 0; number < 1_000; number++) {
      const isEnough = uses.note(repository(`docker.io/a${round}/${number}`), digest(1), undefined, 1);
      assert.equal(isEnough, number === 999);
    }
    uses.take();
  }
  assert.equal(uses.isPending(id, digest(1)), true);
  const seen = uses.mark();
  seen();
  assert.equal(uses.isPending(id, digest(1)), false);
  assert.equal(uses.isPending(repository("docker.io/a0/0"), digest(1)), false);
});
