import { isObject } from "../oci/document.ts";
import type { Pin } from "../oci/pin.ts";
import { blobsPrefix, parseKey, repositoriesPrefix } from "../store/layout.ts";
import type { Lease } from "../store/lease.ts";
import type { BucketStore } from "../store/bucket-store.ts";
import {
  type DatedObject,
  type Condition,
  type Key,
  type ObjectReader,
  PreconditionFailed,
  StoreError,
} from "../store/object-store.ts";
import { readRecord } from "../store/read-record.ts";
import type { Bucket } from "./bucket.ts";
import { type Cut, isLimited, Judge, type RetentionLimits } from "./judge.ts";
import { KeyFilter } from "./key-filter.ts";
import { findPinned } from "./pinned.ts";
import { RepositoryShares } from "./repository-shares.ts";
import { dayOf, loadFilter, pruneUsage, saveFilter, UsedDays } from "./used-days.ts";

const retentionPrefix = "retention" as Key;
export const leaseKey: Key = "retention/lease" as Key;
/** What was found to be unused. It is removed by a later run, where nobody has used it until then. */
const condemnedKey = "retention/condemned" as Key;
/** The report of the last run, whose age says when the next one is due. */
const lastKey = "retention/last" as Key;
/** So much later: by then all have written down several times what they use. */
const reprieveMs = 3_600_000;
const removalsAtOnce = 8;
/** How often in a run the lease is renewed, and read what was used meanwhile. */
const refreshMs = 60_000;
/** An object that was written this long before another one may have come into a listing after it. */
const listingLagMs = 60_000;
/** How many days back it counts which were used last, where only the size is limited. */
const longestDays = 90;
/** How long usage is kept where there is no limit here: another instance may have one. */
const keptDays = 400;

/** What retention works with. */
export interface RetentionOptions {
  readonly store: BucketStore;
  readonly bucket: Pick<Bucket, "erase">;
  readonly limits: RetentionLimits;
  readonly lease: Lease;
  /** Says what is kept, whoever uses it; `now` is the server's time. */
  readonly pins: (now: number) => Promise<readonly Pin[]>;
  /** A name of this instance, for people. */
  readonly by: string;
  /** As of `Clock`. */
  readonly monotonic: () => number;
  /** Told of each object that was removed. */
  readonly onRemoved: () => void;
}

/** How a run is made. */
export interface RetentionRun {
  /** Whether it only says what it would do. */
  readonly dryRun: boolean;
  /** Nothing is done where the last run of any instance was not so long ago, in milliseconds. */
  readonly everyMs: number;
}

/** The report of the last run that any instance has made. */
export async function readLast(store: ObjectReader): Promise<RetentionReport | undefined> {
  return readRecord(store, lastKey, isReport);
}

/** What a run did, or would do. */
export interface RetentionReport {
  /** The instance that made it, and when it began: milliseconds since 1970, by the server's clock. */
  readonly by: string;
  readonly at: number;
  /** What the bucket held before. */
  readonly objects: number;
  readonly bytes: number;
  /** What will go when nobody uses it until the next run, an hour later or more. */
  readonly condemned: number;
  readonly removed: number;
  readonly removedBytes: number;
  /** The bucket is too large, and what is left was used today or yesterday, or is pinned. */
  readonly isShort: boolean;
}

/**
 * Removes from the bucket what was not used for longest: by the usage that all instances write down, without a database.
 * One instance at a time does it, which has the lease. What is unused is condemned by one run and removed by one that is
 * an hour later or more, if no instance has written down a use until then, so that what was used a moment ago stays.
 * Tags go first, then what repositories contain, then content: nothing is left that points at what is gone.
 *
 * All days and ages are by the server's clock: an instance's may be wrong, and would empty the bucket.
 *
 * @returns `undefined` where somebody else is at it, or has just done it.
 * @throws {StoreError} the bucket could not be read or written.
 */
export async function retain(
  options: RetentionOptions,
  run: RetentionRun,
  signal: AbortSignal,
): Promise<RetentionReport | undefined> {
  const { lease } = options;
  if (!(await lease.acquire())) return undefined;
  try {
    return await new Run(options, run, signal).make();
  } finally {
    // Else it ends by itself.
    await lease.release().catch(() => undefined);
  }
}

/** What an earlier run has condemned. */
interface Condemned {
  /**
   * What may be removed now; `undefined` where it was condemned a moment ago, perhaps because somebody asked for a run,
   * and stays as it is.
   */
  readonly filter: KeyFilter | undefined;
  readonly version: Condition;
}

/** In which order objects go. */
const parts = ["tags", "records", "content"] as const;

/** One run, by who has the lease. */
class Run {
  readonly #options: RetentionOptions;
  readonly #run: RetentionRun;
  readonly #signal: AbortSignal;
  readonly #used = new UsedDays();
  readonly #startedAt: number;
  #refreshedAt: number;
  /** The server's time at the start. */
  #now = 0;
  #removed = 0;
  #removedBytes = 0;

  constructor(options: RetentionOptions, run: RetentionRun, signal: AbortSignal) {
    this.#options = options;
    this.#run = run;
    this.#signal = signal;
    this.#startedAt = this.#refreshedAt = options.monotonic();
  }

  async make(): Promise<RetentionReport | undefined> {
    const { store, limits, by, pins } = this.#options;
    const written = new Map<Key, number>();
    for await (const { key, writtenAt } of store.list(retentionPrefix)) written.set(key, writtenAt);
    this.#now = written.get(leaseKey) ?? NaN;
    if (!(this.#now > 0)) {
      throw new StoreError("the bucket's listing does not say when the lease was written", undefined);
    }
    if (this.#now - (written.get(lastKey) ?? -Infinity) < this.#run.everyMs) return undefined;
    if (!isLimited(limits)) {
      await pruneUsage(store, this.#today - keptDays);
      return undefined;
    }
    const before = await this.#condemnedBefore(written.get(condemnedKey));
    await this.#used.read(store, { today: this.#today, span: this.#span });
    const judge = new Judge({
      used: this.#used,
      pinned: await findPinned(store, await pins(this.#now), this.#signal),
      today: this.#today,
    });
    for (const prefix of [blobsPrefix, repositoriesPrefix]) {
      for await (const object of this.#list(prefix)) judge.count(object);
    }
    const cut = judge.cut(limits);
    const condemned = new KeyFilter();
    const count = judge.hasAny(cut) ? await this.#remove(judge, cut, before.filter, condemned) : 0;
    const report: RetentionReport = {
      by,
      at: this.#now,
      objects: judge.objects,
      bytes: judge.bytes,
      condemned: count,
      removed: this.#removed,
      removedBytes: this.#removedBytes,
      isShort: cut.isShort,
    };
    if (!this.#run.dryRun) await this.#finish(report, condemned, before);
    return report;
  }

  get #today(): number {
    return dayOf(this.#now);
  }

  get #span(): number {
    const { maxAgeDays } = this.#options.limits;
    return maxAgeDays === Infinity ? longestDays : Math.max(1, maxAgeDays);
  }

  /** @param at When it was written, by the server's clock. */
  async #condemnedBefore(at: number | undefined): Promise<Condemned> {
    const { store } = this.#options;
    const version = (await store.head(condemnedKey))?.version ?? "absent";
    if (at !== undefined && this.#now - at < reprieveMs) return { filter: undefined, version };
    return { filter: (await loadFilter(store, condemnedKey))?.filter ?? new KeyFilter(), version };
  }

  /** Removes what was condemned before, and condemns what else is to go: how much that is. */
  async #remove(judge: Judge, cut: Cut, before: KeyFilter | undefined, condemned: KeyFilter): Promise<number> {
    const shares = cut.partBytes > 0 ? await this.#divide(judge, cut) : undefined;
    let count = 0;
    for (const part of parts) {
      await this.#refresh();
      const going: DatedObject[] = [];
      for await (const object of this.#list(part === "content" ? blobsPrefix : repositoriesPrefix)) {
        if (!isOf(part, object.key) || judge.keeps(object, cut, shares)) continue;
        if (before?.has(object.key) !== true) {
          condemned.add(object.key);
          count++;
        } else if (going.push(object) >= removalsAtOnce) {
          await this.#removeAll(going.splice(0));
        }
      }
      await this.#removeAll(going);
    }
    return count;
  }

  /** What goes of the day of which not all has to. */
  async #divide(judge: Judge, cut: Cut): Promise<RepositoryShares> {
    const shares = new RepositoryShares();
    for await (const object of this.#list(repositoriesPrefix)) {
      const place = parseKey(object.key);
      if (place?.kind === "link" && judge.lastDay(object) >= cut.day) shares.hold(place.id, place.digest);
    }
    for await (const object of this.#list(blobsPrefix)) {
      const { key, sizeBytes } = object;
      if (judge.isRemovable(key) && judge.lastDay(object) === cut.day) shares.count(key, sizeBytes);
    }
    shares.choose(cut.partBytes);
    return shares;
  }

  async #removeAll(objects: readonly DatedObject[]): Promise<void> {
    const { bucket, onRemoved } = this.#options;
    await Promise.all(
      objects.map(async ({ key, sizeBytes }) => {
        if (!this.#run.dryRun) {
          await bucket.erase(key);
          onRemoved();
        }
        this.#removed++;
        this.#removedBytes += sizeBytes;
      }),
    );
  }

  async #finish(report: RetentionReport, condemned: KeyFilter, before: Condemned): Promise<void> {
    const { store } = this.#options;
    await this.#refresh();
    try {
      // Whoever lost the lease without a sign has a list that is old: somebody else's stays.
      if (before.filter !== undefined) await saveFilter(store, condemnedKey, condemned, { if: before.version });
    } catch (error) {
      throw error instanceof PreconditionFailed ? lost() : error;
    }
    await store.put(lastKey, Buffer.from(JSON.stringify(report)));
    await pruneUsage(store, this.#today - this.#span);
  }

  /** Sees that the lease is still held, and what was used since it was looked last. */
  async #refresh(): Promise<void> {
    const { store, lease, monotonic } = this.#options;
    const since = this.#now + (this.#refreshedAt - this.#startedAt) - listingLagMs;
    this.#refreshedAt = monotonic();
    if (!(await lease.acquire())) throw lost();
    await this.#used.read(store, { today: this.#today, span: this.#span, writtenSince: since });
  }

  async *#list(prefix: Key): AsyncGenerator<DatedObject> {
    for await (const object of this.#options.store.list(prefix)) {
      this.#signal.throwIfAborted();
      if (this.#options.monotonic() - this.#refreshedAt >= refreshMs) await this.#refresh();
      yield object;
    }
  }
}

function isOf(part: (typeof parts)[number], key: Key): boolean {
  return (parseKey(key)?.kind === "tag") === (part === "tags");
}

function isReport(value: unknown): value is RetentionReport {
  if (!isObject(value)) return false;
  const { by, isShort, ...counts }: Partial<Record<keyof RetentionReport, unknown>> = value;
  const { at, objects, bytes, condemned, removed, removedBytes } = counts;
  const isCounted = [at, objects, bytes, condemned, removed, removedBytes].every(Number.isSafeInteger);
  return isCounted && typeof by === "string" && typeof isShort === "boolean";
}

function lost(): Error {
  return new Error("another instance has taken the lease of the run");
}
