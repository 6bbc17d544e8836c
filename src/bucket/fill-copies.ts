import type { Clock } from "../concurrency/clock.ts";
import { settleOrAbort } from "../concurrency/settle-or-abort.ts";
import type { Digest } from "../oci/digest.ts";
import { newBlobLink } from "../registry/content.ts";
import type { Fill } from "../registry/fill.ts";
import { linkKey, type RepositoryId } from "../store/layout.ts";
import type { Bucket } from "./bucket.ts";

/** So many at once, as each has parts in memory: what is beyond is copied when it is stored, if it is. */
const copiesAtOnce = 16;
/** While clients wait for a copy: what the bucket must have taken in this time, in milliseconds. */
const paceMs = 4_000;
const paceBytes = 4 * 1024 * 1024;
/** How far the bucket must be behind to be what they wait for. */
const behindBytes = 512 * 1024;
/** For how long they are not to wait for it again. */
const tooSlowMs = 60_000;

/** What of a fill is needed to copy it. */
export type CopiedFill = Pick<Fill, "stores" | "receivedBytes" | "sizeBytes" | "state" | "join" | "ended">;

/** What blobs are copied with while they are filled. */
export interface FillCopiesOptions {
  readonly bucket: Bucket;
  readonly clock: Clock;
  /** Gives up what is under way. */
  readonly signal: AbortSignal;
  readonly onCopied: (sizeBytes: number) => void;
}

/**
 * Copies of blobs that are still on their way: one more reader of their fill. Where the folder takes none of it, clients
 * wait for the slowest reader: a bucket that is too slow is given up then, and for a minute no such copy is begun.
 */
export class FillCopies {
  readonly #options: FillCopiesOptions;
  #tooSlowUntil = 0;
  #copying = 0;

  constructor(options: FillCopiesOptions) {
    this.#options = options;
  }

  /** Whether there is room for a copy of this fill, and it would hold up nobody, as far as is known. */
  mayFollow(fill: CopiedFill): boolean {
    const { bucket, clock } = this.#options;
    if (this.#copying >= copiesAtOnce) return false;
    return fill.stores || (!bucket.isResting && clock.monotonic() >= this.#tooSlowUntil);
  }

  /** Copies a blob, unless the bucket has it. Throws what fails. */
  async copy(fill: CopiedFill, digest: Digest): Promise<void> {
    const { bucket, onCopied } = this.#options;
    const over = new AbortController();
    const signal = AbortSignal.any([this.#options.signal, over.signal]);
    // In the tick in which it could be joined: so no byte is missed.
    const reader = fill.join();
    this.#copying++;
    let taken = 0;
    async function* bytes(): AsyncGenerator<Uint8Array> {
      for await (const chunk of reader.read(undefined, signal)) {
        taken += chunk.length;
        yield chunk;
      }
    }
    this.#keepPace(fill, () => taken, over, signal).catch(() => undefined);
    try {
      if (!(await settleOrAbort(bucket.has(digest, fill.sizeBytes), signal))) {
        const size = fill.sizeBytes === undefined ? {} : { sizeBytes: fill.sizeBytes };
        await bucket.putContent(digest, bytes(), { ...size, signal });
        onCopied(fill.receivedBytes);
      }
    } finally {
      over.abort();
      this.#copying--;
      await reader.close();
    }
  }

  /**
   * Writes that a repository contains a blob which the bucket has by now, where the folder will not say so, as it has no
   * room for it. Only the right bytes of the repository's own fill give a right to that. Throws what fails.
   */
  async link(fill: CopiedFill, id: RepositoryId, digest: Digest): Promise<void> {
    const { bucket } = this.#options;
    await fill.ended;
    if (fill.state !== "verified") return;
    await settleOrAbort(bucket.learnLink(id, digest), this.#options.signal);
    if (bucket.known(linkKey(id, digest)) !== undefined) return;
    const link = JSON.stringify({ ...newBlobLink, sizeBytes: fill.receivedBytes });
    await settleOrAbort(bucket.putRecord(linkKey(id, digest), link), this.#options.signal);
  }

  /** Aborts `over` when clients have waited for the bucket too long. */
  async #keepPace(fill: CopiedFill, taken: () => number, over: AbortController, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    for (let before = 0; ; before = taken()) {
      await clock.wait(paceMs, signal);
      const isWaitedFor = !fill.stores && fill.receivedBytes - taken() >= behindBytes;
      if (!isWaitedFor || taken() - before >= paceBytes) continue;
      this.#tooSlowUntil = clock.monotonic() + tooSlowMs;
      over.abort(new Error("the bucket is too slow for clients that wait for it"));
      return;
    }
  }
}
