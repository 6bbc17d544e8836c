import { LRUCache } from "lru-cache";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, type Digest, digestOf } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { type Manifest, maxManifestBytes, parseManifest } from "../oci/manifest.ts";
import type { Key } from "../store/object-store.ts";
import { turnToRead } from "../upstream/turn.ts";
import type { BlobStore } from "./blob-store.ts";
import type { Bookkeeping } from "./bookkeeping.ts";
import type { Link } from "./content-records.ts";
import { linkKey, type RepositoryId } from "./layout.ts";
import { readWhole } from "./read-whole.ts";
import type { Records } from "./records.ts";
import type { ManifestContent } from "./registry.ts";
import type { Reservation } from "./space.ts";

/** How soon it is tried again to store a manifest. */
const retryMs = 60_000;
/** What a manifest takes in memory besides its bytes, and what each of its names does in its parsed form. */
const overheadBytes = 1_024;
const nameBytes = 64;

/** What manifests are kept with. */
export interface ManifestStoreOptions {
  readonly blobs: BlobStore;
  readonly links: Records<Link>;
  readonly books: Bookkeeping;
  readonly addLink: (id: RepositoryId, digest: Digest, link: Link) => Promise<void>;
  /** Puts damaged content aside. */
  readonly quarantine: (digest: Digest) => Promise<boolean>;
  readonly maxBytesInMemory: number;
}

/** A manifest that could not be stored, with what must be linked with it. */
interface Unstored {
  readonly contained: readonly Descriptor[];
  triedAt: number;
}

/** The manifests of repositories: content that is small, often asked for, and refers to other content. */
export class ManifestStore {
  readonly #options: ManifestStoreOptions;
  /** All of these are by the manifest's link. */
  readonly #memory: LRUCache<Key, ManifestContent>;
  readonly #loading = new Map<Key, Promise<ManifestContent | undefined>>();
  readonly #storing = new Map<Key, Promise<void>>();
  /** Readers have them as long as they are in memory. */
  readonly #unstored = new LRUCache<Key, Unstored>({ max: 1_000 });

  constructor(options: ManifestStoreOptions) {
    this.#options = options;
    this.#memory = new LRUCache({
      maxSize: options.maxBytesInMemory,
      sizeCalculation: ({ bytes, parsed }) => bytes.length + parsed.names * nameBytes + overheadBytes,
    });
  }

  /** See `Content.manifest`. */
  async get(id: RepositoryId, digest: Digest): Promise<ManifestContent | undefined> {
    const key = linkKey(id, digest);
    const known = this.#memory.get(key);
    if (known !== undefined) {
      this.#tryAgain(id, key, known);
      return known;
    }
    const loading = this.#loading.get(key) ?? this.#load(id, digest).finally(() => this.#loading.delete(key));
    this.#loading.set(key, loading);
    return loading;
  }

  /** See `Content.storeManifest`. */
  async store(id: RepositoryId, fetched: ManifestContent, contained: readonly Descriptor[]): Promise<void> {
    const { books } = this.#options;
    const key = linkKey(id, fetched.descriptor.digest);
    const manifest = this.#memory.get(key) ?? fetched;
    const { digest } = manifest.descriptor;
    const stored = this.#store(id, key, manifest);
    this.#storing.set(key, stored);
    try {
      await stored;
      this.#unstored.delete(key);
    } catch (error) {
      this.#unstored.set(key, { contained, triedAt: books.monotonic() });
      throw error;
    } finally {
      if (this.#storing.get(key) === stored) this.#storing.delete(key);
    }
    await this.#noteChildren(digest, manifest.parsed);
    // One after the other: a manifest may have thousands, and everybody else needs the disk too.
    for (const child of contained) await this.#linkChild(id, child);
    // What it refers to is as young as it is.
    await books.note({ kind: "use", id, digest, at: books.now() });
  }

  /** Forgets what is in memory of a manifest whose link is being removed. */
  forget(link: Key): void {
    this.#memory.delete(link);
    this.#unstored.delete(link);
  }

  /** Resolves when a manifest that is being read from the store has been read. */
  async loaded(link: Key): Promise<void> {
    await this.#loading.get(link)?.catch(() => undefined);
  }

  /** The storing of a manifest and its link, while that goes on. */
  storing(link: Key): Promise<void> | undefined {
    return this.#storing.get(link);
  }

  /** Whether a manifest is in memory only, as it could not be stored. */
  isUnstored(link: Key): boolean {
    return this.#unstored.has(link);
  }

  async #store(id: RepositoryId, key: Key, manifest: ManifestContent): Promise<void> {
    const { blobs, links, addLink, books } = this.#options;
    const { digest, mediaType, size } = manifest.descriptor;
    const link = { mediaType, sizeBytes: size };
    this.#memory.set(key, manifest);
    links.show(key, link);
    // Until its link is there, nobody holds it, and it might be taken for content that is to be removed.
    const release = blobs.hold(digest);
    let room: Reservation | undefined;
    try {
      // Its namespace is charged for it only when it has the link.
      room = await books.reserve(id.namespace, size);
      await blobs.put(id.namespace, digest, manifest.bytes, undefined);
      await addLink(id, digest, link);
    } catch (error) {
      links.forget(key, link);
      throw error;
    } finally {
      room?.release();
      release();
    }
  }

  async #load(id: RepositoryId, digest: Digest): Promise<ManifestContent | undefined> {
    const { blobs, links, quarantine } = this.#options;
    const key = linkKey(id, digest);
    const link = await links.get(key);
    const object = link && (await blobs.open(digest));
    const bytes = object && (await readWhole(object, maxManifestBytes));
    if (link === undefined || bytes === undefined) return undefined;
    await turnToRead(bytes);
    if (digestOf(bytes, algorithmOf(digest)) !== digest) {
      await quarantine(digest);
      return undefined;
    }
    const parsed = readManifest(bytes, link.mediaType);
    if (parsed === undefined) return undefined;
    const manifest = { descriptor: { mediaType: parsed.mediaType, digest, size: bytes.length }, bytes, parsed };
    if (!links.isRemoving(key)) this.#memory.set(key, manifest);
    // The ledger may have been made anew while nothing said that this is a manifest.
    void this.#noteChildren(digest, parsed);
    return manifest;
  }

  /** Stores a manifest that could not be stored, now that it is used again. Its failures were told where they happened. */
  #tryAgain(id: RepositoryId, key: Key, manifest: ManifestContent): void {
    const unstored = this.#unstored.get(key);
    const now = this.#options.books.monotonic();
    if (unstored === undefined || now - unstored.triedAt < retryMs) return;
    unstored.triedAt = now;
    this.store(id, manifest, unstored.contained).catch(() => undefined);
  }

  async #noteChildren(digest: Digest, { children }: Manifest): Promise<void> {
    await this.#options.books.note({ kind: "children", digest, children: children.map((child) => child.digest) });
  }

  async #linkChild(id: RepositoryId, { digest, mediaType, size }: Descriptor): Promise<void> {
    const { links, addLink } = this.#options;
    if ((await links.get(linkKey(id, digest))) === undefined) await addLink(id, digest, { mediaType, sizeBytes: size });
  }
}

/** The manifest that a link speaks of; `undefined` where the content cannot be read as that (CVE-2021-41190). */
function readManifest(bytes: Buffer, linked: string): Manifest | undefined {
  try {
    return parseManifest(bytes, linked);
  } catch (error) {
    if (error instanceof OciError) return undefined;
    throw error;
  }
}
