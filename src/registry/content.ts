import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { maxManifestBytes } from "../oci/manifest.ts";
import type { Namespace, Tag } from "../oci/reference.ts";
import {
  type ObjectInfo,
  type ObjectStore,
  type OpenObject,
  sizeOf,
  type Source,
  type Staged,
} from "../store/object-store.ts";
import { DigestStore, type SharedContent } from "./digest-store.ts";
import type { Bookkeeping } from "./bookkeeping.ts";
import { linkKey, type RepositoryId } from "../store/layout.ts";
import { isLink, type Link, type TagRecord } from "../store/content-records.ts";
import { areManifest } from "./manifest-bytes.ts";
import { ManifestStore } from "./manifest-store.ts";
import { PageStore } from "./page-store.ts";
import type { Aside, Quarantine } from "./quarantine.ts";
import { readWhole } from "../store/read-whole.ts";
import { Records } from "./records.ts";
import type { ManifestContent } from "./registry.ts";
import type { Reservation } from "./space.ts";
import { TagStore } from "./tag-store.ts";

export { isBlobLink, type Link, type TagRecord } from "../store/content-records.ts";

/** What is known of a blob that no manifest lists. */
export const newBlobLink = { mediaType: "application/octet-stream", role: "blob" } as const;

/** How much of what is small is also kept in memory. */
export interface ContentLimits {
  readonly manifestCacheBytes: number;
  readonly recordCacheEntries: number;
}

const defaultLimits: ContentLimits = { manifestCacheBytes: 20 * 1024 * 1024, recordCacheEntries: 8_000 };

/**
 * The content store: digests, manifests, tags and links as keys of an object store.
 *
 * A blob's bytes are stored once, whoever asked for them; that a repository contains them is its *link*. Who wants to
 * serve bytes to a repository's reader asks for the link first. Small and often asked records stay in memory too,
 * which is right because one process owns the store and every write and removal goes through here.
 *
 * Removal is safe at any time: what is being removed is absent for readers at once, who has opened a blob reads it to
 * its end, and what is written meanwhile is written after the removal. Nothing is left that points at what is gone: the
 * tags of a manifest go before its link, and a tag is not recorded when its manifest has been removed meanwhile.
 */
export class Content {
  /** The pages of listings. */
  readonly pages: PageStore;
  readonly #books: Bookkeeping;
  readonly #blobs: DigestStore;
  readonly #manifests: ManifestStore;
  readonly #tags: TagStore;
  readonly #links: Records<Link>;
  readonly #onDamage: (digest: Digest) => void;

  /**
   * @param onDamage Told of content that was put aside, as it does not have its digest.
   * @param aside Where it goes; without that it is removed.
   */
  constructor(
    store: ObjectStore,
    books: Bookkeeping,
    limits: ContentLimits = defaultLimits,
    onDamage: (digest: Digest) => void = () => undefined,
    aside?: Aside,
  ) {
    this.#onDamage = onDamage;
    this.#books = books;
    this.#blobs = new DigestStore(store, books, aside);
    const maxInMemory = limits.recordCacheEntries;
    this.#links = new Records(store, { isRecord: isLink, maxInMemory });
    this.pages = new PageStore(store, books);
    this.#manifests = new ManifestStore({
      blobs: this.#blobs,
      links: this.#links,
      books,
      addLink: (...link) => this.addLink(...link),
      commit: (...manifest) => this.#commit(...manifest),
      quarantine: (digest) => this.quarantineBlob(digest),
      maxBytesInMemory: limits.manifestCacheBytes,
    });
    this.#tags = new TagStore(store, { books, links: this.#links, manifests: this.#manifests, maxInMemory });
  }

  /** What is recorded of a tag. */
  async tag(id: RepositoryId, tag: Tag): Promise<TagRecord | undefined> {
    return this.#tags.get(id, tag);
  }

  /** See `TagStore.set`. */
  async setTag(id: RepositoryId, tag: Tag, record: TagRecord): Promise<void> {
    await this.#tags.set(id, tag, record);
  }

  /** See `TagStore.remove`. */
  async removeTag(id: RepositoryId, tag: Tag, expected?: Digest): Promise<boolean> {
    return this.#tags.remove(id, tag, expected);
  }

  /** Whether a repository contains a digest. */
  async link(id: RepositoryId, digest: Digest): Promise<Link | undefined> {
    const key = linkKey(id, digest);
    return this.#manifests.complete(key, await this.#links.get(key));
  }

  /**
   * What a manifest of a repository says of a blob's size, where one that lists it was stored or read lately; that need not
   * prove that the repository contains it.
   */
  listedSize(id: RepositoryId, digest: Digest): number | undefined {
    return this.#manifests.listedSize(linkKey(id, digest));
  }

  /** Notes that a repository contains a digest. Lost in a power failure, it costs one question to the upstream. */
  async addLink(id: RepositoryId, digest: Digest, link: Link): Promise<void> {
    await this.#setLink(id, digest, link);
  }

  async #setLink(id: RepositoryId, digest: Digest, link: Link, before?: () => Promise<void>): Promise<void> {
    await this.#links.set(linkKey(id, digest), link, false, {
      admit: async (sizeBytes) => {
        this.#blobs.noteHolder(digest);
        await this.#books.admit(id.namespace, { kind: "link", id, digest, at: this.#books.now() }, sizeBytes);
        return true;
      },
      ...(before === undefined ? {} : { before }),
      correct: async (stored) => {
        if (stored === undefined) await this.#books.note({ kind: "link-removed", id, digest });
      },
    });
  }

  /**
   * Removes what a repository has of a digest: the tags that stand for it, then the link. The content stays.
   *
   * @throws {LedgerNotReady} it is not known which tags those are: all stays as it is.
   */
  async removeLink(id: RepositoryId, digest: Digest): Promise<void> {
    const key = linkKey(id, digest);
    this.#manifests.forget(key);
    await this.#links.remove(key, async (erase) => {
      await this.#manifests.loaded(key);
      const { tags } = await this.#books.holding(id, digest);
      for (const tag of tags) await this.removeTag(id, tag, digest);
      await erase();
      await this.#books.note({ kind: "link-removed", id, digest });
    });
  }

  /**
   * A manifest that this repository contains. What is on disk is hashed before it is believed; damaged content is
   * put into quarantine, and absent from then on.
   */
  async manifest(id: RepositoryId, digest: Digest): Promise<ManifestContent | undefined> {
    return this.#manifests.get(id, digest);
  }

  /**
   * Stores a manifest whose digest was checked, its link, and links to `contained`: what this repository must contain,
   * as its registry took the manifest. Readers see it at once, and have it from memory also where it cannot be stored.
   * The media type of a manifest that is held already stays (who fetched one asks `manifest` for it first, which sees the
   * store too).
   */
  async storeManifest(id: RepositoryId, fetched: ManifestContent, contained: readonly Descriptor[]): Promise<void> {
    await this.#manifests.store(id, fetched, contained);
  }

  /** The stored content of a digest, whoever it belongs to. The caller closes it. */
  async openBlob(digest: Digest): Promise<OpenObject | undefined> {
    return this.#blobs.open(digest);
  }

  /** Says where content is to be looked for that is not stored here: shared are bytes, never whose they are. */
  shareWith(shared: SharedContent): void {
    this.#blobs.shareWith(shared);
  }

  /** Whether a digest's content is stored, and its size. */
  async statBlob(digest: Digest): Promise<ObjectInfo | undefined> {
    return this.#blobs.stat(digest);
  }

  /** Whether a digest's stored content reads as a manifest, whatever anybody has it as. */
  async isManifest(digest: Digest): Promise<boolean> {
    const object = await this.#blobs.open(digest);
    const bytes = object && (await readWhole(object, maxManifestBytes));
    return bytes !== undefined && areManifest(bytes);
  }

  /** Whether somebody reads, stores or removes a digest's content now. */
  isBusy(digest: Digest): boolean {
    return this.#blobs.isBusy(digest);
  }

  /**
   * Stores a finished file whose digest and size were checked, and that this repository contains it.
   *
   * @param reservation The room that was set aside for it; it is released. Without one, room is set aside here.
   * @throws {StoreError} also where the limit does not let it in.
   */
  async commitBlob(
    id: RepositoryId,
    digest: Digest,
    file: Staged,
    reservation: Reservation | undefined,
  ): Promise<void> {
    const key = linkKey(id, digest);
    const stored = await this.#links.get(key);
    const known = this.#manifests.complete(key, stored) ?? newBlobLink;
    const link = stored?.sizeBytes === file.sizeBytes ? undefined : { ...known, sizeBytes: file.sizeBytes };
    await this.#commit(id, digest, link, file, reservation);
  }

  /**
   * Stores content and, where there is one to be written, its link. The ledger learns of the link first: so the namespace
   * is charged for the content in the moment in which the reservation ends. Written is the content first, as no link
   * is to be left where it fails.
   */
  async #commit(
    id: RepositoryId,
    digest: Digest,
    link: Link | undefined,
    source: Source,
    reservation?: Reservation,
  ): Promise<void> {
    // Until its link is there, nobody holds it, and it might be taken for content that is to be removed.
    const release = this.#blobs.hold(digest);
    let room = reservation;
    try {
      room ??= await this.#books.reserve(id.namespace, sizeOf(source));
      const put = this.#blobs.put.bind(this.#blobs, digest, source, room);
      await (link === undefined ? put() : this.#setLink(id, digest, link, put));
    } finally {
      room?.release();
      release();
    }
  }

  /** Whether there is room for something now, without anything's having to go. */
  hasRoom(namespace: Namespace, sizeBytes: number): boolean {
    return this.#books.hasRoom(namespace, sizeBytes);
  }

  /** Removes content that no repository holds; false where one does, or where somebody reads or stores it now. */
  async removeBlob(digest: Digest): Promise<boolean> {
    return this.#blobs.remove(digest);
  }

  /**
   * Puts damaged content aside: it is absent from now on; who reads it now may do so to the end. False where there is
   * nothing to put aside: also where what is stored by now is something else than what was `seen`.
   */
  async quarantineBlob(digest: Digest, seen?: OpenObject): Promise<boolean> {
    const isMoved = await this.#blobs.quarantine(digest, seen);
    if (isMoved) this.#onDamage(digest);
    return isMoved;
  }

  /** Damaged content that was put aside. */
  get quarantine(): Quarantine {
    return this.#blobs.damaged;
  }
}
