import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import { type OpenObject, StoreError } from "../store/object-store.ts";
import { isBlobLink, type Link } from "./content.ts";
import { DigestCheck } from "./digest-check.ts";
import { isFresh } from "./freshness.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { Lookup } from "./lookup.ts";
import type { MirrorTools } from "./mirror-tools.ts";
import type { BlobContent } from "./registry.ts";

const distrustedBlobs = 256;
const distrustMs = 60_000;

/** Why, and since when, a stored blob is not served. */
interface Distrust {
  readonly error: StoreError;
  readonly since: number;
}

/** A mirror's stored blobs, for the repositories that are known to contain them. What is found to be wrong is not served. */
export class StoredBlobs {
  readonly #tools: MirrorTools;
  readonly #check: DigestCheck;
  /** Blobs whose reading failed on the way. They are fetched anew for a while, or until they have been stored again. */
  readonly #distrusted = new LRUCache<Digest, Distrust>({ max: distrustedBlobs });

  constructor(tools: MirrorTools) {
    this.#tools = tools;
    this.#check = new DigestCheck(tools);
  }

  /** A stored blob that this repository is known to contain. The caller closes it. */
  async open(lookup: Lookup, id: RepositoryId, digest: Digest): Promise<BlobContent | undefined> {
    const link = await lookup.link(id, digest);
    if (link === undefined || !isBlobLink(link)) return undefined;
    const distrust = this.#distrusted.get(digest);
    if (distrust !== undefined && isFresh(distrust.since, this.#tools.monotonic(), { ttlMs: distrustMs })) {
      lookup.fail(distrust.error);
      return undefined;
    }
    const object = await lookup.openBlob(digest);
    if (object === undefined) return undefined;
    if (object.sizeBytes === link.sizeBytes) return this.#content(object, digest);
    await object.close();
    this.#suspect(lookup, digest, object.sizeBytes);
    return undefined;
  }

  /** The size of a stored blob, which a link tells. */
  async stat(lookup: Lookup, digest: Digest, link: Link): Promise<number | undefined> {
    const stored = await lookup.statBlob(digest);
    if (stored === undefined || stored.sizeBytes === link.sizeBytes) return stored?.sizeBytes;
    this.#suspect(lookup, digest, stored.sizeBytes);
    return undefined;
  }

  /** Notes that a blob was stored anew. */
  noteStored(digest: Digest): void {
    this.#distrusted.delete(digest);
  }

  /**
   * Notes that a stored blob has not the size that a link tells: it is not served for that link, and is fetched anew. Its
   * bytes say in the background whether it is damaged, and belongs aside, or the link is wrong.
   */
  #suspect(lookup: Lookup, digest: Digest, sizeBytes: number): void {
    lookup.fail(new StoreError(`the stored content of ${digest} has another size than a link tells`, undefined));
    this.#tools.background.run(() => this.#check.inspect(digest, sizeBytes));
  }

  #content(object: OpenObject, digest: Digest): BlobContent {
    return {
      sizeBytes: object.sizeBytes,
      read: (span = { start: 0, end: object.sizeBytes }, signal) =>
        this.#watch(
          this.#tools.checkDigest ? this.#check.read(object, digest, span, signal) : object.read(span),
          digest,
        ),
      close: () => object.close(),
    };
  }

  /** Passes a stored blob's bytes on. What fails then cannot be mended for this client, but for the next one. */
  async *#watch(chunks: AsyncIterable<Uint8Array>, digest: Digest): AsyncGenerator<Uint8Array> {
    try {
      yield* chunks;
    } catch (error) {
      if (error instanceof StoreError) this.#distrusted.set(digest, { error, since: this.#tools.monotonic() });
      throw error;
    }
  }
}
