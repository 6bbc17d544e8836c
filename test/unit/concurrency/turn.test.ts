import assert from "node:assert/strict";
import { test } from "node:test";
import { turnToRead } from "../../../src/concurrency/turn.ts";

test("large documents are read one in a turn of the event loop, small ones at once", async () => {
  const order: string[] = [];
  const read = async (name: string, sizeBytes: number): Promise<void> => {
    await turnToRead(Buffer.alloc(sizeBytes));
    order.push(name);
  };
  // What somebody else has to do, once in each turn.
  let isOver = false;
  const other = (): void => {
    order.push("other");
    if (!isOver) setImmediate(other);
  };
  setImmediate(other);
  await Promise.all([
    read("large", 256 * 1024),
    read("large", 4 * 1024 * 1024),
    read("large", 300_000),
    read("small", 1),
  ]);
  isOver = true;
  assert.deepEqual(order, ["small", "other", "large", "other", "large", "other", "large"]);
});
