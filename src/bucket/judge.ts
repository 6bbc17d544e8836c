import { parseKey } from "../store/layout.ts";
import type { DatedObject, Key } from "../store/object-store.ts";
import type { KeyFilter } from "./key-filter.ts";
import type { RepositoryShares } from "./repository-shares.ts";
import { dayOf, type UsedDays } from "./used-days.ts";

/** How much is removed when the bucket is too large, in parts of its limit: so that not each run has to. */
const lowShare = 0.9;

/** What the bucket may hold. */
export interface RetentionLimits {
  /** What nobody has used for so many days goes. `Infinity`: nothing goes for that. */
  readonly maxAgeDays: number;
  /** What its objects may take, in bytes; what was not used for longest goes first, by days. */
  readonly maxBytes: number;
}

/** Whether there are any limits. */
export function isLimited({ maxAgeDays, maxBytes }: RetentionLimits): boolean {
  return Math.min(maxAgeDays, maxBytes) < Infinity;
}

/** What is to go. */
export interface Cut {
  /** What was used last before this day. */
  readonly day: number;
  /** Of what was used last on this day, which is the next one, so many bytes, where not all has to go. */
  readonly partBytes: number;
  /** The bucket is too large all the same. */
  readonly isShort: boolean;
}

/** What the bucket's objects are judged by. */
export interface JudgeOptions {
  readonly used: UsedDays;
  readonly pinned: KeyFilter;
  /** By the server's clock, as are all the days here. */
  readonly today: number;
}

/** Counts what there is, by the day on which it was used last, and says what of it is to go. */
export class Judge {
  objects = 0;
  bytes = 0;
  readonly #options: JudgeOptions;
  /** What may be removed. */
  readonly #bytesOfDay = new Map<number, number>();

  constructor(options: JudgeOptions) {
    this.#options = options;
  }

  /** Counts an object. What is pinned, or is none of ours, takes room, but is not removed. */
  count(object: DatedObject): void {
    const { key, sizeBytes } = object;
    this.objects++;
    this.bytes += sizeBytes;
    if (!this.isRemovable(key)) return;
    const day = this.lastDay(object);
    this.#bytesOfDay.set(day, (this.#bytesOfDay.get(day) ?? 0) + sizeBytes);
  }

  /** What is to go of what was counted. Of what was used today or yesterday nothing is. */
  cut({ maxAgeDays, maxBytes }: RetentionLimits): Cut {
    const { today } = this.#options;
    // Whose usage is written down in a quarter of an hour must not be too late.
    const byAge = today - Math.max(1, maxAgeDays);
    const days = [...this.#bytesOfDay].toSorted(([a], [b]) => a - b);
    let left = this.bytes;
    for (const [day, bytes] of days) if (day < byAge) left -= bytes;
    const cut = { day: byAge, partBytes: 0 };
    const target = left > maxBytes ? maxBytes * lowShare : Infinity;
    for (const [day, bytes] of days) {
      if (left <= target || day >= today - 1) break;
      if (day < byAge) continue;
      cut.day = day;
      cut.partBytes = Math.min(bytes, left - target);
      left -= cut.partBytes;
      if (cut.partBytes < bytes) break;
      cut.day++;
      cut.partBytes = 0;
    }
    return { ...cut, isShort: left > maxBytes };
  }

  /** Whether anything that was counted is to go. */
  hasAny(cut: Cut): boolean {
    return cut.partBytes > 0 || [...this.#bytesOfDay.keys()].some((day) => day < cut.day);
  }

  /** Whether an object stays. `shares`: what goes of the day after the cut. */
  keeps(object: DatedObject, cut: Cut, shares: RepositoryShares | undefined): boolean {
    if (!this.isRemovable(object.key)) return true;
    const day = this.lastDay(object);
    return day > cut.day || (day === cut.day && shares?.goes(object.key) !== true);
  }

  /** Whether an object may go at all: it is one of ours, and is not pinned. */
  isRemovable(key: Key): boolean {
    return parseKey(key) !== undefined && !this.#options.pinned.has(key);
  }

  /** The day on which an object was used last, or written: who stores it has a use for it. */
  lastDay({ key, writtenAt }: DatedObject): number {
    const { used, today } = this.#options;
    return used.lastDay(key, Math.min(today, dayOf(writtenAt)));
  }
}
