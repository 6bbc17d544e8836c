import type { Span } from "./object-store.ts";

/** What a chunk takes in memory besides its bytes: a body in chunks of one byte must not fill the memory. */
const chunkOverheadBytes = 256;

/** The newest bytes of a spool, in memory, one chunk after the other. */
export class SpoolWindow {
  readonly #limitBytes: number;
  readonly #chunks: { readonly offset: number; readonly bytes: Uint8Array }[] = [];
  #sizeBytes = 0;

  /** @param limitBytes What it may take before it is full; each chunk counts for some bytes more. */
  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Whether something should go. */
  get isFull(): boolean {
    return this.#sizeBytes > this.#limitBytes;
  }

  /** Where the oldest chunk lies; `undefined` where there is none. */
  get oldest(): Span | undefined {
    const [oldest] = this.#chunks;
    return oldest && { start: oldest.offset, end: oldest.offset + oldest.bytes.length };
  }

  add(offset: number, bytes: Uint8Array): void {
    this.#chunks.push({ offset, bytes });
    this.#sizeBytes += bytes.length + chunkOverheadBytes;
  }

  dropOldest(): void {
    const oldest = this.#chunks.shift();
    if (oldest !== undefined) this.#sizeBytes -= oldest.bytes.length + chunkOverheadBytes;
  }

  /** Bytes from `position` on, before `end`, as many as lie in one chunk; `undefined` where the first of them is not here. */
  at(position: number, end: number): Uint8Array | undefined {
    // The last chunk that does not begin after `position`: a slow reader's is far from either end.
    let low = 0;
    for (let high = this.#chunks.length; low < high;) {
      const middle = (low + high) >>> 1;
      if ((this.#chunks[middle]?.offset ?? Infinity) <= position) low = middle + 1;
      else high = middle;
    }
    const chunk = this.#chunks[low - 1];
    if (chunk === undefined || position >= chunk.offset + chunk.bytes.length) return undefined;
    return chunk.bytes.subarray(position - chunk.offset, Math.min(chunk.bytes.length, end - chunk.offset));
  }
}
