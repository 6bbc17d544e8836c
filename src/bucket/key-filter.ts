import { hash } from "node:crypto";

const bits = 2 ** 22;
const bytes = bits / 8;
const probes = 7;

/** Where a key stands in every filter: it is found out once for all that are asked. */
export type KeyPlaces = readonly number[] & { readonly __brand: "KeyPlaces" };

/**
 * Which keys were noted: 512 KiB, however many there are (a Bloom filter). What was noted is always found; of what was
 * not, one in a hundred is found too where 400,000 were noted, and more where more were.
 */
export class KeyFilter {
  readonly #bits: Uint8Array;

  constructor(saved: Uint8Array = new Uint8Array(bytes)) {
    this.#bits = saved;
  }

  /** What `save` gave; `undefined` for anything else. */
  static parse(saved: Uint8Array): KeyFilter | undefined {
    return saved.length === bytes ? new KeyFilter(saved) : undefined;
  }

  /** In which every key is found. */
  static ofAll(): KeyFilter {
    return new KeyFilter(new Uint8Array(bytes).fill(0xff));
  }

  add(key: string): void {
    for (const bit of placesOf(key)) this.#bits[bit >> 3] = (this.#bits[bit >> 3] ?? 0) | (1 << (bit & 7));
  }

  has(key: string): boolean {
    return this.hasAt(placesOf(key));
  }

  /** The same, for a key whose places are known. */
  hasAt(places: KeyPlaces): boolean {
    return places.every((bit) => ((this.#bits[bit >> 3] ?? 0) & (1 << (bit & 7))) !== 0);
  }

  /** Adds all that another one has. */
  join(other: KeyFilter): void {
    for (let index = 0; index < bytes; index++) {
      this.#bits[index] = (this.#bits[index] ?? 0) | (other.#bits[index] ?? 0);
    }
  }

  /** Its content, which goes on changing with it. */
  save(): Uint8Array {
    return this.#bits;
  }
}

/** Where a key stands in every filter. */
export function placesOf(key: string): KeyPlaces {
  const digest = hash("sha1", key, "buffer");
  const first = digest.readUInt32LE(0);
  const step = digest.readUInt32LE(4) | 1;
  return Array.from({ length: probes }, (_, probe) => ((first + probe * step) >>> 0) % bits) as unknown as KeyPlaces;
}
