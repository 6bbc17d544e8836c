import type { Algorithm, Digest } from "../../src/oci/digest.ts";
import type { HashPool } from "../../src/store/hashing.ts";

/** Hashes bytes in a pool. */
export async function hashIn(pool: HashPool, bytes: Uint8Array, algorithm: Algorithm = "sha256"): Promise<Digest> {
  const hash = pool.start(algorithm);
  await hash.bytes(bytes);
  return hash.digest();
}
