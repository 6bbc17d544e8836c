import assert from "node:assert/strict";
import { test } from "node:test";
import { readWhole } from "../../../src/store/read-whole.ts";
import type { OpenObject, Version } from "../../../src/store/object-store.ts";

interface Opened extends OpenObject {
  reads: number;
  closes: number;
}

/** An object of these bytes, which come in two chunks. */
function opened(bytes: Uint8Array): Opened {
  const object: Opened = {
    reads: 0,
    closes: 0,
    sizeBytes: bytes.length,
    version: "1" as Version,
    async *read({ start, end }) {
      object.reads++;
      yield bytes.subarray(start, 1);
      yield bytes.subarray(1, end);
    },
    async close() {
      object.closes++;
    },
  };
  return object;
}

test("all bytes of an object that is not too large, which take no more memory than they are", async () => {
  const object = opened(Buffer.from("record"));
  const whole = await readWhole(object, 6);
  assert.equal(whole?.toString(), "record");
  assert.equal(whole?.buffer.byteLength, 6, "a part of a pool would keep all of it");
  assert.equal(object.closes, 1);
});

test("what is too large is not read, and is closed", async () => {
  const object = opened(Buffer.from("record"));
  assert.equal(await readWhole(object, 5), undefined);
  assert.deepEqual([object.reads, object.closes], [0, 1]);
});
