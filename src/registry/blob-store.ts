import type { Digest } from "../oci/digest.ts";
import type { Namespace } from "../oci/reference.ts";
import type { ObjectInfo, ObjectStore, OpenObject, Source } from "../store/object-store.ts";
import type { Bookkeeping } from "./bookkeeping.ts";
import { blobKey } from "./layout.ts";
import { quarantine } from "./quarantine.ts";
import type { Reservation } from "./space.ts";

/**
 * Content by digest, whoever it belongs to. What is being removed is absent for readers at once; who has opened it reads
 * it to its end; what is stored meanwhile is written after the removal.
 */
export class BlobStore {
  readonly #store: ObjectStore;
  readonly #books: Bookkeeping;
  readonly #storing = new Map<Digest, Promise<void>>();
  readonly #removing = new Map<Digest, Promise<void>>();
  /** How many readers have each blob open, or are opening it. */
  readonly #readers = new Map<Digest, number>();

  constructor(store: ObjectStore, books: Bookkeeping) {
    this.#store = store;
    this.#books = books;
  }

  /** The content of a digest. The caller closes it. */
  async open(digest: Digest): Promise<OpenObject | undefined> {
    if (this.#removing.has(digest)) return undefined;
    this.#readers.set(digest, (this.#readers.get(digest) ?? 0) + 1);
    let object: OpenObject | undefined;
    try {
      object = await this.#store.get(blobKey(digest));
    } finally {
      if (object === undefined) this.#leave(digest);
    }
    if (object === undefined) return undefined;
    const opened = object;
    return { ...opened, close: () => opened.close().finally(() => this.#leave(digest)) };
  }

  /** Whether the content of a digest is stored, and its size. */
  async stat(digest: Digest): Promise<ObjectInfo | undefined> {
    return this.#removing.has(digest) ? undefined : this.#store.head(blobKey(digest));
  }

  /** Whether somebody reads, stores or removes it now. */
  isBusy(digest: Digest): boolean {
    return this.#readers.has(digest) || this.#storing.has(digest) || this.#removing.has(digest);
  }

  /** The latest attempt to store it, while that runs. */
  storing(digest: Digest): Promise<void> | undefined {
    return this.#storing.get(digest);
  }

  /**
   * Stores content whose digest was checked.
   *
   * @param reservation The room that was set aside for it; it is released. Without one, room is set aside here.
   * @throws {StoreError} also where the limit does not let it in.
   */
  async put(namespace: Namespace, digest: Digest, source: Source, reservation: Reservation | undefined): Promise<void> {
    const stored = this.#put(namespace, digest, source, reservation);
    this.#storing.set(digest, stored);
    try {
      await stored;
    } finally {
      if (this.#storing.get(digest) === stored) this.#storing.delete(digest);
    }
  }

  /** Removes content; false where somebody reads or stores it now, so that it stays. */
  async remove(digest: Digest): Promise<boolean> {
    if (this.isBusy(digest)) return false;
    await this.#remove(digest, () => this.#store.delete(blobKey(digest)));
    return true;
  }

  /** Puts damaged content aside; false where it is being stored anew or removed now. */
  async quarantine(digest: Digest): Promise<boolean> {
    if (this.#storing.has(digest) || this.#removing.has(digest)) return false;
    await this.#remove(digest, () => quarantine(this.#store, digest));
    return true;
  }

  async #put(
    namespace: Namespace,
    digest: Digest,
    source: Source,
    reservation: Reservation | undefined,
  ): Promise<void> {
    await this.#removing.get(digest)?.catch(() => undefined);
    const sizeBytes = source instanceof Uint8Array ? source.length : source.size;
    const change = { kind: "content", digest, sizeBytes, at: this.#books.now() } as const;
    await this.#books.admit(namespace, change, sizeBytes, reservation);
    try {
      await this.#store.put(blobKey(digest), source);
    } catch (error) {
      // An earlier copy may be there: only what is surely absent takes no room.
      const left = await this.#store.head(blobKey(digest)).catch(() => "unknown");
      if (left === undefined) await this.#books.note({ kind: "content-removed", digest });
      throw error;
    }
  }

  async #remove(digest: Digest, erase: () => Promise<void>): Promise<void> {
    const removed = erase().then(() => this.#books.note({ kind: "content-removed", digest }));
    this.#removing.set(digest, removed);
    try {
      await removed;
    } finally {
      this.#removing.delete(digest);
    }
  }

  #leave(digest: Digest): void {
    const left = (this.#readers.get(digest) ?? 1) - 1;
    if (left > 0) this.#readers.set(digest, left);
    else this.#readers.delete(digest);
  }
}
