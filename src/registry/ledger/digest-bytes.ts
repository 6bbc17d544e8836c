import { type Digest, formatDigest, hexOf } from "../../oci/digest.ts";

const sha256Bytes = 32;

/** A digest as the database has it: the hash's bytes, whose number tells the algorithm. */
export function packDigest(digest: Digest): Uint8Array {
  return Buffer.from(hexOf(digest), "hex");
}

/** The digest that was packed. */
export function unpackDigest(bytes: Uint8Array): Digest {
  const algorithm = bytes.length === sha256Bytes ? "sha256" : "sha512";
  return formatDigest(algorithm, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex"));
}
