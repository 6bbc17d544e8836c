import { settleOrAbort } from "../../src/concurrency/settle-or-abort.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import type { BucketStore } from "../../src/store/bucket-store.ts";
import type {
  DatedObject,
  Key,
  ListOptions,
  OpenObject,
  PutOptions,
  Source,
  Version,
} from "../../src/store/object-store.ts";
import type { Barrier } from "./barrier.ts";

/** A bucket in memory, with what was asked of it; it fails and waits as a test says. */
export class MemoryBucket implements BucketStore {
  readonly #memory: MemoryStore;
  /** What was asked, in order: `get blobs/…`. */
  readonly asked: string[] = [];
  /** Everything fails with this. */
  failure: Error | undefined;
  /** What cannot be stored. */
  refuses: Key | undefined;
  /** What cannot be read. */
  unreadable: Key | undefined;
  /** Told of all that is asked, which fails where this throws. */
  onAsked: ((what: string) => void | Promise<void>) | undefined;
  /** Everything waits here, after it was noted. */
  hold: Barrier | undefined;
  /** Where a body that is read breaks, in bytes. */
  breaksAt: number | undefined;
  /** What is read of a body waits here. */
  readHold: Barrier | undefined;
  /** Bodies that were opened and not closed. */
  open = 0;

  /** @param now The server's clock. */
  constructor(now: () => number = Date.now) {
    this.#memory = new MemoryStore(now);
  }

  async head(key: Key): Promise<DatedObject | undefined> {
    await this.#note(`head ${key}`);
    return this.#memory.head(key);
  }

  async get(key: Key): Promise<OpenObject | undefined> {
    await this.#note(`get ${key}`);
    if (key === this.unreadable) throw new Error("unreadable");
    const object = await this.#memory.get(key);
    if (object === undefined) return undefined;
    this.open++;
    const read = this.#read.bind(this);
    return {
      ...object,
      read: (span) => (key.startsWith("blobs/") ? read(object.read(span), span.start) : object.read(span)),
      close: async () => {
        this.open--;
        await object.close();
      },
    };
  }

  async put(key: Key, source: Source, options?: PutOptions): Promise<Version> {
    await this.#note(`put ${key}`);
    return this.#memory.put(key, source, options);
  }

  async upload(
    key: Key,
    bytes: AsyncIterable<Uint8Array>,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<Version> {
    await settleOrAbort(this.#note(`upload ${key}`), signal);
    const chunks: Uint8Array[] = [];
    for await (const chunk of bytes) chunks.push(Buffer.from(chunk));
    if (this.failure !== undefined) throw this.failure;
    if (key === this.refuses) throw new Error("refused");
    return this.#memory.put(key, Buffer.concat(chunks));
  }

  async delete(key: Key, options?: { readonly if?: Version }): Promise<void> {
    await this.#note(`delete ${key}`);
    await this.#memory.delete(key, options);
  }

  async *list(prefix: Key, options?: ListOptions): AsyncGenerator<DatedObject> {
    await this.#note(`list ${prefix}`);
    yield* this.#memory.list(prefix, options);
  }

  now(): number {
    return this.#memory.now();
  }

  /** What it has, whoever asks. */
  async keys(): Promise<Key[]> {
    const keys: Key[] = [];
    for (const prefix of ["blobs", "repositories"]) {
      for await (const { key } of this.#memory.list(prefix as Key)) keys.push(key);
    }
    return keys;
  }

  /** Puts something into it that nobody has stored. */
  async plant(key: Key, bytes: Buffer): Promise<void> {
    await this.#memory.put(key, bytes);
  }

  async presign(key: Key): Promise<string> {
    return `http://bucket.example.com/${key}?signed`;
  }

  /** It lacks nothing. */
  async probe(): Promise<{ readonly lacks: readonly string[] }> {
    return { lacks: [] };
  }

  /** No upload is ever left open. */
  async sweepUploads(): Promise<number> {
    return 0;
  }

  /** It stays as it is when a mirror on it ends. */
  async close(): Promise<void> {}

  async #note(what: string): Promise<void> {
    this.asked.push(what);
    await this.onAsked?.(what);
    await this.hold?.wait();
    if (this.failure !== undefined) throw this.failure;
  }

  async *#read(chunks: AsyncIterable<Uint8Array>, start: number): AsyncGenerator<Uint8Array> {
    let offset = start;
    await this.readHold?.wait();
    for await (const chunk of chunks) {
      const left = (this.breaksAt ?? Infinity) - offset;
      yield chunk.subarray(0, Math.max(0, left));
      if (left < chunk.length) throw new Error("the bucket's connection broke");
      offset += chunk.length;
    }
  }
}
