import { LRUCache } from "lru-cache";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { parseManifest } from "../oci/manifest.ts";
import { isDigestReference, type Reference, type Repository, type Tag } from "../oci/reference.ts";
import { UpstreamError } from "../upstream/upstream.ts";
import type { TagRecord } from "./content.ts";
import { isFresh, mayServeStale } from "./freshness.ts";
import { type RepositoryId, tagKey } from "./layout.ts";
import type { MirrorTools } from "./mirror-tools.ts";
import { staleStatus, standsIn } from "./outage.ts";
import type { Answer, CacheStatus, ManifestContent } from "./registry.ts";
import { SingleFlight } from "./single-flight.ts";

const seenTags = 4_096;

interface Seen {
  readonly descriptor: Descriptor;
  readonly checkedAt: number;
}

/**
 * A mirror's manifests and tags.
 *
 * What has a digest never changes and is never asked for again. A tag is *fresh* for a while and then costs no request
 * at all; when it is stale it is resolved by HEAD, and only what changed is fetched, by digest. Equal questions to the
 * upstream are asked once at a time.
 */
export class Manifests {
  readonly #tools: MirrorTools;
  readonly #contents = new SingleFlight<ManifestContent | undefined>();
  readonly #tags = new SingleFlight<ManifestContent | undefined>();
  readonly #heads = new SingleFlight<Descriptor | undefined>();
  /** What a HEAD has told lately of tags whose manifest nobody has fetched. */
  readonly #seen = new LRUCache<string, Seen>({ max: seenTags });

  constructor(tools: MirrorTools) {
    this.#tools = tools;
  }

  /** A manifest with its bytes; see `PullRegistry.manifest`. */
  async manifest(repository: Repository, reference: Reference): Promise<Answer<ManifestContent> | undefined> {
    const id = this.#id(repository);
    if (isDigestReference(reference)) return this.#byDigest(id, reference);
    const record = await this.#tools.content.tag(id, reference);
    const stored = record && (await this.#tools.content.manifest(id, record.digest));
    if (record !== undefined && stored !== undefined && this.#isFresh(record))
      return { value: stored, cache: { hit: true } };
    const ask = (): { answer: Promise<ManifestContent | undefined>; joined: boolean } =>
      this.#tags.run(tagKey(id, reference), () => this.#refresh(id, reference, record));
    return this.#orStale(ask, record, stored, true);
  }

  /** A manifest's descriptor; see `PullRegistry.resolve`. */
  async resolve(repository: Repository, reference: Reference): Promise<Answer<Descriptor> | undefined> {
    const id = this.#id(repository);
    const { content } = this.#tools;
    const record = isDigestReference(reference) ? undefined : await content.tag(id, reference);
    const digest = isDigestReference(reference) ? reference : record?.digest;
    const stored = digest && (await content.manifest(id, digest))?.descriptor;
    if (isDigestReference(reference)) {
      if (stored !== undefined) return { value: stored, cache: { hit: true } };
      return this.#orStale(() => this.#head(id, reference), undefined, undefined, false);
    }
    if (record !== undefined && stored !== undefined && this.#isFresh(record))
      return { value: stored, cache: { hit: true } };
    const seen = this.#recentlySeen(id, reference);
    if (seen !== undefined) return { value: seen, cache: { hit: true } };
    return this.#orStale(() => this.#headTag(id, reference, record), record, stored, false);
  }

  async #byDigest(id: RepositoryId, digest: Digest): Promise<Answer<ManifestContent> | undefined> {
    const stored = await this.#tools.content.manifest(id, digest);
    if (stored !== undefined) return { value: stored, cache: { hit: true } };
    const { answer, joined } = this.#contents.run(`${id.repository}@${digest}`, () => this.#fetch(id, digest));
    const value = await answer;
    return value && { value, cache: { hit: false, forward: "uri-miss", stored: true, collapsed: joined } };
  }

  /**
   * What the upstream answers, or else what is stored and may stand in for it: when the upstream fails, when it still
   * rests from a failure, or when it takes longer than a client should wait (the question then goes on by itself).
   */
  async #orStale<T extends object>(
    ask: () => { readonly answer: Promise<T | undefined>; readonly joined: boolean },
    record: TagRecord | undefined,
    stored: T | undefined,
    storing: boolean,
  ): Promise<Answer<T> | undefined> {
    const { outage, policy, now } = this.#tools;
    const spare = record !== undefined && mayServeStale(record.checkedAt, now(), policy) ? stored : undefined;
    const resting = outage.current;
    if (spare !== undefined && resting !== undefined) return { value: spare, cache: staleStatus(resting) };
    const { answer, joined } = ask();
    try {
      const value = await (spare === undefined ? answer : this.#within(answer));
      if (value === undefined) return undefined;
      const forward: CacheStatus["forward"] = record === undefined ? "uri-miss" : "stale";
      return { value, cache: { hit: false, forward, forwardStatus: 200, stored: storing, collapsed: joined } };
    } catch (error) {
      if (spare === undefined || !standsIn(error)) throw error;
      return { value: spare, cache: staleStatus(error) };
    }
  }

  async #within<T>(answer: Promise<T>): Promise<T> {
    const { staleWaitMs, namespace } = this.#tools;
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      late.reject(new UpstreamError(namespace, "timeout", `no answer in ${staleWaitMs} ms`));
    }, staleWaitMs);
    try {
      return await Promise.race([answer, late.promise]);
    } finally {
      clearTimeout(timer);
      // The loser of the race is of no interest, and must not count as unhandled.
      answer.catch(() => undefined);
    }
  }

  /** Brings a tag up to date: a GET where nothing is known, else a HEAD, and a GET by digest where that says so. */
  async #refresh(id: RepositoryId, tag: Tag, record: TagRecord | undefined): Promise<ManifestContent | undefined> {
    const { content, background, now } = this.#tools;
    const checkedAt = now();
    const digest = await this.#currentDigest(id, tag, record);
    if (digest === "absent") return undefined;
    let manifest: ManifestContent | undefined;
    if (digest !== undefined) manifest = (await content.manifest(id, digest)) ?? (await this.#fetch(id, digest));
    manifest ??= await this.#fetch(id, tag);
    if (manifest === undefined) return undefined;
    const { descriptor } = manifest;
    this.#seen.delete(tagKey(id, tag));
    background.run(() =>
      content.setTag(id, tag, {
        digest: descriptor.digest,
        mediaType: descriptor.mediaType,
        size: descriptor.size,
        checkedAt,
      }),
    );
    return manifest;
  }

  /** The digest that a tag has now; `undefined` where a GET of the tag is the way to know. */
  async #currentDigest(
    id: RepositoryId,
    tag: Tag,
    record: TagRecord | undefined,
  ): Promise<Digest | "absent" | undefined> {
    const seen = this.#recentlySeen(id, tag);
    if (seen !== undefined || record === undefined) return seen?.digest;
    const { upstream, outage, signal } = this.#tools;
    return (await outage.watch(upstream.resolve(id.repository, tag, signal)))?.digest ?? "absent";
  }

  async #fetch(id: RepositoryId, reference: Reference): Promise<ManifestContent | undefined> {
    const { upstream, outage, content, background, signal } = this.#tools;
    const manifest = await outage.watch(upstream.manifest(id.repository, reference, signal));
    if (manifest === undefined) return undefined;
    // A media type belongs to its digest from the first time on, whatever it is sent with later (CVE-2021-41190).
    const stored = await content.manifest(id, manifest.descriptor.digest);
    if (stored !== undefined) return stored;
    const { children } = parseManifest(manifest.bytes, manifest.descriptor.mediaType);
    const trusted = this.#tools.trusted ? children : [];
    background.run(() => content.storeManifest(id, manifest, trusted));
    return manifest;
  }

  #headTag(
    id: RepositoryId,
    tag: Tag,
    record: TagRecord | undefined,
  ): { answer: Promise<Descriptor | undefined>; joined: boolean } {
    const { content, background, now } = this.#tools;
    return this.#heads.run(tagKey(id, tag), async () => {
      const checkedAt = now();
      const descriptor = await this.#head(id, tag).answer;
      if (descriptor === undefined) return undefined;
      const stored = await content.manifest(id, descriptor.digest);
      if (record?.digest === descriptor.digest) background.run(() => content.setTag(id, tag, { ...record, checkedAt }));
      else this.#seen.set(tagKey(id, tag), { descriptor: stored?.descriptor ?? descriptor, checkedAt });
      // HEAD and GET tell one media type: the stored one.
      return stored?.descriptor ?? descriptor;
    });
  }

  #head(id: RepositoryId, reference: Reference): { answer: Promise<Descriptor | undefined>; joined: boolean } {
    const { upstream, outage, signal } = this.#tools;
    return this.#heads.run(`${id.repository}@${reference}`, () =>
      outage.watch(upstream.resolve(id.repository, reference, signal)),
    );
  }

  #recentlySeen(id: RepositoryId, tag: Tag): Descriptor | undefined {
    const seen = this.#seen.get(tagKey(id, tag));
    return seen !== undefined && this.#isFresh(seen) ? seen.descriptor : undefined;
  }

  #isFresh(checked: { readonly checkedAt: number }): boolean {
    return isFresh(checked.checkedAt, this.#tools.now(), this.#tools.policy);
  }

  #id(repository: Repository): RepositoryId {
    return { namespace: this.#tools.namespace, repository };
  }
}
