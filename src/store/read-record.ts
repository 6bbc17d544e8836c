import { turnToRead } from "../concurrency/turn.ts";
import type { Key, ObjectReader } from "./object-store.ts";
import { readWhole } from "./read-whole.ts";

/** Larger ones are none. */
export const maxRecordBytes = 8 * 1024 * 1024;

/** A record as it is stored; `undefined` also for what cannot be read as one. */
export async function readRecord<T extends object>(
  store: Pick<ObjectReader, "get">,
  key: Key,
  isRecord: (value: unknown) => value is T,
): Promise<T | undefined> {
  const object = await store.get(key);
  const bytes = object && (await readWhole(object, maxRecordBytes));
  if (bytes === undefined) return undefined;
  await turnToRead(bytes);
  return parseRecord(bytes.toString("utf8"), isRecord);
}

/** A record by its text; `undefined` for what is none. */
export function parseRecord<T extends object>(text: string, isRecord: (value: unknown) => value is T): T | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
