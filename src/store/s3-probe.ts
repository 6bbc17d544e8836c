import { randomUUID } from "node:crypto";
import { type Key, type ObjectStore, PreconditionFailed, StoreError, type Version } from "./object-store.ts";
import { readWhole } from "./read-whole.ts";

/** What a server lacks that lets several writers win that have one condition. */
export const severalWin = "conditional writes are not safe: more than one wins";

const blindDeletes = "conditions of deletes are ignored or refused";
/** What a server must not lack where something is removed while others rely on it. */
export const unsafeLacks: ReadonlySet<string> = new Set([severalWin, blindDeletes]);

/** What the probe is made of. */
export interface ProbedStore extends ObjectStore {
  upload(key: Key, bytes: AsyncIterable<Uint8Array>, options?: { readonly sizeBytes?: number }): Promise<Version>;
}

/** What is tried lies below this, until it is over. */
export const probePrefix = "probe";
/** So many write at once: several servers pass when asked one by one, and let two win at once. */
const writers = 8;
/** Three burst rounds: whether two win is a matter of chance. */
const rounds = 3;

/**
 * Tries what the store uses, below `probe/<nonce>`, and removes that again. An empty bucket is fine, and no right is
 * needed that the store does not need anyhow.
 *
 * @param parts How many bytes take two parts.
 * @returns what the server lacks, a sentence each; none where it can all that is used.
 * @throws {StoreError} the bucket cannot be written to, read, or listed at all.
 */
export async function probe(store: ProbedStore, parts: number): Promise<string[]> {
  const folder = `${probePrefix}/${randomUUID()}`;
  const keyOf = (name: string): Key => `${folder}/${name}` as Key;
  const lacks: string[] = [];
  try {
    await store.put(keyOf("a"), Buffer.from("first"));
    const first = await store.get(keyOf("a"));
    const text = first && (await readWhole(first, 1024));
    if (text?.toString() !== "first") throw new StoreError("the bucket does not give back what was written", undefined);
    if (!(await holdsBursts(store, keyOf))) lacks.push(severalWin);
    if (!(await holdsDeletes(store, keyOf("delete")))) lacks.push(blindDeletes);
    if (!(await takesParts(store, keyOf("parts"), parts))) lacks.push("uploads in parts are refused");
    if (!(await listsInOrder(store, folder, keyOf))) lacks.push("listings are not in order");
    return lacks;
  } finally {
    await removeAll(store, folder as Key);
  }
}

/** Whether of writers that have one condition one wins, also of several at once. */
async function holdsBursts(store: ProbedStore, keyOf: (name: string) => Key): Promise<boolean> {
  for (let round = 0; round < rounds; round++) {
    const key = keyOf(`burst-${round}`);
    const races = Array.from({ length: writers }, (_, index) =>
      succeeds(store.put(key, Buffer.from(`writer ${index}`), { if: "absent" })),
    );
    if ((await Promise.all(races)).filter(Boolean).length !== 1) return false;
  }
  const stale = (await store.head(keyOf("burst-0")))?.version;
  if (stale === undefined) return false;
  await store.put(keyOf("burst-0"), Buffer.from("replaced"), { if: stale });
  return !(await succeeds(store.put(keyOf("burst-0"), Buffer.from("late"), { if: stale })));
}

/** Whether an object is deleted only in the version that is asked for. */
async function holdsDeletes(store: ProbedStore, key: Key): Promise<boolean> {
  const stale = await store.put(key, Buffer.from("old"));
  await store.put(key, Buffer.from("new"));
  try {
    await succeeds(store.delete(key, { if: stale }));
  } catch (error) {
    if (error instanceof StoreError) return false;
    throw error;
  }
  return (await store.head(key)) !== undefined;
}

async function takesParts(store: ProbedStore, key: Key, sizeBytes: number): Promise<boolean> {
  try {
    await store.upload(key, zeros(sizeBytes), { sizeBytes });
    return true;
  } catch (error) {
    if (error instanceof StoreError) return false;
    throw error;
  }
}

/** Whether listings are in the order of their keys, and begin behind the one that is asked for. */
async function listsInOrder(store: ProbedStore, folder: string, keyOf: (name: string) => Key): Promise<boolean> {
  for (const name of ["list/b", "list-b", "list/a"]) await store.put(keyOf(name), Buffer.from(name));
  const found: Key[] = [];
  try {
    for await (const { key } of store.list(folder as Key, { after: keyOf("list") })) found.push(key);
  } catch (error) {
    if (error instanceof StoreError && error.code === undefined) return false;
    throw error;
  }
  const expected = ["list-b", "list/a", "list/b"].map(keyOf);
  return expected.every((key, index) => found[index] === key);
}

/** Whether a write was done; whatever else than a condition keeps it from that is thrown. */
async function succeeds(write: Promise<unknown>): Promise<boolean> {
  try {
    await write;
    return true;
  } catch (error) {
    if (error instanceof PreconditionFailed) return false;
    throw error;
  }
}

async function* zeros(sizeBytes: number): AsyncGenerator<Uint8Array> {
  const chunk = new Uint8Array(64 * 1024);
  for (let left = sizeBytes; left > 0; left -= chunk.length) yield chunk.subarray(0, left);
}

async function removeAll(store: ProbedStore, folder: Key): Promise<void> {
  try {
    for await (const { key } of store.list(folder)) await store.delete(key);
  } catch {
    // What is left lies where nobody reads, and is swept.
  }
}
