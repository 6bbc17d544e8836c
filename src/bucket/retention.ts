import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import { blobKey, blobsPrefix, linkKey, parseKey, repositoriesPrefix, type RepositoryId } from "../store/layout.ts";
import type { Lease } from "../store/lease.ts";
import type { Key, ObjectInfo, ObjectStore } from "../store/object-store.ts";
import { readRecord } from "../store/read-record.ts";
import type { Bucket } from "./bucket.ts";
import { KeyFilter } from "./key-filter.ts";
import { dayOf, load, readUsage, save } from "./usage.ts";

/** What was found to be unused. It is removed by a later run, where nobody has used it until then. */
const condemnedKey = "retention/condemned" as Key;
const sinceKey = "retention/since" as Key;
/** How much is removed when the bucket is too large, in parts of its limit: so that not each run has to. */
const lowShare = 0.9;
const removalsAtOnce = 8;
/** How many days back it counts which were used last, where only the size is limited. */
const longestDays = 90;

/** What the bucket may hold. */
export interface RetentionLimits {
  /** What nobody has used for so many days goes. `Infinity`: nothing goes for that. */
  readonly maxAgeDays: number;
  /** What its objects may take, in bytes; what was not used for longest goes first, by days. */
  readonly maxBytes: number;
}

/** What retention works with. */
export interface RetentionOptions {
  readonly store: ObjectStore;
  readonly bucket: Bucket;
  readonly limits: RetentionLimits;
  readonly lease: Lease;
  /** Whether a tag is to be kept, with all that it stands for. */
  readonly isPinned: (id: RepositoryId, tag: Tag) => boolean;
  /** As of `Clock`. */
  readonly now: () => number;
}

/** What a run did. */
export interface RetentionReport {
  /** What the bucket held before. */
  readonly objects: number;
  readonly bytes: number;
  /** What will go when nobody uses it until the next run. */
  readonly condemned: number;
  readonly removed: number;
  readonly removedBytes: number;
  /** The bucket is too large, and what is left was used today or yesterday, or is pinned. */
  readonly isShort: boolean;
}

/**
 * Removes from the bucket what was not used for longest: by the usage that all instances write down, without a database.
 * One instance at a time does it, which takes the lease; until that has ended no other one does, which leaves all of them
 * the time to write down what they use. What is unused is condemned by one run and removed by a later one, if no instance
 * has written down a use until then, so that what was used a moment ago stays. Tags go first, then what repositories contain, then content: nothing is left that points at what is gone.
 *
 * @returns `undefined` where somebody else has the lease, or it was lost on the way.
 * @throws {StoreError} the bucket could not be read or written.
 */
export async function retain(options: RetentionOptions, signal: AbortSignal): Promise<RetentionReport | undefined> {
  const { store, limits, lease, now } = options;
  if (!(await lease.acquire())) return undefined;
  const today = dayOf(now());
  const oldest = today - Math.min(limits.maxAgeDays, longestDays);
  const usage = await readUsage(store, oldest);
  const judge = new Judge(usage, await findPinned(options), today);
  let objects = 0;
  for await (const object of allObjects(store)) {
    signal.throwIfAborted();
    objects++;
    judge.count(object);
  }
  // What was not used as long as it is known what was may have been used before.
  const isKnown = (await findFirstDay(store, Math.min(today, ...usage.keys()))) <= oldest;
  const cut = judge.cut(limits, isKnown ? oldest : -1);
  const condemnedBefore = (await load(store, condemnedKey)) ?? new KeyFilter();
  const condemned = new KeyFilter();
  const report = { objects, bytes: judge.bytes, condemned: 0, removed: 0, removedBytes: 0, isShort: cut.isShort };
  for (const part of ["tags", "records", "content"] as const) {
    if (!(await lease.acquire())) return undefined;
    const going: ObjectInfo[] = [];
    const remove = async (): Promise<void> => {
      await Promise.all(going.map(({ key }) => options.bucket.erase(key)));
      for (const { sizeBytes } of going.splice(0)) {
        report.removed++;
        report.removedBytes += sizeBytes;
      }
    };
    for await (const object of partOf(store, part)) {
      signal.throwIfAborted();
      if (judge.isKept(object.key, cut.day)) continue;
      if (!condemnedBefore.has(object.key)) {
        condemned.add(object.key);
        report.condemned++;
      } else if (going.push(object) >= removalsAtOnce) {
        await remove();
        if (report.removed % 1_000 < removalsAtOnce && !(await lease.acquire())) return undefined;
      }
    }
    await remove();
  }
  await save(store, condemnedKey, condemned);
  return report;
}

/** Says what was used when, and how much of it there is. */
class Judge {
  bytes = 0;
  readonly #usage: ReadonlyMap<number, KeyFilter>;
  readonly #pinned: ReadonlySet<Key>;
  readonly #today: number;
  readonly #days: readonly number[];
  /** By the day of their last use; -1: before all that is known. */
  readonly #bytesOfDay = new Map<number, number>();

  constructor(usage: ReadonlyMap<number, KeyFilter>, pinned: ReadonlySet<Key>, today: number) {
    this.#usage = usage;
    this.#pinned = pinned;
    this.#today = today;
    this.#days = [...usage.keys()].toSorted((a, b) => b - a);
  }

  count({ key, sizeBytes }: ObjectInfo): void {
    this.bytes += sizeBytes;
    const day = this.#lastDay(key);
    this.#bytesOfDay.set(day, (this.#bytesOfDay.get(day) ?? 0) + sizeBytes);
  }

  /** The day before which nothing is to be kept. `oldest`: the first one that is young enough, as far as is known. */
  cut({ maxAgeDays, maxBytes }: RetentionLimits, oldest: number): { readonly day: number; readonly isShort: boolean } {
    const byAge = maxAgeDays === Infinity ? -1 : oldest;
    let bySize = -1;
    let left = this.bytes;
    if (this.bytes > maxBytes) {
      for (const [day, bytes] of [...this.#bytesOfDay].toSorted(([a], [b]) => a - b)) {
        if (left <= maxBytes * lowShare || day >= this.#today - 1) break;
        bySize = day + 1;
        left -= bytes;
      }
    }
    return { day: Math.max(byAge, bySize), isShort: left > maxBytes };
  }

  isKept(key: Key, day: number): boolean {
    return this.#lastDay(key) >= day || this.#pinned.has(key);
  }

  #lastDay(key: Key): number {
    return this.#days.find((day) => this.#usage.get(day)?.has(key) === true) ?? -1;
  }
}

/** The day since which usage is written down, which is remembered in the bucket. */
async function findFirstDay(store: ObjectStore, known: number): Promise<number> {
  const found = await readRecord(store, sinceKey, isSince);
  if (found !== undefined) return found.day;
  await store.put(sinceKey, Buffer.from(JSON.stringify({ day: known })));
  return known;
}

function isSince(value: unknown): value is { readonly day: number } {
  return typeof value === "object" && value !== null && "day" in value && typeof value.day === "number";
}

/** All that pinned tags stand for. */
async function findPinned({ store, bucket, isPinned }: RetentionOptions): Promise<Set<Key>> {
  const pinned = new Set<Key>();
  const keep = async (id: RepositoryId, digest: Digest): Promise<void> => {
    const link = linkKey(id, digest);
    if (pinned.has(link)) return;
    pinned.add(link);
    pinned.add(blobKey(digest));
    const manifest = await bucket.manifest(id, digest);
    for (const child of manifest?.parsed.children ?? []) await keep(id, child.digest);
  };
  for await (const { key } of partOf(store, "tags")) {
    const place = parseKey(key);
    if (place?.kind !== "tag" || !isPinned(place.id, place.tag)) continue;
    pinned.add(key);
    const record = await bucket.tag(place.id, place.tag);
    if (record !== undefined) await keep(place.id, record.digest);
  }
  return pinned;
}

async function* allObjects(store: ObjectStore): AsyncGenerator<ObjectInfo> {
  yield* store.list(blobsPrefix);
  yield* store.list(repositoriesPrefix);
}

/** What a part of the objects is; what is none of ours is left alone. */
async function* partOf(store: ObjectStore, part: "tags" | "records" | "content"): AsyncGenerator<ObjectInfo> {
  for await (const object of store.list(part === "content" ? blobsPrefix : repositoriesPrefix)) {
    const kind = parseKey(object.key)?.kind;
    if (kind === undefined) continue;
    if ((kind === "tag") === (part === "tags")) yield object;
  }
}
