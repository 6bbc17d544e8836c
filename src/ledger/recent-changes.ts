import type { Key } from "../store/object-store.ts";
import { formatPlace, type Place } from "../store/layout.ts";
import type { LedgerChange } from "./ledger.ts";

const maxChanges = 10_000;

/**
 * What was told to be added last and was not removed since. When the store is read, some of it may not be written yet:
 * then the files do not have it, and the ledger must.
 */
export class RecentChanges {
  readonly #changes = new Map<Key, LedgerChange>();

  note(change: LedgerChange): void {
    const place = placeOf(change);
    if (place === undefined) return;
    const key = formatPlace(place);
    this.#changes.delete(key);
    if (isRemoval(change)) return;
    this.#changes.set(key, change);
    if (this.#changes.size > maxChanges) {
      for (const oldest of this.#changes.keys()) {
        this.#changes.delete(oldest);
        break;
      }
    }
  }

  /** In the order in which they were told. */
  list(): LedgerChange[] {
    return [...this.#changes.values()];
  }
}

/** The object that a change adds or removes; `undefined` for one that does neither. */
export function placeOf(change: LedgerChange): Place | undefined {
  switch (change.kind) {
    case "content":
    case "content-removed":
      return { kind: "content", digest: change.digest };
    case "link":
    case "link-removed":
      return { kind: "link", id: change.id, digest: change.digest };
    case "tag":
    case "tag-removed":
      return { kind: "tag", id: change.id, tag: change.tag };
    case "page":
    case "page-removed":
      return { kind: "page", id: change.id, page: change.page, name: change.name };
    case "children":
    case "use":
      return undefined;
  }
}

function isRemoval(change: LedgerChange): boolean {
  return change.kind.endsWith("-removed");
}
