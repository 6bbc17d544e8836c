import type { PurgePlan, PurgeTarget } from "../ledger/ledger.ts";
import type { Digest } from "../oci/digest.ts";
import { isTagRecord } from "../store/content-records.ts";
import {
  blobKey,
  linkKey,
  parseKey,
  recordPrefixes,
  repositoriesPrefix,
  type RepositoryId,
  tagKey,
} from "../store/layout.ts";
import type { Key, ObjectStore } from "../store/object-store.ts";
import { readRecord } from "../store/read-record.ts";
import type { Bucket } from "./bucket.ts";
import type { Copies } from "./copies.ts";

/** What is removed from a bucket with. */
export interface BucketPurgeOptions {
  readonly store: ObjectStore;
  readonly bucket: Pick<Bucket, "erase">;
  readonly copies: Pick<Copies, "leaveOut">;
}

/**
 * What somebody wants gone, in a bucket: what is recorded there of it. Content may be another repository's, or another
 * instance's, and stays, unless it is itself the target.
 */
export class BucketPurge {
  readonly #options: BucketPurgeOptions;

  constructor(options: BucketPurgeOptions) {
    this.#options = options;
  }

  /**
   * What is there of a target, each key once, with what goes with it by the folder's plan (`links`).
   *
   * @throws {StoreError} it could not be looked up.
   */
  async *find(target: PurgeTarget, links: PurgePlan["links"]): AsyncGenerator<Key> {
    const found = new Set<Key>();
    for await (const key of this.#keys(target, links)) {
      if (found.has(key)) continue;
      // Listings name each key once; there may be very many.
      if (target.kind !== "namespace" && target.kind !== "repository") found.add(key);
      yield key;
    }
  }

  /**
   * Removes what was found; a copy of it that is under way is waited for, as it would come after.
   *
   * @throws {StoreError}
   */
  async remove(key: Key): Promise<void> {
    const { bucket, copies } = this.#options;
    await copies.leaveOut(key);
    await bucket.erase(key);
  }

  async *#keys(target: PurgeTarget, links: PurgePlan["links"]): AsyncGenerator<Key> {
    switch (target.kind) {
      case "namespace":
        return yield* this.#below(recordPrefixes(target.namespace));
      case "repository":
        return yield* this.#below(recordPrefixes(target.id.namespace, target.id.repository));
      case "tag":
        yield* this.#existing([tagKey(target.id, target.tag)]);
        break;
      case "digest":
        yield* this.#ofDigest(target.id, target.digest);
        break;
      case "content":
        for await (const { key } of this.#options.store.list(repositoriesPrefix)) {
          const place = parseKey(key);
          if (place?.kind === "link" && place.digest === target.digest) yield* this.#ofDigest(place.id, target.digest);
        }
        break;
    }
    yield* this.#existing(links.map(({ id, digest }) => linkKey(id, digest)));
    if (target.kind === "content") yield* this.#existing([blobKey(target.digest)]);
  }

  async *#below(prefixes: readonly Key[]): AsyncGenerator<Key> {
    for (const prefix of prefixes) {
      for await (const { key } of this.#options.store.list(prefix)) if (parseKey(key) !== undefined) yield key;
    }
  }

  async *#existing(keys: readonly Key[]): AsyncGenerator<Key> {
    for (const key of keys) if ((await this.#options.store.head(key)) !== undefined) yield key;
  }

  /** The tags of a repository that stand for a digest, then its link. */
  async *#ofDigest(id: RepositoryId, digest: Digest): AsyncGenerator<Key> {
    for await (const key of this.#below(recordPrefixes(id.namespace, id.repository).slice(0, 1))) {
      if ((await readRecord(this.#options.store, key, isTagRecord))?.digest === digest) yield key;
    }
    yield* this.#existing([linkKey(id, digest)]);
  }
}
