import type { DatedObject, Key } from "./object-store.ts";
import { S3Failure } from "./s3-failure.ts";
import { S3Object } from "./s3-object.ts";
import { readWhole } from "./read-whole.ts";
import type { S3Writer } from "./s3-writer.ts";

/** An upload in parts that is neither completed nor aborted. */
export interface OpenUpload {
  /** Names it, and its record. */
  readonly nonce: string;
  readonly key: Key;
  readonly uploadId: string;
}

/** One that has a record in the bucket. */
export interface RecordedUpload extends OpenUpload {
  /** When the record was last written, on the clock of `performance.now`. */
  writtenAt: number;
}

/** Where the records are. */
export const recordsPrefix = "uploads";
/** A record of an upload that goes on is at most so old. */
const refreshMs = 10 * 60_000;
const recordBytes = 64 * 1024;

/**
 * The records of open uploads: one object for each, `uploads/<nonce>`, from before its first part until after its end.
 * They are what a sweep goes by: a bucket's listing shows no parts, and there are servers that list no uploads.
 */
export class OpenUploads {
  readonly #writer: S3Writer;

  constructor(writer: S3Writer) {
    this.#writer = writer;
  }

  /** @throws {StoreError} */
  async add(upload: OpenUpload): Promise<RecordedUpload> {
    await this.#write(upload);
    return { ...upload, writtenAt: performance.now() };
  }

  /** Keeps the record of an upload that goes on from growing old. */
  async refresh(upload: RecordedUpload): Promise<void> {
    if (performance.now() - upload.writtenAt < refreshMs) return;
    upload.writtenAt = performance.now();
    await this.#write(upload).catch(() => {}); // The next one will do as well.
  }

  /** Forgets an upload that is completed. Where that fails, the sweep does it. */
  async remove({ nonce }: OpenUpload): Promise<void> {
    await this.#delete(recordOf(nonce)).catch(() => {});
  }

  /**
   * Ends an upload, and forgets it then.
   *
   * @returns whether it was open still.
   * @throws {S3Failure}
   */
  async abort({ nonce, key, uploadId }: OpenUpload): Promise<boolean> {
    const input = { ...this.#writer.at(key), UploadId: uploadId };
    let wasOpen = true;
    try {
      await this.#writer.connection.run((s3, options) => s3.abortMultipartUpload(input, options));
    } catch (error) {
      if (!(error instanceof S3Failure && error.status === 404)) throw error;
      wasOpen = false;
    }
    await this.#delete(recordOf(nonce));
    return wasOpen;
  }

  /**
   * Ends uploads whose records are old.
   *
   * @returns how many.
   */
  async sweep(records: AsyncIterable<DatedObject>, olderThanMs: number): Promise<number> {
    let swept = 0;
    for await (const { key, writtenAt } of records) {
      if (this.#writer.connection.now() - writtenAt < olderThanMs) continue;
      const upload = await this.#read(key);
      await (upload === undefined ? this.#delete(key) : this.abort(upload));
      swept++;
    }
    return swept;
  }

  async #write({ nonce, key, uploadId }: OpenUpload): Promise<void> {
    await this.#writer.put(recordOf(nonce), Buffer.from(JSON.stringify({ key, uploadId })));
  }

  /** `undefined` for what is no record, or gone. */
  async #read(record: Key): Promise<OpenUpload | undefined> {
    const object = await S3Object.open(this.#writer.connection, this.#writer.nameOf(record), record);
    const bytes = object && (await readWhole(object, recordBytes));
    if (bytes === undefined) return undefined;
    try {
      const { key, uploadId } = JSON.parse(bytes.toString()) as Partial<OpenUpload>;
      if (typeof key !== "string" || typeof uploadId !== "string") return undefined;
      return { nonce: record.slice(recordsPrefix.length + 1), key, uploadId };
    } catch {
      return undefined;
    }
  }

  async #delete(record: Key): Promise<void> {
    await this.#writer.connection.run((s3, options) => s3.deleteObject(this.#writer.at(record), options));
  }
}

function recordOf(nonce: string): Key {
  return `${recordsPrefix}/${nonce}` as Key;
}
