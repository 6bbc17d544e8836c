import assert from "node:assert/strict";
import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { BufferPool } from "../../../src/store/buffers.ts";
import { readSpan } from "../../../src/store/file-reader.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

/** Bytes that differ everywhere, so that a piece in the wrong place shows. */
function numbered(sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  for (let offset = 0; offset + 4 <= sizeBytes; offset += 4) bytes.writeUInt32LE(offset, offset);
  return bytes;
}

test("a chunk stays as it is until the next one is asked for, with large buffers and with small ones", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "file");
  const content = numbered(3_000_000);
  await writeFile(path, content);
  const file = await open(path);
  try {
    for (const budgetBytes of [64 * 1024 * 1024, 4 * 1024 * 1024, 0]) {
      const pool = new BufferPool(budgetBytes);
      let position = 17;
      for await (const chunk of readSpan(file, { start: 17, end: 2_999_001 }, pool)) {
        // A read into the same buffer that is already under way ends while the consumer is busy.
        await file.read(Buffer.alloc(1), 0, 1, 0);
        await file.read(Buffer.alloc(1), 0, 1, 0);
        assert.ok(content.subarray(position, position + chunk.length).equals(chunk), `at ${position}`);
        position += chunk.length;
      }
      assert.equal(position, 2_999_001);
      assert.equal(pool.lentBytes, 0);
    }
  } finally {
    await file.close();
  }
});

test("a file that is shorter than it should be is an error, and leaving early gives the buffers back", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "file");
  await writeFile(path, numbered(1_000_000));
  const file = await open(path);
  const pool = new BufferPool();
  try {
    await assert.rejects(
      async () => {
        for await (const chunk of readSpan(file, { start: 0, end: 1_000_001 }, pool)) assert.ok(chunk.length > 0);
      },
      { name: "StoreError" },
    );
    assert.equal(pool.lentBytes, 0);
    for await (const chunk of readSpan(file, { start: 0, end: 1_000_000 }, pool)) {
      assert.ok(chunk.length > 0);
      break;
    }
    assert.equal(pool.lentBytes, 0);
  } finally {
    await file.close();
  }
});
