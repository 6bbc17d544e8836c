import type { Bookkeeping } from "../../src/registry/bookkeeping.ts";
import { Content, type ContentLimits } from "../../src/registry/content.ts";
import { formatPlace, tagKey } from "../../src/store/layout.ts";
import type { Holding, LedgerChange } from "../../src/ledger/ledger.ts";
import type { Aside } from "../../src/registry/quarantine.ts";
import type { Reservation, Space } from "../../src/registry/space.ts";
import type { Digest } from "../../src/oci/digest.ts";
import type { Tag } from "../../src/oci/reference.ts";
import { never } from "./event-loop.ts";
import type { Key, ObjectStore } from "../../src/store/object-store.ts";

/** Books of a store without limits, which keep what they were told. */
export interface SimpleBooks extends Bookkeeping {
  readonly changes: LedgerChange[];
}

/** Makes books that admit everything. */
export function createBooks(): SimpleBooks {
  const changes: LedgerChange[] = [];
  const tags = new Map<Key, { readonly tag: Tag; readonly digest: Digest; readonly repository: string }>();
  const links = new Map<Key, { readonly digest: Digest; readonly repository: string; readonly at: number }>();
  const note = (change: LedgerChange): void => {
    changes.push(change);
    if (change.kind === "tag") {
      tags.set(tagKey(change.id, change.tag), { ...change, repository: JSON.stringify(change.id) });
    } else if (change.kind === "tag-removed") {
      tags.delete(tagKey(change.id, change.tag));
    } else if (change.kind === "link") {
      links.set(formatPlace({ ...change, kind: "link" }), { ...change, repository: JSON.stringify(change.id) });
    } else if (change.kind === "link-removed") {
      links.delete(formatPlace({ ...change, kind: "link" }));
    }
  };
  return {
    changes,
    admit: async (_namespace, change) => note(change),
    reserve: (namespace, sizeBytes) => endlessSpace.acquire(namespace, sizeBytes, never()) as Promise<Reservation>,
    hasRoom: () => true,
    quarantineBytes: () => Infinity,
    note: async (change) => note(change),
    holding: async (id, digest): Promise<Holding> => {
      const repository = JSON.stringify(id);
      const holders = [...links.values()].filter((link) => link.digest === digest);
      return {
        usedAt: holders.find((link) => link.repository === repository)?.at,
        tags: [...tags.values()]
          .filter((each) => each.repository === repository && each.digest === digest)
          .map(({ tag }) => tag),
        otherHolders: holders.filter((link) => link.repository !== repository).length,
      };
    },
    isHeld: async (digest) => links.values().some((link) => link.digest === digest),
    now: () => 1_000,
    monotonic: () => 1_000,
  };
}

/** A content store whose books admit everything. */
export function openContent(store: ObjectStore, limits?: ContentLimits, aside?: Aside): Content {
  return new Content(store, createBooks(), limits, undefined, aside);
}

/** Room without end. */
export const endlessSpace: Pick<Space, "reserve" | "acquire"> = {
  acquire: async (namespace, bytes) => endlessSpace.reserve(namespace, bytes),
  reserve(_namespace, bytes): Reservation {
    let held = bytes;
    return {
      get bytes() {
        return held;
      },
      grow: (more) => {
        held += more;
        return true;
      },
      noteWritten: () => undefined,
      release: () => undefined,
    };
  },
};
