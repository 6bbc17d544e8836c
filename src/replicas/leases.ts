import { createHash, randomUUID } from "node:crypto";
import { isObject } from "../oci/document.ts";
import {
  deleteUnchanged,
  type Key,
  type ObjectStore,
  PreconditionFailed,
  type Version,
} from "../store/object-store.ts";
import { parseRecord } from "../store/read-record.ts";
import { readWhole } from "../store/read-whole.ts";
import type { ReplicaId } from "./board.ts";

/** How often it is looked again while others take and give back the same lease at that moment. */
const attempts = 4;
const maxLeaseBytes = 4 * 1024;
const prefix = "leases" as Key;

/** Who fetches something: this replica, which has the lease now, or another one. */
export type Taken = { readonly lease: HeldLease } | { readonly holder: ReplicaId };

/** What leases work with. */
export interface LeasesOptions {
  readonly store: ObjectStore;
  readonly self: ReplicaId;
  /** Whether a replica is surely not there, or does not answer: then what it holds may be taken. */
  readonly isGone: (id: ReplicaId) => Promise<boolean>;
  /** Resolves when others can find this replica: before, what it held would be taken from it. */
  readonly known?: Promise<void>;
}

/** A lease as it stands in the bucket. */
interface Found {
  /** `undefined`: what is there cannot be read as one. */
  readonly holder: ReplicaId | undefined;
  readonly version: Version;
}

/** The right to be the one that fetches something, until it is given back. */
export class HeldLease {
  readonly #store: ObjectStore;
  readonly #key: Key;
  readonly #version: Version;

  constructor(store: ObjectStore, key: Key, version: Version) {
    this.#store = store;
    this.#key = key;
    this.#version = version;
  }

  /** Gives it back; what another one has taken meanwhile stays. Throws what fails. */
  async release(): Promise<void> {
    await deleteUnchanged(this.#store, this.#key, this.#version);
  }
}

/**
 * Who of all replicas fetches what: an object for each thing that is being fetched, which is written only where there is
 * none, or one of a replica that is gone. It names the replica that holds it and lasts until that gives it back: no
 * clock counts. Two may hold one where a server lets two win, or where one cannot reach the other: then both fetch.
 */
export class Leases {
  readonly #options: LeasesOptions;

  constructor(options: LeasesOptions) {
    this.#options = options;
  }

  /** Takes the lease of what has this name, or says who has it. Throws where the bucket cannot tell. */
  async take(name: string): Promise<Taken> {
    const { store, self, isGone, known } = this.#options;
    await known;
    const key = leaseKey(name);
    let found: Found | undefined;
    for (let attempt = 0; attempt < attempts; attempt++) {
      const mayTake =
        found === undefined || found.holder === undefined || found.holder === self || (await isGone(found.holder));
      if (!mayTake) return { holder: found?.holder as ReplicaId };
      try {
        // Another one each time: where a version is a hash, who gives back the one before must not remove this one.
        const record = Buffer.from(JSON.stringify({ holder: self, turn: randomUUID() }));
        const version = await store.put(key, record, { if: found?.version ?? "absent" });
        return { lease: new HeldLease(store, key, version) };
      } catch (error) {
        if (!(error instanceof PreconditionFailed)) throw error;
      }
      found = await this.#read(key);
    }
    // That is no failure of the bucket: who has it now is as good as any.
    if (found?.holder !== undefined) return { holder: found.holder };
    throw new Error("the lease changes hands too quickly");
  }

  /**
   * Removes what somebody holds who does not fetch it: its release failed, or it does not give it to others.
   *
   * @throws what fails.
   */
  async clear(name: string, holder: ReplicaId): Promise<void> {
    const key = leaseKey(name);
    const found = await this.#read(key);
    if (found?.holder === holder) await deleteUnchanged(this.#options.store, key, found.version);
  }

  /**
   * Removes what replicas have left behind that were killed, and that nobody has wanted since.
   *
   * @param isThere Whether a replica is one of those that run.
   * @throws what fails.
   */
  async sweep(isThere: (id: ReplicaId) => Promise<boolean>): Promise<void> {
    const { store, self } = this.#options;
    for await (const { key } of store.list(prefix)) {
      const found = await this.#read(key);
      if (found === undefined || found.holder === self) continue;
      if (found.holder === undefined || !(await isThere(found.holder)))
        await deleteUnchanged(store, key, found.version);
    }
  }

  async #read(key: Key): Promise<Found | undefined> {
    const object = await this.#options.store.get(key);
    if (object === undefined) return undefined;
    const bytes = await readWhole(object, maxLeaseBytes);
    // What is not to be read is nobody's.
    return { holder: parseRecord(bytes?.toString("utf8") ?? "", isLease)?.holder, version: object.version };
  }
}

function isLease(value: unknown): value is { readonly holder: ReplicaId } {
  return isObject(value) && typeof value["holder"] === "string";
}

function leaseKey(name: string): Key {
  return `${prefix}/${createHash("sha256").update(name).digest("hex")}` as Key;
}
