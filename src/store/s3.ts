import type { BucketStore } from "./bucket-store.ts";
import {
  type DatedObject,
  type Key,
  type ListOptions,
  type OpenObject,
  PreconditionFailed,
  type PutOptions,
  type Source,
  type Staged,
  StoreError,
  type Version,
} from "./object-store.ts";
import { S3Connection } from "./s3-connection.ts";
import { S3Failure } from "./s3-failure.ts";
import { OpenUploads, recordsPrefix } from "./s3-open-uploads.ts";
import { S3Object } from "./s3-object.ts";
import { PartMemory } from "./s3-parts.ts";
import { defaultPartMemoryBytes, defaultPartSizeBytes, type S3Options } from "./s3-options.ts";
import { S3Presigner } from "./s3-presigner.ts";
import { probe, probePrefix, severalWin } from "./s3-probe.ts";
import { upload, type UploadOptions } from "./s3-upload.ts";
import { S3Writer } from "./s3-writer.ts";

/**
 * A bucket of S3, or of a server that speaks its protocol.
 *
 * Where it is another thing than a folder:
 * - A version is an ETag, which two objects of the same bytes may share.
 * - What is open stays readable for its first 256 KiB; behind them only while nobody deletes or replaces it.
 * - `head` cannot tell a missing bucket from a missing object; all else can.
 * - Two writers that have one condition both win on some servers; `probe` finds out.
 */
export class S3Store implements BucketStore {
  readonly #connection: S3Connection;
  readonly #writer: S3Writer;
  readonly #openUploads: OpenUploads;
  readonly #presigner: S3Presigner;
  readonly #partSizeBytes: number;
  readonly #partMemory: PartMemory;

  private constructor(connection: S3Connection, options: S3Options) {
    this.#connection = connection;
    this.#writer = new S3Writer(connection, options);
    this.#openUploads = new OpenUploads(this.#writer);
    this.#presigner = new S3Presigner(connection, options);
    this.#partSizeBytes = options.partSizeBytes ?? defaultPartSizeBytes;
    // One upload alone has two parts, however large they are.
    this.#partMemory = new PartMemory(
      Math.max(options.partMemoryBytes ?? defaultPartMemoryBytes, 2 * this.#partSizeBytes),
    );
  }

  /**
   * Loads the client library. Nothing is sent: `probe` shows whether the bucket can be used.
   *
   * @throws {UnknownRegion} no region is set, or none that can be one.
   * @throws {Error} another setting cannot be used.
   */
  static async open(options: S3Options): Promise<S3Store> {
    return new S3Store(await S3Connection.open(options), options);
  }

  async head(key: Key): Promise<DatedObject | undefined> {
    let found;
    try {
      found = await this.#writer.look(key);
    } catch (error) {
      throw this.#asStoreError(`could not look up ${key}`, error);
    }
    if (found === undefined) return undefined;
    const { ContentLength: sizeBytes, ETag: version, LastModified: writtenAt } = found;
    if (sizeBytes === undefined || version === undefined) {
      throw new StoreError(`the server's answer for ${key} has no ETag or no size`, undefined);
    }
    return { key, sizeBytes, version: version as Version, writtenAt: momentOf(writtenAt) };
  }

  /** By the server's clock, as far as its answers have told. */
  now(): number {
    return this.#connection.now();
  }

  async get(key: Key): Promise<OpenObject | undefined> {
    return S3Object.open(this.#connection, this.#writer.nameOf(key), key);
  }

  async put(key: Key, source: Source, options: PutOptions = {}): Promise<Version> {
    if (source instanceof Uint8Array) return this.#writer.put(key, source, options.if);
    return this.upload(key, bytesOf(source), { sizeBytes: source.sizeBytes, if: options.if });
  }

  /**
   * Writes a stream in parts while it comes, where it is large; one or two of them are in memory.
   *
   * @throws {PreconditionFailed}
   * @throws {StoreError}
   */
  async upload(key: Key, bytes: AsyncIterable<Uint8Array>, options: UploadOptions = {}): Promise<Version> {
    return upload(this.#writer, this.#openUploads, this.#partMemory, this.#partSizeBytes, key, bytes, options);
  }

  async delete(key: Key, options: { readonly if?: Version } = {}): Promise<void> {
    const condition = options.if === undefined ? {} : { IfMatch: options.if };
    const input = { ...this.#writer.at(key), ...condition };
    try {
      await this.#connection.run((s3, sent) => s3.deleteObject(input, sent));
    } catch (error) {
      if (!(error instanceof S3Failure)) throw error;
      const refused = error.isRefusedCondition || error.isAbsence;
      if (!refused) throw this.#asStoreError(`could not delete ${key}`, error);
      if (options.if === undefined) return;
      // What was repeated after a lost answer is refused for its own success.
      if (error.attempts === 1 || (await this.head(key)) !== undefined) throw new PreconditionFailed(key);
    }
  }

  /**
   * Each page is asked for by the last key of the one before, so that what comes and goes meanwhile moves nothing. Times
   * are whole seconds.
   *
   * @throws {StoreError}
   */
  async *list(prefix: Key, { after = "" as Key }: ListOptions = {}): AsyncGenerator<DatedObject> {
    const root = this.#writer.nameOf("");
    const input = { Bucket: this.#connection.place.bucket, Prefix: prefix === "" ? root : `${root}${prefix}/` };
    for (let last: string = after; ;) {
      const start = { ...input, ...(last === "" ? {} : { StartAfter: `${root}${last}` }) };
      let page;
      try {
        page = await this.#connection.run((s3, sent) => s3.listObjectsV2(start, sent));
      } catch (error) {
        throw this.#asStoreError(`could not list ${prefix}`, error);
      }
      const before = last;
      for (const { Key: name = "", Size: sizeBytes, ETag: version, LastModified: writtenAt } of page.Contents ?? []) {
        const key = name.slice(root.length) as Key;
        if (!follows(key, last)) throw new StoreError(`the server's listing of ${prefix} is not in order`, undefined);
        last = key;
        // Consoles make empty objects of such names to show a folder.
        if (sizeBytes === undefined || version === undefined || key.endsWith("/")) continue;
        yield { key, sizeBytes, version: version as Version, writtenAt: momentOf(writtenAt) };
      }
      if (page.IsTruncated !== true) return;
      if (last === before) throw new StoreError(`the server's listing of ${prefix} does not go on`, undefined);
    }
  }

  async presign(key: Key, options: { readonly expiresInSeconds: number }): Promise<string> {
    try {
      return await this.#presigner.sign(this.#writer.nameOf(key), options.expiresInSeconds);
    } catch (error) {
      throw this.#asStoreError(`could not sign a URL for ${key}`, error);
    }
  }

  /** An upload that goes on is heard of every 10 minutes, by its record. */
  async sweepUploads(olderThanMs: number): Promise<number> {
    for await (const { key, writtenAt } of this.list(probePrefix as Key)) {
      if (this.#connection.now() - writtenAt >= olderThanMs) await this.delete(key);
    }
    try {
      return await this.#openUploads.sweep(this.list(recordsPrefix as Key), olderThanMs);
    } catch (error) {
      throw this.#asStoreError("could not end uploads that were left open", error);
    }
  }

  /**
   * It takes some 70 small requests and an object of two parts. Where the server lets several writers win at once, a
   * conditional write is looked at afterwards from then on, which finds most of that.
   */
  async probe(): Promise<{ readonly lacks: readonly string[] }> {
    const lacks = await probe(this, this.#partSizeBytes + 1);
    if (lacks.includes(severalWin)) this.#writer.doubtWins();
    // That only one has won was chance there.
    else if (this.#writer.refusesConditions) lacks.unshift(severalWin);
    return { lacks };
  }

  async close(): Promise<void> {
    this.#connection.close();
  }

  #asStoreError(action: string, error: unknown): unknown {
    return error instanceof S3Failure ? this.#writer.error(action, error) : error;
  }
}

/** A time in whole seconds, as headers have it: listings of some servers say more. */
function momentOf(time: Date | undefined): number {
  return Math.floor((time?.getTime() ?? 0) / 1_000) * 1_000;
}

/** Whether a key comes behind another one in a listing: S3 goes by their bytes in UTF-8. */
function follows(key: string, last: string): boolean {
  return key > last || Buffer.compare(Buffer.from(key), Buffer.from(last)) > 0;
}

async function* bytesOf(staged: Staged): AsyncGenerator<Uint8Array> {
  try {
    const object = await staged.open();
    try {
      yield* object.read({ start: 0, end: object.sizeBytes });
    } finally {
      await object.close();
    }
  } catch (error) {
    throw new StoreError("a staged file could not be read", error);
  }
}
