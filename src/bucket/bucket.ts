import { algorithmOf, type Digest, digestOf } from "../oci/digest.ts";
import { maxManifestBytes } from "../oci/manifest.ts";
import type { Tag } from "../oci/reference.ts";
import type { BucketStore } from "../store/bucket-store.ts";
import {
  isBlobLink,
  isLink,
  isPageRecord,
  isTagRecord,
  type Link,
  type Page,
  type TagRecord,
} from "../store/content-records.ts";
import { blobKey, linkKey, type PageKind, pageKey, type RepositoryId, tagKey } from "../store/layout.ts";
import type { Key, OpenObject } from "../store/object-store.ts";
import { readRecord } from "../store/read-record.ts";
import { readWhole } from "../store/read-whole.ts";
import { SingleFlight } from "../concurrency/single-flight.ts";
import { turnToRead } from "../concurrency/turn.ts";
import { readManifest } from "../registry/manifest-bytes.ts";
import type { ManifestContent } from "../registry/registry.ts";
import { KnownObjects } from "./known-objects.ts";
import { type BucketObserver, Questions } from "./questions.ts";

/** What the bucket works with. */
export interface BucketOptions {
  readonly store: BucketStore;
  readonly observer: BucketObserver;
  readonly monotonic: () => number;
}

/**
 * What instances share: content and records by the keys of `store/layout`, as they lie in a folder. It is asked where
 * the folder has nothing, before the upstream is.
 *
 * What cannot be read there counts as absent, so that the upstream is asked: questions never throw for that, and spare a
 * bucket that fails (`Questions`). Content is not verified here but for manifests; whoever serves it hashes it on its way,
 * as if it came from an upstream.
 */
export class Bucket {
  readonly #options: BucketOptions;
  readonly #questions: Questions;
  readonly #known: KnownObjects;
  readonly #looking = new SingleFlight<string | undefined>();

  constructor(options: BucketOptions) {
    this.#options = options;
    this.#questions = new Questions(options.observer, options.monotonic);
    this.#known = new KnownObjects(options.monotonic);
  }

  /** Whether it failed when it was asked last. */
  get isFailing(): boolean {
    return this.#questions.isFailing;
  }

  /** Whether questions are not even asked now. */
  get isResting(): boolean {
    return this.#questions.isResting;
  }

  /** What is known to be stored at a key: a record's text, the size of content. */
  known(key: Key): string | undefined {
    return this.#known.there(key);
  }

  /**
   * Finds out what is stored at a link's key, where that is not known and a manifest that came from here lists the digest:
   * the link is there, most probably, and a question costs a twelfth of a write.
   */
  async learnLink(id: RepositoryId, digest: Digest): Promise<void> {
    if (this.#known.isLikely(linkKey(id, digest))) await this.link(id, digest);
  }

  /** Whether it is remembered that nothing was there a few seconds ago, and so not looked again. */
  believesAbsent(key: Key): boolean {
    return this.#known.isAbsent(key);
  }

  /** Has it looked again for what was not there: somebody has stored it since, or is about to. */
  doubtAbsence(key: Key): void {
    this.#known.doubtAbsence(key);
  }

  /** That a repository contains a digest. */
  async link(id: RepositoryId, digest: Digest): Promise<Link | undefined> {
    return this.#record(linkKey(id, digest), isLink);
  }

  /** What a tag stood for when somebody checked it last. */
  async tag(id: RepositoryId, tag: Tag): Promise<TagRecord | undefined> {
    return this.#record(tagKey(id, tag), isTagRecord);
  }

  /** A page of a listing as it was stored last. */
  async page(id: RepositoryId, kind: PageKind, request: string): Promise<Page | undefined> {
    const record = await this.#record(pageKey(id, kind, request), isPageRecord);
    return record?.request === request ? record.page : undefined;
  }

  /** A manifest that a repository contains. One that does not have its digest is none, and is removed. */
  async manifest(id: RepositoryId, digest: Digest): Promise<ManifestContent | undefined> {
    const link = await this.link(id, digest);
    if (link === undefined || link.role === "blob") return undefined;
    const key = blobKey(digest);
    const bytes = await this.#ask(key, async () => {
      const object = await this.#options.store.get(key);
      return object && readWhole(object, maxManifestBytes);
    });
    if (bytes === undefined) return undefined;
    await turnToRead(bytes);
    if (digestOf(bytes, algorithmOf(digest)) !== digest) {
      await this.discard(digest);
      return undefined;
    }
    this.#known.noteThere(key, String(bytes.length));
    const parsed = readManifest(bytes, link.mediaType);
    // Who has stored it here has stored its links here, or was about to.
    for (const child of parsed?.required ?? []) this.#known.noteLikely(linkKey(id, child.digest));
    return parsed && { descriptor: { mediaType: parsed.mediaType, digest, size: bytes.length }, bytes, parsed };
  }

  /** A blob that a repository contains, by a link that is known or the bucket's. The caller closes it. */
  async open(id: RepositoryId, digest: Digest, known?: Link): Promise<OpenObject | undefined> {
    const link = known ?? (await this.link(id, digest));
    if (link === undefined || !isBlobLink(link)) return undefined;
    const key = blobKey(digest);
    const object = await this.#ask(
      key,
      () => this.#options.store.get(key),
      (late) => late.close(),
    );
    if (object === undefined) return undefined;
    this.#known.noteThere(key, String(object.sizeBytes));
    if (object.sizeBytes === link.sizeBytes) return object;
    // Which of both is wrong is not known: the link may be, and the content is others' too.
    await object.close();
    return undefined;
  }

  /** The size of a blob that a repository contains. */
  async sizeOf(id: RepositoryId, digest: Digest, known?: Link): Promise<number | undefined> {
    const link = known ?? (await this.link(id, digest));
    if (link === undefined || !isBlobLink(link)) return undefined;
    return (await this.hasNow(digest, link.sizeBytes)) ? link.sizeBytes : undefined;
  }

  /** Whether content of this size is there, for who would store it: as it was within the last hour, if that is known. */
  async has(digest: Digest, sizeBytes: number | undefined): Promise<boolean> {
    const key = blobKey(digest);
    const found = this.#known.there(key) ?? (await this.#look(key));
    return sizeBytes === undefined ? found !== undefined : found === String(sizeBytes);
  }

  /** The same for who would tell a client: as it was within the last seconds, since others may have removed it. */
  async hasNow(digest: Digest, sizeBytes: number): Promise<boolean> {
    const key = blobKey(digest);
    return (this.#known.recent(key) ?? (await this.#look(key))) === String(sizeBytes);
  }

  /** Stores content from its bytes on the way; see `BucketStore.upload`. Throws what fails. */
  async putContent(
    digest: Digest,
    bytes: AsyncIterable<Uint8Array>,
    options: { readonly sizeBytes?: number; readonly signal: AbortSignal },
  ): Promise<void> {
    const key = blobKey(digest);
    let sizeBytes = 0;
    const counted = async function* (): AsyncGenerator<Uint8Array> {
      for await (const chunk of bytes) {
        sizeBytes += chunk.length;
        yield chunk;
      }
    };
    await this.#options.store.upload(key, counted(), options);
    this.#known.noteThere(key, String(sizeBytes));
  }

  /** Stores a record. Throws what fails. */
  async putRecord(key: Key, text: string): Promise<void> {
    await this.#options.store.put(key, Buffer.from(text));
    this.#known.noteThere(key, text);
  }

  /** Removes an object. Throws what fails. */
  async erase(key: Key): Promise<void> {
    await this.#options.store.delete(key);
    this.#known.noteAbsent(key);
  }

  /** Removes content that is not what it should be: it will be stored anew. */
  async discard(digest: Digest): Promise<void> {
    const key = blobKey(digest);
    await this.#ask(key, async () => {
      await this.#options.store.delete(key);
      return undefined;
    });
  }

  /** The size of the content at a key, as it is now; who asks at once asks once. */
  #look(key: Key): Promise<string | undefined> {
    const look = async (): Promise<string | undefined> => {
      const found = await this.#ask(key, () => this.#options.store.head(key));
      if (found !== undefined) this.#known.noteThere(key, String(found.sizeBytes));
      return found && String(found.sizeBytes);
    };
    return this.#looking.run(key, look).answer;
  }

  async #record<T extends object>(key: Key, isRecord: (value: unknown) => value is T): Promise<T | undefined> {
    const found = await this.#ask(key, () => readRecord(this.#options.store, key, isRecord));
    if (found !== undefined) this.#known.noteThere(key, JSON.stringify(found));
    return found;
  }

  /**
   * What the store has at a key, as long as anybody should wait for that: `undefined` where nothing is there, or was a
   * few seconds ago, and where there is no answer. `drop` gets one that comes too late.
   */
  async #ask<T>(
    key: Key,
    question: () => Promise<T | undefined>,
    drop?: (late: T) => Promise<void>,
  ): Promise<T | undefined> {
    if (this.#known.isAbsent(key)) return undefined;
    const answer = await this.#questions.ask(question, drop);
    if (answer !== undefined && answer.found === undefined) this.#known.noteAbsent(key);
    return answer?.found;
  }
}
