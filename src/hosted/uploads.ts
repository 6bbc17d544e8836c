import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { boundedMap } from "../concurrency/bounded-map.ts";
import { untilAborted } from "../concurrency/until-aborted.ts";
import { type Algorithm, type Digest, isOfNothing } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { OutOfOrder, type UploadChunk, type UploadState } from "../registry/registry.ts";
import type { RepositoryId } from "../store/layout.ts";
import { type HostedBytes, TakenOver } from "./bytes.ts";

/** How many ended uploads are remembered. */
const endedInMemory = 16_384;
const sessionGrammar = /^(([0-9a-z]{1,11})-[0-9a-f]{24}-(256|512))-([0-9a-f]{32})$/;

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
  readonly session: string;
  /** By which what is received of it is stored: without the signature, as it comes to be read in logs and listings. */
  readonly name: string;
  readonly algorithm: Algorithm;
}

/** How an upload has ended. */
type End = { readonly digest: Digest; readonly sizeBytes: number } | "cancelled";

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
  readonly #ended = boundedMap<string, End>(endedInMemory);

  constructor({ bytes, secret }: UploadsOptions) {
    this.#bytes = bytes;
    this.#secret = secret;
  }

  /** Opens a session. */
  async open(id: RepositoryId, algorithm: Algorithm): Promise<UploadState> {
    const time = Math.max(0, this.#bytes.now()).toString(36);
    const name = `${time}-${randomBytes(12).toString("hex")}-${algorithm.slice("sha".length)}`;
    return { session: `${name}-${await this.#sign(id, name)}`, receivedBytes: 0 };
  }

  /** @throws {OciError} BLOB_UPLOAD_UNKNOWN */
  async state(id: RepositoryId, session: string, limits: UploadLimits): Promise<UploadState> {
    const { name } = await this.#read(id, session, limits);
    if (this.#ended.has(session)) throw unknown();
    return { session, receivedBytes: await this.#receivedBytes(name) };
  }

  /** See `PushRegistry.addToUpload`. */
  async add(id: RepositoryId, session: string, chunk: UploadChunk, limits: UploadLimits): Promise<UploadState> {
    const opened = await this.#read(id, session, limits);
    const receivedBytes = await this.#alone(session, async (signal) => {
      if (this.#ended.has(session)) throw unknown();
      return this.#append(opened, chunk, await this.#receivedBytes(opened.name), limits, signal);
    });
    return { session, receivedBytes };
  }

  /**
   * Makes an upload the content of a digest. Where it was made so before, as the client has missed the answer, whatever
   * was to follow may have failed, and is to be done again.
   *
   * @param isDone Whether the repository has that digest already, which says the same after a restart.
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
    const opened = await this.#read(id, session, limits);
    return this.#alone(session, async (signal) => {
      const ended = this.#ended.get(session);
      if (ended !== undefined && (ended === "cancelled" || ended.digest !== digest)) throw unknown();
      const receivedBytes = await this.#receivedBytes(opened.name);
      if (ended !== undefined || (receivedBytes === 0 && !isOfNothing(digest) && (await isDone()))) {
        await readToEnd(chunk, signal);
        // A process that was killed may have left a file without bytes.
        await this.#bytes.drop(opened.name);
        return ended?.sizeBytes;
      }
      try {
        const last = chunk ?? (receivedBytes === 0 ? nothing : undefined);
        if (last !== undefined) await this.#append(opened, last, receivedBytes, limits, signal);
        return await this.#commit(opened, digest);
      } catch (error) {
        // That was all there is: a client whose request fails sends the same one again, for which nothing may be left.
        const isWhole = chunk?.start === undefined && receivedBytes === 0;
        if (isWhole && !(error instanceof TakenOver)) await this.#bytes.drop(opened.name);
        throw error;
      }
    });
  }

  /** Ends an upload of which nothing is to be kept. */
  async cancel(id: RepositoryId, session: string, limits: UploadLimits): Promise<void> {
    const { name } = await this.#read(id, session, limits);
    await this.#alone(session, async () => {
      if (this.#ended.has(session)) throw unknown();
      this.#ended.set(session, "cancelled");
      await this.#bytes.drop(name);
    });
  }

  /** Resolves when no request adds to an upload; those that do are told to end. */
  async close(): Promise<void> {
    for (const { controller } of this.#running.values()) controller.abort(new Error("the process is stopping"));
    await Promise.allSettled([...this.#running.values()].map(({ done }) => done));
  }

  async #append(
    { session, name, algorithm }: Session,
    { start, sizeBytes, bytes }: UploadChunk,
    receivedBytes: number,
    { maxChunkBytes, maxBlobBytes }: UploadLimits,
    signal: AbortSignal,
  ): Promise<number> {
    if (start !== undefined && start !== receivedBytes) throw new OutOfOrder({ session, receivedBytes });
    const assertFits = (chunkBytes: number): void => {
      if (chunkBytes > maxChunkBytes) throw tooLarge("a chunk", maxChunkBytes);
      if (receivedBytes + chunkBytes > maxBlobBytes) throw tooLarge("a blob", maxBlobBytes);
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
    return this.#bytes.append(name, algorithm, { bytes: limited(), sizeBytes, signal });
  }

  async #commit({ session, name }: Session, digest: Digest): Promise<number> {
    const sizeBytes = await this.#bytes.commit(name, digest);
    this.#ended.set(session, sizeBytes === undefined ? "cancelled" : { digest, sizeBytes });
    if (sizeBytes !== undefined) return sizeBytes;
    throw new OciError("DIGEST_INVALID", `what was received is not ${digest}`);
  }

  async #receivedBytes(name: string): Promise<number> {
    return (await this.#bytes.received(name))?.receivedBytes ?? 0;
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
    const [, name = "", time = "", bits, signature = ""] = sessionGrammar.exec(session) ?? [];
    const expected = Buffer.from(await this.#sign(id, name));
    const given = Buffer.from(signature);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw unknown();
    const algorithm = bits === "512" ? "sha512" : "sha256";
    if (this.#bytes.now() - Number.parseInt(time, 36) > expiryMs) {
      const stored = await this.#bytes.received(name);
      if (stored === undefined || this.#bytes.now() - stored.writtenAt > expiryMs) throw unknown();
    }
    return { session, name, algorithm };
  }

  async #sign({ namespace, repository }: RepositoryId, name: string): Promise<string> {
    const hmac = createHmac("sha256", await this.#secret());
    return hmac.update(`${namespace} ${repository} ${name}`).digest("hex").slice(0, 32);
  }
}

const nothing: UploadChunk = { start: undefined, sizeBytes: 0, bytes: (async function* () {})() };

/** Who sends is answered when all is sent: some clients take an earlier answer for a failure. */
async function readToEnd(chunk: UploadChunk | undefined, signal: AbortSignal): Promise<void> {
  if (chunk === undefined) return;
  for await (const _ of untilAborted(chunk.bytes, signal)) continue;
}

function tooLarge(what: string, mostBytes: number): OciError {
  return new OciError("CONTENT_TOO_LARGE", `${what} has at most ${mostBytes} bytes here`);
}

function unknown(): OciError {
  return new OciError("BLOB_UPLOAD_UNKNOWN", "there is no such upload: it has ended, has expired, or never was");
}
