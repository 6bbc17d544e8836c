import { turnToRead } from "../concurrency/turn.ts";
import type { Key, ObjectReader } from "./object-store.ts";
import { readWhole } from "./read-whole.ts";

const maxRecordBytes = 8 * 1024 * 1024;

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
  try {
    const value: unknown = JSON.parse(bytes.toString("utf8"));
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
