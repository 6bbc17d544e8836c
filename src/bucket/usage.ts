import { randomUUID } from "node:crypto";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { isManifestMediaType } from "../oci/manifest.ts";
import type { Tag } from "../oci/reference.ts";
import { blobKey, linkKey, type RepositoryId, tagKey } from "../store/layout.ts";
import type { Key, ObjectStore } from "../store/object-store.ts";
import { KeyFilter } from "./key-filter.ts";
import { dayOf, saveFilter, usagePrefix } from "./used-days.ts";

/** How much is remembered of what was noted today, so that it is noted once. */
const maxNoted = 20_000;

/** What usage is noted with. */
export interface UsageOptions {
  readonly store: ObjectStore;
  /** As of `Clock`. */
  readonly now: () => number;
  /** What a digest of a repository refers to; nothing where it is no manifest, `undefined` where that cannot be told now. */
  readonly children: (id: RepositoryId, digest: Digest) => Promise<readonly Descriptor[] | undefined>;
  /** Told of what could not be looked up. */
  readonly onError: (error: unknown) => void;
}

interface UsedOnDay {
  readonly day: number;
  readonly filter: KeyFilter;
  /** Whether there is something in it that is not written down. */
  isChanged: boolean;
}

/**
 * What is used of what the bucket has, by days: each instance writes down what it was asked for, with all that manifests
 * refer to, now and then, as one small object for a day. So nothing is touched, or asked, when something
 * is used.
 */
export class Usage {
  readonly #options: UsageOptions;
  readonly #instance = randomUUID();
  #today: UsedOnDay;
  /** A day that ended before all of it was written down. */
  #former: UsedOnDay | undefined;
  #noted = new Set<string>();
  #walking: Promise<void> = Promise.resolve();

  constructor(options: UsageOptions) {
    this.#options = options;
    this.#today = nothingOn(dayOf(options.now()));
  }

  /** Notes that a client was given or told of a digest, perhaps by a tag. */
  note(id: RepositoryId, digest: Digest, tag?: Tag): void {
    this.#turnDay();
    const what = `${id.namespace}/${id.repository}:${tag ?? ""}@${digest}`;
    if (this.#noted.has(what)) return;
    if (this.#noted.size >= maxNoted) this.#noted.clear();
    this.#noted.add(what);
    if (tag !== undefined) this.#noteKey(tagKey(id, tag));
    const walk = async (): Promise<void> => {
      let isWhole = false;
      try {
        isWhole = await this.#walk(id, digest, new Set());
      } finally {
        // What could not be told now is looked up again when it is used again.
        if (!isWhole) this.#noted.delete(what);
      }
    };
    this.#walking = this.#walking.then(walk).catch(this.#options.onError);
  }

  /** Writes down what is new. Throws what fails; it is tried again then. */
  async flush(): Promise<void> {
    await this.#walking;
    this.#turnDay();
    if (this.#former !== undefined) {
      await this.#save(this.#former);
      this.#former = undefined;
    }
    if (this.#today.isChanged) await this.#save(this.#today);
  }

  async #save(used: UsedOnDay): Promise<void> {
    used.isChanged = false;
    try {
      await saveFilter(this.#options.store, `${usagePrefix}/${used.day}/${this.#instance}` as Key, used.filter);
    } catch (error) {
      used.isChanged = true;
      throw error;
    }
  }

  #turnDay(): void {
    const today = dayOf(this.#options.now());
    if (today === this.#today.day) return;
    if (this.#today.isChanged) {
      // More than one day is not kept back: what is older counts for a later one.
      if (this.#former !== undefined) this.#today.filter.join(this.#former.filter);
      this.#former = this.#today;
    }
    this.#today = nothingOn(today);
    this.#noted = new Set();
  }

  #noteKey(key: Key): void {
    this.#turnDay();
    this.#today.filter.add(key);
    this.#today.isChanged = true;
  }

  /** Notes a digest with all that it refers to; false where not all of that could be told. */
  async #walk(id: RepositoryId, digest: Digest, seen: Set<Digest>): Promise<boolean> {
    if (seen.has(digest)) return true;
    seen.add(digest);
    this.#noteDigest(id, digest);
    const children = await this.#options.children(id, digest);
    let isWhole = children !== undefined;
    for (const child of children ?? []) {
      if (!isManifestMediaType(child.mediaType)) this.#noteDigest(id, child.digest);
      else if (!(await this.#walk(id, child.digest, seen))) isWhole = false;
    }
    return isWhole;
  }

  #noteDigest(id: RepositoryId, digest: Digest): void {
    this.#noteKey(linkKey(id, digest));
    this.#noteKey(blobKey(digest));
  }
}

function nothingOn(day: number): UsedOnDay {
  return { day, filter: new KeyFilter(), isChanged: false };
}
