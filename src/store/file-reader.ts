import type { FileHandle } from "node:fs/promises";
import type { BufferPool } from "./buffers.ts";
import { type Span, StoreError } from "./object-store.ts";

/** Buffers of this size and more are used in pairs. */
const overlapBytes = 256 * 1024;

/**
 * Reads `span` of a file that holds it already. While the consumer works on a large chunk the next is read into a
 * second buffer, so that disk and socket overlap. A chunk is valid until the next one is asked for.
 *
 * @throws {StoreError} where the file cannot be read or is shorter than `span` says.
 */
export async function* readSpan(file: FileHandle, span: Span, pool: BufferPool): AsyncGenerator<Uint8Array> {
  let position = span.start;
  if (position >= span.end) return;
  const first = pool.acquire(span.end - position);
  const left = span.end - position - first.length;
  // A small buffer says that there are many readers: then memory matters, and the disk is busy anyway.
  const second = left > 0 && first.length >= overlapBytes ? pool.acquire(left) : undefined;
  const pair = second === undefined ? [first] : [first, second];
  let pending: Promise<number> | undefined;
  try {
    for (let turn = 0; position < span.end; turn++) {
      const current = pair[turn % pair.length] ?? first;
      const count = await (pending ?? readInto(file, current, position, span.end));
      pending = undefined;
      position += count;
      if (second !== undefined && position < span.end) {
        // Into the other buffer: the consumer has this one until it asks for the next chunk.
        pending = readInto(file, pair[(turn + 1) % 2] ?? first, position, span.end);
        // The consumer may leave before it is awaited; a failure is then of no interest.
        pending.catch(() => undefined);
      }
      yield current.subarray(0, count);
    }
  } finally {
    // A buffer may be lent to somebody else only when the kernel no longer writes into it.
    await pending?.catch(() => undefined);
    for (const buffer of pair) pool.release(buffer);
  }
}

async function readInto(file: FileHandle, buffer: Buffer, position: number, end: number): Promise<number> {
  let bytesRead: number;
  try {
    ({ bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, end - position), position));
  } catch (error) {
    throw new StoreError("the file could not be read", error);
  }
  if (bytesRead === 0) throw new StoreError(`the file ends at ${position}, before ${end}`, undefined);
  return bytesRead;
}
