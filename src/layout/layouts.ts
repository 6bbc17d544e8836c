import { LRUCache } from "lru-cache";
import type { Clock } from "../concurrency/clock.ts";
import { settleOrAbort } from "../concurrency/settle-or-abort.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/reference.ts";
import { DigestCheck } from "../registry/digest-check.ts";
import { pageOfReferrers, pageOfTags } from "../registry/pages.ts";
import type { Answer, BlobContent, ManifestContent, PullRegistry, Redirecting } from "../registry/registry.ts";
import type { HashPool } from "../store/hashing.ts";
import { errorOf, type Key, type OpenObject, StoreError } from "../store/object-store.ts";
import type { LayoutFiles } from "./files.ts";
import { LayoutError, type Naming } from "./index-document.ts";
import { type Place, readManifest, wrongDigest, wrongSize } from "./place.ts";
import { LayoutRepository, type Root } from "./repository.ts";
import { type Scan, Scanner } from "./scan.ts";

/** How much of the manifests that were read last stays in memory. */
const manifestMemoryBytes = 16 * 1024 * 1024;
/** Of how many blobs of a place it is remembered that they are right. */
const rememberedBlobs = 1_024;
/** How long a client waits for the source to be looked at, while something is known of it. */
const patienceMs = 3_000;
const closeMs = 1_000;
/** A source is left alone for so much longer than it takes to look at it. */
const restFactor = 9;
const leastRestMs = 50;

/** What layouts are served with. */
export interface LayoutsOptions {
  readonly files: LayoutFiles;
  readonly naming: Naming;
  /** How long what was found counts, in milliseconds. */
  readonly refreshMs: number;
  readonly hashes: HashPool;
  readonly clock: Clock;
  /** Told of each problem when it is there for the first time, and once a look how many there are. */
  readonly observer: LayoutsObserver;
  /** Where clients are sent to the source for blobs: a URL at which they can have a file of it for a while. */
  readonly presign?: ((key: Key) => Promise<string>) | undefined;
}

/** Hears of what is wrong in a source. */
export interface LayoutsObserver {
  /** Something in a place cannot be used; everything else can. */
  problem(path: string, problem: string): void;
  /** The source was looked at, and so many problems were there. */
  looked(problems: number): void;
  /** Content was not what its digest says, and was not given out. */
  damaged(path: string, digest: Digest, problem: string): void;
  /** The source could not be looked at; what was known before goes on. */
  unreachable(error: Error): void;
}

/** What was found, and when that began. */
interface Snapshot {
  readonly repositories: ReadonlyMap<Repository, LayoutRepository>;
  readonly beganAt: number;
  readonly endedAt: number;
  /** Why the last look failed: what is not known may be there. */
  readonly failure: Error | undefined;
}

/**
 * A namespace of image layouts that lie in one source, where other programs put them. Nothing is copied, and nothing is
 * given out that does not have its digest: a manifest is read and hashed first, a blob while it is sent.
 *
 * What was found counts for `refreshMs`. Then it is looked for again, which those wait for who ask; likewise when
 * something is asked for that is not there.
 */
export class Layouts {
  readonly #options: LayoutsOptions;
  readonly #scanner: Scanner;
  readonly #stopping = new AbortController();
  readonly #checks = new WeakMap<Place, DigestCheck>();
  readonly #manifests = new LRUCache<string, ManifestContent>({
    maxSize: manifestMemoryBytes,
    sizeCalculation: ({ bytes, parsed }) => bytes.length + parsed.names * 64 + 1_024,
  });
  #snapshot: Snapshot | undefined;
  #looking: Promise<Snapshot> | undefined;
  #lookingSince = 0;
  #known = new Set<string>();

  constructor(options: LayoutsOptions) {
    this.#options = options;
    this.#scanner = new Scanner(options.files, options.naming);
  }

  /** What can be pulled. */
  registry(): PullRegistry & Partial<Redirecting> {
    const { presign } = this.#options;
    return {
      ...(presign && { blobLocation: (repository, digest) => this.#locate(repository, digest, presign) }),
      resolve: async (repository, reference) => {
        const manifest = await this.#find(repository, (found) => found.manifest(reference));
        return manifest && answer(manifest.descriptor);
      },
      manifest: async (repository, reference) => {
        const manifest = await this.#find(repository, (found) => found.manifest(reference));
        return manifest && answer(manifest);
      },
      statBlob: async (repository, digest) => {
        const blob = await this.#find(repository, (found) => this.#openBlob(found, digest));
        if (blob === undefined) return undefined;
        await blob.object.close();
        return answer({ sizeBytes: blob.object.sizeBytes });
      },
      openBlob: async (repository, digest) => {
        const blob = await this.#find(repository, (found) => this.#openBlob(found, digest));
        return blob && answer(this.#content(blob, digest));
      },
      tags: async (repository, query) => {
        const found = await this.#find(repository, async (each) => each);
        return found && answer(await pageOfTags((after) => found.tags(after), query));
      },
      referrers: async (repository, subject, query) => {
        const found = await this.#find(repository, async (each) => each);
        const all = await found?.referrers(subject);
        const list = (after: Digest | undefined) =>
          (all ?? []).filter(({ digest }) => after === undefined || digest > after);
        return answer(await pageOfReferrers(list, query));
      },
    };
  }

  /** The names of all repositories, in their order. @throws {StoreError} */
  async repositories(): Promise<readonly Repository[]> {
    const { repositories } = await this.#current();
    return [...repositories.keys()].toSorted();
  }

  /** Ends looking at the source. */
  async close(): Promise<void> {
    this.#stopping.abort(new Error("the layouts are closed"));
    // A source that hangs is left to itself.
    if (this.#looking !== undefined)
      await settleOrAbort(this.#looking, AbortSignal.timeout(closeMs)).catch(() => undefined);
  }

  /** Where a blob is a file of the source; what cannot be told is served as ever. */
  async #locate(
    repository: Repository,
    digest: Digest,
    presign: (key: Key) => Promise<string>,
  ): Promise<string | undefined> {
    try {
      const blob = await this.#find(repository, (found) => this.#openBlob(found, digest));
      await blob?.object.close();
      const key = blob?.place.keyOf(digest);
      return key && (await presign(key));
    } catch (error) {
      if (error instanceof StoreError) return undefined;
      throw error;
    }
  }

  /** What a repository has; where it has not, the source is looked at once more. */
  async #find<T>(
    repository: Repository,
    find: (found: LayoutRepository) => Promise<T | undefined>,
  ): Promise<T | undefined> {
    const askedAt = this.#options.clock.monotonic();
    const look = async ({ repositories }: Snapshot): Promise<T | undefined> => {
      const found = repositories.get(repository);
      return found && find(found);
    };
    const first = await this.#current();
    const value = await look(first);
    if (value !== undefined) return value;
    const isNew = first.beganAt >= askedAt || this.#rests(first, leastRestMs);
    const second = isNew ? first : await this.#lookAgain(first);
    // What has not changed would only be read once more.
    const again =
      second.repositories.get(repository) === first.repositories.get(repository) ? undefined : await look(second);
    if (again === undefined && second.failure !== undefined) throw second.failure;
    return again;
  }

  /** Whether the source was looked at so lately that it is left alone, for `leastMs` at least. */
  #rests({ beganAt, endedAt }: Snapshot, leastMs: number): boolean {
    const restMs = Math.max(leastMs, (endedAt - beganAt) * restFactor);
    return this.#looking === undefined && this.#options.clock.monotonic() - endedAt < restMs;
  }

  /** @throws {StoreError} nothing was ever found, as the source cannot be read. */
  async #current(): Promise<Snapshot> {
    const known = this.#snapshot;
    if (known === undefined) return this.#look();
    if (this.#rests(known, this.#options.refreshMs)) return known;
    return this.#lookAgain(known);
  }

  /** What the source has now; what is known where that takes long, or fails. Everybody waits for one look together. */
  async #lookAgain(known: Snapshot): Promise<Snapshot> {
    const looking = this.#look();
    const leftMs = patienceMs - (this.#options.clock.monotonic() - this.#lookingSince);
    try {
      return await settleOrAbort(looking, AbortSignal.timeout(Math.max(0, Math.ceil(leftMs))));
    } catch {
      return this.#snapshot ?? known;
    }
  }

  /** Looks at the source, once for all who want that. */
  #look(): Promise<Snapshot> {
    if (this.#looking === undefined) {
      this.#lookingSince = this.#options.clock.monotonic();
      this.#looking = this.#scan().finally(() => (this.#looking = undefined));
    }
    return this.#looking;
  }

  async #scan(): Promise<Snapshot> {
    const { clock, observer } = this.#options;
    const beganAt = clock.monotonic();
    try {
      const scan = await this.#scanner.scan(this.#stopping.signal);
      this.#tell(scan);
      const repositories = this.#arrange(scan.places);
      return (this.#snapshot = { repositories, beganAt, endedAt: clock.monotonic(), failure: undefined });
    } catch (error) {
      if (!this.#stopping.signal.aborted) observer.unreachable(errorOf(error));
      // What is known counts again, so that not everybody who asks waits for what fails.
      const failure = errorOf(error);
      if (this.#snapshot !== undefined) {
        this.#snapshot = { ...this.#snapshot, beganAt, endedAt: clock.monotonic(), failure };
      }
      throw error;
    }
  }

  /** Repositories that have not changed are kept, with all that is known of them. */
  #arrange(places: readonly Place[]): ReadonlyMap<Repository, LayoutRepository> {
    const roots = new Map<Repository, Root[]>();
    for (const place of places) {
      for (const image of place.images) {
        const known = roots.get(image.repository);
        if (known === undefined) roots.set(image.repository, [{ place, image }]);
        else known.push({ place, image });
      }
    }
    const before = this.#snapshot?.repositories;
    const arrange = ([name, found]: [Repository, Root[]]): [Repository, LayoutRepository] => {
      const known = before?.get(name);
      const isSame =
        known?.roots.length === found.length &&
        found.every(
          ({ place, image }, index) => known.roots[index]?.place === place && known.roots[index].image === image,
        );
      return [
        name,
        known !== undefined && isSame ? known : new LayoutRepository(found, (...one) => this.#manifest(...one)),
      ];
    };
    return new Map([...roots].map(arrange));
  }

  #tell({ places, problems: ofSource }: Scan): void {
    const { observer } = this.#options;
    const problems = places.flatMap(({ path, problems: found }) => found.map((problem) => ({ path, problem })));
    problems.push(...ofSource.map((problem) => ({ path: ".", problem })));
    const known = new Set<string>();
    for (const { path, problem } of problems) {
      const id = `${path}\n${problem}`;
      if (!this.#known.has(id) && !known.has(id)) observer.problem(path, problem);
      known.add(id);
    }
    this.#known = known;
    observer.looked(problems.length);
  }

  /** See `ReadManifest`. */
  async #manifest(place: Place, descriptor: Descriptor): Promise<ManifestContent | undefined> {
    const { mediaType, digest, size } = descriptor;
    const id = `${digest} ${mediaType} ${place.path}`;
    const known = this.#manifests.get(id);
    if (known?.descriptor.size === size) return known;
    try {
      const manifest = await readManifest(place, descriptor);
      if (manifest !== undefined) this.#manifests.set(id, manifest);
      return manifest;
    } catch (error) {
      if (!(error instanceof LayoutError)) throw error;
      this.#options.observer.damaged(place.path, digest, error.message);
      return undefined;
    }
  }

  async #openBlob(
    repository: LayoutRepository,
    digest: Digest,
  ): Promise<{ readonly place: Place; readonly object: OpenObject } | undefined> {
    for await (const { descriptor, place } of repository.places(digest, "isBlob")) {
      const object = await place.open(digest);
      if (object === undefined) continue;
      if (object.sizeBytes === descriptor.size) return { place, object };
      await object.close();
      this.#options.observer.damaged(place.path, digest, wrongSize(object, descriptor.size).message);
    }
    return undefined;
  }

  #content({ place, object }: { readonly place: Place; readonly object: OpenObject }, digest: Digest): BlobContent {
    const { sizeBytes } = object;
    return {
      sizeBytes,
      read: (span = { start: 0, end: sizeBytes }, signal) => this.#checkOf(place).read(object, digest, span, signal),
      close: () => object.close(),
    };
  }

  #checkOf(place: Place): DigestCheck {
    const known = this.#checks.get(place);
    if (known !== undefined) return known;
    const { hashes, clock, observer } = this.#options;
    const check = new DigestCheck({
      hashes,
      monotonic: clock.monotonic,
      remembered: rememberedBlobs,
      content: {
        openBlob: (digest) => place.open(digest),
        quarantineBlob: async (digest) => {
          observer.damaged(place.path, digest, wrongDigest);
          return true;
        },
      },
    });
    this.#checks.set(place, check);
    return check;
  }
}

/** Of what lies here everything is here. */
function answer<T>(value: T): Answer<T> {
  return { value, cache: { hit: true } };
}
