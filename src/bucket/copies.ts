import type { Digest } from "../oci/digest.ts";
import { isObject } from "../oci/document.ts";
import type { Tag } from "../oci/reference.ts";
import { Background } from "../concurrency/background.ts";
import { Changes } from "../concurrency/changes.ts";
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
import { FillCopies } from "./fill-copies.ts";
import { missingFrom } from "./missing.ts";
import { Refusals } from "./refusals.ts";

/** How many objects are copied at a time, besides those that are copied on their way. */
const copiesAtOnce = 4;
/** How many keys wait at most; what is left out is made up for. */
const maxWaiting = 10_000;
/** Larger blobs are copied while they are on their way from the upstream. */
const followedBytes = 8 * 1024 * 1024;
const firstRestMs = 1_000;
const longestRestMs = 60_000;
/** A check of a tag that is older may have been overtaken by another instance's: it is looked up first. */
const overtakenMs = 30_000;
/** How often it is looked whether something was left out that has to be made up for. */
const makeUpMs = 60_000;

/** Told of copies, for metrics and the log. */
export interface CopyObserver {
  /** An object is in the bucket by now. */
  copied(sizeBytes: number): void;
  /** An object could not be copied. It is tried again, unless the folder does not have it, or the bucket refuses it. */
  failed(error: Error): void;
}

/** What copies are made with. */
export interface CopiesOptions {
  readonly bucket: Bucket;
  /** What the bucket has. */
  readonly listed: Pick<ObjectStore, "list">;
  readonly folder: Pick<ObjectStore, "get" | "list">;
  readonly clock: Clock;
  readonly observer: CopyObserver;
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
  /** In the order in which they are copied. */
  readonly #waiting = new Set<Key>();
  readonly #copying = new Map<Key, Promise<void>>();
  readonly #running: Background;
  readonly #stopping = new AbortController();
  readonly #changes = new Changes();
  readonly #refusals = new Refusals();
  readonly #fills: FillCopies;
  #taken = 0;
  #failures = 0;
  #isResting = false;
  /** At the start something may have been waiting when the last process ended. */
  #isBehind = true;
  #keepingUp: Promise<void> | undefined;

  constructor(options: CopiesOptions) {
    this.#options = options;
    this.#running = new Background(options.onError);
    const { bucket, clock } = options;
    const { signal } = this.#stopping;
    this.#fills = new FillCopies({ bucket, clock, signal, onCopied: (sizeBytes) => this.#noteCopied(sizeBytes) });
  }

  /** How many objects wait or are being copied, as far as is known. */
  get waiting(): number {
    return this.#waiting.size + this.#taken;
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
    if (this.#stopping.signal.aborted) return;
    if (this.#waiting.size < maxWaiting) this.#waiting.add(key);
    else if (!this.#waiting.has(key)) this.#isBehind = true;
    this.#work();
  }

  /** Has an object not copied that waits to be; resolves when no copy of it is under way. */
  async leaveOut(key: Key): Promise<void> {
    this.#waiting.delete(key);
    for (let copy = this.#copying.get(key); copy !== undefined; copy = this.#copying.get(key)) {
      await copy.catch(() => undefined);
    }
  }

  /**
   * Copies a large blob while it is filled: the bucket has it as soon as its digest is right, also where the folder has
   * no room for it. A blob that came from the bucket, and was not what it should be, is removed there.
   */
  follow(fill: Fill, id: RepositoryId, digest: Digest): void {
    const { bucket, observer } = this.#options;
    const key = blobKey(digest);
    this.#running.run(async () => {
      const opened = await fill.opened.catch(() => "failed");
      const isLarge = (fill.sizeBytes ?? Infinity) > followedBytes;
      const isWanted = isLarge && this.#fills.mayFollow(fill);
      if (opened === "streaming" && isWanted && fill.joinable && !this.#copying.has(key)) {
        const copied = this.#once(key, () => this.#fills.copy(fill, id, digest));
        await copied.catch((error: unknown) => observer.failed(errorOf(error)));
      }
      await fill.ended;
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
        while (this.#waiting.size >= maxWaiting / 2) await this.#changes.next(signal);
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
    while (this.waiting > 0 && !this.#isResting);
  }

  /** Gives up what waits and what is under way. */
  async close(): Promise<void> {
    this.#stopping.abort(new Error("the process is stopping"));
    this.#waiting.clear();
    await this.#running.idle();
    await this.#keepingUp;
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

  #work(): void {
    for (const key of this.#waiting) {
      if (this.#isResting || this.#taken >= copiesAtOnce) return;
      this.#waiting.delete(key);
      this.#taken++;
      this.#running.run(() => this.#take(key));
    }
  }

  async #take(key: Key): Promise<void> {
    const { signal } = this.#stopping;
    try {
      // What is being copied may have been read before it changed.
      await this.#copying.get(key)?.catch(() => undefined);
      await this.#once(key, () => this.#copy(key));
      this.#refusals.forget(key);
    } catch (error) {
      if (!signal.aborted) {
        this.#options.observer.failed(errorOf(error));
        if (this.#refusals.mayTryAgain(key)) {
          this.#waiting.add(key);
          this.#rest();
        }
      }
    } finally {
      this.#taken--;
      this.#changes.tell();
      this.#work();
    }
  }

  #noteCopied(sizeBytes: number): void {
    this.#refusals.noteCopied();
    this.#failures = 0;
    this.#options.observer.copied(sizeBytes);
  }

  /** One failure, of one or several at once, lets all rest. */
  #rest(): void {
    if (this.#isResting) return;
    this.#isResting = true;
    const ms = Math.min(longestRestMs, firstRestMs * 2 ** this.#failures++);
    const rested = this.#options.clock.wait(ms, this.#stopping.signal).catch(() => undefined);
    void rested.then(() => {
      this.#isResting = false;
      this.#work();
    });
  }

  /** Copies what is at a key, unless that goes on already. */
  async #once(key: Key, copy: () => Promise<void>): Promise<void> {
    const copying = this.#copying.get(key) ?? copy().finally(() => this.#copying.delete(key));
    this.#copying.set(key, copying);
    await copying;
  }

  async #copy(key: Key): Promise<void> {
    const place = parseKey(key);
    switch (place?.kind) {
      case "content":
        return this.#copyContent(place.digest);
      case "link":
        await this.#once(blobKey(place.digest), () => this.#copyContent(place.digest));
        return this.#copyRecord(key);
      case "tag": {
        const { id, tag } = place;
        return this.#copyRecord(key, async (record) => {
          if (!isTagRecord(record)) return false;
          const link = linkKey(id, record.digest);
          await this.#once(link, () => this.#copy(link));
          return !(await this.#isNewerThere(id, tag, record.checkedAt));
        });
      }
      case "page":
        return this.#copyRecord(key);
      case undefined:
    }
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
      this.#noteCopied(sizeBytes);
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
    this.#noteCopied(text.length);
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
