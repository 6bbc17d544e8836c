import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import type { Reference } from "../oci/reference.ts";
import type { BlobStandings } from "./blob-standings.ts";
import type { RepositoryId } from "../store/layout.ts";
import { type Lookup, withLookup } from "./lookup.ts";
import type { MirrorTools } from "./mirror-tools.ts";
import type { Answer, ManifestContent } from "./registry.ts";
import type { Checked } from "../upstream/upstream.ts";
import { type Flight, SingleFlight } from "../concurrency/single-flight.ts";
import type { Asker, Interest } from "../concurrency/interest.ts";

/** What the upstream tells of a manifest without sending it: all, or the digest alone. */
type Told = (Descriptor | Pick<Descriptor, "digest">) & Checked;

/** A stored manifest, as one request found it. */
export interface StoredManifest {
  readonly content: ManifestContent;
  /** Whether an image's blobs are stored too (`Manifests.stored`): they are looked up once, when that is first asked. */
  readonly isComplete: () => Promise<boolean>;
}

/**
 * A mirror's manifests by digest. What has a digest never changes: once stored it is never asked for again. Equal
 * questions to the upstream are asked once at a time.
 */
export class Manifests {
  readonly #tools: MirrorTools;
  readonly #standings: BlobStandings;
  readonly #contents = new SingleFlight<ManifestContent | undefined>();
  readonly #heads = new SingleFlight<Told | undefined>();

  constructor(tools: MirrorTools, standings: BlobStandings) {
    this.#tools = tools;
    this.#standings = standings;
  }

  /** A manifest with its bytes. */
  async get(id: RepositoryId, digest: Digest, asker?: Asker): Promise<Answer<ManifestContent> | undefined> {
    return withLookup(this.#tools.content, async (lookup) => {
      const stored = await this.stored(lookup, id, digest);
      if (stored !== undefined) return { value: stored.content, cache: { hit: true } };
      const { answer, joined } = this.#fetchOnce(lookup, id, digest, asker);
      const value = await answer;
      const cache = { hit: false, forward: "uri-miss", collapsed: joined } as const;
      return value && { value, cache: { ...cache, stored: this.isStoring(id, value), ...originOf(value) } };
    });
  }

  /** A manifest's descriptor; a HEAD where it is not stored. */
  async describe(id: RepositoryId, digest: Digest, asker?: Asker): Promise<Answer<Descriptor> | undefined> {
    return withLookup(this.#tools.content, async (lookup) => {
      const stored = await this.stored(lookup, id, digest);
      if (stored !== undefined) return { value: stored.content.descriptor, cache: { hit: true } };
      const { answer, joined } = this.head(lookup, id, digest, asker);
      const told = await answer;
      const value =
        told === undefined || "size" in told
          ? told
          : (await this.#fetchOnce(lookup, id, digest, asker).answer)?.descriptor;
      return value && { value, cache: { hit: false, forward: "uri-miss", collapsed: joined } };
    });
  }

  /**
   * A stored manifest that can be served. While the upstream fails that is an image's only if its blobs are stored too:
   * a client that got the manifest would not go elsewhere for them (podman), and fail.
   */
  async stored(lookup: Lookup, id: RepositoryId, digest: Digest): Promise<StoredManifest | undefined> {
    const content = await lookup.manifest(id, digest);
    if (content === undefined) return undefined;
    let complete: Promise<boolean> | undefined;
    const isComplete = (): Promise<boolean> => (complete ??= this.#isComplete(lookup, id, content));
    const isWell = this.#tools.breaker.failing(id.repository) === undefined;
    return isWell || (await isComplete()) ? { content, isComplete } : undefined;
  }

  /** Fetches a manifest by tag or digest; it is stored in the background. */
  async fetch(
    lookup: Lookup,
    id: RepositoryId,
    reference: Reference,
    interest?: Interest,
  ): Promise<(ManifestContent & Checked) | undefined> {
    const { upstream, signal } = this.#tools;
    const manifest = await upstream.manifest(id.repository, reference, { signal, interest });
    return manifest && { ...(await this.#keep(lookup, id, manifest)), ...checkOf(manifest) };
  }

  /**
   * What a reference stands for upstream, by HEAD (`Upstream.resolve`). Where a GET had to decide, the manifest is stored,
   * and need not be fetched again.
   */
  head(lookup: Lookup, id: RepositoryId, reference: Reference, asker?: Asker): Flight<Told | undefined> {
    const { upstream, signal } = this.#tools;
    const ask = async (interest: Interest): Promise<Told | undefined> => {
      const told = await upstream.resolve(id.repository, reference, { signal, interest });
      if (told === undefined || !("bytes" in told)) return told;
      return { ...(await this.#keep(lookup, id, told)).descriptor, ...checkOf(told) };
    };
    return this.#heads.run(`${id.repository}@${reference}`, ask, asker);
  }

  #fetchOnce(
    lookup: Lookup,
    id: RepositoryId,
    digest: Digest,
    asker: Asker | undefined,
  ): Flight<ManifestContent | undefined> {
    const fetch = (interest: Interest): Promise<ManifestContent | undefined> =>
      this.fetch(lookup, id, digest, interest);
    return this.#contents.run(`${id.repository}@${digest}`, fetch, asker);
  }

  /** Stores what was fetched, in the background; the manifest as it is served. */
  async #keep(lookup: Lookup, id: RepositoryId, manifest: ManifestContent): Promise<ManifestContent> {
    const { content, background, trusted } = this.#tools;
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

  /**
   * Whether a stored manifest's blobs are this repository's, and stored or about to be, with nothing left to come from the
   * upstream. An index has none of its own; of an ambiguous manifest it cannot be told.
   */
  async #isComplete(lookup: Lookup, id: RepositoryId, { parsed }: ManifestContent): Promise<boolean> {
    if (parsed.isAmbiguous) return false;
    for (const { digest } of parsed.required) {
      const standing = await this.#standings.stat(lookup, id, digest);
      const isHere = standing.state === "stored" || (standing.state === "filling" && standing.fill.isVerified);
      if (!isHere) return false;
    }
    return true;
  }
}

function checkOf({ checkedAt, origin }: Checked): Checked {
  return { ...(checkedAt !== undefined && { checkedAt }), ...(origin !== undefined && { origin }) };
}

/** Who told something that was asked of the upstream, for its `CacheStatus`. */
export function originOf(told: object): Pick<Checked, "origin"> {
  const isOthers = "origin" in told && (told.origin === "bucket" || told.origin === "replica");
  return isOthers ? { origin: told.origin as "bucket" | "replica" } : {};
}
