import { type Digest, formatDigest, hexOf } from "../oci/digest.ts";
import { LedgerDamaged } from "./schema.ts";

const sha256Bytes = 32;
const sha512Bytes = 64;

/** A digest as the database has it: the hash's bytes, whose number tells the algorithm. */
export function packDigest(digest: Digest): Uint8Array {
  return Buffer.from(hexOf(digest), "hex");
}

/**
 * The digest that was packed.
 *
 * @throws {LedgerDamaged} it is none.
 */
export function unpackDigest(bytes: Uint8Array): Digest {
  if (!(bytes instanceof Uint8Array) || (bytes.length !== sha256Bytes && bytes.length !== sha512Bytes)) {
    throw new LedgerDamaged("a digest in the ledger is none");
  }
  const algorithm = bytes.length === sha256Bytes ? "sha256" : "sha512";
  return formatDigest(algorithm, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex"));
}
