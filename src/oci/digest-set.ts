import { type Digest, hexOf } from "./digest.ts";

/** A slot that holds nothing; no part of a digest is negative. */
const free = -1;
const smallest = 16;

interface Bucket {
  slots: Float64Array;
  size: number;
}

/**
 * A set of a million digests in about 16 MB: of each it keeps 56 bits, in buckets that grow one by one, so that no call
 * takes long. It may take a digest that was not added for one that was (in a million of them with a probability of
 * 10⁻¹¹ each), never the other way round.
 */
export class DigestSet {
  readonly #buckets: Bucket[] = Array.from({ length: 256 }, () => makeBucket(smallest));

  add(digest: Digest): void {
    const { bucket, part } = this.#place(digest);
    const slot = find(bucket.slots, part);
    if (bucket.slots[slot] === part) return;
    bucket.slots[slot] = part;
    bucket.size++;
    if (bucket.size * 4 > bucket.slots.length * 3) grow(bucket);
  }

  has(digest: Digest): boolean {
    const { bucket, part } = this.#place(digest);
    return bucket.slots[find(bucket.slots, part)] === part;
  }

  #place(digest: Digest): { readonly bucket: Bucket; readonly part: number } {
    const hex = hexOf(digest);
    const bucket = this.#buckets[Number.parseInt(hex.slice(0, 2), 16)];
    if (bucket === undefined) throw new Error(`${digest} is no digest`);
    return { bucket, part: Number.parseInt(hex.slice(2, 14), 16) };
  }
}

function makeBucket(slots: number): Bucket {
  return { slots: new Float64Array(slots).fill(free), size: 0 };
}

/** Where `part` is, or else where it belongs. A part of a digest is as good as random, and so is its own hash. */
function find(slots: Float64Array, part: number): number {
  let slot = part % slots.length;
  while (slots[slot] !== free && slots[slot] !== part) slot = (slot + 1) % slots.length;
  return slot;
}

function grow(bucket: Bucket): void {
  const old = bucket.slots;
  bucket.slots = makeBucket(old.length * 2).slots;
  for (const part of old) if (part !== free) bucket.slots[find(bucket.slots, part)] = part;
}
