import { randomUUID } from "node:crypto";
import { forEachOf } from "../concurrency/for-each-of.ts";
import { KeyedQueue } from "../concurrency/keyed-queue.ts";
import { type Algorithm, algorithmOf, type Digest, isOfNothing } from "../oci/digest.ts";
import type { BucketStore } from "../store/bucket-store.ts";
import type { HashPool } from "../store/hashing.ts";
import {
  digestOfHostedBlob,
  hostedBlobKey,
  hostedBlobsPrefix,
  hostedDataKey,
  hostedDataPrefix,
  hostedUploadKey,
  hostedUploadsPrefix,
} from "../store/hosted-layout.ts";
import { deleteUnchanged, type Key, type OpenObject, PreconditionFailed, StoreError } from "../store/object-store.ts";
import { arePartsWhole, openParts } from "./bucket-parts.ts";
import { type FoundRecord, nothing, readBytesRecord, sizeOfParts, type StoredParts } from "./bucket-records.ts";
import { BucketUploads } from "./bucket-uploads.ts";
import {
  type HostedBytes,
  type ListedContent,
  type StoredContent,
  type StoredUpload,
  TakenOver,
  type UploadBytes,
} from "./bytes.ts";
import { writeStored } from "./stored-record.ts";

/** Who ends an upload is done with it by then, or has died. */
const longestCommitMs = 3_600_000;
/** How often something is tried that others have changed meanwhile. */
const attempts = 20;
/** How many records a sweep reads together: there is one for all content. */
const sweptAtOnce = 16;

/** What hosted bytes in a bucket are made of; none of it is closed with them. */
export interface BucketBytesOptions {
  readonly store: BucketStore;
  readonly hashes: HashPool;
}

/**
 * Hosted bytes in a bucket that several replicas have in common. Bytes are never copied: each append is an object of its
 * own, a *piece*, and content is a record that names the pieces; what has at most 64 KiB lies in the record itself. All
 * changes of a record are compare-and-set.
 */
export class BucketBytes implements HostedBytes {
  readonly #store: BucketStore;
  readonly #uploads: BucketUploads;
  /** What concerns an upload is done one after the other. */
  readonly #turns = new KeyedQueue<string>();

  constructor({ store, hashes }: BucketBytesOptions) {
    this.#store = store;
    this.#uploads = new BucketUploads(store, hashes);
  }

  async stat(digest: Digest): Promise<StoredContent | undefined> {
    const found = await this.#content(digest);
    if (found === undefined || !(await arePartsWhole(this.#store, found.record))) return undefined;
    const { record, version, writtenAt } = found;
    return { digest, sizeBytes: sizeOfParts(record), version, writtenAt };
  }

  async open(digest: Digest): Promise<OpenObject | undefined> {
    const found = await this.#content(digest);
    return found && openParts(this.#store, found.record, found.version);
  }

  async location(digest: Digest, expiresInSeconds: number): Promise<string | undefined> {
    const { pieces = [], tail } = (await this.#content(digest))?.record ?? {};
    const [piece] = pieces;
    if (piece === undefined || pieces.length > 1 || tail !== "") return undefined;
    return this.#store.presign(hostedDataKey(piece.name), { expiresInSeconds });
  }

  async put(digest: Digest, bytes: Uint8Array): Promise<void> {
    if (bytes.length <= BucketUploads.tailBytes) {
      await this.#place(digest, { pieces: [], tail: Buffer.from(bytes).toString("base64") });
      return;
    }
    // As an upload, so that nothing is left where this process dies.
    const session = `put-${randomUUID()}`;
    const chunk = { bytes: once(bytes), sizeBytes: bytes.length, signal: new AbortController().signal };
    await this.append(session, algorithmOf(digest), chunk);
    if ((await this.commit(session, digest)) === undefined) throw new StoreError(`it is not ${digest}`, undefined);
  }

  async renew(digest: Digest, maxAgeMs: number): Promise<boolean> {
    return this.#untilUnchanged(async () => {
      const found = await this.#content(digest);
      if (found === undefined) return false;
      // What is known of the server's clock may go back a little.
      if (Math.max(0, this.now() - found.writtenAt) >= maxAgeMs) {
        await writeStored(this.#store, hostedBlobKey(digest), found.record, found.version);
      }
      return true;
    });
  }

  async *list(): AsyncGenerator<ListedContent> {
    for await (const { key, version, writtenAt } of this.#store.list(hostedBlobsPrefix)) {
      const digest = digestOfHostedBlob(key);
      if (digest !== undefined) yield { digest, version, writtenAt };
    }
  }

  async remove({ digest, version }: ListedContent): Promise<boolean> {
    const key = hostedBlobKey(digest);
    const found = await readBytesRecord(this.#store, key);
    if (found?.version !== version) return false;
    try {
      return (await this.#discard(key, found)) && found.record.removed !== true;
    } catch (error) {
      if (error instanceof PreconditionFailed) return false;
      throw error;
    }
  }

  async received(session: string): Promise<StoredUpload | undefined> {
    const found = await readBytesRecord(this.#store, hostedUploadKey(session));
    return found === undefined || found.record.removed === true ? undefined : uploadOf(session, found);
  }

  append(session: string, algorithm: Algorithm, chunk: UploadBytes): Promise<number> {
    return this.#turns.run(session, () => this.#uploads.append(session, algorithm, chunk));
  }

  commit(session: string, digest: Digest): Promise<number | undefined> {
    return this.#turns.run(session, () => this.#commit(session, digest));
  }

  async drop(session: string): Promise<void> {
    const key = hostedUploadKey(session);
    const drop = async (): Promise<void> => {
      this.#uploads.forget(session);
      const found = await readBytesRecord(this.#store, key);
      if (found === undefined) return;
      const { committing } = found.record;
      // Whoever commits it ends it.
      if (committing !== undefined && this.now() - found.writtenAt < longestCommitMs) return;
      await this.#discard(key, found, committing && (await this.#content(committing))?.record);
    };
    await this.#turns.run(session, () => this.#untilUnchanged(drop));
  }

  async *uploads(): AsyncGenerator<StoredUpload> {
    for await (const { key } of this.#store.list(hostedUploadsPrefix)) {
      const found = await readBytesRecord(this.#store, key);
      if (found !== undefined) yield uploadOf(key.slice(hostedUploadsPrefix.length + 1), found);
    }
  }

  async sweep(olderThanMs: number): Promise<number> {
    const store = this.#store;
    const unnamed = new Set<string>();
    for await (const { key, writtenAt } of store.list(hostedDataPrefix)) {
      if (this.now() - writtenAt >= olderThanMs) unnamed.add(key.slice(hostedDataPrefix.length + 1));
    }
    // In this order: what an upload becomes names the pieces before the upload does no more.
    for (const prefix of unnamed.size > 0 ? [hostedUploadsPrefix, hostedBlobsPrefix] : []) {
      await forEachOf(store.list(prefix), sweptAtOnce, async ({ key }) => {
        const found = await readBytesRecord(store, key);
        for (const name of found === undefined ? [] : namesIn(found)) unnamed.delete(name);
      });
    }
    await forEachOf(unnamed, sweptAtOnce, (name) => store.delete(hostedDataKey(name)));
    return unnamed.size;
  }

  now(): number {
    return this.#store.now();
  }

  async close(): Promise<void> {
    await this.#turns.idle();
    this.#uploads.close();
  }

  async #commit(session: string, digest: Digest): Promise<number | undefined> {
    const key = hostedUploadKey(session);
    this.#uploads.forget(session);
    let found = await readBytesRecord(this.#store, key);
    if (found === undefined || found.record.removed === true) {
      if (!isOfNothing(digest)) return undefined;
      await this.#place(digest, nothing);
      return 0;
    }
    const { record } = found;
    try {
      const isKnown = record.digest !== undefined && algorithmOf(record.digest) === algorithmOf(digest);
      const actual = isKnown ? record.digest : await this.#uploads.digestOf(record, algorithmOf(digest));
      // Of a commit that was broken off long ago the content may have been removed since.
      const isLost = record.committing !== undefined && !(await arePartsWhole(this.#store, record));
      if (actual !== digest || isLost) {
        await this.#discard(key, found);
        return undefined;
      }
      // From here on nobody else adds to the pieces, or removes them. What has none can be stored twice.
      if (record.pieces.length > 0) {
        found = await writeStored(this.#store, key, { ...record, committing: digest }, found.version);
      }
    } catch (error) {
      throw error instanceof PreconditionFailed ? new TakenOver() : error;
    }
    const stored = await this.#place(digest, record);
    // It is stored: what is left of the upload is not worth a failure, and goes when that expires.
    await this.#discard(key, found, stored).catch(() => undefined);
    return sizeOfParts(record);
  }

  /** Makes parts the content of a digest, or renews what is whole there; returns the parts that it has now. */
  async #place(digest: Digest, { pieces, tail }: StoredParts): Promise<StoredParts> {
    const key = hostedBlobKey(digest);
    let isNew = true;
    return this.#untilUnchanged(async () => {
      // Mostly there is nothing.
      const found = isNew ? undefined : await readBytesRecord(this.#store, key);
      isNew = false;
      const isStored = found !== undefined && found.record.removed !== true;
      if (isStored && (await arePartsWhole(this.#store, found.record))) {
        return (await writeStored(this.#store, key, found.record, found.version)).record;
      }
      const left = found === undefined ? [] : namesIn(found, { pieces, tail });
      const record = { pieces, tail, garbage: left };
      await writeStored(this.#store, key, record, found?.version ?? "absent");
      return record;
    });
  }

  /**
   * Removes a record, and the objects that it names, but those of `kept`.
   *
   * @returns whether it was there to be removed.
   * @throws {PreconditionFailed} it is another one by now: nothing was removed.
   */
  async #discard(key: Key, found: FoundRecord, kept?: StoredParts): Promise<boolean> {
    const names = namesIn(found, kept);
    let { version } = found;
    // First so that nobody writes a record again that names them: another instance may be storing one that is named as garbage.
    const isOurs = found.record.removed === true || found.record.committing !== undefined;
    if (names.length > 0 && (!isOurs || found.record.pieces.some(({ name }) => names.includes(name)))) {
      const record = { ...nothing, garbage: names, removed: true };
      ({ version } = await writeStored(this.#store, key, record, version));
    }
    for (const name of names) await this.#store.delete(hostedDataKey(name));
    return deleteUnchanged(this.#store, key, version);
  }

  /** Content that is not being removed. */
  async #content(digest: Digest): Promise<FoundRecord | undefined> {
    const found = await readBytesRecord(this.#store, hostedBlobKey(digest));
    return found?.record.removed === true ? undefined : found;
  }

  /** Does again what others have changed the ground for. */
  async #untilUnchanged<T>(work: () => Promise<T>): Promise<T> {
    for (let left = attempts; ; left--) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof PreconditionFailed)) throw error;
        if (left <= 1) throw new StoreError("others have changed it again and again", error);
      }
    }
  }
}

function uploadOf(session: string, { record, writtenAt }: FoundRecord): StoredUpload {
  return { session, receivedBytes: sizeOfParts(record), writtenAt };
}

/** The objects that a record names, but those of `kept`. */
function namesIn({ record }: FoundRecord, kept: StoredParts = nothing): string[] {
  const others = new Set(kept.pieces.map(({ name }) => name));
  return [...record.garbage, ...record.pieces.map(({ name }) => name)].filter((name) => !others.has(name));
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
