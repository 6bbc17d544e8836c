import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import type { LedgerChange } from "../ledger/ledger.ts";
import { isTagRecord, type Link, type TagRecord } from "../store/content-records.ts";
import { linkKey, type RepositoryId, tagKey } from "../store/layout.ts";
import { type ObjectStore, StoreError } from "../store/object-store.ts";
import type { Bookkeeping } from "./bookkeeping.ts";
import type { ManifestStore } from "./manifest-store.ts";
import { Records } from "./records.ts";

/** What tags are kept with. */
export interface TagStoreOptions {
  readonly books: Bookkeeping;
  readonly links: Records<Link>;
  readonly manifests: ManifestStore;
  readonly maxInMemory: number;
}

/** The tags of repositories: records that come after the manifests they stand for, and go before them. */
export class TagStore {
  readonly #records: Records<TagRecord>;
  readonly #books: Bookkeeping;
  readonly #links: Records<Link>;
  readonly #manifests: ManifestStore;

  constructor(store: ObjectStore, { books, links, manifests, maxInMemory }: TagStoreOptions) {
    // While the disk is full a tag is to be known all the same, or each pull would be a question to the upstream.
    this.#records = new Records(store, { isRecord: isTagRecord, maxInMemory, believesUnstored: true });
    this.#books = books;
    this.#links = links;
    this.#manifests = manifests;
  }

  /** What is recorded of a tag. */
  async get(id: RepositoryId, tag: Tag): Promise<TagRecord | undefined> {
    return this.#records.get(tagKey(id, tag));
  }

  /**
   * Records a tag; readers see it at once. It reaches the store after the manifest it stands for, so that no tag points
   * at nothing. A record of an earlier check than the one that is known changes nothing.
   */
  async set(id: RepositoryId, tag: Tag, record: TagRecord): Promise<void> {
    const key = tagKey(id, tag);
    const link = linkKey(id, record.digest);
    const storing = this.#manifests.storing(link);
    // What was checked in the future was checked by a clock that was wrong.
    const isNewer = (other: TagRecord | undefined): boolean =>
      other !== undefined && other.checkedAt > record.checkedAt && other.checkedAt <= this.#books.now();
    const known = this.#records.peek(key);
    if (isNewer(known)) return;
    this.#records.show(key, record);
    const before = known ?? (await this.#records.stored(key));
    if (isNewer(before)) {
      this.#records.forget(key, record);
      return;
    }
    await storing;
    // A new check of an unchanged tag may be lost in a power failure: the tag is then asked for again.
    const durable = before?.digest !== record.digest;
    // Another record may have come while this one waited; it must not be written over.
    while ((this.#records.peek(key) ?? record) === record) {
      if (await this.#write(id, tag, record, durable)) return;
      // Not while it is the tag's turn: the manifest may be waiting for a removal that waits for the tag.
      await this.#manifests.storing(link);
    }
  }

  /** Removes a tag, where `expected` is given only if it stands for that; false where it stands for something else. */
  async remove(id: RepositoryId, tag: Tag, expected?: Digest): Promise<boolean> {
    const key = tagKey(id, tag);
    let removed = false;
    await this.#records.remove(key, async (erase) => {
      // What readers see may never come to be stored: what counts is what is.
      const record = expected === undefined ? undefined : await this.#records.stored(key);
      if (record !== undefined && record.digest !== expected) return;
      await erase();
      await this.#books.note({ kind: "tag-removed", id, tag });
      removed = true;
    });
    return removed;
  }

  /** Writes a tag when it is its turn; false where its manifest is just being stored, which has to be waited for. */
  async #write(id: RepositoryId, tag: Tag, record: TagRecord, durable: boolean): Promise<boolean> {
    const { digest } = record;
    const link = linkKey(id, digest);
    let isSettled = true;
    await this.#records.set(tagKey(id, tag), record, durable, {
      admit: async (sizeBytes) => {
        // That the manifest is there, and the ledger's being told of the tag, are one tick: whoever removes the manifest
        // either was first, or learns of the tag.
        for (;;) {
          // Its link is shown before it is stored.
          isSettled = this.#manifests.storing(link) === undefined;
          if (!isSettled) return "later";
          if (this.#links.peek(link) !== undefined) break;
          if ((await this.#links.get(link)) !== undefined) continue;
          if (!this.#manifests.isUnstored(link)) return false;
          throw new StoreError(`the manifest of ${tag} could not be stored`, undefined);
        }
        await this.#books.admit(id.namespace, { kind: "tag", id, tag, digest, at: this.#books.now() }, sizeBytes);
        return true;
      },
      correct: (stored) => this.#books.note(tagChange(id, tag, stored, this.#books.now())),
    });
    return isSettled;
  }
}

/** What the ledger is to know of a tag, by what is stored of it. */
function tagChange(id: RepositoryId, tag: Tag, stored: TagRecord | undefined, at: number): LedgerChange {
  return stored === undefined ? { kind: "tag-removed", id, tag } : { kind: "tag", id, tag, digest: stored.digest, at };
}
