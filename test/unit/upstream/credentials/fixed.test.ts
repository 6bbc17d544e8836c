import assert from "node:assert/strict";
import { test } from "node:test";
import { createFixed } from "../../../../src/upstream/credentials/fixed.ts";
import { never, repository } from "../scripted.ts";

test("fixed credentials are taken to the letter, and stay what they are after a refusal", async () => {
  const pair = { username: "user", password: "${TOKEN}$$" };
  const source = createFixed(pair);
  assert.deepEqual(await source.get(repository, never()), pair);
  source.refused(pair);
  assert.deepEqual(await source.get(repository, never()), pair);
});

test("an abort is heard", async () => {
  const reason = new Error("gone");
  await assert.rejects(
    createFixed({ username: "u", password: "p" }).get(repository, AbortSignal.abort(reason)),
    reason,
  );
});
