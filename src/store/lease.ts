import { randomUUID } from "node:crypto";
import { type Key, type ObjectStore, PreconditionFailed } from "./object-store.ts";
import { readRecord } from "./read-record.ts";

/** What stands in a lease's object. */
interface LeaseRecord {
  readonly holder: string;
  /** Milliseconds since 1970, by the holder's clock. */
  readonly expiresAt: number;
}

/** What a lease works with. */
export interface LeaseOptions {
  readonly store: ObjectStore;
  readonly key: Key;
  /** How long it holds when it is not renewed, in milliseconds. More than clocks differ. */
  readonly ttlMs: number;
  /** As of `Clock`. */
  readonly now: () => number;
}

/**
 * The right to do something that one process at a time may do, among all that have the same bucket: an object that is
 * written only where nothing else was written since it was read. Where a server lets two win at once, both look again
 * and see who was last; what is done under a lease must be right, if wasteful, when two do it all the same.
 */
export class Lease {
  readonly #options: LeaseOptions;
  readonly #holder = randomUUID();

  constructor(options: LeaseOptions) {
    this.#options = options;
  }

  /** Takes it, or renews it; false where somebody else has it. It ends by itself. */
  async acquire(): Promise<boolean> {
    const { store, key, ttlMs, now } = this.#options;
    const found = await store.head(key);
    const record = found && (await readRecord(store, key, isLease));
    const isOurs = record?.holder === this.#holder;
    // One that is not to be read is nobody's.
    if (record !== undefined && !isOurs && now() < record.expiresAt) return false;
    const mine: LeaseRecord = { holder: this.#holder, expiresAt: now() + ttlMs };
    try {
      await store.put(key, Buffer.from(JSON.stringify(mine)), { if: found?.version ?? "absent" });
    } catch (error) {
      if (error instanceof PreconditionFailed) return false;
      throw error;
    }
    return (await readRecord(store, key, isLease))?.holder === this.#holder;
  }
}

function isLease(value: unknown): value is LeaseRecord {
  if (typeof value !== "object" || value === null || !("holder" in value) || !("expiresAt" in value)) return false;
  return typeof value.holder === "string" && typeof value.expiresAt === "number";
}
