import { type Condition, type Key, StoreError, type Version } from "./object-store.ts";
import { S3Failure } from "./s3-failure.ts";
import { type Part, PartBuffers, type PartMemory, partSizeAt, partsOf } from "./s3-parts.ts";
import { headersOf, newNonce, type S3Writer } from "./s3-writer.ts";
import type { OpenUploads, RecordedUpload } from "./s3-open-uploads.ts";

/** How a stream is written. */
export interface UploadOptions {
  /** Without it, up to 350 GiB fit. A stream of another size fails. */
  readonly sizeBytes?: number | undefined;
  readonly if?: Condition | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A part as S3 wants it named at the end. */
interface SentPart {
  readonly PartNumber: number;
  readonly ETag: string | undefined;
  readonly ChecksumCRC32?: string;
}

/** The server may take minutes to put parts together. */
const completeMs = 5 * 60_000;

/**
 * Writes a stream as one object: in one request where it is one part, else part by part. When the stream fails, nothing
 * is left, and its error is thrown as it is.
 *
 * @throws {PreconditionFailed}
 * @throws {StoreError}
 */
export async function upload(
  writer: S3Writer,
  open: OpenUploads,
  memory: PartMemory,
  partSizeBytes: number,
  key: Key,
  bytes: AsyncIterable<Uint8Array>,
  options: UploadOptions = {},
): Promise<Version> {
  const { sizeBytes, signal } = options;
  let running: Multipart | undefined;
  const buffers = new PartBuffers(memory);
  const bufferFor = (part: number): Promise<Buffer> => {
    const size = partSizeAt(part, sizeBytes, partSizeBytes);
    return buffers.next(part === 1 ? Math.min(size, sizeBytes ?? size) : size, async () => running?.sent());
  };
  try {
    for await (const part of partsOf(measured(bytes, key, sizeBytes, signal), bufferFor)) {
      if (part.isLast && running === undefined) return await writer.put(key, part.bytes, options.if, signal);
      running ??= await Multipart.begin(writer, open, key, options);
      await running.send(part);
    }
    if (running === undefined) throw new StoreError(`no part of ${key} was made`, undefined);
    return await running.complete();
  } catch (error) {
    await running?.abort();
    throw error instanceof S3Failure ? writer.error(`could not write ${key}`, error) : error;
  } finally {
    buffers.release();
  }
}

/** An upload in parts, from its beginning to its end. */
class Multipart {
  readonly #writer: S3Writer;
  readonly #open: OpenUploads;
  readonly #recorded: RecordedUpload;
  readonly #key: Key;
  readonly #options: UploadOptions;
  readonly #parts: SentPart[] = [];
  #sending: Promise<void> = Promise.resolve();
  #aborted: Promise<boolean> | undefined;

  private constructor(writer: S3Writer, open: OpenUploads, recorded: RecordedUpload, key: Key, options: UploadOptions) {
    this.#writer = writer;
    this.#open = open;
    this.#recorded = recorded;
    this.#key = key;
    this.#options = options;
  }

  /** @throws {S3Failure} */
  static async begin(writer: S3Writer, open: OpenUploads, key: Key, options: UploadOptions): Promise<Multipart> {
    const { nonce, metadata } = newNonce();
    const { connection } = writer;
    const input = {
      ...writer.at(key),
      Metadata: metadata,
      ...writer.settings,
      ...(connection.checksums === "when_supported" ? { ChecksumAlgorithm: "CRC32" as const } : {}),
    };
    const { UploadId: uploadId } = await connection.run((s3, sent) => s3.createMultipartUpload(input, sent), options);
    if (uploadId === undefined) throw new StoreError(`the server gave no id for the upload of ${key}`, undefined);
    const upload = { nonce, key, uploadId };
    try {
      return new Multipart(writer, open, await open.add(upload), key, options);
    } catch (error) {
      await open.abort(upload).catch(() => {});
      throw error;
    }
  }

  /** Resolves when the part that was sent last is at the server. */
  sent(): Promise<void> {
    return this.#sending;
  }

  /** Resolves when the part before is at the server: then there may be room for the next one. */
  async send(part: Part): Promise<void> {
    await this.#sending;
    this.#sending = this.#send(part);
    this.#sending.catch(() => {}); // Whoever sends the next part, or completes, hears of it.
    await this.#open.refresh(this.#recorded);
  }

  async #send({ number, bytes }: Part): Promise<void> {
    const input = { ...this.#place(), PartNumber: number, Body: bytes, ContentLength: bytes.length };
    const sent = { signal: this.#options.signal, sentBytes: bytes.length };
    const answer = await this.#writer.connection.run((s3, options) => s3.uploadPart(input, options), sent);
    this.#parts.push({
      PartNumber: number,
      ETag: answer.ETag,
      ...(answer.ChecksumCRC32 === undefined ? {} : { ChecksumCRC32: answer.ChecksumCRC32 }),
    });
  }

  async complete(): Promise<Version> {
    await this.#sending;
    const { if: condition, signal } = this.#options;
    const { nonce } = this.#recorded;
    const input = { ...this.#place(), MultipartUpload: { Parts: this.#parts }, ...headersOf(condition) };
    let version: Version | undefined;
    try {
      version = await this.#writer.decide(this.#key, nonce, condition, signal, async () => {
        const sent = { signal, extraMs: completeMs };
        return (await this.#writer.connection.run((s3, o) => s3.completeMultipartUpload(input, o), sent)).ETag;
      });
    } catch (error) {
      // A server that was still at it when the key was looked at has done it by now, if there is nothing to abort.
      if (await this.abort()) throw error;
      version = await this.#writer.find(this.#key, nonce).catch(() => undefined);
      if (version === undefined) throw error;
    }
    await this.#open.remove(this.#recorded);
    return version;
  }

  /**
   * Leaves nothing, as far as the server can be reached; else the record stays, for the sweep.
   *
   * @returns false where the server has no such upload any more.
   */
  async abort(): Promise<boolean> {
    await this.#sending.catch(() => {}); // A part that arrives behind the abort would stay.
    this.#aborted ??= this.#open.abort(this.#recorded).catch(() => true);
    return this.#aborted;
  }

  #place(): { readonly Bucket: string; readonly Key: string; readonly UploadId: string } {
    return { ...this.#writer.at(this.#key), UploadId: this.#recorded.uploadId };
  }
}

async function* measured(
  bytes: AsyncIterable<Uint8Array>,
  key: Key,
  sizeBytes: number | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  let length = 0;
  const assertSize = (right: boolean): void => {
    if (!right) throw new StoreError(`what was to be written to ${key} has not the ${sizeBytes} bytes`, undefined);
  };
  for await (const chunk of bytes) {
    signal?.throwIfAborted();
    length += chunk.length;
    assertSize(sizeBytes === undefined || length <= sizeBytes);
    yield chunk;
  }
  signal?.throwIfAborted();
  assertSize(sizeBytes === undefined || length === sizeBytes);
}
