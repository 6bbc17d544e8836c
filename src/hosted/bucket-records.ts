import { randomUUID } from "node:crypto";
import { type Digest, isDigest } from "../oci/digest.ts";
import { isObject } from "../oci/document.ts";
import type { BucketStore } from "../store/bucket-store.ts";
import type { Condition, Key, Version } from "../store/object-store.ts";
import { maxRecordBytes, parseRecord } from "../store/read-record.ts";
import { readWhole } from "../store/read-whole.ts";

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

/** A record as it was written. */
interface WrittenRecord extends BytesRecord {
  /** By the clock of the store. */
  readonly writtenAt: number;
  /** Another one each time, as two objects of the same bytes have one version. */
  readonly turn: string;
}

/** A record, and which one that its key has had. */
export interface FoundRecord {
  readonly record: WrittenRecord;
  readonly version: Version;
}

/** Reads a record; `undefined` where there is none. What cannot be read as one is as good as gone. */
export async function readBytesRecord(store: BucketStore, key: Key): Promise<FoundRecord | undefined> {
  const object = await store.get(key);
  const bytes = object && (await readWhole(object, maxRecordBytes));
  if (object === undefined) return undefined;
  const { version } = object;
  const record = parseRecord(bytes?.toString("utf8") ?? "", isWrittenRecord);
  return { version, record: record ?? { ...nothing, removed: true, garbage: [], writtenAt: 0, turn: "" } };
}

/**
 * Writes a record.
 *
 * @throws {PreconditionFailed}
 */
export async function writeBytesRecord(
  store: BucketStore,
  key: Key,
  { pieces, tail, garbage, digest, committing, removed }: BytesRecord,
  condition: Condition,
): Promise<FoundRecord> {
  const written = { writtenAt: store.now(), turn: randomUUID() };
  const record: WrittenRecord = { pieces, tail, garbage, digest, committing, removed, ...written };
  return { record, version: await store.put(key, Buffer.from(JSON.stringify(record)), { if: condition }) };
}

/** No bytes. */
export const nothing: StoredParts = { pieces: [], tail: "" };

/** How many bytes it has. */
export function sizeOfParts({ pieces, tail }: StoredParts): number {
  return pieces.reduce((sum, { sizeBytes }) => sum + sizeBytes, Buffer.byteLength(tail, "base64"));
}

function isWrittenRecord(value: unknown): value is WrittenRecord {
  if (!isObject(value)) return false;
  const { pieces, tail, garbage, digest, committing, writtenAt, turn } = value;
  const isText = (text: unknown): text is string => typeof text === "string";
  const isDigestOrAbsent = (text: unknown): boolean => text === undefined || (isText(text) && isDigest(text));
  return (
    Array.isArray(pieces) &&
    pieces.every((piece) => isObject(piece) && isText(piece["name"]) && Number.isSafeInteger(piece["sizeBytes"])) &&
    Array.isArray(garbage) &&
    garbage.every(isText) &&
    isText(tail) &&
    isText(turn) &&
    typeof writtenAt === "number" &&
    isDigestOrAbsent(digest) &&
    isDigestOrAbsent(committing)
  );
}
