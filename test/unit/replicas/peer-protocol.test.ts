/* Questions between replicas as they are written and read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository } from "../../../src/oci/reference.ts";
import { formatQuestion, parseQuestion, type PeerQuestion } from "../../../src/replicas/peer-protocol.ts";

const id = { namespace: parseNamespace("registry.example.com:5000"), repository: parseRepository("a/b-c_d") };
const digest = digestOf(Buffer.from("content"));

test("a question is read as it was written", () => {
  const questions: readonly PeerQuestion[] = [
    { kind: "alive" },
    { kind: "blob", id, digest, offset: 0 },
    { kind: "blob", id, digest, offset: 999_999_999_999_999 },
    { kind: "progress", id, digest },
    { kind: "answer", name: "manifest docker.io/a/b 1.0+é&name=x#?" },
  ];
  for (const question of questions) assert.deepEqual(parseQuestion(formatQuestion(question)), question);
});

test("what is none is read as none", () => {
  const blob = formatQuestion({ kind: "blob", id, digest, offset: 5 });
  for (const target of [
    "",
    "/",
    "/v2/",
    "/peers/v1/",
    "/peers/v2/alive?",
    "/peers/v1/another?",
    "/peers/v1/blob?",
    blob.replace("offset=5", "offset=-1"),
    blob.replace("offset=5", "offset=1e3"),
    blob.replace("offset=5", "offset=9999999999999999"),
    blob.replace("offset=5", ""),
    blob.replace(digest.slice(7, 20), "x"),
    blob.replace("a%2Fb", "..%2Fb"),
    blob.replace("registry.example.com", "not a name"),
  ]) {
    assert.equal(parseQuestion(target), undefined, target);
  }
});
