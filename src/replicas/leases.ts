import { createHash } from "node:crypto";
import { isObject } from "../oci/document.ts";
import { type Key, type ObjectStore, PreconditionFailed, type Version } from "../store/object-store.ts";
import { parseRecord } from "../store/read-record.ts";
import { readWhole } from "../store/read-whole.ts";
import type { ReplicaId } from "./board.ts";

/** How often it is looked again while others take and give back the same lease at that moment. */
const attempts = 4;
const maxLeaseBytes = 4 * 1024;

/** Who fetches something: this replica, which has the lease now, or another one. */
export type Taken = { readonly lease: HeldLease } | { readonly holder: ReplicaId };

/** What leases work with. */
export interface LeasesOptions {
  readonly store: ObjectStore;
  readonly self: ReplicaId;
  /** Whether a replica is surely not there, or does not answer: then what it holds may be taken. */
  readonly isGone: (id: ReplicaId) => Promise<boolean>;
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
    try {
      await this.#store.delete(this.#key, { if: this.#version });
    } catch (error) {
      if (!(error instanceof PreconditionFailed)) throw error;
    }
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
    const { store, self, isGone } = this.#options;
    const key = leaseKey(name);
    let found: { readonly holder: ReplicaId | undefined; readonly version: Version } | undefined;
    for (let attempt = 0; attempt < attempts; attempt++) {
      const mayTake =
        found === undefined || found.holder === undefined || found.holder === self || (await isGone(found.holder));
      if (!mayTake) return { holder: found?.holder as ReplicaId };
      try {
        const record = Buffer.from(JSON.stringify({ holder: self }));
        const version = await store.put(key, record, { if: found?.version ?? "absent" });
        return { lease: new HeldLease(store, key, version) };
      } catch (error) {
        if (!(error instanceof PreconditionFailed)) throw error;
      }
      found = await this.#read(key);
    }
    throw new Error("the lease changes hands too quickly");
  }

  async #read(key: Key): Promise<{ readonly holder: ReplicaId | undefined; readonly version: Version } | undefined> {
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
  return `leases/${createHash("sha256").update(name).digest("hex")}` as Key;
}
