import { type Digest, isDigest } from "../oci/digest.ts";
import { isObject } from "../oci/document.ts";
import type { BucketStore } from "../store/bucket-store.ts";
import type { Key } from "../store/object-store.ts";
import { readStored, type StoredRecord } from "./stored-record.ts";

/** An object that holds a part of some bytes, by its name below `hosted/data`. */
export interface Piece {
  readonly name: string;
  readonly sizeBytes: number;
}

/** Bytes in a bucket: the pieces in order, and what is behind them. */
export interface StoredParts {
  readonly pieces: readonly Piece[];
  /** In base64; what is small needs no object of its own. */
  readonly tail: string;
}

/**
 * What is stored of an upload, or the content of a digest. Each piece is named by a record from before it is written until
 * after it is gone: so none is left over, whoever dies when.
 */
export interface BytesRecord extends StoredParts {
  /** Objects that are to go before the record does: somebody may still be writing them. */
  readonly garbage: readonly string[];
  /** Of an upload: what its bytes have for a digest, where that is known. */
  readonly digest?: Digest | undefined;
  /** Of an upload: what it is being made, from where on nothing may be added. */
  readonly committing?: Digest | undefined;
  /** It is as good as gone. */
  readonly removed?: boolean | undefined;
}

/** A record, when it was written, and which one that its key has had. */
export type FoundRecord = StoredRecord<BytesRecord>;

/** Reads a record; `undefined` where there is none. What cannot be read as one is as good as gone. */
export async function readBytesRecord(store: BucketStore, key: Key): Promise<FoundRecord | undefined> {
  const found = await readStored(store, key, isBytesRecord);
  if (found === undefined || found.stored !== undefined) return found?.stored;
  return { version: found.version, record: { ...nothing, removed: true, garbage: [] }, writtenAt: 0 };
}

/** No bytes. */
export const nothing: StoredParts = { pieces: [], tail: "" };

/** How many bytes it has. */
export function sizeOfParts({ pieces, tail }: StoredParts): number {
  return pieces.reduce((sum, { sizeBytes }) => sum + sizeBytes, Buffer.byteLength(tail, "base64"));
}

function isBytesRecord(value: unknown): value is BytesRecord {
  if (!isObject(value)) return false;
  const { pieces, tail, garbage, digest, committing } = value;
  const isText = (text: unknown): text is string => typeof text === "string";
  const isDigestOrAbsent = (text: unknown): boolean => text === undefined || (isText(text) && isDigest(text));
  return (
    Array.isArray(pieces) &&
    pieces.every((piece) => isObject(piece) && isText(piece["name"]) && Number.isSafeInteger(piece["sizeBytes"])) &&
    Array.isArray(garbage) &&
    garbage.every(isText) &&
    isText(tail) &&
    isDigestOrAbsent(digest) &&
    isDigestOrAbsent(committing)
  );
}
