import type { Namespace } from "../oci/reference.ts";
import { StoreError } from "../store/object-store.ts";
import type { Clock } from "../concurrency/clock.ts";
import { chargedBytes, type Holding, type Ledger, type LedgerChange } from "../ledger/ledger.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { Digest } from "../oci/digest.ts";
import type { Reservation, Space } from "./space.ts";

/** The code of the `StoreError` for what the store's own limit does not let in. */
export const limitReached = "ELIMIT";

/** What damaged content may take that was put aside: a share of the store's limit, and not more than this. */
const quarantineShare = 1 / 50;
const maxQuarantineBytes = 1024 * 1024 * 1024;

/** A `StoreError` for what may not be stored, although the disk could take it. */
export function limitError(message: string): StoreError {
  return new StoreError(message, Object.assign(new Error("the limit is reached"), { code: limitReached }));
}

/** The `StoreError` for what finds no room, nor could any be made. */
export function noRoom(namespace: Namespace, sizeBytes: number): StoreError {
  return limitError(`there is no room for ${sizeBytes} bytes of ${namespace}`);
}

/** Keeps the account of what is stored: nothing is written without room for it, and without the ledger's knowing. */
export interface Bookkeeping {
  /**
   * Admits a record that is about to be written; resolves when the ledger knows of it. The ledger is told in the tick in
   * which this is called.
   *
   * @throws {StoreError} `limitReached`: there is no room.
   */
  admit(namespace: Namespace, change: LedgerChange, sizeBytes: number): Promise<void>;
  /**
   * Sets room aside for content, for which other content may have to go. Who gets it releases it, when the ledger knows of
   * the content.
   *
   * @throws {StoreError} `limitReached`: there is no room, nor could any be made.
   */
  reserve(namespace: Namespace, sizeBytes: number): Promise<Reservation>;
  /** Whether there is room for something now, without anything's having to go. */
  hasRoom(namespace: Namespace, sizeBytes: number): boolean;
  /** What damaged content may take that was put aside. */
  quarantineBytes(): number;
  /** Notes what needs no room: a removal, or what a manifest refers to. */
  note(change: LedgerChange): Promise<void>;
  holding(id: RepositoryId, digest: Digest): Promise<Holding>;
  /** Whether any repository holds a digest. */
  isHeld(digest: Digest): Promise<boolean>;
  /** As of `Clock`. */
  now(): number;
  monotonic(): number;
}

/** The books of a store whose room is limited. */
export function keepBooks(ledger: Ledger, space: Space, clock: Pick<Clock, "now" | "monotonic">): Bookkeeping {
  return {
    async admit(namespace, change, sizeBytes) {
      const room = space.reserve(namespace, chargedBytes(sizeBytes));
      if (room === undefined) throw noRoom(namespace, sizeBytes);
      try {
        await ledger.tell(change);
      } finally {
        // From here on the totals have it.
        room.release();
      }
      space.noteGrowth(namespace);
    },
    async reserve(namespace, sizeBytes) {
      const room = await space.acquire(namespace, chargedBytes(sizeBytes));
      if (room === undefined) throw noRoom(namespace, sizeBytes);
      return room;
    },
    hasRoom: (namespace, sizeBytes) => space.hasRoom(namespace, chargedBytes(sizeBytes)),
    quarantineBytes: () => Math.min(maxQuarantineBytes, space.state.limitBytes * quarantineShare),
    note: (change) => ledger.tell(change),
    holding: (id, digest) => ledger.holding(id, digest),
    isHeld: async (digest) => {
      // A ledger that does not know what is stored may not know of holders, either.
      if (ledger.totals === undefined) return true;
      return (await ledger.holders(digest)).length > 0;
    },
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
  };
}
