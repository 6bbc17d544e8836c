import { setTimeout as delay } from "node:timers/promises";
import { type Digest, isOfNothing } from "../oci/digest.ts";
import { maxManifestBytes } from "../oci/manifest.ts";
import type { Repository } from "../oci/reference.ts";
import { StoreError } from "../store/object-store.ts";
import type { Asker, Interest } from "../concurrency/interest.ts";
import type { UpstreamBlobInfo } from "../upstream/upstream.ts";
import { type BlobStandings, type Standing } from "./blob-standings.ts";
import { type Link, newBlobLink } from "./content.ts";
import type { Fill } from "./fill.ts";
import { UpstreamSource } from "./fill-tools.ts";
import type { RepositoryId } from "../store/layout.ts";
import { type Lookup, withLookup } from "./lookup.ts";
import type { MirrorTools } from "./mirror-tools.ts";
import type { Answer, BlobContent, BlobInfo } from "./registry.ts";
import { type Flight, SingleFlight } from "../concurrency/single-flight.ts";

/** How often a blob that goes away while it is being opened is looked for. */
const attempts = 4;
/** How often it is told how far a fill has come, in milliseconds. */
const progressMs = 250;

/** What the upstream told of a blob; `isLinked`: by its word the stored content of that size is this repository's. */
type Told = UpstreamBlobInfo & { readonly isLinked: boolean };

/** A blob that is not stored. */
type Missing = Exclude<Standing<never>, { readonly state: "stored" | "manifest" }>;

/** A reader's place in a fill. */
interface Place {
  readonly fill: Fill;
  /** Whether somebody else had caused the fill. */
  readonly joined: boolean;
  readonly reader: BlobContent;
}

/**
 * A mirror's blobs. A stored blob is served to a repository that is known to contain it (its *link*); to another one
 * only after its upstream has confirmed it, by its size, as any web server says 200 to what it does not know; or, where
 * that does not tell or the upstream is a stranger (`trusted` is false), after it has sent the bytes. What is not stored,
 * or cannot be read, is filled.
 */
export class Blobs {
  readonly #tools: MirrorTools;
  readonly #stats = new SingleFlight<Told | undefined>();
  readonly #standings: BlobStandings;

  constructor(tools: MirrorTools, standings: BlobStandings) {
    this.#tools = tools;
    this.#standings = standings;
  }

  /** See `PullRegistry.statBlob`. */
  async stat(repository: Repository, digest: Digest, asker?: Asker): Promise<Answer<BlobInfo> | undefined> {
    return withLookup(this.#tools.content, (lookup) => this.#stat(lookup, this.#id(repository), digest, asker));
  }

  /** See `Caching.cachedBlob`. */
  async cached(repository: Repository, digest: Digest): Promise<BlobContent | undefined> {
    return withLookup(this.#tools.content, async (lookup) => {
      const standing = await this.#standings.open(lookup, this.#id(repository), digest);
      return standing.state === "stored" ? standing.stored : undefined;
    });
  }

  /** A blob that is ready to be read; see `PullRegistry.openBlob`. */
  async open(repository: Repository, digest: Digest, asker?: Asker): Promise<Answer<BlobContent> | undefined> {
    const id = this.#id(repository);
    return withLookup(this.#tools.content, async (lookup) => {
      for (let attempt = 0; attempt < attempts; attempt++) {
        const answer = await this.#open(lookup, id, digest, asker);
        if (answer !== "removed") return answer;
      }
      throw new StoreError("the blob was removed whenever it was being opened", undefined);
    });
  }

  /** Sees to it that a blob is stored; see `Warmable.storeBlob`. */
  async store(
    repository: Repository,
    digest: Digest,
    received: (bytes: number) => void = () => undefined,
  ): Promise<Answer<number> | undefined> {
    const id = this.#id(repository);
    return withLookup(this.#tools.content, async (lookup) => {
      const found = await this.#find(lookup, id, digest);
      if (found === undefined) return undefined;
      if (!("fill" in found)) {
        await found.close();
        return { value: found.sizeBytes ?? 0, cache: { hit: true } };
      }
      const { fill, joined, reader } = found;
      fill.want();
      // Without readers, a blob that turns out not to be storable is given up at once.
      await reader.close();
      await follow(fill, received);
      if ((await fill.opened) === "absent") return undefined;
      if (fill.state !== "committed") throw fill.failure ?? new StoreError("the blob could not be stored", undefined);
      const value = fill.sizeBytes ?? (await lookup.statBlob(digest))?.sizeBytes ?? 0;
      return { value, cache: { hit: false, forward: "uri-miss", stored: true, collapsed: joined } };
    });
  }

  async #stat(
    lookup: Lookup,
    id: RepositoryId,
    digest: Digest,
    asker: Asker | undefined,
  ): Promise<Answer<BlobInfo> | undefined> {
    const standing = await this.#standings.stat(lookup, id, digest);
    if (standing.state === "manifest") return undefined;
    if (standing.state === "stored") return { value: { sizeBytes: standing.stored.sizeBytes }, cache: { hit: true } };
    if (standing.state === "filling") {
      const { fill } = standing;
      const leave = fill.want(asker);
      if ((await fill.opened.finally(leave)) === "streaming") {
        const cache = { hit: false, forward: "uri-miss", collapsed: true } as const;
        return { value: { sizeBytes: fill.sizeBytes }, cache };
      }
    }
    const { answer, joined } = this.#ask(lookup, id, digest, standing, asker);
    const told = await answer;
    if (told === undefined) return undefined;
    const known = told.isLinked ? told.sizeBytes : this.#knownSize(id, digest, standing.link);
    // What nobody lists may be a manifest, and a web page that of a login: the bytes tell.
    const mayBeManifest = known === undefined && (told.sizeBytes ?? 0) <= maxManifestBytes;
    if (mayBeManifest || (told.label === "page" && told.sizeBytes !== known)) {
      return this.#statBytes(id, digest, asker);
    }
    const sizeBytes = (told.label === "encoded" ? undefined : told.sizeBytes) ?? known;
    return { value: { sizeBytes }, cache: { hit: false, forward: "uri-miss", collapsed: joined } };
  }

  async #statBytes(
    { repository }: RepositoryId,
    digest: Digest,
    asker: Asker | undefined,
  ): Promise<Answer<BlobInfo> | undefined> {
    const answer = await this.open(repository, digest, asker);
    await answer?.value.close();
    return answer && { value: { sizeBytes: answer.value.sizeBytes }, cache: answer.cache };
  }

  async #open(
    lookup: Lookup,
    id: RepositoryId,
    digest: Digest,
    asker: Asker | undefined,
  ): Promise<Answer<BlobContent> | "removed" | undefined> {
    const found = await this.#find(lookup, id, digest, asker);
    if (found === undefined) return undefined;
    if (!("fill" in found)) return { value: found, cache: { hit: true } };
    return this.#read(lookup, id, digest, found);
  }

  /** A stored blob, or a place in the fill that brings it. The caller closes either. */
  async #find(
    lookup: Lookup,
    id: RepositoryId,
    digest: Digest,
    asker?: Asker,
  ): Promise<BlobContent | Place | undefined> {
    const { upstream, trusted, retries, fills } = this.#tools;
    const { repository } = id;
    const { ended } = fills;
    let standing = await this.#standings.open(lookup, id, digest);
    if (standing.state === "unknown" && standing.content !== undefined) {
      if ((await this.#ask(lookup, id, digest, standing, asker).answer) === undefined) return undefined;
      standing = await this.#standings.open(lookup, id, digest);
    }
    if (standing.state === "manifest") return undefined;
    if (standing.state === "stored") return standing.stored;
    const { link } = standing;
    // What could not be read, or is damaged, is not to be found again.
    const reuses = lookup.failure === undefined;
    const { fill, joined } = fills.join(
      {
        id,
        digest,
        source: new UpstreamSource(upstream, repository, digest),
        trusted,
        expectedBytes: this.#knownSize(id, digest, link),
        isStored: async () => reuses && fills.ended !== ended && (await this.#standings.isStored(id, digest)),
        retries,
      },
      link !== undefined,
    );
    if (!joined) {
      void fill.ended.then(() => fill.state === "committed" && this.#standings.noteStored(digest));
      this.#tools.follow?.(fill, id, digest);
    }
    // In the same tick: a reader that is there before the first byte can miss none.
    return { fill, joined, reader: fill.join(asker) };
  }

  async #read(
    lookup: Lookup,
    id: RepositoryId,
    digest: Digest,
    { fill, joined, reader }: Place,
  ): Promise<Answer<BlobContent> | "removed" | undefined> {
    try {
      const opened = await fill.opened;
      if (opened === "streaming") {
        const { stores: stored } = fill;
        const cache = { hit: false, forward: "uri-miss", stored, collapsed: joined } as const;
        const { origin } = fill.source;
        return { value: reader, cache: origin === undefined ? cache : { ...cache, origin } };
      }
      await reader.close();
      if (opened === "absent") return undefined;
    } catch (error) {
      await reader.close();
      throw error;
    }
    const standing = await this.#standings.open(lookup, id, digest);
    if (standing.state === "stored") return { value: standing.stored, cache: { hit: true } };
    // Until it is gone, the fill would be joined again, and say the same again.
    await fill.ended;
    return "removed";
  }

  /** A blob's size, by its link or a manifest that lists it; a claim. */
  #knownSize(id: RepositoryId, digest: Digest, link: Link | undefined): number | undefined {
    return isOfNothing(digest) ? 0 : (link?.sizeBytes ?? this.#tools.content.listedSize(id, digest));
  }

  /** Asks the upstream for a blob's size; what is stored of that size gets a link by its word, unless it is a manifest. */
  #ask(
    lookup: Lookup,
    id: RepositoryId,
    digest: Digest,
    standing: Missing,
    asker: Asker | undefined,
  ): Flight<Told | undefined> {
    const { upstream, content, background, signal } = this.#tools;
    const sizeBytes = standing.state === "unknown" ? standing.content?.sizeBytes : undefined;
    const ask = async (interest: Interest): Promise<Told | undefined> => {
      const found = await upstream.statBlob(id.repository, digest, { signal, interest });
      if (found === undefined) return undefined;
      if (sizeBytes === undefined || sizeBytes !== found.sizeBytes) return { ...found, isLinked: false };
      // Registries give out manifests as blobs, too (distribution#4812).
      const isManifest = content.listedSize(id, digest) === undefined && (await lookup.isManifest(digest));
      if (isManifest === true) return undefined;
      const isLinked = isManifest === false;
      if (isLinked) background.run(() => content.addLink(id, digest, { ...newBlobLink, sizeBytes }));
      return { ...found, isLinked };
    };
    return this.#stats.run(`${id.repository}@${digest}`, ask, asker);
  }

  #id(repository: Repository): RepositoryId {
    return { namespace: this.#tools.namespace, repository };
  }
}

/** Resolves when a fill has ended; tells meanwhile how many bytes have come. */
async function follow(fill: Fill, received: (bytes: number) => void): Promise<void> {
  const over = new AbortController();
  void fill.ended.then(() => over.abort());
  let told = 0;
  while (!over.signal.aborted) {
    await delay(progressMs, undefined, { signal: over.signal }).catch(() => undefined);
    if (fill.receivedBytes > told) received(fill.receivedBytes - told);
    told = fill.receivedBytes;
  }
}
