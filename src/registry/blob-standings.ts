import { boundedMap } from "../concurrency/bounded-map.ts";
import type { Digest } from "../oci/digest.ts";
import { type ObjectInfo, type OpenObject, StoreError } from "../store/object-store.ts";
import { isBlobLink, type Link } from "./content.ts";
import { DigestCheck } from "./digest-check.ts";
import type { Fill } from "./fill.ts";
import { isFresh } from "./freshness.ts";
import type { RepositoryId } from "../store/layout.ts";
import { Lookup } from "./lookup.ts";
import type { MirrorTools } from "./mirror-tools.ts";
import type { BlobContent, BlobInfo } from "./registry.ts";

const distrustedBlobs = 256;
const distrustMs = 60_000;

/**
 * Where a blob stands for a repository, with what was learned when it was looked up. This is a blob's whole life:
 *
 * | state | its link | its content | GET, and storing | HEAD | next |
 * | --- | --- | --- | --- | --- | --- |
 * | `unknown` | none | perhaps, of others | a fill; where it is stored, the upstream's yes | the upstream, perhaps by a fill | `filling`, `stored` |
 * | `linked` | as a blob | none that is right | a fill | the upstream | `filling` |
 * | `filling` | either | on its way | joins the fill | waits for the fill's headers | `stored`, or as before |
 * | `stored` | as a blob | of the link's size | is read | its size | `linked` when evicted or damaged |
 * | `manifest` | not as a blob | either | there is no such blob | the same | `stored` when a manifest lists it as one |
 *
 * What cannot be read counts as absent, and the look-up knows that.
 */
export type Standing<Stored> =
  | { readonly state: "stored"; readonly stored: Stored; readonly link: Link }
  | { readonly state: "filling"; readonly fill: Fill; readonly link: Link | undefined }
  | { readonly state: "linked"; readonly link: Link }
  /** `content`: what is stored of others, where the upstream's word is enough to give this repository a link to it. */
  | { readonly state: "unknown"; readonly link: undefined; readonly content: ObjectInfo | undefined }
  | { readonly state: "manifest" };

/** Why, and since when, a stored blob is not served. */
interface Distrust {
  readonly error: StoreError;
  readonly since: number;
}

/** Looks up where a mirror's blobs stand. What is found to be wrong is not served. */
export class BlobStandings {
  readonly #tools: MirrorTools;
  readonly #check: DigestCheck;
  /** Blobs whose reading failed on the way. They are fetched anew for a while, or until they have been stored again. */
  readonly #distrusted = boundedMap<Digest, Distrust>(distrustedBlobs);

  constructor(tools: MirrorTools) {
    this.#tools = tools;
    this.#check = new DigestCheck(tools);
  }

  /** Where a blob stands; a stored one is opened, and the caller closes it. */
  open(lookup: Lookup, id: RepositoryId, digest: Digest): Promise<Standing<BlobContent>> {
    return this.#find(lookup, id, digest, async () => {
      const object = await lookup.openBlob(digest);
      return object && this.#content(object, digest);
    });
  }

  /** Where a blob stands. */
  stat(lookup: Lookup, id: RepositoryId, digest: Digest): Promise<Standing<BlobInfo>> {
    return this.#find<BlobInfo>(lookup, id, digest, () => lookup.statBlob(digest));
  }

  /** Whether it is stored and this repository's, asked anew. */
  async isStored(id: RepositoryId, digest: Digest): Promise<boolean> {
    const lookup = new Lookup(this.#tools.content);
    const link = await lookup.link(id, digest);
    if (link === undefined || !isBlobLink(link)) return false;
    return (await this.#whole<BlobInfo>(lookup, digest, link, () => lookup.statBlob(digest))) !== undefined;
  }

  /** Notes that a blob was stored anew. */
  noteStored(digest: Digest): void {
    this.#distrusted.delete(digest);
  }

  async #find<Stored extends BlobInfo & Partial<BlobContent>>(
    lookup: Lookup,
    id: RepositoryId,
    digest: Digest,
    look: () => Promise<Stored | undefined>,
  ): Promise<Standing<Stored>> {
    const { fills, trusted } = this.#tools;
    const link = await lookup.link(id, digest);
    if (link !== undefined && !isBlobLink(link)) return { state: "manifest" };
    // First: a fill that is over by the time of the look-up has stored it.
    const early = fills.find(id, digest, link !== undefined);
    const stored = link && (await this.#whole(lookup, digest, link, look));
    if (link !== undefined && stored !== undefined) return { state: "stored", stored, link };
    const fill = fills.find(id, digest, link !== undefined) ?? (early?.isVerified === true ? early : undefined);
    if (fill !== undefined) return { state: "filling", fill, link };
    if (link !== undefined) return { state: "linked", link };
    // Where something could not be read there is a link perhaps, and a new one would take its place.
    const content = trusted && lookup.failure === undefined ? await lookup.statBlob(digest) : undefined;
    return { state: "unknown", link, content };
  }

  /** Stored content, where it has the size that its link tells and can be read as far as is known. */
  async #whole<Stored extends BlobInfo & Partial<BlobContent>>(
    lookup: Lookup,
    digest: Digest,
    link: Link,
    look: () => Promise<Stored | undefined>,
  ): Promise<Stored | undefined> {
    const distrust = this.#distrusted.get(digest);
    if (distrust !== undefined && isFresh(distrust.since, this.#tools.monotonic(), { ttlMs: distrustMs })) {
      lookup.fail(distrust.error);
      return undefined;
    }
    const stored = await look();
    if (stored === undefined || stored.sizeBytes === link.sizeBytes) return stored;
    await stored.close?.();
    // Its bytes say in the background whether it is damaged, and belongs aside, or the link is wrong.
    lookup.fail(new StoreError(`the stored content of ${digest} has another size than a link tells`, undefined));
    const sizeBytes = stored.sizeBytes ?? 0;
    this.#tools.background.run(() => this.#check.inspect(digest, sizeBytes));
    return undefined;
  }

  #content(object: OpenObject, digest: Digest): BlobContent {
    return {
      sizeBytes: object.sizeBytes,
      file: this.#tools.checkDigest ? undefined : object.file,
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
