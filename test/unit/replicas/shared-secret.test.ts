import assert from "node:assert/strict";
import { test } from "node:test";
import { SharedSecret } from "../../../src/replicas/shared-secret.ts";

const one = new SharedSecret(["a secret that is one of two, and no more"]);
const other = new SharedSecret(["a secret that is the other one of the two"]);

test("what is signed with the secret counts, as it is", () => {
  const signature = one.sign("call", "a", "b");
  assert.ok(one.isSigned(signature, "call", "a", "b"));
  for (const texts of [
    ["answer", "a", "b"],
    ["call", "ab", ""],
    ["call", "a"],
    ["call", "a", "b", ""],
    ["call", "b", "a"],
  ]) {
    assert.ok(!one.isSigned(signature, ...texts), texts.join());
  }
  for (const wrong of ["", signature.slice(1), `${signature}AA`, signature.toLowerCase(), "ü"]) {
    assert.ok(!one.isSigned(wrong, "call", "a", "b"), wrong);
  }
  assert.ok(!other.isSigned(signature, "call", "a", "b"));
});

test("while it is being changed both count, and the first one signs", () => {
  const [old, next] = ["the secret that has been in use until now", "the secret that will be in use from now"] as const;
  const changing = new SharedSecret([next, old]);
  assert.ok(changing.isSigned(new SharedSecret([old]).sign("x"), "x"));
  assert.ok(changing.isSigned(new SharedSecret([next]).sign("x"), "x"));
  assert.ok(!new SharedSecret([old]).isSigned(changing.sign("x"), "x"));
  assert.ok(!changing.isSigned(one.sign("x"), "x"));
});
