import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { boundedMap } from "../concurrency/bounded-map.ts";
import { type Algorithm, type Digest, isOfNothing } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { OutOfOrder, type UploadChunk, type UploadState } from "../registry/registry.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { HostedBytes } from "./bytes.ts";

/** How many ended uploads are remembered. */
const endedInMemory = 16_384;
const sessionGrammar = /^([0-9a-z]{1,11})-([0-9a-f]{24})-(256|512)-([0-9a-f]{32})$/;

/** What an upload must keep to, by the rules of its namespace. */
export interface UploadLimits {
  /** How long after its last byte an upload can be gone on with, in milliseconds. */
  readonly expiryMs: number;
  readonly maxChunkBytes: number;
  readonly maxBlobBytes: number;
}

/** What uploads work with. */
export interface UploadsOptions {
  readonly bytes: HostedBytes;
  /** By which sessions are known to be of ours: the same for all instances on a store. */
  readonly secret: () => Promise<Buffer>;
}

/** What a session's name says. */
interface Session {
  readonly openedAt: number;
  readonly algorithm: Algorithm;
}

interface Running {
  readonly controller: AbortController;
  readonly done: Promise<unknown>;
}

/**
 * Upload sessions (distribution-spec, "Pushing blobs"). A session's name says when it was opened and for which repository,
 * and is signed: so nothing is stored of one before bytes come, and any instance can go on with it.
 *
 * One request at a time adds to an upload: a later one takes over, as clients that have lost a connection do not wait until
 * the server has noticed. What the earlier one has stored by then stays.
 */
export class Uploads {
  readonly #bytes: HostedBytes;
  readonly #secret: () => Promise<Buffer>;
  readonly #running = new Map<string, Running>();
  /** What ended here, and as what. */
  readonly #ended = boundedMap<string, Digest | "cancelled">(endedInMemory);

  constructor({ bytes, secret }: UploadsOptions) {
    this.#bytes = bytes;
    this.#secret = secret;
  }

  /** Opens a session. */
  async open(id: RepositoryId, algorithm: Algorithm): Promise<UploadState> {
    const time = Math.max(0, this.#bytes.now()).toString(36);
    const head = `${time}-${randomBytes(12).toString("hex")}-${algorithm.slice("sha".length)}`;
    return { session: `${head}-${await this.#sign(id, head)}`, receivedBytes: 0 };
  }

  /** @throws {OciError} BLOB_UPLOAD_UNKNOWN */
  async state(id: RepositoryId, session: string, limits: UploadLimits): Promise<UploadState> {
    await this.#read(id, session, limits);
    if (this.#ended.has(session)) throw unknown();
    return this.#stateOf(session);
  }

  /** See `PushRegistry.addToUpload`. */
  async add(id: RepositoryId, session: string, chunk: UploadChunk, limits: UploadLimits): Promise<UploadState> {
    const { algorithm } = await this.#read(id, session, limits);
    return this.#alone(session, async (signal) => {
      if (this.#ended.has(session)) throw unknown();
      const state = await this.#stateOf(session);
      return this.#append(id, state, algorithm, chunk, limits, signal);
    });
  }

  /**
   * Makes an upload the content of a digest.
   *
   * @param isDone Whether the repository has that digest already, as it does when a client repeats what was done.
   * @returns its size; `undefined` where that is so.
   */
  async finish(
    id: RepositoryId,
    session: string,
    digest: Digest,
    chunk: UploadChunk | undefined,
    limits: UploadLimits,
    isDone: () => Promise<boolean>,
  ): Promise<number | undefined> {
    const { algorithm } = await this.#read(id, session, limits);
    return this.#alone(session, async (signal) => {
      const ended = this.#ended.get(session);
      if (ended !== undefined && ended !== digest) throw unknown();
      let state = await this.#stateOf(session);
      const isRepeated = ended === digest || (state.receivedBytes === 0 && !isOfNothing(digest));
      if (isRepeated && (await isDone())) return undefined;
      if (ended !== undefined) throw unknown();
      if (chunk !== undefined) state = await this.#append(id, state, algorithm, chunk, limits, signal);
      else if (state.receivedBytes === 0) await this.#bytes.append(id.namespace, session, algorithm, nothing(signal));
      const sizeBytes = await this.#bytes.commit(session, digest);
      if (sizeBytes === undefined) {
        this.#ended.set(session, "cancelled");
        throw new OciError("DIGEST_INVALID", `the ${state.receivedBytes} bytes that were received are not ${digest}`);
      }
      this.#ended.set(session, digest);
      return sizeBytes;
    });
  }

  /** Ends an upload of which nothing is to be kept. */
  async cancel(id: RepositoryId, session: string, limits: UploadLimits): Promise<void> {
    await this.#read(id, session, limits);
    await this.#alone(session, async () => {
      if (this.#ended.has(session)) throw unknown();
      this.#ended.set(session, "cancelled");
      await this.#bytes.drop(session);
    });
  }

  /** Resolves when no request adds to an upload; those that do are told to end. */
  async close(): Promise<void> {
    for (const { controller } of this.#running.values()) controller.abort(new Error("the process is stopping"));
    await Promise.allSettled([...this.#running.values()].map(({ done }) => done));
  }

  async #append(
    id: RepositoryId,
    { session, receivedBytes }: UploadState,
    algorithm: Algorithm,
    { start = receivedBytes, sizeBytes, bytes }: UploadChunk,
    { maxChunkBytes, maxBlobBytes }: UploadLimits,
    signal: AbortSignal,
  ): Promise<UploadState> {
    if (start !== receivedBytes) throw new OutOfOrder({ session, receivedBytes });
    const mostBytes = Math.min(maxChunkBytes, maxBlobBytes - receivedBytes);
    const assertFits = (wantedBytes: number): void => {
      if (wantedBytes <= mostBytes) return;
      const which = mostBytes === maxChunkBytes ? "a chunk" : "a blob";
      throw new OciError(
        "CONTENT_TOO_LARGE",
        `${which} has at most ${Math.min(maxChunkBytes, maxBlobBytes)} bytes here`,
      );
    };
    assertFits(sizeBytes ?? 0);
    const limited = async function* (): AsyncGenerator<Uint8Array> {
      let countBytes = 0;
      for await (const chunk of bytes) {
        countBytes += chunk.length;
        assertFits(countBytes);
        yield chunk;
      }
    };
    const chunk = { bytes: limited(), sizeBytes, signal };
    return { session, receivedBytes: await this.#bytes.append(id.namespace, session, algorithm, chunk) };
  }

  async #stateOf(session: string): Promise<UploadState> {
    return { session, receivedBytes: (await this.#bytes.received(session))?.receivedBytes ?? 0 };
  }

  /** Does what nobody else may do with the upload meanwhile; who does tells it to end. */
  async #alone<T>(session: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const before = this.#running.get(session);
    before?.controller.abort(new OciError("BLOB_UPLOAD_INVALID", "another request goes on with this upload"));
    const controller = new AbortController();
    const { signal } = controller;
    const done = (async () => {
      await before?.done.catch(() => undefined);
      signal.throwIfAborted();
      return work(signal);
    })();
    const running = { controller, done };
    this.#running.set(session, running);
    try {
      return await done;
    } finally {
      if (this.#running.get(session) === running) this.#running.delete(session);
    }
  }

  /** @throws {OciError} BLOB_UPLOAD_UNKNOWN: it is none of ours, or of another repository, or has expired. */
  async #read(id: RepositoryId, session: string, { expiryMs }: UploadLimits): Promise<Session> {
    const [, time = "", , bits, signature = ""] = sessionGrammar.exec(session) ?? [];
    const expected = Buffer.from(await this.#sign(id, session.slice(0, -1 - signature.length)));
    const given = Buffer.from(signature);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw unknown();
    const openedAt = Number.parseInt(time, 36);
    if (this.#bytes.now() - openedAt > expiryMs) {
      const stored = await this.#bytes.received(session);
      if (stored === undefined || this.#bytes.now() - stored.writtenAt > expiryMs) throw unknown();
    }
    return { openedAt, algorithm: bits === "512" ? "sha512" : "sha256" };
  }

  async #sign({ namespace, repository }: RepositoryId, head: string): Promise<string> {
    const hmac = createHmac("sha256", await this.#secret());
    return hmac.update(`${namespace} ${repository} ${head}`).digest("hex").slice(0, 32);
  }
}

function nothing(signal: AbortSignal): { bytes: AsyncIterable<Uint8Array>; sizeBytes: number; signal: AbortSignal } {
  return { bytes: (async function* () {})(), sizeBytes: 0, signal };
}

function unknown(): OciError {
  return new OciError("BLOB_UPLOAD_UNKNOWN", "there is no such upload: it has ended, has expired, or never was");
}
