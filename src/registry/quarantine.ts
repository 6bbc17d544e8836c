import type { Digest } from "../oci/digest.ts";
import type { LocalUpkeep, StoredFile } from "../store/local-upkeep.ts";
import type { Key, ObjectStore } from "../store/object-store.ts";
import { blobKey, quarantineKey, quarantinePrefix } from "../store/layout.ts";
import { chargedBytes } from "../ledger/ledger.ts";

/** How much is kept at most, whatever there is room for. */
const maxFiles = 1_000;

/** Where damaged content can be put aside. */
export type Aside = Pick<LocalUpkeep, "move" | "caretaker">;

/**
 * Damaged content that was put aside, so that somebody can look at what has become of it. It counts against the store's
 * limit; the oldest goes while it is too much in all, and all of it before anything that is sound has to. Where nothing can be put aside, damaged content is removed.
 */
export class Quarantine {
  readonly #store: ObjectStore;
  readonly #aside: Aside | undefined;
  readonly #maxBytes: () => number;
  #bytes = 0;
  /** The last look at what there is, or removal: one comes after another. */
  #last: Promise<void> = Promise.resolve();

  /** @param maxBytes What it may take at the moment. */
  constructor(store: ObjectStore, aside: Aside | undefined, maxBytes: () => number) {
    this.#store = store;
    this.#aside = aside;
    this.#maxBytes = maxBytes;
  }

  /** What it takes, in charged bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Moves damaged content here; false where there is none. */
  async putAside(digest: Digest): Promise<boolean> {
    if (this.#aside === undefined) {
      const isThere = (await this.#store.head(blobKey(digest))) !== undefined;
      await this.#store.delete(blobKey(digest));
      return isThere;
    }
    const isMoved = await this.#aside.move(blobKey(digest), quarantineKey(digest));
    if (isMoved) await this.#keep(this.#maxBytes(), quarantineKey(digest));
    return isMoved;
  }

  /** Looks at what there is, and keeps as much as may stay. */
  async refresh(): Promise<void> {
    await this.#keep(this.#maxBytes(), undefined);
  }

  /** Gives `bytes` of it up, the oldest first, or all. */
  async giveUp(bytes: number): Promise<void> {
    if (this.#bytes > 0) await this.#keep(this.#bytes - bytes, undefined);
  }

  /** Removes what has one of its keys. */
  async remove(key: Key): Promise<void> {
    const removal = this.#last.then(async () => {
      const object = await this.#store.head(key);
      await this.#store.delete(key);
      if (object !== undefined) this.#bytes = Math.max(0, this.#bytes - chargedBytes(object.sizeBytes));
    });
    this.#last = removal.catch(() => undefined);
    await removal;
  }

  #keep(maxBytes: number, newest: Key | undefined): Promise<void> {
    this.#last = this.#last.then(() => this.#keepNow(maxBytes, newest));
    return this.#last;
  }

  /**
   * Removes the oldest until the rest is within `maxBytes`; `newest` goes last. What cannot be removed is left to the
   * next time: the failing operation has told of it.
   */
  async #keepNow(maxBytes: number, newest: Key | undefined): Promise<void> {
    const found: StoredFile[] = [];
    try {
      for await (const object of this.#aside?.caretaker.list(quarantinePrefix) ?? []) found.push(object);
    } catch {
      return;
    }
    const age = (object: StoredFile): number => (object.key === newest ? Infinity : object.usedAt);
    let kept = 0;
    let bytes = 0;
    for (const { key, sizeBytes } of found.toSorted((a, b) => (age(b) > age(a) ? 1 : -1))) {
      const charged = chargedBytes(sizeBytes);
      if ((kept < maxFiles && bytes + charged <= maxBytes) || !(await this.#isRemoved(key))) {
        kept++;
        bytes += charged;
      }
    }
    this.#bytes = bytes;
  }

  async #isRemoved(key: Key): Promise<boolean> {
    return this.#store.delete(key).then(
      () => true,
      () => false,
    );
  }
}
