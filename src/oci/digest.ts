import { createHash, type Hash } from "node:crypto";
import { OciError } from "./errors.ts";

/** A digest that passed `parseDigest`: `sha256:<64 lower-case hex>` or `sha512:<128 lower-case hex>`. */
export type Digest = string & { readonly __brand: "Digest" };

/** The registered algorithms (image-spec, descriptor.md, "Registered Algorithms") that this project verifies. */
export type Algorithm = "sha256" | "sha512";

const hexLengths: Record<Algorithm, number> = { sha256: 64, sha512: 128 };
const grammar = /^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/;
const hex = /^[a-f0-9]+$/;

/**
 * Reads a digest (image-spec, descriptor.md, "Digests").
 *
 * @throws {OciError} DIGEST_INVALID: not a digest, an unsupported algorithm, or a value of the wrong length or case.
 */
export function parseDigest(text: string): Digest {
  const colon = text.indexOf(":");
  const algorithm = text.slice(0, colon);
  const encoded = text.slice(colon + 1);
  if (colon < 0 || text.length > 256 || !grammar.test(text)) {
    throw new OciError("DIGEST_INVALID", "the digest must look like sha256:<64 hex digits>");
  }
  if (!isAlgorithm(algorithm)) {
    throw new OciError("DIGEST_INVALID", `the digest algorithm ${algorithm} is not supported; use sha256 or sha512`);
  }
  if (encoded.length !== hexLengths[algorithm] || !hex.test(encoded)) {
    throw new OciError("DIGEST_INVALID", `a ${algorithm} digest has ${hexLengths[algorithm]} lower-case hex digits`);
  }
  return text as Digest;
}

/** Whether `text` is a digest that `parseDigest` accepts. */
export function isDigest(text: string): text is Digest {
  const colon = text.indexOf(":");
  const algorithm = text.slice(0, colon);
  return (
    colon > 0 &&
    isAlgorithm(algorithm) &&
    text.length === colon + 1 + hexLengths[algorithm] &&
    hex.test(text.slice(colon + 1))
  );
}

/** The algorithm part of a digest. */
export function algorithmOf(digest: Digest): Algorithm {
  return digest.slice(0, digest.indexOf(":")) as Algorithm;
}

/** The hex part of a digest. */
export function hexOf(digest: Digest): string {
  return digest.slice(digest.indexOf(":") + 1);
}

/** Builds a digest from its parts; for values that were computed here, not for input. */
export function formatDigest(algorithm: Algorithm, encoded: string): Digest {
  return `${algorithm}:${encoded}` as Digest;
}

/** Hashes a small document in the calling thread (large ones go through the hash workers of `store/`). */
export function digestOf(bytes: Uint8Array, algorithm: Algorithm = "sha256"): Digest {
  return formatDigest(algorithm, createHasher(algorithm).update(bytes).digest("hex"));
}

/** A running hash for `algorithm`. */
export function createHasher(algorithm: Algorithm): Hash {
  return createHash(algorithm);
}

function isAlgorithm(text: string): text is Algorithm {
  return Object.hasOwn(hexLengths, text);
}

/** Whether it is the digest of no bytes at all. */
export function isOfNothing(digest: Digest): boolean {
  return digestOf(Buffer.alloc(0), algorithmOf(digest)) === digest;
}
