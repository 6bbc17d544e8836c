import { randomUUID } from "node:crypto";
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import { blobKey, linkKey, type RepositoryId, tagKey } from "../store/layout.ts";
import type { Key, ObjectStore } from "../store/object-store.ts";
import { readWhole } from "../store/read-whole.ts";
import { KeyFilter } from "./key-filter.ts";

const dayMs = 24 * 3_600_000;
const maxSavedBytes = 1024 * 1024;
/** How much is remembered of what was noted today, so that it is noted once. */
const maxNoted = 20_000;
const usagePrefix = "usage" as Key;

/** What usage is noted with. */
export interface UsageOptions {
  readonly store: ObjectStore;
  /** As of `Clock`. */
  readonly now: () => number;
  /** What a manifest of a repository refers to, as far as that is known here; nothing of what is none. */
  readonly children: (id: RepositoryId, digest: Digest) => Promise<readonly Digest[]>;
  /** Told of what could not be looked up. */
  readonly onError: (error: unknown) => void;
}

/**
 * What is used of what the bucket has, by days: each instance writes down what it was asked for, with all that manifests
 * refer to, now and then, as one small object for a day. So nothing is touched, or asked, when something
 * is used.
 */
export class Usage {
  readonly #options: UsageOptions;
  readonly #instance = randomUUID();
  #day: number;
  #filter = new KeyFilter();
  #noted = new Set<string>();
  #isChanged = false;
  #walking: Promise<void> = Promise.resolve();

  constructor(options: UsageOptions) {
    this.#options = options;
    this.#day = dayOf(options.now());
  }

  /** Notes that a client was given or told of a digest, perhaps by a tag. */
  note(id: RepositoryId, digest: Digest, tag?: Tag): void {
    this.#turnDay();
    const what = `${id.namespace}/${id.repository}:${tag ?? ""}@${digest}`;
    if (this.#noted.has(what)) return;
    if (this.#noted.size >= maxNoted) this.#noted.clear();
    this.#noted.add(what);
    if (tag !== undefined) this.#noteKey(tagKey(id, tag));
    this.#walking = this.#walking.then(() => this.#walk(id, digest, new Set())).catch(this.#options.onError);
  }

  /** Writes today's down, where there is something new. */
  async flush(): Promise<void> {
    await this.#walking;
    if (!this.#isChanged) return;
    this.#isChanged = false;
    try {
      await save(this.#options.store, `${usagePrefix}/${this.#day}/${this.#instance}` as Key, this.#filter);
    } catch (error) {
      this.#isChanged = true;
      throw error;
    }
  }

  #turnDay(): void {
    const today = dayOf(this.#options.now());
    if (today === this.#day) return;
    this.#day = today;
    // What was not written down yet counts for today.
    if (!this.#isChanged) this.#filter = new KeyFilter();
    this.#noted = new Set();
  }

  #noteKey(key: Key): void {
    this.#turnDay();
    this.#filter.add(key);
    this.#isChanged = true;
  }

  async #walk(id: RepositoryId, digest: Digest, seen: Set<Digest>): Promise<void> {
    if (seen.has(digest)) return;
    seen.add(digest);
    this.#noteKey(linkKey(id, digest));
    this.#noteKey(blobKey(digest));
    for (const child of await this.#options.children(id, digest)) await this.#walk(id, child, seen);
  }
}

/** What all instances have used, by days since 1970, from a day on; what is older is removed. */
export async function readUsage(store: ObjectStore, from: number): Promise<Map<number, KeyFilter>> {
  const days = new Map<number, KeyFilter>();
  for await (const { key } of store.list(usagePrefix)) {
    const day = Number(key.split("/")[1]);
    if (!Number.isSafeInteger(day)) continue;
    if (day < from) {
      await store.delete(key);
      continue;
    }
    const filter = await load(store, key);
    const known = days.get(day);
    if (filter !== undefined) known?.join(filter);
    if (filter !== undefined && known === undefined) days.set(day, filter);
  }
  return days;
}

/** Stores a filter. */
export async function save(store: ObjectStore, key: Key, filter: KeyFilter): Promise<void> {
  await store.put(key, await promisify(gzip)(filter.save()));
}

/** A filter that was stored; `undefined` where there is none that can be read. */
export async function load(store: ObjectStore, key: Key): Promise<KeyFilter | undefined> {
  const object = await store.get(key);
  const bytes = object && (await readWhole(object, maxSavedBytes));
  if (bytes === undefined) return undefined;
  try {
    return new KeyFilter(await promisify(gunzip)(bytes, { maxOutputLength: maxSavedBytes }));
  } catch {
    return undefined;
  }
}

/** The day of a moment, counted from 1970. */
export function dayOf(ms: number): number {
  return Math.floor(ms / dayMs);
}
