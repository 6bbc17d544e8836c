import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Descriptor } from "../oci/descriptor.ts";
import { type Digest, digestOf, algorithmOf, isDigest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { maxManifestBytes, parseManifest } from "../oci/manifest.ts";
import type { Tag } from "../oci/reference.ts";
import type { Key, ObjectInfo, ObjectStore, OpenObject } from "../store/object-store.ts";
import { blobKey, linkKey, type PageKind, pageKey, type RepositoryId, tagKey } from "./layout.ts";
import type { ManifestContent, Page } from "./registry.ts";

/** That a repository contains a digest, and what it says of it. `sizeBytes` is a claim until the content was read. */
export interface Link {
  readonly mediaType: string;
  readonly sizeBytes: number;
}

/** What a tag stood for when it was last checked (`checkedAt`, milliseconds since 1970). */
export interface TagRecord {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  readonly checkedAt: number;
}

/** How much of what is small is also kept in memory. */
export interface ContentLimits {
  readonly manifestCacheBytes: number;
  readonly tagCacheEntries: number;
}

const defaultLimits: ContentLimits = { manifestCacheBytes: 32 * 1024 * 1024, tagCacheEntries: 20_000 };

/**
 * The content store: digests, manifests, tags and links as keys of an object store.
 *
 * A blob's bytes are stored once, whoever asked for them; that a repository contains them is its *link*. Who wants to
 * serve bytes to a repository's reader asks for the link first. Small and often asked records stay in memory too,
 * which is right because one process owns the store and every write goes through here.
 */
export class Content {
  readonly #store: ObjectStore;
  readonly #manifests: LRUCache<string, ManifestContent>;
  readonly #tags: LRUCache<Key, TagRecord>;
  readonly #links: LRUCache<Key, Link>;
  readonly #storing = new Map<Digest, Promise<void>>();
  /** The last write of each record that is being written. */
  readonly #writing = new Map<Key, Promise<void>>();

  constructor(store: ObjectStore, limits: ContentLimits = defaultLimits) {
    this.#store = store;
    this.#manifests = new LRUCache({
      maxSize: limits.manifestCacheBytes,
      sizeCalculation: (manifest) => manifest.bytes.length + 512,
    });
    this.#tags = new LRUCache({ max: limits.tagCacheEntries });
    this.#links = new LRUCache({ max: limits.tagCacheEntries });
  }

  /** What is recorded of a tag. */
  async tag(id: RepositoryId, tag: Tag): Promise<TagRecord | undefined> {
    const key = tagKey(id, tag);
    const known = this.#tags.get(key);
    if (known !== undefined) return known;
    const record = await this.#record(key, isTagRecord);
    // What was recorded while the store was read is newer than what was read.
    const newer = this.#tags.get(key);
    if (newer !== undefined) return newer;
    if (record !== undefined) this.#tags.set(key, record);
    return record;
  }

  /**
   * Records a tag; readers see it at once. It reaches the store after the manifest it stands for, so that no tag points
   * at nothing. A record of an earlier check than the one that is known changes nothing.
   */
  async setTag(id: RepositoryId, tag: Tag, record: TagRecord): Promise<void> {
    const key = tagKey(id, tag);
    const storing = this.#storing.get(record.digest);
    const known = this.#tags.get(key);
    if (known !== undefined && known.checkedAt > record.checkedAt) return;
    this.#tags.set(key, record);
    const before = known ?? (await this.#record(key, isTagRecord));
    if (before !== undefined && before.checkedAt > record.checkedAt) {
      if (this.#tags.get(key) === record) this.#tags.set(key, before);
      return;
    }
    await storing;
    // Another record may have come while this one waited; it must not be written over.
    if ((this.#tags.get(key) ?? record) !== record) return;
    // A new check of an unchanged tag may be lost in a power failure: the tag is then asked for again.
    await this.#put(key, record, before?.digest !== record.digest);
  }

  /** Whether a repository contains a digest. */
  async link(id: RepositoryId, digest: Digest): Promise<Link | undefined> {
    const key = linkKey(id, digest);
    const known = this.#links.get(key);
    if (known !== undefined) return known;
    const link = await this.#record(key, isLink);
    const newer = this.#links.get(key);
    if (newer !== undefined) return newer;
    if (link !== undefined) this.#links.set(key, link);
    return link;
  }

  /** Notes that a repository contains a digest. Lost in a power failure, it costs one question to the upstream. */
  async addLink(id: RepositoryId, digest: Digest, link: Link): Promise<void> {
    const key = linkKey(id, digest);
    this.#links.set(key, link);
    await this.#put(key, link, false);
  }

  /**
   * A manifest that this repository contains. What is on disk is hashed before it is believed; damaged content is
   * removed, and absent from then on.
   */
  async manifest(id: RepositoryId, digest: Digest): Promise<ManifestContent | undefined> {
    const key = linkKey(id, digest);
    const known = this.#manifests.get(key);
    if (known !== undefined) return known;
    const link = await this.link(id, digest);
    if (link === undefined) return undefined;
    const bytes = await this.#small(blobKey(digest), maxManifestBytes);
    if (bytes === undefined) return undefined;
    if (digestOf(bytes, algorithmOf(digest)) !== digest) {
      await this.#store.delete(blobKey(digest));
      return undefined;
    }
    const mediaType = readMediaType(bytes, link.mediaType);
    if (mediaType === undefined) return undefined;
    const manifest = { descriptor: { mediaType, digest, size: bytes.length }, bytes };
    this.#manifests.set(key, manifest);
    return manifest;
  }

  /**
   * Stores a manifest whose digest was checked, its link, and links to `children`: what this repository must contain,
   * as its registry took the manifest. Readers see it at once. The media type of a manifest that is held already stays
   * (who fetched one asks `manifest` for it first, which sees the store too).
   */
  async storeManifest(id: RepositoryId, fetched: ManifestContent, children: readonly Descriptor[]): Promise<void> {
    const manifest = this.#manifests.get(linkKey(id, fetched.descriptor.digest)) ?? fetched;
    const { digest, mediaType, size } = manifest.descriptor;
    this.#manifests.set(linkKey(id, digest), manifest);
    this.#links.set(linkKey(id, digest), { mediaType, sizeBytes: size });
    const stored = this.#store.put(blobKey(digest), manifest.bytes);
    this.#storing.set(digest, stored);
    try {
      await stored;
      await this.addLink(id, digest, { mediaType, sizeBytes: size });
    } finally {
      if (this.#storing.get(digest) === stored) this.#storing.delete(digest);
    }
    // One after the other: a manifest may have thousands, and everybody else needs the disk too.
    for (const child of children) await this.#linkChild(id, child);
  }

  /** The stored content of a digest, whoever it belongs to. The caller closes it. */
  async openBlob(digest: Digest): Promise<OpenObject | undefined> {
    return this.#store.get(blobKey(digest));
  }

  /** Whether a digest's content is stored, and its size. */
  async statBlob(digest: Digest): Promise<ObjectInfo | undefined> {
    return this.#store.head(blobKey(digest));
  }

  /** Stores a finished file whose digest and size were checked. */
  async commitBlob(digest: Digest, file: { readonly path: string; readonly size: number }): Promise<void> {
    await this.#store.put(blobKey(digest), file);
  }

  /** Removes damaged content. */
  async removeBlob(digest: Digest): Promise<void> {
    await this.#store.delete(blobKey(digest));
  }

  /** A listing's page as it was stored last, unless another one has taken its place since. */
  async page(id: RepositoryId, kind: PageKind, request: string): Promise<Page | undefined> {
    const record = await this.#record(pageKey(id, kind, pageSlot(request)), isPageRecord);
    return record?.request === request ? record.page : undefined;
  }

  /** Stores a listing's page, in the place of another one perhaps: of each kind a repository has 257 places. */
  async setPage(id: RepositoryId, kind: PageKind, request: string, page: Page): Promise<void> {
    await this.#put(pageKey(id, kind, pageSlot(request)), { request, page }, false);
  }

  async #linkChild(id: RepositoryId, child: Descriptor): Promise<void> {
    if ((await this.link(id, child.digest)) !== undefined) return;
    await this.addLink(id, child.digest, { mediaType: child.mediaType, sizeBytes: child.size });
  }

  /** A JSON record. What cannot be read as one was torn by a power failure, and is as good as absent. */
  async #record<T>(key: Key, isRecord: (value: unknown) => value is T): Promise<T | undefined> {
    const bytes = await this.#small(key, 8 * 1024 * 1024);
    if (bytes === undefined) return undefined;
    let value: unknown;
    try {
      value = JSON.parse(bytes.toString("utf8"));
    } catch {
      return undefined;
    }
    return isRecord(value) ? value : undefined;
  }

  /** Writes a record. Of several to one key the last to come here is the last to be stored. */
  async #put(key: Key, record: object, durable: boolean): Promise<void> {
    const bytes = Buffer.from(JSON.stringify(record));
    const before = this.#writing.get(key)?.catch(() => undefined);
    const write = (): Promise<void> => this.#store.put(key, bytes, { durable });
    const written = before === undefined ? write() : before.then(write);
    this.#writing.set(key, written);
    try {
      await written;
    } finally {
      if (this.#writing.get(key) === written) this.#writing.delete(key);
    }
  }

  async #small(key: Key, limitBytes: number): Promise<Buffer | undefined> {
    const object = await this.#store.get(key);
    if (object === undefined) return undefined;
    try {
      if (object.sizeBytes > limitBytes) return undefined;
      const chunks: Buffer[] = [];
      for await (const chunk of object.read({ start: 0, end: object.sizeBytes })) chunks.push(Buffer.from(chunk));
      return Buffer.concat(chunks);
    } finally {
      await object.close();
    }
  }
}

/** The type of a manifest that a link speaks of; `undefined` where the content cannot be read as that (CVE-2021-41190). */
function readMediaType(bytes: Buffer, linked: string): string | undefined {
  try {
    return parseManifest(bytes, linked).mediaType;
  } catch (error) {
    if (error instanceof OciError) return undefined;
    throw error;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function isLink(value: unknown): value is Link {
  return isObject(value) && typeof value["mediaType"] === "string" && typeof value["sizeBytes"] === "number";
}

function isTagRecord(value: unknown): value is TagRecord {
  return (
    isObject(value) &&
    typeof value["digest"] === "string" &&
    isDigest(value["digest"]) &&
    typeof value["mediaType"] === "string" &&
    typeof value["size"] === "number" &&
    typeof value["checkedAt"] === "number"
  );
}

/** A page with what it answers, by which it is told from others that share its place. */
interface PageRecord {
  readonly request: string;
  readonly page: Page;
}

function isPageRecord(value: unknown): value is PageRecord {
  if (!isObject(value) || typeof value["request"] !== "string") return false;
  return isObject(value["page"]) && isObject(value["page"]["document"]);
}

/**
 * Where a page is stored. Clients can make up any number of requests that an upstream answers, so places are few and
 * shared; but none shares the plain list's.
 */
function pageSlot(request: string): string {
  return request === "" ? "" : createHash("sha256").update(request).digest("hex").slice(0, 2);
}
