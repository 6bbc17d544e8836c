import { hash } from "node:crypto";

const bits = 2 ** 22;
const bytes = bits / 8;
const probes = 7;

/**
 * Which keys were noted: 512 KiB, however many there are (a Bloom filter). What was noted is always found; of what was
 * not, one in a hundred is found too where 400,000 were noted, and more where more were.
 */
export class KeyFilter {
  readonly #bits: Uint8Array;

  /** @param saved What `save` gave; anything else is as good as nothing. */
  constructor(saved?: Uint8Array) {
    this.#bits = saved?.length === bytes ? saved : new Uint8Array(bytes);
  }

  add(key: string): void {
    for (const bit of positions(key)) this.#bits[bit >> 3] = (this.#bits[bit >> 3] ?? 0) | (1 << (bit & 7));
  }

  has(key: string): boolean {
    return positions(key).every((bit) => ((this.#bits[bit >> 3] ?? 0) & (1 << (bit & 7))) !== 0);
  }

  /** Adds all that another one has. */
  join(other: KeyFilter): void {
    for (let index = 0; index < bytes; index++)
      this.#bits[index] = (this.#bits[index] ?? 0) | (other.#bits[index] ?? 0);
  }

  /** Its content, which goes on changing with it. */
  save(): Uint8Array {
    return this.#bits;
  }
}

function positions(key: string): number[] {
  const digest = hash("sha1", key, "buffer");
  const first = digest.readUInt32LE(0);
  const step = digest.readUInt32LE(4) | 1;
  return Array.from({ length: probes }, (_, probe) => ((first + probe * step) >>> 0) % bits);
}
