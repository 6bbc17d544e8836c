import { randomUUID } from "node:crypto";
import { isObject } from "../oci/document.ts";
import { type Key, type ObjectStore, PreconditionFailed, type Version } from "./object-store.ts";
import { readRecord } from "./read-record.ts";

/** What stands in a lease's object. */
interface LeaseRecord {
  /** Nobody, where it was given back. */
  readonly holder: string;
  /** Another one each time that it is renewed, so that the object is another one, too. */
  readonly turn: string;
}

/** What a lease works with. */
export interface LeaseOptions {
  readonly store: ObjectStore;
  readonly key: Key;
  /** How long it holds when it is not renewed, in milliseconds. */
  readonly ttlMs: number;
  /** As of `Clock`. */
  readonly monotonic: () => number;
}

/**
 * The right to do something that one process at a time may do, among all that have the same bucket: an object that is
 * written only where nothing else was written since it was read. Where a server lets two win at once, both look again
 * and see who was last; what is done under a lease must be right, if wasteful, when two do it all the same.
 *
 * No clocks are compared, as they differ: somebody else's has ended when it was seen twice, so long apart, and was not
 * renewed meanwhile. That of a process that was killed is had at the second try.
 */
export class Lease {
  readonly #options: LeaseOptions;
  readonly #holder = randomUUID();
  /** Somebody else's, and when it was first seen as it is. */
  #seen: { readonly version: Version; readonly at: number } | undefined;

  constructor(options: LeaseOptions) {
    this.#options = options;
  }

  /** Takes it, or renews it; false where somebody else has it. */
  async acquire(): Promise<boolean> {
    const { store, key } = this.#options;
    const found = await store.head(key);
    const record = found && (await readRecord(store, key, isLease));
    // One that is not to be read is nobody's.
    const isOthers = record !== undefined && record.holder !== "" && record.holder !== this.#holder;
    if (found !== undefined && isOthers && !this.#hasEnded(found.version)) return false;
    if (!(await this.#write(this.#holder, found?.version))) return false;
    return (await readRecord(store, key, isLease))?.holder === this.#holder;
  }

  /** Gives it back, where it is held still. */
  async release(): Promise<void> {
    const { store, key } = this.#options;
    const found = await store.head(key);
    const record = found && (await readRecord(store, key, isLease));
    if (record?.holder === this.#holder) await this.#write("", found?.version);
  }

  #hasEnded(version: Version): boolean {
    const { ttlMs, monotonic } = this.#options;
    if (this.#seen?.version !== version) this.#seen = { version, at: monotonic() };
    return monotonic() - this.#seen.at >= ttlMs;
  }

  async #write(holder: string, before: Version | undefined): Promise<boolean> {
    const { store, key } = this.#options;
    const record: LeaseRecord = { holder, turn: randomUUID() };
    try {
      await store.put(key, Buffer.from(JSON.stringify(record)), { if: before ?? "absent" });
      return true;
    } catch (error) {
      if (error instanceof PreconditionFailed) return false;
      throw error;
    }
  }
}

function isLease(value: unknown): value is LeaseRecord {
  return isObject(value) && typeof value["holder"] === "string" && typeof value["turn"] === "string";
}
