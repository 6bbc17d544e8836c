import type { FileReader } from "../store/local-upkeep.ts";
import { StoreError } from "../store/object-store.ts";
import { formatPlace, type Place } from "../store/layout.ts";
import type { LedgerDatabase } from "./database.ts";
import type { LedgerChange } from "./ledger.ts";
import type { TotalsPart } from "./messages.ts";
import { scanStore } from "./scan.ts";

const placesAtOnce = 128;
const lookUpsAtOnce = 2;

/** What a step has done. */
export interface ReconcileStep {
  /** How many objects were found in the store. */
  readonly objects: number;
  /** How many could not be looked up or read. */
  readonly unreadable: number;
  readonly totals: TotalsPart;
}

/**
 * Makes the ledger equal to the store, step by step; between any two of them, and while the store is read, changes may
 * be told and questions asked. How that comes out right:
 *
 * 1. From the beginning on the database notes what it is told of, key by key. Of those objects the ledger knows the
 *    truth, as everything that happens to them is told; the files, read a moment earlier or later, are not believed.
 * 2. Nothing happens to all other objects meanwhile, so whenever their files are read, that is how they are. What is
 *    found is added; then, where the ledger knew of something before, what is not found is removed. What cannot be looked
 *    up is as it was known.
 *
 * `recent` is what was told before the beginning and is perhaps not written yet: it is told once more. Ended early it
 * leaves a ledger that is not believed when it is opened again.
 *
 * @param knewBefore Whether the ledger may know of what is not there.
 * @throws {StoreError} the store could not be listed; and whatever SQLite throws, also where it was closed meanwhile
 */
export async function* reconcile(
  database: LedgerDatabase,
  reader: FileReader,
  knewBefore: boolean,
  recent: readonly LedgerChange[],
): AsyncGenerator<ReconcileStep> {
  database.beginScan();
  database.apply(recent);
  let unreadable = 0;
  const skip = (): void => void unreadable++;
  const step = (objects: number, changes: readonly LedgerChange[]): ReconcileStep => {
    const done = { objects, unreadable, totals: database.applyScanned(changes) };
    unreadable = 0;
    return done;
  };
  for await (const changes of scanStore(reader, (digest) => database.wantsChildren(digest), skip)) {
    yield step(changes.filter((change) => change.kind !== "children").length, changes);
  }
  if (knewBefore) {
    for (const places of database.places(placesAtOnce)) yield step(0, await findAbsent(reader, places, skip));
  }
  // A tag is written anew whenever it is checked, a link never: what is in use by a tag is as young as that.
  for (const uses of database.tagUses(placesAtOnce)) yield step(0, uses);
  database.endScan();
}

async function findAbsent(
  reader: FileReader,
  places: readonly Place[],
  onUnreadable: () => void,
): Promise<LedgerChange[]> {
  const absent: LedgerChange[] = [];
  for (let start = 0; start < places.length; start += lookUpsAtOnce) {
    await Promise.all(
      places.slice(start, start + lookUpsAtOnce).map(async (place) => {
        try {
          if ((await reader.head(formatPlace(place))) === undefined) absent.push(removalOf(place));
        } catch (error) {
          if (!(error instanceof StoreError)) throw error;
          onUnreadable();
        }
      }),
    );
  }
  return absent;
}

function removalOf(place: Place): LedgerChange {
  switch (place.kind) {
    case "content":
      return { kind: "content-removed", digest: place.digest };
    case "link":
      return { kind: "link-removed", id: place.id, digest: place.digest };
    case "tag":
      return { kind: "tag-removed", id: place.id, tag: place.tag };
    case "page":
      return { kind: "page-removed", id: place.id, page: place.page, name: place.name };
  }
}
