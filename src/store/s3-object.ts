import type { Readable } from "node:stream";
import { type Key, type OpenObject, type Span, StoreError, type Version } from "./object-store.ts";
import type { S3Connection } from "./s3-connection.ts";
import { S3Failure, storeErrorOf } from "./s3-failure.ts";

/** What is read when an object is opened. */
const windowBytes = 256 * 1024;

/** An answer to GetObject. */
interface Answer {
  readonly body: Readable;
  readonly version: Version;
  /** Of the whole object. */
  readonly sizeBytes: number;
  /** Where in the object the body begins. */
  readonly start: number;
  /** How much of it comes; all behind `start` where the server does not take ranges. */
  readonly bodyBytes: number;
}

/**
 * An object of a bucket. Its first 256 KiB come when it is opened, in one request; so that a record or most manifests
 * are whole then, and nothing is held open by whoever does not read. What is behind is asked for when it is read, and
 * only of the same version: where the object was deleted or replaced meanwhile, reading it fails.
 */
export class S3Object implements OpenObject {
  readonly sizeBytes: number;
  readonly version: Version;
  readonly #connection: S3Connection;
  readonly #name: string;
  readonly #key: Key;
  #window: Buffer | undefined;

  private constructor(connection: S3Connection, name: string, key: Key, answer: Answer, window: Buffer) {
    this.#connection = connection;
    this.#name = name;
    this.#key = key;
    this.sizeBytes = answer.sizeBytes;
    this.version = answer.version;
    this.#window = window;
  }

  /**
   * Opens an object.
   *
   * @param name Its key in the bucket.
   * @returns `undefined` where there is none.
   * @throws {StoreError}
   */
  static async open(connection: S3Connection, name: string, key: Key): Promise<S3Object | undefined> {
    for (let attempt = 0; ; attempt++) {
      try {
        const answer = await askForStart(connection, name);
        const window = await readStart(answer, connection.requestTimeoutMs);
        return new S3Object(connection, name, key, answer, window);
      } catch (error) {
        if (error instanceof StoreError) throw error;
        const failure = error instanceof S3Failure ? error : new S3Failure(error);
        if (failure.isAbsence) return undefined;
        // The client has repeated what got no answer; a body that broke off is for us to ask for again.
        if (error instanceof S3Failure || attempt >= connection.retries) {
          throw storeErrorOf(`could not read ${key}`, connection.place, failure);
        }
      }
    }
  }

  async *read({ start, end }: Span): AsyncGenerator<Uint8Array> {
    const window = this.#window;
    let position = start;
    if (window !== undefined && position < Math.min(end, window.length)) {
      const piece = window.subarray(position, end);
      position += piece.length;
      yield piece;
    }
    for (let failed = 0; position < end;) {
      const before = position;
      const answer = await this.#ask(position, end);
      try {
        for await (const chunk of piecesOf(answer.body, this.#connection.requestTimeoutMs)) {
          const piece = chunk.subarray(0, end - position);
          position += piece.length;
          if (piece.length > 0) yield piece;
        }
        if (position < end) throw new Error("the answer ended early");
      } catch (error) {
        if (position > before) failed = 0;
        if (++failed > this.#connection.retries) throw this.#error(new S3Failure(error));
      } finally {
        answer.body.destroy();
      }
    }
  }

  async close(): Promise<void> {
    this.#window = undefined;
  }

  async #ask(start: number, end: number): Promise<Answer> {
    try {
      const answer = await ask(this.#connection, this.#name, {
        Range: `bytes=${start}-${end - 1}`,
        IfMatch: this.version,
      });
      if (answer.start === start && answer.version === this.version) return answer;
      answer.body.destroy();
      throw new StoreError(`the server did not answer with the range of ${this.#key} that was asked for`, undefined);
    } catch (error) {
      throw error instanceof S3Failure ? this.#error(error) : error;
    }
  }

  #error(failure: S3Failure): StoreError {
    const action = `could not read ${this.#key} to its end`;
    const gone = failure.isRefusedCondition || failure.isAbsence;
    return storeErrorOf(gone ? `${action}: it was deleted or replaced` : action, this.#connection.place, failure);
  }
}

async function askForStart(connection: S3Connection, name: string): Promise<Answer> {
  try {
    return await ask(connection, name, { Range: `bytes=0-${windowBytes - 1}` });
  } catch (error) {
    // An empty object has no first byte.
    if (error instanceof S3Failure && error.status === 416) return ask(connection, name, {});
    throw error;
  }
}

/** @throws {S3Failure} */
async function ask(
  connection: S3Connection,
  name: string,
  range: { readonly Range?: string; readonly IfMatch?: string },
): Promise<Answer> {
  const input = { Bucket: connection.place.bucket, Key: name, ...range };
  const answer = await connection.run((s3, options) => s3.getObject(input, options), { streams: true });
  const body = answer.Body as Readable;
  // Where a range is not taken, the whole object comes.
  const [, start = "0", total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(answer.ContentRange ?? "") ?? [];
  const sizeBytes = total === undefined ? answer.ContentLength : Number(total);
  const { ETag: version, ContentLength: bodyBytes } = answer;
  if (version === undefined || sizeBytes === undefined || bodyBytes === undefined) {
    body.destroy();
    throw new StoreError(`the server's answer for ${name} has no ETag or no size`, undefined);
  }
  return { body, version: version as Version, sizeBytes, start: Number(start), bodyBytes };
}

async function readStart({ body, sizeBytes, start, bodyBytes }: Answer, idleMs: number): Promise<Buffer> {
  const window = Buffer.allocUnsafeSlow(Math.min(sizeBytes, windowBytes));
  let length = 0;
  try {
    if (start !== 0) throw new StoreError("the server did not answer with the range that was asked for", undefined);
    for await (const chunk of piecesOf(body, idleMs)) {
      length += window.length > length ? chunk.copy(window, length) : 0;
      if (length === window.length && bodyBytes > length) break;
    }
    if (length < window.length) throw new Error("the answer ended early");
    return window;
  } finally {
    body.destroy();
  }
}

/**
 * The chunks of a body, which is at its end or destroyed afterwards.
 *
 * @throws {Error} nothing came for `idleMs` while it was waited for.
 */
async function* piecesOf(body: Readable, idleMs: number): AsyncGenerator<Buffer> {
  const chunks = body[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  try {
    for (;;) {
      const timer = setTimeout(() => {
        body.destroy(Object.assign(new Error(`no byte came for ${idleMs} ms`), { code: "ETIMEDOUT" }));
      }, idleMs);
      let next;
      try {
        next = await chunks.next();
      } finally {
        clearTimeout(timer);
      }
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    body.destroy();
  }
}
