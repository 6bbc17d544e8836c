import { createCipheriv, createHash } from "node:crypto";
import { createHasher, type Digest, digestOf, formatDigest } from "../../src/oci/digest.ts";

/** Bytes that a scripted upstream serves, whole or in part. */
export interface Content {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** The bytes from `start` up to `end` (exclusive), in chunks that belong to the caller. */
  read(start: number, end: number): Iterable<Buffer>;
}

const blockBytes = 64 * 1024;
const tileBytes = 64 * 1024 - 15;
const largeDigests = new Map<string, Digest>();

/** Content that is held in memory. */
export function contentOf(bytes: Buffer, digest: Digest = digestOf(bytes)): Content {
  return {
    digest,
    sizeBytes: bytes.length,
    *read(start, end) {
      for (let offset = start; offset < end; offset += blockBytes) {
        yield Buffer.from(bytes.subarray(offset, Math.min(end, offset + blockBytes)));
      }
    },
  };
}

/**
 * Content that is made as it is read, so that it may be large: each block of 64 KiB starts with its own number and
 * goes on with pseudo-random bytes from another place of a tile. The same size and seed give the same bytes.
 */
export function largeContent(sizeBytes: number, seed: number): Content {
  const tile = pseudoRandomBytes(tileBytes, `large ${seed}`);
  const source = Buffer.concat([tile, tile, tile.subarray(0, blockBytes - tileBytes)]);

  function* read(start: number, end: number): Iterable<Buffer> {
    for (let offset = start; offset < end;) {
      const index = Math.floor(offset / blockBytes);
      const block = Buffer.allocUnsafe(blockBytes);
      source.copy(block, 0, (Math.imul(index, 0x9e3779b1) >>> 0) % tileBytes);
      block.writeBigUInt64BE(BigInt(index), 0);
      const from = offset - index * blockBytes;
      const to = Math.min(blockBytes, from + end - offset);
      yield block.subarray(from, to);
      offset += to - from;
    }
  }

  const key = `${sizeBytes} ${seed}`;
  let digest = largeDigests.get(key);
  if (digest === undefined) {
    const hasher = createHasher("sha256");
    for (const chunk of read(0, sizeBytes)) {
      hasher.update(chunk);
    }
    digest = formatDigest("sha256", hasher.digest("hex"));
    largeDigests.set(key, digest);
  }
  return { digest, sizeBytes, read };
}

/** Bytes that do not compress and are the same for the same seed. */
export function pseudoRandomBytes(sizeBytes: number, seed: string): Buffer {
  const key = createHash("sha256").update(seed).digest().subarray(0, 16);
  return createCipheriv("aes-128-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(sizeBytes));
}
