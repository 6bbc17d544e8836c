/** So many parts may an upload have, in S3. */
export const maxParts = 10_000;
const mib = 1024 * 1024;
/** From this part on, those of an upload of unknown size are larger. */
const longPart = maxParts / 2 + 1;
const longerBy = 8;

/**
 * How large the part of an upload is: all but the last are of one size, as some servers demand, and there are at most
 * 10,000. Of what has no known size the parts from 5,001 on are eight times as large (with 8 MiB, 350 GiB fit): a
 * server that demands one size refuses it there, at 39 GiB.
 *
 * @param part Counted from 1.
 */
export function partSizeAt(part: number, sizeBytes: number | undefined, partSizeBytes: number): number {
  if (sizeBytes === undefined) return part < longPart ? partSizeBytes : partSizeBytes * longerBy;
  const least = Math.ceil(sizeBytes / maxParts);
  return least <= partSizeBytes ? partSizeBytes : Math.ceil(least / mib) * mib;
}

/** A part of an upload. */
export interface Part {
  /** Counted from 1. */
  readonly number: number;
  /** Valid until the part after the next one is asked for. */
  readonly bytes: Buffer;
  readonly isLast: boolean;
}

/**
 * Cuts a stream into parts, of which at least one comes, an empty one for an empty stream. Two are in memory at most.
 *
 * @param sizeOf How large the part of this number is to be.
 */
export async function* partsOf(
  bytes: AsyncIterable<Uint8Array>,
  sizeOf: (part: number) => number,
): AsyncGenerator<Part> {
  const buffers: Buffer[] = [];
  const bufferFor = (part: number): Buffer => {
    const size = sizeOf(part);
    const held = buffers[part % 2];
    const buffer = held !== undefined && held.length >= size ? held : Buffer.allocUnsafeSlow(size);
    buffers[part % 2] = buffer;
    return buffer.subarray(0, size);
  };
  let number = 1;
  let buffer = bufferFor(number);
  let length = 0;
  for await (const chunk of bytes) {
    for (let taken = 0; taken < chunk.length;) {
      if (length === buffer.length) {
        yield { number, bytes: buffer, isLast: false };
        buffer = bufferFor(++number);
        length = 0;
      }
      const piece = chunk.subarray(taken, taken + buffer.length - length);
      buffer.set(piece, length);
      length += piece.length;
      taken += piece.length;
    }
  }
  yield { number, bytes: buffer.subarray(0, length), isLast: true };
}
