import assert from "node:assert/strict";
import { test } from "node:test";
import type { ReplicaId } from "../../../src/replicas/board.ts";
import { PeerGuard } from "../../../src/replicas/peer-guard.ts";
import { SharedSecret } from "../../../src/replicas/shared-secret.ts";

const secret = new SharedSecret(["an example of a secret that replicas share"]);
const self = "this one" as ReplicaId;
const minute = 60_000;

function call(target: string, epoch: string, name: string, signer = secret): string {
  return `${epoch} ${name} ${signer.sign("call", self, epoch, name, target)}`;
}

test("a call counts once, for its target, and here alone", () => {
  const guard = new PeerGuard(secret, self, () => 0);
  const { epoch } = guard;
  assert.ok(guard.admit("/a", call("/a", epoch, "1")) !== undefined);
  assert.equal(guard.admit("/a", call("/a", epoch, "1")), undefined, "it is sent again");
  assert.equal(guard.admit("/b", call("/a", epoch, "2")), undefined, "its target is another one");
  assert.ok(guard.admit("/a", call("/a", epoch, "2")) !== undefined, "what was not admitted is not used up");
  const elsewhere = new PeerGuard(secret, self, () => 0);
  assert.equal(elsewhere.admit("/a", call("/a", epoch, "3")), undefined, "it was sent to somebody else");
  // Whoever is called in another one's place may tell the epoch of that one, and send the call on.
  const another = new PeerGuard(secret, "another one" as ReplicaId, () => 0);
  assert.equal(another.admit("/a", call("/a", another.epoch, "3")), undefined, "it is for another one");
  const stranger = new SharedSecret(["a secret that somebody else has thought up"]);
  for (const header of [
    "",
    epoch,
    `${epoch} 4`,
    `${epoch} 4 `,
    call("/a", epoch, "4", stranger),
    call("/a", "", "4"),
  ]) {
    assert.equal(guard.admit("/a", header), undefined, header);
  }
  assert.equal(
    guard.admit("/a", `${epoch}  ${secret.sign("call", self, epoch, "", "/a")}`),
    undefined,
    "it has no name",
  );
});

test("an answer is signed for its call", () => {
  const guard = new PeerGuard(secret, self, () => 0);
  const admitted = guard.admit("/a", call("/a", guard.epoch, "1"));
  const proof = admitted?.prove("200", "12") ?? "";
  assert.ok(secret.isSigned(proof, "answer", "1", "200", "12"));
  assert.ok(!secret.isSigned(proof, "answer", "2", "200", "12"));
});

test("an epoch ends after ten minutes, or when very many calls have named it, and the one before counts still", () => {
  let now = 0;
  const guard = new PeerGuard(secret, self, () => now);
  const first = guard.epoch;
  assert.ok(guard.admit("/a", call("/a", first, "1")) !== undefined);
  now += 10 * minute;
  const second = guard.epoch;
  assert.notEqual(second, first);
  assert.ok(guard.admit("/a", call("/a", first, "2")) !== undefined, "whoever has not heard of the new one yet");
  assert.equal(guard.admit("/a", call("/a", first, "1")), undefined, "nothing counts twice");
  now += 10 * minute;
  assert.notEqual(guard.epoch, second);
  assert.equal(guard.admit("/a", call("/a", first, "3")), undefined);
  const third = guard.epoch;
  for (let count = 0; count < 50_000; count++) guard.admit("/a", call("/a", third, String(count)));
  assert.notEqual(guard.epoch, third);
});
