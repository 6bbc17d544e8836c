import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { chooseEntries, formatPlatform, type Platform } from "../oci/platform.ts";
import type { Reference } from "../oci/reference.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { PullRegistry, Warmable } from "../registry/registry.ts";
import type { Limiter } from "../concurrency/limiter.ts";
import { settleOrAbort } from "../concurrency/settle-or-abort.ts";
import type { StepProgress } from "./job.ts";

/** The repository that an image is pulled from. */
export interface WarmPlace extends RepositoryId {
  readonly registry: Pick<PullRegistry, "manifest"> & Warmable;
}

/** How an image is pulled. */
export interface ImagePullOptions {
  /** The platforms that are pulled of an image that has several; none: all that it has. */
  readonly platforms: readonly Platform[];
  /** A slot for each manifest and blob that is asked for. */
  readonly limiter: Limiter;
  /** Told of bytes, as they come, and of counts. */
  readonly progress: StepProgress;
  readonly signal: AbortSignal;
}

/**
 * Brings an image into the cache, as far as it is not there: its manifests first, then their configurations and layers.
 * What fails does not keep the rest from being fetched, so that the next try has less to do.
 *
 * @returns how many blobs were fetched; none where all of them were there.
 * @throws what failed first; OciError MANIFEST_UNKNOWN where there is no such image, or none for these platforms. The
 *   signal's reason when that aborts; blobs that are on their way then go on.
 */
export async function pullImage(place: WarmPlace, reference: Reference, options: ImagePullOptions): Promise<number> {
  return new ImagePull(place, options).run(reference);
}

class ImagePull {
  readonly #place: WarmPlace;
  readonly #options: ImagePullOptions;
  readonly #seen = new Set<Digest>();
  readonly #blobs = new Map<Digest, Descriptor>();
  readonly #failures: unknown[] = [];
  #images = 0;
  #fetched = 0;

  constructor(place: WarmPlace, options: ImagePullOptions) {
    this.#place = place;
    this.#options = options;
  }

  async run(reference: Reference): Promise<number> {
    const { platforms, progress } = this.#options;
    await this.#collect(reference, true);
    if (this.#images === 0 && this.#failures.length === 0) {
      const wanted = platforms.map(formatPlatform).join(", ");
      throw new OciError(
        "MANIFEST_UNKNOWN",
        wanted === "" ? "its index lists no image that is there" : `no image for ${wanted}`,
      );
    }
    const blobs = [...this.#blobs.values()];
    progress.total(
      blobs.reduce((sum, { size }) => sum + size, 0),
      "bytes",
    );
    await Promise.all(blobs.map((blob) => this.#attempt(() => this.#store(blob))));
    if (this.#failures.length > 0) throw this.#failures[0];
    return this.#fetched;
  }

  /** Reads a manifest and all that it leads to, and notes their blobs. */
  async #collect(reference: Reference, isRoot: boolean): Promise<void> {
    let children: readonly Digest[] = [];
    await this.#attempt(async () => {
      children = await this.#read(reference, isRoot);
    });
    await Promise.all(children.map((digest) => this.#collect(digest, false)));
  }

  /** The manifests that are to be read after this one. */
  async #read(reference: Reference, isRoot: boolean): Promise<readonly Digest[]> {
    const { platforms, progress } = this.#options;
    const { registry, namespace, repository } = this.#place;
    const answer = await registry.manifest(repository, reference);
    if (answer === undefined) {
      if (isRoot) throw new OciError("MANIFEST_UNKNOWN", `${namespace} has no manifest ${reference} in ${repository}`);
      // An index may list what its registry does not have (distribution-spec, "Pushing Manifests").
      progress.count("manifests missing");
      return [];
    }
    progress.count("manifests");
    if (answer.cache.staleReason !== undefined) progress.count("stale manifests");
    const { descriptor, parsed: manifest } = answer.value;
    if (manifest.isAmbiguous) {
      throw new OciError("MANIFEST_INVALID", `the manifest ${descriptor.digest} can be read in more than one way`);
    }
    if (manifest.kind === "image") this.#images += 1;
    for (const blob of manifest.required) this.#blobs.set(blob.digest, blob);
    this.#seen.add(descriptor.digest);
    const unseen = new Set(chooseEntries(manifest.manifests, platforms).map((entry) => entry.digest)).difference(
      this.#seen,
    );
    for (const digest of unseen) this.#seen.add(digest);
    return [...unseen];
  }

  async #store({ digest, size }: Descriptor): Promise<void> {
    const { progress, signal } = this.#options;
    const { registry, namespace, repository } = this.#place;
    let advanced = 0;
    const answer = await registry.storeBlob(repository, digest, (bytes) => {
      if (signal.aborted) return;
      advanced += bytes;
      progress.advance(bytes);
      progress.count("bytes fetched", bytes);
    });
    signal.throwIfAborted();
    if (answer === undefined) throw new OciError("BLOB_UNKNOWN", `${namespace} has no blob ${digest} in ${repository}`);
    progress.advance(size - advanced);
    progress.count(answer.cache.hit ? "blobs already there" : "blobs fetched");
    if (!answer.cache.hit) this.#fetched += 1;
  }

  /** Does a part of the work when there is a slot for it; its failure is noted, and the other parts go on. */
  async #attempt(part: () => Promise<void>): Promise<void> {
    const { limiter, signal } = this.#options;
    const { namespace, repository } = this.#place;
    const release = await limiter.acquire({ key: `${namespace}/${repository}`, bulk: false }, signal);
    try {
      await settleOrAbort(part(), signal);
    } catch (error) {
      signal.throwIfAborted();
      this.#failures.push(error);
    } finally {
      release();
    }
  }
}
