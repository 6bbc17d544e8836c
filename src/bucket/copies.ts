import type { Digest } from "../oci/digest.ts";
import { isObject } from "../oci/document.ts";
import type { Tag } from "../oci/reference.ts";
import { Background } from "../concurrency/background.ts";
import type { Clock } from "../concurrency/clock.ts";
import { settleOrAbort } from "../concurrency/settle-or-abort.ts";
import type { Fill } from "../registry/fill.ts";
import { isTagRecord } from "../store/content-records.ts";
import {
  blobKey,
  blobsPrefix,
  linkKey,
  parseKey,
  repositoriesPrefix,
  type RepositoryId,
  tagKey,
} from "../store/layout.ts";
import { errorOf, type Key, type ObjectStore } from "../store/object-store.ts";
import { maxRecordBytes, parseRecord } from "../store/read-record.ts";
import { readWhole } from "../store/read-whole.ts";
import { UpstreamError } from "../upstream/upstream.ts";
import type { Bucket } from "./bucket.ts";
import { type CopyObserver, CopyQueue } from "./copy-queue.ts";
import { type CopiedFill, FillCopies } from "./fill-copies.ts";
import { missingFrom } from "./missing.ts";

const defaultFollowedBytes = 8 * 1024 * 1024;
/** A check of a tag that is older may have been overtaken by another instance's: it is looked up first. */
const overtakenMs = 30_000;
/** What another instance fetches that one copies: it is looked up so much later whether it has, in milliseconds. */
const theirsMs = 15_000;
/** How often it is looked whether something was left out that has to be made up for. */
const makeUpMs = 60_000;

/** What of a fill is needed to follow it. */
export type FollowedFill = CopiedFill & Pick<Fill, "opened" | "joinable" | "failure" | "source">;

/** What copies are made with. */
export interface CopiesOptions {
  readonly bucket: Bucket;
  /** What the bucket has. */
  readonly listed: Pick<ObjectStore, "list">;
  readonly folder: Pick<ObjectStore, "head" | "get" | "list">;
  readonly clock: Clock;
  readonly observer: CopyObserver;
  /** Larger blobs are copied while they are on their way from the upstream. 8 MiB. */
  readonly followedBytes?: number | undefined;
  /** Told of what the bucket is to have of a repository from now on, that it is a use of all that it refers to. */
  readonly noteUse: (id: RepositoryId, digest: Digest) => void;
  /** Told of what fails outside of copying. */
  readonly onError: (error: unknown) => void;
}

/**
 * Sees to it that what is stored in the folder is in the bucket too: in the background, a few objects at a time, a
 * manifest before its link, and that before its tags. While the bucket fails what is to be copied waits, as keys, of
 * which there is a bounded number; what was left out, or waited when a process ended, is found by comparing the listings
 * of both (`makeUp`).
 */
export class Copies {
  readonly #options: CopiesOptions;
  readonly #running: Background;
  readonly #stopping = new AbortController();
  readonly #queue: CopyQueue;
  readonly #fills: FillCopies;
  /** What is on its way. */
  readonly #followed = new Map<Digest, FollowedFill>();
  /** At the start something may have been waiting when the last process ended. */
  #isBehind = true;
  #keepingUp: Promise<void> | undefined;

  constructor(options: CopiesOptions) {
    this.#options = options;
    this.#running = new Background(options.onError);
    const { bucket, clock, observer } = options;
    const { signal } = this.#stopping;
    this.#queue = new CopyQueue({ copy: (key) => this.#copy(key), running: this.#running, clock, observer, signal });
    this.#fills = new FillCopies({ bucket, clock, signal, onCopied: (sizeBytes) => this.#queue.noteCopied(sizeBytes) });
  }

  /** How many objects wait or are being copied, as far as is known. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** Whether something was left out that `makeUp` will find. */
  get isBehind(): boolean {
    return this.#isBehind;
  }

  /** The folder, of which all content and records are copied when they have been written. */
  watch(folder: ObjectStore): ObjectStore {
    return {
      head: (key) => folder.head(key),
      get: (key) => folder.get(key),
      list: (prefix, options) => folder.list(prefix, options),
      delete: (key, options) => folder.delete(key, options),
      close: () => folder.close(),
      put: async (key, source, options) => {
        const version = await folder.put(key, source, options);
        if (parseKey(key) !== undefined) this.add(key);
        return version;
      },
    };
  }

  /** Has the object at a key copied, as it is when its turn has come. */
  add(key: Key): void {
    const place = parseKey(key);
    const digest = place?.kind === "content" || place?.kind === "link" ? place.digest : undefined;
    if (digest !== undefined && this.#followed.get(digest)?.source.origin === "replica") {
      void this.#addLater(key, digest);
    } else if (!this.#queue.add(key)) {
      this.#isBehind = true;
    }
  }

  /** Has an object not copied that waits to be; resolves when no copy of it is under way. */
  async leaveOut(key: Key): Promise<void> {
    await this.#queue.leaveOut(key);
  }

  /** See `CopyQueue.settled`. */
  async settled(key: Key): Promise<void> {
    await this.#queue.settled(key);
  }

  /**
   * Copies a large blob while it is filled: the bucket has it as soon as its digest is right, also where the folder has
   * no room for it. A blob that came from the bucket, and was not what it should be, is removed there.
   */
  follow(fill: FollowedFill, id: RepositoryId, digest: Digest): void {
    const { bucket, followedBytes = defaultFollowedBytes } = this.#options;
    this.#followed.set(digest, fill);
    this.#running.run(async () => {
      const opened = await fill.opened.catch(() => "failed");
      const isLarge = (fill.sizeBytes ?? Infinity) > followedBytes;
      const isWanted = isLarge && fill.source.origin !== "replica" && this.#fills.mayFollow(fill);
      if (opened === "streaming" && isWanted && fill.joinable) await this.#copyFill(fill, id, digest);
      await fill.ended;
      if (this.#followed.get(digest) === fill) this.#followed.delete(digest);
      const isWrong = fill.failure instanceof UpstreamError && fill.failure.failure === "invalid";
      if (isWrong && fill.source.isFromBucket === true) await bucket.discard(digest);
    });
  }

  /**
   * Finds what the folder has and the bucket does not, by their listings, and copies it. Records that differ are left as
   * they are.
   *
   * @throws {StoreError} either could not be listed. And why this is closed, when it is.
   */
  async makeUp(): Promise<void> {
    this.#isBehind = false;
    const { folder, listed, onError } = this.#options;
    const { signal } = this.#stopping;
    for (const prefix of [blobsPrefix, repositoriesPrefix]) {
      const missing = missingFrom(listed.list(prefix), folder.list(prefix, { onUnreadable: onError }), signal);
      for await (const { key } of missing) {
        await this.#queue.waitForRoom(signal);
        if (parseKey(key) !== undefined) this.add(key);
      }
    }
  }

  /** Makes up for what is missing in the bucket, now and whenever something was left out, until this is closed. */
  start(): void {
    this.#keepingUp ??= this.#keepUp();
  }

  /** Resolves when nothing is being copied, and nothing waits but for the bucket to be back. */
  async idle(): Promise<void> {
    do await this.#running.idle();
    while (this.waiting > 0 && !this.#queue.isResting);
  }

  /** Gives up what waits and what is under way. */
  async close(): Promise<void> {
    this.#stopping.abort(new Error("the process is stopping"));
    await this.#running.idle();
    await this.#keepingUp;
  }

  /** Who sends it copies it; where that one is gone, this one does. */
  async #addLater(key: Key, digest: Digest): Promise<void> {
    const { clock, bucket } = this.#options;
    const { signal } = this.#stopping;
    await clock.wait(theirsMs, signal).catch(() => undefined);
    if (signal.aborted) return;
    bucket.doubtAbsence(blobKey(digest));
    this.add(key);
  }

  async #keepUp(): Promise<void> {
    const { clock, observer } = this.#options;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      if (this.#isBehind) {
        await this.makeUp().catch((error: unknown) => {
          this.#isBehind = true;
          if (!signal.aborted) observer.failed(errorOf(error));
        });
      }
      await clock.wait(makeUpMs, signal).catch(() => undefined);
    }
  }

  /** Copies a blob on its way, once where several repositories fetch it, then that this repository contains it. */
  async #copyFill(fill: FollowedFill, id: RepositoryId, digest: Digest): Promise<void> {
    const { observer } = this.#options;
    const key = blobKey(digest);
    const isOthers = this.#queue.isCopying(key);
    try {
      await this.#queue.once(key, () => this.#fills.copy(fill, digest));
    } catch (error) {
      // Why the fill failed is told of the upstream, and of another's copy by who makes it.
      if (!isOthers && fill.state !== "failed") observer.failed(errorOf(error));
      return;
    }
    await this.#fills.link(fill, id, digest).catch((error: unknown) => observer.failed(errorOf(error)));
  }

  async #copy(key: Key): Promise<void> {
    const place = parseKey(key);
    switch (place?.kind) {
      case "content":
        return this.#copyContent(place.digest);
      case "link":
        await this.#copyStored(place.digest);
        await settleOrAbort(this.#options.bucket.learnLink(place.id, place.digest), this.#stopping.signal);
        this.#options.noteUse(place.id, place.digest);
        return this.#copyRecord(key);
      case "tag": {
        const { id, tag } = place;
        return this.#copyRecord(key, async (record) => {
          if (!isTagRecord(record)) return false;
          const link = linkKey(id, record.digest);
          await this.#queue.once(link, () => this.#copy(link));
          return !(await this.#isNewerThere(id, tag, record.checkedAt));
        });
      }
      case "page":
        return this.#copyRecord(key);
      case undefined:
    }
  }

  /** Copies content that is in the folder, or on its way already; of what is not, no copy is under way for others to join. */
  async #copyStored(digest: Digest): Promise<void> {
    const key = blobKey(digest);
    const isHere = this.#queue.isCopying(key) || (await this.#options.folder.head(key)) !== undefined;
    if (isHere) await this.#queue.once(key, () => this.#copyContent(digest));
  }

  async #copyContent(digest: Digest): Promise<void> {
    const { bucket, folder } = this.#options;
    const object = await folder.get(blobKey(digest));
    // It has been removed meanwhile, or is still to come.
    if (object === undefined) return;
    const { sizeBytes } = object;
    try {
      if (await bucket.has(digest, sizeBytes)) return;
      await bucket.putContent(digest, object.read({ start: 0, end: sizeBytes }), {
        sizeBytes,
        signal: this.#stopping.signal,
      });
      this.#queue.noteCopied(sizeBytes);
    } finally {
      await object.close();
    }
  }

  /** Copies a record, unless the bucket is known to have it as it is, or `admit` does not want it. */
  async #copyRecord(key: Key, admit: (record: unknown) => Promise<boolean> = async () => true): Promise<void> {
    const { bucket, folder } = this.#options;
    const object = await folder.get(key);
    const text = object && (await readWhole(object, maxRecordBytes))?.toString("utf8");
    if (text === undefined || bucket.known(key) === text) return;
    const record = parseRecord(text, isObject);
    if (record === undefined || !(await admit(record))) return;
    await settleOrAbort(bucket.putRecord(key, text), this.#stopping.signal);
    this.#queue.noteCopied(text.length);
  }

  /** Whether the bucket has a later check of a tag, as far as is known. */
  async #isNewerThere(id: RepositoryId, tag: Tag, checkedAt: number): Promise<boolean> {
    const { bucket, clock } = this.#options;
    const now = clock.now();
    const isOld = now - checkedAt >= overtakenMs;
    const there = isOld ? await bucket.tag(id, tag) : parseRecord(bucket.known(tagKey(id, tag)) ?? "", isTagRecord);
    // What was checked in the future was checked by a clock that was wrong.
    return there !== undefined && there.checkedAt >= checkedAt && there.checkedAt <= now;
  }
}
