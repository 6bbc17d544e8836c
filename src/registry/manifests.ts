import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import type { Reference } from "../oci/reference.ts";
import type { RepositoryId } from "./layout.ts";
import { type Lookup, lookUp } from "./lookup.ts";
import type { MirrorTools } from "./mirror-tools.ts";
import type { Answer, ManifestContent } from "./registry.ts";
import { SingleFlight } from "./single-flight.ts";
import type { Asker, Interest } from "../upstream/interest.ts";

/**
 * A mirror's manifests by digest. What has a digest never changes: once stored it is never asked for again. Equal
 * questions to the upstream are asked once at a time.
 */
export class Manifests {
  readonly #tools: MirrorTools;
  readonly #contents = new SingleFlight<ManifestContent | undefined>();
  readonly #heads = new SingleFlight<Descriptor | undefined>();

  constructor(tools: MirrorTools) {
    this.#tools = tools;
  }

  /** A manifest with its bytes. */
  async get(id: RepositoryId, digest: Digest, asker?: Asker): Promise<Answer<ManifestContent> | undefined> {
    return lookUp(this.#tools.content, async (lookup) => {
      const stored = await this.stored(lookup, id, digest);
      if (stored !== undefined) return { value: stored, cache: { hit: true } };
      const key = `${id.repository}@${digest}`;
      const { answer, joined } = this.#contents.run(key, (interest) => this.fetch(lookup, id, digest, interest), asker);
      const value = await answer;
      const cache = { hit: false, forward: "uri-miss", collapsed: joined } as const;
      return value && { value, cache: { ...cache, stored: this.isStoring(id, value) } };
    });
  }

  /** A manifest's descriptor; a HEAD where it is not stored. */
  async describe(id: RepositoryId, digest: Digest, asker?: Asker): Promise<Answer<Descriptor> | undefined> {
    return lookUp(this.#tools.content, async (lookup) => {
      const stored = await this.stored(lookup, id, digest);
      if (stored !== undefined) return { value: stored.descriptor, cache: { hit: true } };
      const { answer, joined } = this.head(id, digest, asker);
      const value = await answer;
      return value && { value, cache: { hit: false, forward: "uri-miss", collapsed: joined } };
    });
  }

  /**
   * A stored manifest that can be served. While the upstream fails that is an image's only if its blobs are stored too:
   * a client that got the manifest would not go elsewhere for them (podman), and fail.
   */
  async stored(lookup: Lookup, id: RepositoryId, digest: Digest): Promise<ManifestContent | undefined> {
    const manifest = await lookup.manifest(id, digest);
    if (manifest === undefined || this.#tools.breaker.failing(id.repository) === undefined) return manifest;
    return (await this.isComplete(lookup, id, digest)) ? manifest : undefined;
  }

  /** Fetches a manifest by tag or digest; it is stored in the background. */
  async fetch(
    lookup: Lookup,
    id: RepositoryId,
    reference: Reference,
    interest?: Interest,
  ): Promise<ManifestContent | undefined> {
    const { upstream, content, background, signal, trusted } = this.#tools;
    const manifest = await upstream.manifest(id.repository, reference, signal, interest);
    if (manifest === undefined) return undefined;
    // A media type belongs to its digest from the first time on, whatever it is sent with later (CVE-2021-41190).
    const stored = await lookup.manifest(id, manifest.descriptor.digest);
    if (stored !== undefined) return stored;
    background.run(() => content.storeManifest(id, manifest, trusted ? manifest.parsed.required : []));
    return manifest;
  }

  /** Whether what was fetched just now is being stored, as far as is known. */
  isStoring({ namespace }: RepositoryId, { descriptor }: ManifestContent): boolean {
    return this.#tools.content.hasRoom(namespace, descriptor.size);
  }

  /** What a reference stands for upstream, by HEAD. */
  head(
    id: RepositoryId,
    reference: Reference,
    asker?: Asker,
  ): { readonly answer: Promise<Descriptor | undefined>; readonly joined: boolean } {
    const { upstream, signal } = this.#tools;
    return this.#heads.run(
      `${id.repository}@${reference}`,
      (interest) => upstream.resolve(id.repository, reference, signal, interest),
      asker,
    );
  }

  /**
   * Whether a stored manifest's blobs are this repository's, and stored or about to be, with nothing left to come from the
   * upstream. An index has none of its own; of an ambiguous manifest it cannot be told.
   */
  async isComplete(lookup: Lookup, id: RepositoryId, digest: Digest): Promise<boolean> {
    const manifest = await lookup.manifest(id, digest);
    if (manifest === undefined || manifest.parsed.isAmbiguous) return false;
    for (const { digest } of manifest.parsed.required) {
      const link = await lookup.link(id, digest);
      // First: a fill that is over by the time of the look-up has stored it.
      if (this.#tools.fills.find(id, digest, link !== undefined)?.isVerified) continue;
      if (link === undefined || (await lookup.statBlob(digest))?.sizeBytes !== link.sizeBytes) return false;
    }
    return true;
  }
}
