import { hash } from "node:crypto";
import type { Digest } from "../oci/digest.ts";
import { blobKey, parseKey, type RepositoryId } from "../store/layout.ts";
import type { Key } from "../store/object-store.ts";
import { KeyFilter, placesOf } from "./key-filter.ts";

/** Each has a filter for a while. */
const shares = 16;

/**
 * A part of what was used last on one day, by whole repositories, so that images go whole: these are divided into 16
 * shares, and the first of them go. Content that several repositories hold goes with the last of them.
 */
export class RepositoryShares {
  readonly #contents = Array.from({ length: shares }, () => new KeyFilter());
  /** What would go with each share after those before it; first what no repository holds. */
  readonly #bytes = Array.from({ length: shares + 1 }, () => 0);
  #going = 0;

  /** Notes that a repository holds a digest. */
  hold(id: RepositoryId, digest: Digest): void {
    this.#contents[shareOf(id)]?.add(blobKey(digest));
  }

  /** Counts content, after all that is held was noted. */
  count(key: Key, sizeBytes: number): void {
    const share = this.#lastOf(key) + 1;
    this.#bytes[share] = (this.#bytes[share] ?? 0) + sizeBytes;
  }

  /** Has as many shares go as are needed to free so much. */
  choose(bytes: number): void {
    let freed = this.#bytes[0] ?? 0;
    for (this.#going = 0; freed < bytes && this.#going < shares;) freed += this.#bytes[++this.#going] ?? 0;
  }

  /** Whether an object goes that was used last on that day. */
  goes(key: Key): boolean {
    const place = parseKey(key);
    if (place === undefined) return false;
    return (place.kind === "content" ? this.#lastOf(key) : shareOf(place.id)) < this.#going;
  }

  /** The last share that holds content; -1: none. */
  #lastOf(key: Key): number {
    const places = placesOf(key);
    return this.#contents.findLastIndex((filter) => filter.hasAt(places));
  }
}

function shareOf({ namespace, repository }: RepositoryId): number {
  return (hash("sha1", `${namespace}/${repository}`, "buffer")[0] ?? 0) % shares;
}
