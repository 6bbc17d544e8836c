import { randomUUID } from "node:crypto";
import { isObject } from "../oci/document.ts";
import type { Condition, DatedStore, Key, Version } from "../store/object-store.ts";
import { maxRecordBytes, parseRecord } from "../store/read-record.ts";
import { readWhole } from "../store/read-whole.ts";

/** A record as it stands in a store. */
export interface StoredRecord<T> {
  readonly record: T;
  readonly version: Version;
  /** When it was written last, by the clock of the store: not later than the object itself says, as writing takes time. */
  readonly writtenAt: number;
}

/** What is at a record's key; what does not read as one is there all the same, and can be replaced. */
export interface FoundAtKey<T> {
  readonly version: Version;
  readonly stored: StoredRecord<T> | undefined;
}

/** What an object holds. */
interface Envelope {
  readonly record: unknown;
  readonly at: number;
  /** Another one each time: in a bucket two objects of the same bytes have one version. */
  readonly turn: string;
}

/** What is at a record's key; `undefined` where there is nothing. */
export async function readStored<T extends object>(
  store: Pick<DatedStore, "get">,
  key: Key,
  isRecord: (value: unknown) => value is T,
): Promise<FoundAtKey<T> | undefined> {
  const object = await store.get(key);
  if (object === undefined) return undefined;
  const { version } = object;
  const bytes = await readWhole(object, maxRecordBytes);
  const { record, at = 0 } = parseRecord(bytes?.toString("utf8") ?? "", isEnvelope) ?? {};
  return { version, stored: isRecord(record) ? { record, version, writtenAt: at } : undefined };
}

/**
 * Writes a record, which has another version then, also where it is equal to the one before.
 *
 * @throws {PreconditionFailed}
 */
export async function writeStored<T extends object>(
  store: Pick<DatedStore, "put" | "now">,
  key: Key,
  record: T,
  condition: Condition,
): Promise<StoredRecord<T>> {
  const envelope: Envelope = { record, at: store.now(), turn: randomUUID() };
  const version = await store.put(key, Buffer.from(JSON.stringify(envelope)), { if: condition });
  return { record, version, writtenAt: envelope.at };
}

function isEnvelope(value: unknown): value is Envelope {
  return isObject(value) && typeof value["at"] === "number";
}
