import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import type { BucketStore } from "../store/bucket-store.ts";
import type { Key, ObjectStore } from "../store/object-store.ts";
import { readWhole } from "../store/read-whole.ts";
import { KeyFilter, placesOf } from "./key-filter.ts";

/** Below it each instance has an object for each day: `usage/<day>/<instance>`. */
export const usagePrefix = "usage" as Key;
const dayMs = 24 * 3_600_000;
const maxSavedBytes = 1024 * 1024;
/** How many days are told apart, which is what they take in memory, too: 512 KiB each. */
const maxDays = 90;
const recordName = /^usage\/(\d{1,6})\/[\w-]+$/;

/** Which days are looked at. */
export interface DaysQuery {
  /** By the server's clock, as are all the days here. */
  readonly today: number;
  /** How many days back. */
  readonly span: number;
  /** Only what was written since then; what was read already is still known. */
  readonly writtenSince?: number;
}

/**
 * What all instances have used, by days, as far as it is written down in the bucket. Of a span of more than 90 days
 * several count as one, which is their last.
 */
export class UsedDays {
  readonly #filters = new Map<number, KeyFilter>();
  /** The newest first. */
  #days: readonly number[] = [];

  /**
   * Reads what is written down. What cannot be read may have named anything, so all counts as used then.
   *
   * @throws {StoreError}
   */
  async read(store: BucketStore, { today, span, writtenSince = 0 }: DaysQuery): Promise<void> {
    const step = Math.max(1, Math.ceil(span / maxDays));
    for await (const { key, writtenAt } of store.list(usagePrefix)) {
      const day = dayOfRecord(key, writtenAt);
      if (day === undefined || day < today - span || writtenAt < writtenSince) continue;
      const saved = await loadFilter(store, key);
      if (saved === undefined) continue;
      const last = Math.min(today, Math.floor(day / step) * step + step - 1);
      const known = this.#filters.get(last) ?? new KeyFilter();
      known.join(saved.filter ?? KeyFilter.ofAll());
      this.#filters.set(last, known);
    }
    this.#days = [...this.#filters.keys()].toSorted((a, b) => b - a);
  }

  /** The last day on which a key was used; `known` where none after that is known. */
  lastDay(key: Key, known: number): number {
    if (!((this.#days[0] ?? known) > known)) return known;
    const places = placesOf(key);
    return this.#days.find((day) => day <= known || this.#filters.get(day)?.hasAt(places) === true) ?? known;
  }
}

/**
 * Removes what is written down of days before a day, by the server's clock.
 *
 * @throws {StoreError}
 */
export async function pruneUsage(store: BucketStore, before: number): Promise<void> {
  for await (const { key, writtenAt } of store.list(usagePrefix)) {
    if ((dayOfRecord(key, writtenAt) ?? before) < before) await store.delete(key);
  }
}

/**
 * The day of which a record tells, by when it was written, as an instance's clock may be wrong; `undefined` for what is
 * none. The last of a day is written when that is over.
 */
function dayOfRecord(key: Key, writtenAt: number): number | undefined {
  const [, day] = recordName.exec(key) ?? [];
  if (day === undefined) return undefined;
  const written = dayOf(writtenAt);
  return Number(day) === written - 1 ? written - 1 : written;
}

/** Stores a filter. */
export async function saveFilter(
  store: ObjectStore,
  key: Key,
  filter: KeyFilter,
  options?: Parameters<ObjectStore["put"]>[2],
): Promise<void> {
  await store.put(key, await promisify(gzip)(filter.save()), options);
}

/** A filter that was stored, if it can be read; `undefined` where there is nothing. */
export async function loadFilter(
  store: ObjectStore,
  key: Key,
): Promise<{ readonly filter: KeyFilter | undefined } | undefined> {
  const object = await store.get(key);
  if (object === undefined) return undefined;
  const bytes = await readWhole(object, maxSavedBytes);
  if (bytes === undefined) return { filter: undefined };
  try {
    return { filter: KeyFilter.parse(await promisify(gunzip)(bytes, { maxOutputLength: maxSavedBytes })) };
  } catch {
    return { filter: undefined };
  }
}

/** The day of a moment, counted from 1970. */
export function dayOf(ms: number): number {
  return Math.floor(ms / dayMs);
}
