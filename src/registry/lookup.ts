import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import { type ObjectInfo, type OpenObject, StoreError } from "../store/object-store.ts";
import { UpstreamError } from "../upstream/upstream.ts";
import type { Content, Link, TagRecord } from "./content.ts";
import type { PageKind, RepositoryId } from "../store/layout.ts";
import type { ManifestContent } from "./registry.ts";
import type { Page } from "../store/content-records.ts";

/**
 * The content store as one request reads it: what cannot be read counts as absent, so that the upstream is asked in its
 * place. Only for questions that an "absent" leads to the upstream: it proves nothing, least of all a right to read.
 */
export class Lookup {
  readonly #content: Content;
  #failure: StoreError | undefined;

  constructor(content: Content) {
    this.#content = content;
  }

  /** The first failure of the content store, where there was one: then "absent" was perhaps not true. */
  get failure(): StoreError | undefined {
    return this.#failure;
  }

  /** Notes that something stored is not to be had. */
  fail(error: StoreError): void {
    this.#failure ??= error;
  }

  /** See `Content.tag`. */
  tag(id: RepositoryId, tag: Tag): Promise<TagRecord | undefined> {
    return this.#try(this.#content.tag(id, tag));
  }

  /** See `Content.link`. */
  link(id: RepositoryId, digest: Digest): Promise<Link | undefined> {
    return this.#try(this.#content.link(id, digest));
  }

  /** See `Content.manifest`. */
  manifest(id: RepositoryId, digest: Digest): Promise<ManifestContent | undefined> {
    return this.#try(this.#content.manifest(id, digest));
  }

  /** See `Content.openBlob`. The caller closes it. */
  openBlob(digest: Digest): Promise<OpenObject | undefined> {
    return this.#try(this.#content.openBlob(digest));
  }

  /** See `Content.statBlob`. */
  statBlob(digest: Digest): Promise<ObjectInfo | undefined> {
    return this.#try(this.#content.statBlob(digest));
  }

  /** See `Content.isManifest`; `undefined` where it cannot be read. */
  isManifest(digest: Digest): Promise<boolean | undefined> {
    return this.#try(this.#content.isManifest(digest));
  }

  /** See `PageStore.get`. */
  page(id: RepositoryId, kind: PageKind, request: string): Promise<Page | undefined> {
    return this.#try(this.#content.pages.get(id, kind, request));
  }

  async #try<T>(read: Promise<T | undefined>): Promise<T | undefined> {
    try {
      return await read;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.fail(error);
      return undefined;
    }
  }
}

/**
 * Answers a client's question with a look-up of its own. When the upstream fails too, the error is the upstream's; but
 * where it is never asked, the storage is to blame: "not cached" may be wrong.
 *
 * @throws {StoreError} what is stored could not be read, and the namespace is offline.
 */
export async function withLookup<T>(content: Content, question: (lookup: Lookup) => Promise<T>): Promise<T> {
  const lookup = new Lookup(content);
  try {
    return await question(lookup);
  } catch (error) {
    const unasked = error instanceof UpstreamError && error.failure === "offline";
    throw unasked ? (lookup.failure ?? error) : error;
  }
}
