import type { LRUCache } from "lru-cache";
import { boundedMap } from "../concurrency/bounded-map.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import type { Repository, Tag } from "../oci/reference.ts";
import type { Asker, Interest } from "../concurrency/interest.ts";
import { type Checked, UpstreamError } from "../upstream/upstream.ts";
import type { TagRecord } from "./content.ts";
import { type FreshnessPolicy, isFresh, mayServeStale, mayServeWhileRevalidating } from "./freshness.ts";
import { type RepositoryId, tagKey } from "../store/layout.ts";
import { type Lookup, withLookup } from "./lookup.ts";
import { type Manifests, originOf, type StoredManifest } from "./manifests.ts";
import type { MirrorTools } from "./mirror-tools.ts";
import type { Answer, ManifestContent } from "./registry.ts";
import { type Flight, SingleFlight } from "../concurrency/single-flight.ts";
import { deletedStatus, staleStatus, standsIn } from "./stale.ts";

const tagsOfOneDigest = 64;

/** What is known of a tag when a client asks for it. */
interface Known {
  readonly lookup: Lookup;
  readonly id: RepositoryId;
  readonly tag: Tag;
  readonly record: TagRecord | undefined;
  /** What the record stands for, where it is stored and can be served. */
  readonly stored: StoredManifest | undefined;
}

interface Seen {
  readonly descriptor: Descriptor;
  readonly checkedAt: number;
}

/**
 * A mirror's tags. A tag is *fresh* for a while and then costs no request at all; when it is stale it is resolved by
 * HEAD, and only what changed is fetched, by digest. When the upstream fails, the stale one is served, within policy.
 */
export class Tags {
  readonly #tools: MirrorTools;
  readonly #manifests: Manifests;
  readonly #contents = new SingleFlight<ManifestContent | undefined>();
  readonly #heads = new SingleFlight<Descriptor | undefined>();
  /** What a HEAD has told lately of tags whose manifest nobody has fetched. */
  readonly #seen: LRUCache<string, Seen>;
  /** The same by repository and digest: the tags that are recorded when the manifest comes. */
  readonly #awaited: LRUCache<string, Map<Tag, Seen>>;

  constructor(tools: MirrorTools, manifests: Manifests) {
    this.#tools = tools;
    this.#manifests = manifests;
    this.#seen = boundedMap(tools.remembered);
    this.#awaited = boundedMap(tools.remembered);
  }

  /** The manifest that a tag stands for, with its bytes. */
  async manifest(id: RepositoryId, tag: Tag, asker?: Asker): Promise<Answer<ManifestContent> | undefined> {
    return withLookup(this.#tools.content, async (lookup) => {
      const record = await lookup.tag(id, tag);
      const stored = record && (await this.#manifests.stored(lookup, id, record.digest));
      if (record !== undefined && stored !== undefined && this.#isFresh(record))
        return { value: stored.content, cache: { hit: true } };
      const known = { lookup, id, tag, record, stored };
      const isStoring = (value: ManifestContent): boolean => this.#manifests.isStoring(id, value);
      return this.#answer(known, stored?.content, asker, isStoring, (waiting) =>
        this.#contents.run(tagKey(id, tag), (interest) => this.#refresh(known, interest), waiting),
      );
    });
  }

  /** The descriptor that a tag stands for; a HEAD where it is not known. */
  async resolve(id: RepositoryId, tag: Tag, asker?: Asker): Promise<Answer<Descriptor> | undefined> {
    return withLookup(this.#tools.content, async (lookup) => {
      const record = await lookup.tag(id, tag);
      const stored = record && (await this.#manifests.stored(lookup, id, record.digest));
      const descriptor = stored?.content.descriptor;
      if (record !== undefined && descriptor !== undefined && this.#isFresh(record))
        return { value: descriptor, cache: { hit: true } };
      const seen = this.#recentlySeen(id, tag);
      if (seen !== undefined) return { value: seen, cache: { hit: true } };
      const isStoring = (): boolean => false;
      const known = { lookup, id, tag, record, stored };
      return this.#answer(known, descriptor, asker, isStoring, (waiting) => this.#head(known, waiting));
    });
  }

  /**
   * Notes that a manifest is stored, or will be. Docker and containerd ask for a tag by HEAD and then for the manifest by
   * digest: only now may the tag be recorded, as one that points at nothing would hide the one before it.
   */
  noteManifest(id: RepositoryId, digest: Digest): void {
    const { content, background } = this.#tools;
    const key = digestKey(id, digest);
    const tags = this.#awaited.get(key);
    if (tags === undefined) return;
    this.#awaited.delete(key);
    for (const [tag, { descriptor, checkedAt }] of tags) {
      this.#seen.delete(tagKey(id, tag));
      background.run(() => content.setTag(id, tag, { ...descriptor, checkedAt }));
    }
  }

  /**
   * What the upstream answers, or else what is stored and may stand in for it: while it is revalidated, when the
   * upstream fails or is spared after a failure, when it takes longer than a client should wait (the question then goes
   * on by itself), or when the upstream has deleted what is to be kept.
   *
   * @param value What is stored, as it is asked for.
   */
  async #answer<T extends object>(
    { id, record, stored }: Known,
    value: T | undefined,
    asker: Asker | undefined,
    isStoring: (value: T) => boolean,
    ask: (asker?: Asker) => Flight<T | undefined>,
  ): Promise<Answer<T> | undefined> {
    const { breaker, background, now } = this.#tools;
    const policy = this.#policy();
    if (record !== undefined && value !== undefined && mayServeWhileRevalidating(record.checkedAt, now(), policy)) {
      // Its failure was told where it happened, and the stored answer has been given already.
      background.run(() =>
        ask().answer.then(
          () => undefined,
          () => undefined,
        ),
      );
      return { value, cache: { hit: true } };
    }
    const usable = record !== undefined && mayServeStale(record.checkedAt, now(), policy) ? value : undefined;
    // An image that is not complete cannot stand in for the upstream: its client would have to wait for that anyway.
    const findSpare = async (): Promise<T | undefined> => ((await stored?.isComplete()) === true ? usable : undefined);
    const failing = usable !== undefined && breaker.state === "closed" ? breaker.failing(id.repository) : undefined;
    if (failing !== undefined) {
      const spare = await findSpare();
      if (spare !== undefined) return { value: spare, cache: staleStatus(failing) };
    }
    try {
      // What may be answered without it is asked for all the same, whoever leaves.
      const { answer, joined } = usable === undefined ? ask(asker) : ask();
      const fetched = await (usable === undefined ? answer : this.#within(id.repository, answer, findSpare));
      if (fetched === undefined) {
        return usable !== undefined && policy.keepDeleted ? { value: usable, cache: deletedStatus } : undefined;
      }
      const forward = record === undefined ? "uri-miss" : "stale";
      const cache = { hit: false, forward, forwardStatus: 200, collapsed: joined } as const;
      return { value: fetched, cache: { ...cache, stored: isStoring(fetched), ...originOf(fetched) } };
    } catch (error) {
      if (!standsIn(error) || usable === undefined) throw error;
      const spare = await findSpare();
      if (spare === undefined) throw error;
      return { value: spare, cache: staleStatus(error) };
    }
  }

  /** The answer; where it takes too long, and there is something to stand in for it, the error that says so. */
  async #within<T>(
    repository: Repository,
    answer: Promise<T>,
    findSpare: () => Promise<object | undefined>,
  ): Promise<T> {
    const { staleWaitMs, namespace, breaker } = this.#tools;
    const late = Promise.withResolvers<"late">();
    const timer = setTimeout(() => late.resolve("late"), staleWaitMs);
    const here = answer.then(() => "here" as const);
    // Where it is not waited for, it is of no interest, and must not count as unhandled.
    here.catch(() => undefined);
    try {
      if ((await Promise.race([here, late.promise])) === "here") return await answer;
    } finally {
      clearTimeout(timer);
    }
    if ((await findSpare()) === undefined) return answer;
    // It may have come meanwhile.
    if ((await Promise.race([here, late.promise])) === "here") return answer;
    const error = new UpstreamError(namespace, "timeout", `no answer in ${staleWaitMs} ms`);
    breaker.late(repository, error);
    throw error;
  }

  /** Brings a tag up to date: a GET where nothing is known, else a HEAD, and a GET where that says so. */
  async #refresh(known: Known, interest: Interest): Promise<ManifestContent | undefined> {
    const { content, background, now } = this.#tools;
    const { id, tag } = known;
    const askedAt = now();
    const told = await this.#current(known, interest);
    const manifest = told === "absent" ? undefined : await this.#load(known, told?.digest, interest);
    if (told === "absent" || manifest === undefined) return undefined;
    const { descriptor } = manifest;
    const checkedAt = told?.checkedAt ?? manifest.checkedAt ?? askedAt;
    this.#seen.delete(tagKey(id, tag));
    background.run(() => content.setTag(id, tag, { ...descriptor, checkedAt }));
    return manifest;
  }

  /** What a tag stands for now; `undefined` where a GET of the tag is the way to know. */
  async #current(
    { lookup, id, tag, record }: Known,
    interest: Interest,
  ): Promise<(Pick<Descriptor, "digest"> & Checked) | "absent" | undefined> {
    const seen = this.#recentlySeen(id, tag);
    if (seen !== undefined || record === undefined) return seen;
    return (await this.#manifests.head(lookup, id, tag, interest).answer) ?? "absent";
  }

  /** The manifest of a tag, by the digest that it was said to have; by the tag where none was, or not a true one. */
  async #load(
    { lookup, id, tag }: Known,
    digest: Digest | undefined,
    interest: Interest,
  ): Promise<(ManifestContent & Checked) | undefined> {
    if (digest !== undefined) {
      const manifest: (ManifestContent & Checked) | undefined =
        (await lookup.manifest(id, digest)) ?? (await this.#manifests.fetch(lookup, id, digest, interest));
      if (manifest !== undefined) return manifest;
    }
    return this.#manifests.fetch(lookup, id, tag, interest);
  }

  #head(known: Known, asker: Asker | undefined): Flight<Descriptor | undefined> {
    const { content, background, now } = this.#tools;
    const { lookup, id, tag, record } = known;
    const ask = async (interest: Interest): Promise<Descriptor | undefined> => {
      const askedAt = now();
      const told = await this.#manifests.head(lookup, id, tag, interest).answer;
      if (told === undefined) return undefined;
      const checkedAt = told.checkedAt ?? askedAt;
      // A stored manifest keeps its media type, and HEAD tells the same as GET.
      const stored = (await lookup.manifest(id, told.digest))?.descriptor;
      const descriptor =
        stored ?? ("size" in told ? told : (await this.#load(known, told.digest, interest))?.descriptor);
      if (descriptor === undefined) return undefined;
      if (record?.digest === descriptor.digest) background.run(() => content.setTag(id, tag, { ...record, checkedAt }));
      else await this.#see(known, { descriptor, checkedAt });
      return descriptor;
    };
    return this.#heads.run(tagKey(id, tag), ask, asker);
  }

  /** Remembers what a HEAD has told, and records it as soon as the manifest is there. */
  async #see({ lookup, id, tag }: Known, seen: Seen): Promise<void> {
    const { digest } = seen.descriptor;
    const key = digestKey(id, digest);
    this.#seen.set(tagKey(id, tag), seen);
    const isNew = !this.#awaited.has(key);
    const tags = this.#awaited.get(key) ?? new Map<Tag, Seen>();
    if (tags.size < tagsOfOneDigest) tags.set(tag, seen);
    this.#awaited.set(key, tags);
    if ((await lookup.manifest(id, digest)) !== undefined) this.noteManifest(id, digest);
    else if (isNew) void this.#lookElsewhere(id, digest);
  }

  /** Records what is awaited when another instance has stored the manifest, from which it is had then. */
  async #lookElsewhere(id: RepositoryId, digest: Digest): Promise<void> {
    const { content, background, isStoredElsewhere } = this.#tools;
    if (isStoredElsewhere === undefined || !(await isStoredElsewhere(id, digest))) return;
    // The client may have come back for it.
    if (!this.#awaited.has(digestKey(id, digest))) return;
    background.run(async () => {
      const found = await withLookup(content, (lookup) => this.#manifests.fetch(lookup, id, digest));
      if (found !== undefined) this.noteManifest(id, digest);
    });
  }

  #recentlySeen(id: RepositoryId, tag: Tag): Descriptor | undefined {
    const seen = this.#seen.get(tagKey(id, tag));
    return seen !== undefined && this.#isFresh(seen) ? seen.descriptor : undefined;
  }

  #isFresh(checked: { readonly checkedAt: number }): boolean {
    return isFresh(checked.checkedAt, this.#tools.now(), this.#policy());
  }

  /** The policy as it is now: while the upstream's rate limit is nearly used up, tags stay fresh for longer. */
  #policy(): FreshnessPolicy {
    const { policy, budget } = this.#tools;
    const ttlMs = budget.stretch(policy.ttlMs);
    return ttlMs === policy.ttlMs ? policy : { ...policy, ttlMs };
  }
}

function digestKey(id: RepositoryId, digest: Digest): string {
  return `${id.repository}@${digest}`;
}
