import { type Digest, parseDigest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { maxManifestBytes } from "../oci/manifest.ts";
import { parseReference, parseRepository, type Reference, type Repository } from "../oci/reference.ts";
import type { Key } from "../store/object-store.ts";

/*
 * How mcronce/oci-registry lays its cache out, in a folder and in a bucket alike:
 *
 *   manifests/<namespace>/<repository>/<tag or digest>      an envelope: JSON with the manifest's bytes as numbers
 *   blobs/sha256/<first 2 hex>/<other 62 hex>               a blob, of whatever repositories
 *
 * A tag and the digest that it stood for are two objects of their own; either may be there without the other.
 */

/** Below these lies all that is adopted. */
export const earlierManifests: Key = "manifests" as Key;
export const earlierBlobs: Key = "blobs" as Key;

/** A manifest of the earlier system, by its key; the namespace is as some client wrote it. */
export interface EarlierManifest {
  readonly namespace: string;
  readonly repository: Repository;
  readonly reference: Reference;
}

/** What an envelope holds. Nothing of it is checked against anything yet. */
export interface Envelope {
  readonly bytes: Buffer;
  readonly mediaType: string;
  /** What the upstream said the digest was, where it did. */
  readonly digest: string | undefined;
}

/** An envelope that cannot be read: it ends too early, as its writer was interrupted, or is something else. */
export type Unreadable = "torn" | "malformed";

/** The largest envelope: of each byte up to three digits, and a comma, and the rest. */
export const maxEnvelopeBytes: number = maxManifestBytes * 4 + 64 * 1024;
const maxTextBytes = 1024;

/** Reads a key below `manifests`; `undefined` for one that the earlier system has not made. */
export function parseManifestKey(key: string): EarlierManifest | undefined {
  const [, namespace = "", ...names] = key.split("/");
  const reference = names.pop() ?? "";
  return unlessInvalid(() => ({
    namespace,
    repository: parseRepository(names.join("/")),
    reference: parseReference(reference),
  }));
}

/** The digest of a key below `blobs`; `undefined` for one that the earlier system has not made. */
export function parseBlobKey(key: string): Digest | undefined {
  const [, algorithm, first, rest, ...more] = key.split("/");
  if (first?.length !== 2 || more.length > 0) return undefined;
  // It took digests in upper case, too, and kept their content under keys of their own.
  return unlessInvalid(() => parseDigest(`${algorithm}:${first}${rest}`.toLowerCase()));
}

/**
 * Reads an envelope: `{"manifest": [123, 34, …], "media_type": "…", "digest": "sha256:…" or null}`, its fields in any
 * order. It is read as that alone, and no other value is ever built: sixteen megabytes of JSON could hold anything.
 */
export function readEnvelope(text: Uint8Array): Envelope | Unreadable {
  try {
    return new EnvelopeReader(text).read();
  } catch (error) {
    if (error instanceof EnvelopeError) return error.kind;
    throw error;
  }
}

class EnvelopeError extends Error {
  override readonly name = "EnvelopeError";
  readonly kind: Unreadable;

  constructor(kind: Unreadable) {
    super(kind);
    this.kind = kind;
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });
const quote = 0x22;
const comma = 0x2c;
const zero = 0x30;
const colon = 0x3a;
const openList = 0x5b;
const backslash = 0x5c;
const closeList = 0x5d;
const openObject = 0x7b;
const closeObject = 0x7d;

/** Reads one envelope, from its first byte to its last. */
class EnvelopeReader {
  readonly #text: Uint8Array;
  #position = 0;

  constructor(text: Uint8Array) {
    this.#text = text;
  }

  /** @throws {EnvelopeError} */
  read(): Envelope {
    let bytes: Buffer | undefined;
    let mediaType: string | null | undefined;
    let digest: string | null | undefined;
    this.#expect(openObject);
    do {
      const field = this.#string();
      this.#expect(colon);
      if (field === "manifest" && bytes === undefined) bytes = this.#bytes();
      else if (field === "media_type" && mediaType === undefined) mediaType = this.#string();
      else if (field === "digest" && digest === undefined) digest = this.#stringOrNull();
      else throw new EnvelopeError("malformed");
    } while (this.#goesOn(closeObject));
    if (bytes === undefined || typeof mediaType !== "string" || this.#peek() !== undefined) {
      throw new EnvelopeError("malformed");
    }
    return { bytes, mediaType, digest: digest ?? undefined };
  }

  /** The next byte that is not white space; `undefined` at the end. */
  #peek(): number | undefined {
    for (;;) {
      const byte = this.#text[this.#position];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return byte;
      this.#position++;
    }
  }

  #next(): number {
    const byte = this.#peek();
    if (byte === undefined) throw new EnvelopeError("torn");
    this.#position++;
    return byte;
  }

  #expect(wanted: number): void {
    if (this.#next() !== wanted) throw new EnvelopeError("malformed");
  }

  /** Whether a comma follows, and not the end of the list or object. */
  #goesOn(end: number): boolean {
    const byte = this.#next();
    if (byte !== comma && byte !== end) throw new EnvelopeError("malformed");
    return byte === comma;
  }

  #bytes(): Buffer {
    this.#expect(openList);
    const bytes = Buffer.allocUnsafeSlow(Math.min(maxManifestBytes, Math.ceil(this.#text.length / 2)));
    let length = 0;
    if (this.#peek() === closeList) this.#position++;
    else {
      do {
        if (length === bytes.length) throw new EnvelopeError("malformed");
        bytes[length++] = this.#byte();
      } while (this.#goesOn(closeList));
    }
    return Buffer.from(bytes.subarray(0, length));
  }

  #byte(): number {
    let digit = this.#next() - zero;
    if (digit < 0 || digit > 9) throw new EnvelopeError("malformed");
    let value = 0;
    while (digit >= 0 && digit <= 9 && value <= 255) {
      value = value * 10 + digit;
      digit = (this.#text[this.#position++] ?? 0) - zero;
    }
    this.#position--;
    if (value > 255) throw new EnvelopeError("malformed");
    return value;
  }

  #stringOrNull(): string | null {
    if (this.#peek() === quote) return this.#string();
    for (const byte of Buffer.from("null")) this.#expect(byte);
    return null;
  }

  #string(): string {
    this.#expect(quote);
    const start = this.#position;
    while (this.#text[this.#position] !== quote) {
      if (this.#text[this.#position] === backslash) this.#position++;
      if (this.#position >= this.#text.length) throw new EnvelopeError("torn");
      if (this.#position - start > maxTextBytes) throw new EnvelopeError("malformed");
      this.#position++;
    }
    const inner = this.#text.subarray(start, this.#position++);
    try {
      return JSON.parse(`"${utf8.decode(inner)}"`) as string;
    } catch {
      throw new EnvelopeError("malformed");
    }
  }
}

function unlessInvalid<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof OciError) return undefined;
    throw error;
  }
}
