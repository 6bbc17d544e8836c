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

/** How much memory the parts of all uploads of a store take. */
export class PartMemory {
  readonly #limitBytes: number;
  #takenBytes = 0;

  /** @param limitBytes Above that an upload has but one part. */
  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  hasRoom(sizeBytes: number): boolean {
    return this.#takenBytes + sizeBytes <= this.#limitBytes;
  }

  take(sizeBytes: number): Buffer {
    this.#takenBytes += sizeBytes;
    return Buffer.allocUnsafeSlow(sizeBytes);
  }

  give({ length }: Buffer): void {
    this.#takenBytes -= length;
  }
}

/**
 * The parts of one upload that are in memory: one, and where there is room a second, which is filled while the first is
 * sent. Several uploads keep the connection busy without.
 */
export class PartBuffers {
  readonly #memory: PartMemory;
  readonly #held: Buffer[] = [];

  constructor(memory: PartMemory) {
    this.#memory = memory;
  }

  /**
   * The memory of the next part. That of the one before stays as it is, or is the same, when it has been sent.
   *
   * @param sent Resolves when the part before has been sent.
   */
  async next(sizeBytes: number, sent: () => Promise<void>): Promise<Buffer> {
    const isFirst = this.#held.length === 0;
    if (!isFirst && (this.#held.length === 2 || !this.#memory.hasRoom(sizeBytes))) {
      if (this.#held.length === 1) await sent();
      const [oldest] = this.#held.splice(0, 1);
      if (oldest !== undefined && oldest.length >= sizeBytes) return this.#hold(oldest, sizeBytes);
      if (oldest !== undefined) this.#memory.give(oldest);
    }
    return this.#hold(this.#memory.take(sizeBytes), sizeBytes);
  }

  /** Gives all of it back, when nothing of it is being sent any more. */
  release(): void {
    for (const buffer of this.#held.splice(0)) this.#memory.give(buffer);
  }

  #hold(buffer: Buffer, sizeBytes: number): Buffer {
    this.#held.push(buffer);
    return buffer.subarray(0, sizeBytes);
  }
}

/** A part of an upload. */
export interface Part {
  /** Counted from 1. */
  readonly number: number;
  readonly bytes: Buffer;
  readonly isLast: boolean;
}

/**
 * Cuts a stream into parts, of which at least one comes, an empty one for an empty stream.
 *
 * @param bufferFor The memory of the part of this number, as large as that is to be.
 */
export async function* partsOf(
  bytes: AsyncIterable<Uint8Array>,
  bufferFor: (part: number) => Promise<Buffer>,
): AsyncGenerator<Part> {
  let number = 1;
  let buffer = await bufferFor(number);
  let length = 0;
  for await (const chunk of bytes) {
    for (let taken = 0; taken < chunk.length;) {
      if (length === buffer.length) {
        yield { number, bytes: buffer, isLast: false };
        buffer = await bufferFor(++number);
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
