import { boundedMap } from "../concurrency/bounded-map.ts";
import type { Digest } from "../oci/digest.ts";
import {
  type ObjectInfo,
  type ObjectStore,
  type OpenObject,
  sizeOf,
  type Source,
  type Version,
} from "../store/object-store.ts";
import type { Bookkeeping } from "./bookkeeping.ts";
import { blobKey } from "../store/layout.ts";
import { type Aside, Quarantine } from "./quarantine.ts";
import type { Reservation } from "./space.ts";

/** Another place that has content by digest, which is its own business to keep. */
export interface SharedContent {
  stat(digest: Digest): Promise<{ readonly sizeBytes: number; readonly version: Version } | undefined>;
  /** Who opens it closes it. */
  open(digest: Digest): Promise<OpenObject | undefined>;
}

/** How much is remembered of what was damaged in another place. */
const maxDistrusted = 1_000;

/**
 * Content by digest, whoever it belongs to. What is being removed is absent for readers at once; who has opened it reads
 * it to its end; what is stored meanwhile is written after the removal.
 */
export class DigestStore {
  /** What was put aside. */
  readonly damaged: Quarantine;
  readonly #store: ObjectStore;
  readonly #books: Bookkeeping;
  /** What is being stored, or held for another reason, and how often. */
  readonly #held = new Map<Digest, number>();
  readonly #removing = new Map<Digest, Promise<void>>();
  /** Who has each blob open. */
  readonly #readers = new Map<Digest, Set<OpenObject>>();
  /** Open blobs in whose place there is something else by now, or nothing. */
  readonly #outdated = new WeakSet<OpenObject>();
  /** Content of which it is being asked whether anybody holds it; true once somebody has begun to. */
  readonly #questioned = new Map<Digest, boolean>();

  /** Where else content is looked for. */
  #shared: SharedContent | undefined;
  /** What was damaged there. */
  readonly #distrusted = boundedMap<Digest, true>(maxDistrusted);

  constructor(store: ObjectStore, books: Bookkeeping, aside?: Aside) {
    this.#store = store;
    this.#books = books;
    this.damaged = new Quarantine(store, aside, () => books.quarantineBytes());
  }

  /** Says where else content is to be looked for that is not stored here. */
  shareWith(shared: SharedContent): void {
    this.#shared = shared;
  }

  /** The content of a digest. The caller closes it. */
  async open(digest: Digest): Promise<OpenObject | undefined> {
    if (this.#removing.has(digest)) return undefined;
    const release = this.hold(digest);
    try {
      const object = (await this.#store.get(blobKey(digest))) ?? (await this.#sharedOf(digest)?.open(digest));
      return object && this.#watch(digest, object);
    } finally {
      release();
    }
  }

  /** Whether the content of a digest is stored, and its size. */
  async stat(digest: Digest): Promise<ObjectInfo | undefined> {
    if (this.#removing.has(digest)) return undefined;
    const found = await this.#store.head(blobKey(digest));
    if (found !== undefined) return found;
    const shared = await this.#sharedOf(digest)?.stat(digest);
    return shared && { key: blobKey(digest), sizeBytes: shared.sizeBytes, version: shared.version };
  }

  /** Whether somebody reads, stores or removes it now. */
  isBusy(digest: Digest): boolean {
    return this.#readers.has(digest) || this.#held.has(digest) || this.#removing.has(digest);
  }

  /** Keeps content from being removed until what is returned is called, once. */
  hold(digest: Digest): () => void {
    this.#held.set(digest, (this.#held.get(digest) ?? 0) + 1);
    return () => {
      const left = (this.#held.get(digest) ?? 1) - 1;
      if (left > 0) this.#held.set(digest, left);
      else this.#held.delete(digest);
    };
  }

  /** Notes that a repository is about to hold a digest: called in the tick in which the ledger is told. */
  noteHolder(digest: Digest): void {
    if (this.#questioned.has(digest)) this.#questioned.set(digest, true);
  }

  /**
   * Stores content whose digest was checked.
   *
   * @param room What was set aside for it: it is released when the ledger knows of the content, unless an earlier copy
   *   is there till then. Who calls this releases it at the end.
   */
  async put(digest: Digest, source: Source, room: Reservation): Promise<void> {
    const release = this.hold(digest);
    try {
      await this.#put(digest, source, room);
    } finally {
      release();
    }
  }

  /** Removes content that no repository holds; false where one does, or where somebody reads or stores it now. */
  async remove(digest: Digest): Promise<boolean> {
    if (this.isBusy(digest) || this.#questioned.has(digest)) return false;
    this.#questioned.set(digest, false);
    try {
      const isHeld = await this.#books.isHeld(digest);
      // Between the answer and the mark that it is being removed, nothing can come.
      if (isHeld || this.#questioned.get(digest) === true || this.isBusy(digest)) return false;
    } finally {
      this.#questioned.delete(digest);
    }
    await this.#remove(digest, async () => {
      await this.#store.delete(blobKey(digest));
      return true;
    });
    return true;
  }

  /**
   * Puts damaged content aside; false where it is gone, or is being stored anew or removed now, or where what was `seen`
   * to be damaged is not what is stored any more.
   */
  async quarantine(digest: Digest, seen: OpenObject | undefined): Promise<boolean> {
    if (this.#held.has(digest) || this.#removing.has(digest)) return false;
    if (seen !== undefined && this.#outdated.has(seen)) return false;
    return this.#remove(digest, async () => {
      if (await this.damaged.putAside(digest)) return true;
      const isShared = (await this.#sharedOf(digest)?.stat(digest)) !== undefined;
      if (isShared) this.#distrusted.set(digest, true);
      return isShared;
    });
  }

  #sharedOf(digest: Digest): SharedContent | undefined {
    return this.#distrusted.has(digest) ? undefined : this.#shared;
  }

  #watch(digest: Digest, object: OpenObject): OpenObject {
    const readers = this.#readers.get(digest) ?? new Set();
    this.#readers.set(digest, readers);
    const watched: OpenObject = {
      ...object,
      close: async () => {
        await object.close();
        readers.delete(watched);
        if (readers.size === 0 && this.#readers.get(digest) === readers) this.#readers.delete(digest);
      },
    };
    readers.add(watched);
    return watched;
  }

  async #put(digest: Digest, source: Source, room: Reservation): Promise<void> {
    await this.#removing.get(digest);
    const sizeBytes = sizeOf(source);
    try {
      // What takes the place of an earlier copy takes its room beside it, until that is gone.
      const replaces = !(await this.#isSurelyAbsent(digest));
      await this.#books.note({ kind: "content", digest, sizeBytes, at: this.#books.now() });
      if (!replaces) room.release();
      await this.#store.put(blobKey(digest), source);
      this.#outdate(digest);
    } catch (error) {
      // An earlier copy may be there: only what is surely absent takes no room.
      if (await this.#isSurelyAbsent(digest)) await this.#books.note({ kind: "content-removed", digest });
      throw error;
    }
  }

  /** False also where the store cannot tell. */
  async #isSurelyAbsent(digest: Digest): Promise<boolean> {
    const found = await this.#store.head(blobKey(digest)).catch(() => "unknown");
    return found === undefined;
  }

  /** Takes content away by `erase`, which says whether there was any. */
  async #remove(digest: Digest, erase: () => Promise<boolean>): Promise<boolean> {
    const erased = erase().then(async (isGone) => {
      await this.#books.note({ kind: "content-removed", digest });
      return isGone;
    });
    this.#removing.set(
      digest,
      erased.then(
        () => undefined,
        () => undefined,
      ),
    );
    try {
      return await erased;
    } finally {
      this.#removing.delete(digest);
      this.#outdate(digest);
    }
  }

  #outdate(digest: Digest): void {
    for (const reader of this.#readers.get(digest) ?? []) this.#outdated.add(reader);
  }
}
