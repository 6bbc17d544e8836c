import assert from "node:assert/strict";
import { test } from "node:test";
import { missingFrom } from "../../../src/bucket/missing.ts";
import type { Key, ObjectInfo, Version } from "../../../src/store/object-store.ts";
import { never, turn } from "../../support/event-loop.ts";

async function* listing(keys: Iterable<string>): AsyncGenerator<ObjectInfo> {
  for (const key of keys) yield { key: key as Key, sizeBytes: 1, version: "1" as Version };
}

async function missing(there: string, wanted: string): Promise<string> {
  let found = "";
  for await (const { key } of missingFrom(listing(there), listing(wanted), never())) found += key;
  return found;
}

test("what one listing lacks of the other is found in one pass", async () => {
  assert.equal(await missing("", "abc"), "abc");
  assert.equal(await missing("abc", ""), "");
  assert.equal(await missing("abde", "bcdf"), "cf");
  assert.equal(await missing("abc", "abc"), "");
});

test("of a listing that is not in order nothing is taken to be there that is not", async () => {
  assert.equal(await missing("cab", "abd"), "abd");
});

test("a listing that never ends, and one that hangs, end with the signal", async () => {
  for (const there of [endless(), hanging()]) {
    const abort = new AbortController();
    const found = missingFrom(there, listing("b"), abort.signal).next();
    setImmediate(() => abort.abort(new Error("the end")));
    await assert.rejects(found, /the end/);
  }
});

async function* endless(): AsyncGenerator<ObjectInfo> {
  for (;;) {
    yield* listing("a");
    await turn();
  }
}

async function* hanging(): AsyncGenerator<ObjectInfo> {
  await new Promise<never>(() => undefined);
  yield* listing("");
}
