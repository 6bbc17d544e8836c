import { LRUCache } from "lru-cache";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, type Digest, digestOf } from "../oci/digest.ts";
import { type Manifest, maxManifestBytes } from "../oci/manifest.ts";
import type { Key } from "../store/object-store.ts";
import { turnToRead } from "../concurrency/turn.ts";
import type { DigestStore } from "./digest-store.ts";
import type { Bookkeeping } from "./bookkeeping.ts";
import { asBlobLink, isBlobLink, type Link } from "../store/content-records.ts";
import { linkKey, type RepositoryId } from "../store/layout.ts";
import { readManifest } from "./manifest-bytes.ts";
import { readWhole } from "../store/read-whole.ts";
import type { Records } from "./records.ts";
import type { ManifestContent } from "./registry.ts";

/** How soon it is tried again to store a manifest. */
const retryMs = 60_000;
/** What a manifest takes in memory besides its bytes, and what each of its names does in its parsed form. */
const overheadBytes = 1_024;
const nameBytes = 64;

/** How many links of a manifest's children are written at a time. */
const linksAtOnce = 8;
/** How much of what manifests list is remembered. */
const maxListed = 8_000;

/** What manifests are kept with. */
export interface ManifestStoreOptions {
  readonly blobs: DigestStore;
  readonly links: Records<Link>;
  readonly books: Bookkeeping;
  readonly addLink: (id: RepositoryId, digest: Digest, link: Link) => Promise<void>;
  /** Stores a manifest's bytes and its link. */
  readonly commit: (id: RepositoryId, digest: Digest, link: Link, bytes: Uint8Array) => Promise<void>;
  /** Puts damaged content aside. */
  readonly quarantine: (digest: Digest) => Promise<boolean>;
  readonly maxBytesInMemory: number;
}

/** A manifest that could not be stored, with what must be linked with it. */
interface Unstored {
  readonly contained: readonly Descriptor[];
  triedAt: number;
}

/** What a manifest of a repository lists as a blob. */
interface Listed extends Descriptor {
  /** Whether that proves that the repository contains it. */
  readonly isProof: boolean;
}

/** The manifests of repositories: content that is small, often asked for, and refers to other content. */
export class ManifestStore {
  readonly #options: ManifestStoreOptions;
  /** All of these are by the manifest's link. */
  readonly #memory: LRUCache<Key, ManifestContent>;
  readonly #loading = new Map<Key, Promise<ManifestContent | undefined>>();
  readonly #storing = new Map<Key, Promise<void>>();
  /** What is being stored, also when there is no room for it in memory. */
  readonly #accepted = new Map<Key, ManifestContent>();
  /** Readers have them as long as they are in memory. */
  readonly #unstored = new LRUCache<Key, Unstored>({ max: 1_000 });
  /** By the links that are stored, will be, or would be if they were proven. */
  readonly #listed = new LRUCache<Key, Listed>({ max: maxListed });

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
    const known = this.#memory.get(key) ?? this.#accepted.get(key);
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
    const manifest = this.#memory.get(key) ?? this.#accepted.get(key) ?? fetched;
    const { digest } = manifest.descriptor;
    this.#noteListed(id, manifest.parsed.required, false);
    this.#noteListed(id, contained, true);
    this.#accepted.set(key, manifest);
    const stored = this.#store(id, key, manifest);
    this.#storing.set(key, stored);
    try {
      await stored;
      this.#unstored.delete(key);
    } catch (error) {
      this.#unstored.set(key, { contained, triedAt: books.monotonic() });
      throw error;
    } finally {
      if (this.#storing.get(key) === stored) {
        this.#storing.delete(key);
        this.#accepted.delete(key);
      }
    }
    await this.#noteChildren(digest, manifest.parsed);
    await this.#linkChildren(id, contained);
    // What it refers to is as young as it is.
    await books.note({ kind: "use", id, digest, at: books.now() });
  }

  /** See `Content.listedSize`. */
  listedSize(link: Key): number | undefined {
    return this.#listed.get(link)?.size;
  }

  /** A repository's link as it is stored, with what its manifests say of the digest: that may be yet to be stored. */
  complete(key: Key, link: Link | undefined): Link | undefined {
    const listed = this.#listed.get(key);
    if (listed === undefined) return link;
    if (link !== undefined) return asBlobLink(link);
    return listed.isProof ? blobLink(listed) : undefined;
  }

  /** Forgets what is in memory of what a link, which is being removed, leads to. */
  forget(link: Key): void {
    this.#listed.delete(link);
    this.#accepted.delete(link);
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
    const { links, commit } = this.#options;
    const { digest, mediaType, size } = manifest.descriptor;
    const known = links.peek(key);
    // What it is as a blob, it stays; links that do not say it were made when it was fetched as one.
    const role = known?.role !== undefined && isBlobLink(known) ? "both" : "manifest";
    const link: Link = { mediaType, sizeBytes: size, role };
    this.#memory.set(key, manifest);
    links.show(key, link);
    try {
      await commit(id, digest, link, manifest.bytes);
    } catch (error) {
      links.forget(key, link);
      throw error;
    }
  }

  async #load(id: RepositoryId, digest: Digest): Promise<ManifestContent | undefined> {
    const { blobs, links, quarantine } = this.#options;
    const key = linkKey(id, digest);
    const link = await links.get(key);
    // What merely looks like a manifest is none (CVE-2021-41190): its registry has to say so.
    const object = link && link.role !== "blob" ? await blobs.open(digest) : undefined;
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
    this.#noteListed(id, parsed.required, false);
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

  #noteListed(id: RepositoryId, listed: readonly Descriptor[], isProof: boolean): void {
    for (const child of listed) {
      const key = linkKey(id, child.digest);
      if (isProof || !this.#listed.has(key)) this.#listed.set(key, { ...child, isProof });
    }
  }

  /** A few at a time, which the ledger is told together: a manifest may have thousands, and others need the disk too. */
  async #linkChildren(id: RepositoryId, children: readonly Descriptor[]): Promise<void> {
    for (let start = 0; start < children.length; start += linksAtOnce) {
      const batch = children.slice(start, start + linksAtOnce);
      const linking = batch.map((child) => this.#linkChild(id, child));
      await Promise.allSettled(linking);
      await Promise.all(linking);
    }
  }

  async #linkChild(id: RepositoryId, child: Descriptor): Promise<void> {
    const { links, addLink } = this.#options;
    const key = linkKey(id, child.digest);
    // It may be listed twice: the first one counts, which has been shown by now.
    const stored = (await links.get(key)) ?? links.peek(key);
    const link = stored === undefined ? blobLink(child) : asBlobLink(stored);
    if (link !== stored) await addLink(id, child.digest, link);
  }
}

function blobLink({ mediaType, size }: Descriptor): Link {
  return { mediaType, sizeBytes: size, role: "blob" };
}
