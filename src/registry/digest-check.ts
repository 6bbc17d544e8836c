import type { LRUCache } from "lru-cache";
import { boundedMap } from "../concurrency/bounded-map.ts";
import { algorithmOf, type Digest } from "../oci/digest.ts";
import { type OpenObject, type Span, StoreError, type Version } from "../store/object-store.ts";
import { isFresh } from "./freshness.ts";
import { holdBack } from "./hold-back.ts";
import type { Content } from "./content.ts";
import type { MirrorTools } from "./mirror-tools.ts";
import { SingleFlight } from "../concurrency/single-flight.ts";

const rememberedDigests = 1_024;
const rememberedMs = 3_600_000;

/** What stored blobs are checked with. */
export interface DigestCheckTools extends Pick<MirrorTools, "hashes" | "monotonic" | "remembered"> {
  /** Where they are opened once more, and what is told of those that are damaged. */
  readonly content: Pick<Content, "openBlob" | "quarantineBlob">;
}

/**
 * Checks stored blobs while they are served. The last bytes of an answer are kept back until the digest is known to be
 * right; what is damaged is put into quarantine, so that the next request fetches it anew.
 *
 * A whole blob is hashed each time, from the very chunks that are sent: nothing is read twice. A range does not hold
 * what the digest is of, so the blob is read once for it, by one reader for all who ask at once; after that, and after
 * a whole blob was found right, its ranges are taken to be right for an hour.
 */
export class DigestCheck {
  readonly #tools: DigestCheckTools;
  readonly #checks = new SingleFlight<void>();
  /** The sizes of blobs that were suspected, and found right. */
  readonly #inspected: LRUCache<Digest, number>;
  /** When each version of the blobs was last found right, in milliseconds. */
  readonly #right: LRUCache<string, number>;

  constructor(tools: DigestCheckTools) {
    this.#tools = tools;
    const max = Math.min(rememberedDigests, tools.remembered);
    this.#inspected = boundedMap(max);
    this.#right = boundedMap(max);
  }

  /**
   * The bytes of `span`, checked; a chunk is valid until the next one is asked for.
   *
   * @throws {StoreError} before the last bytes, where the blob is damaged.
   */
  read(object: OpenObject, digest: Digest, span: Span, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const chunks = object.read(span);
    const length = span.end - span.start;
    if (length === object.sizeBytes) {
      // They end only when the digest is right: nothing else is to be waited for.
      return holdBack(this.#hashed(object, chunks, digest), length, Promise.resolve(), signal);
    }
    if (
      isFresh(this.#right.get(versionOf(object, digest)) ?? -Infinity, this.#tools.monotonic(), { ttlMs: rememberedMs })
    )
      return chunks;
    return holdBack(chunks, length, this.#checkOf(object, digest), signal);
  }

  /**
   * Reads a blob that is suspected for its size, once where that turns out to be right. Where it is damaged it is put
   * aside. What cannot be read is told where that happens.
   */
  async inspect(digest: Digest, sizeBytes: number): Promise<void> {
    if (this.#inspected.get(digest) === sizeBytes) return;
    try {
      await this.#checks.run(digest, () => this.#check(digest)).answer;
      this.#inspected.set(digest, sizeBytes);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
    }
  }

  /** Checks this very version, once for all who ask at once: another one proves nothing of what is sent. */
  #checkOf(object: OpenObject, digest: Digest): Promise<void> {
    return this.#checks.run(versionOf(object, digest), () => this.#check(digest, object.version)).answer;
  }

  /** Passes a whole blob's chunks on; throws at the end where they are not what the digest says. */
  async *#hashed(object: OpenObject, chunks: AsyncIterable<Uint8Array>, digest: Digest): AsyncGenerator<Uint8Array> {
    const { hashes, monotonic } = this.#tools;
    const hash = hashes.start(algorithmOf(digest));
    try {
      for await (const chunk of chunks) {
        // It is copied at once, and hashed while the client takes it.
        const taken = hash.bytes(chunk);
        yield chunk;
        await taken;
      }
      if ((await hash.digest()) !== digest) throw await this.#quarantine(object, digest);
      this.#right.set(versionOf(object, digest), monotonic());
    } finally {
      hash.drop();
    }
  }

  /** Reads a blob for its digest's sake, with a handle of its own: the client that caused it may leave. */
  async #check(digest: Digest, version?: Version): Promise<void> {
    const object = await this.#tools.content.openBlob(digest);
    // What a reader has open goes away only when it is found damaged.
    if (object === undefined) throw damaged(digest);
    try {
      if (version !== undefined && object.version !== version) throw damaged(digest);
      const whole = { start: 0, end: object.sizeBytes };
      for await (const _chunk of this.#hashed(object, object.read(whole), digest));
    } finally {
      await object.close();
    }
  }

  async #quarantine(object: OpenObject, digest: Digest): Promise<StoreError> {
    this.#right.delete(versionOf(object, digest));
    // Where that fails the store has told so, and the answer fails all the same.
    await this.#tools.content.quarantineBlob(digest, object).catch(() => undefined);
    return damaged(digest);
  }
}

function versionOf({ version }: OpenObject, digest: Digest): string {
  return `${digest} ${version}`;
}

function damaged(digest: Digest): StoreError {
  return new StoreError(`the stored content of ${digest} is damaged`, undefined);
}
