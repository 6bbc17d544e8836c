import assert from "node:assert/strict";
import { type FileHandle, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { BufferPool } from "../../../src/store/buffers.ts";
import { readSpan } from "../../../src/store/file-reader.ts";
import { createBarrier } from "../../support/barrier.ts";
import { turn } from "../../support/event-loop.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const MiB = 1024 * 1024;

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

/** A file whose bytes are all 7; each read waits for `before`. */
function fileOf(before: (read: number) => Promise<void>): FileHandle {
  let reads = 0;
  const read = async (buffer: Buffer, offset: number, length: number): Promise<{ bytesRead: number }> => {
    await before(++reads);
    buffer.fill(7, offset, offset + length);
    return { bytesRead: length };
  };
  return { read } as unknown as FileHandle;
}

test("a buffer is lent to nobody else while a read that nobody waits for still writes into it", async () => {
  const barrier = createBarrier();
  const pool = new BufferPool();
  const file = fileOf(async (read) => (read === 2 ? barrier.wait() : undefined));
  const chunks = readSpan(file, { start: 0, end: 2 * MiB }, pool);
  assert.equal((await chunks.next()).value?.length, MiB);
  await barrier.reached;
  const left = chunks.return(undefined);
  await turn(5);
  const lent = [pool.acquire(MiB), pool.acquire(MiB)];
  for (const buffer of lent) buffer.fill(0);
  barrier.release();
  await left;
  await turn(5);
  assert.ok(
    lent.every((buffer) => buffer.every((byte) => byte === 0)),
    "it was written into by another's read",
  );
  for (const buffer of lent) pool.release(buffer);
  assert.equal(pool.lentBytes, 0);
});

test("a second buffer is lent only where the first is large and does not hold all", async () => {
  const file = fileOf(async () => undefined);
  for (const [budgetBytes, sizeBytes, lentBytes] of [
    [64 * MiB, 2 * MiB, 2 * MiB],
    [64 * MiB, 300 * 1024, 512 * 1024],
    [0, 2 * MiB, 32 * 1024],
    [8 * 128 * 1024, 2 * MiB, 128 * 1024],
  ] as const) {
    const pool = new BufferPool(budgetBytes);
    for await (const chunk of readSpan(file, { start: 0, end: sizeBytes }, pool)) {
      assert.ok(chunk.length <= lentBytes);
      assert.equal(pool.lentBytes, lentBytes);
    }
  }
});
