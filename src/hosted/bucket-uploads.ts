import { randomUUID } from "node:crypto";
import { boundedMap } from "../concurrency/bounded-map.ts";
import { untilAborted } from "../concurrency/until-aborted.ts";
import type { Algorithm, Digest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import type { BucketStore } from "../store/bucket-store.ts";
import type { HashPool } from "../store/hashing.ts";
import { hostedDataKey, hostedUploadKey } from "../store/hosted-layout.ts";
import { type Key, PreconditionFailed, StoreError, type Version } from "../store/object-store.ts";
import { openParts } from "./bucket-parts.ts";
import {
  type BytesRecord,
  type FoundRecord,
  nothing,
  type Piece,
  readBytesRecord,
  sizeOfParts,
  type StoredParts,
} from "./bucket-records.ts";
import { TakenOver, type UploadBytes } from "./bytes.ts";
import { StreamHash } from "./stream-hash.ts";
import { writeStored } from "./stored-record.ts";

/** How often the record of an upload is written anew while a piece of it comes: by its age it expires. */
const freshMs = 10 * 60_000;
/** For how many uploads that rest it is kept how far they are hashed; others are read again when they go on. */
const mostResting = 1_024;
/** Each append writes the names of all pieces before it, and whoever asks for the content looks all of them up. */
const mostPieces = 10_000;

/** What was hashed of an upload, and the pieces that it begins with. */
interface Resting {
  readonly hash: StreamHash;
  readonly pieces: readonly Piece[];
}

/** What comes in of an append. */
interface Incoming {
  readonly hash: StreamHash;
  readonly chunks: AsyncGenerator<Uint8Array>;
  /** Why no more comes, where that is not the end. */
  failure: { readonly reason: unknown } | undefined;
}

function tooManyPieces(): OciError {
  const message = `an upload of more than ${mostPieces} requests is not taken: send larger chunks, or all in one`;
  return new OciError("BLOB_UPLOAD_INVALID", message);
}

/** Adds to the uploads of a bucket. */
export class BucketUploads {
  /** What is kept in the record: at the end, so much less goes with each of many small appends. */
  static readonly tailBytes = 64 * 1024;

  readonly #store: BucketStore;
  readonly #hashes: HashPool;
  readonly #resting = boundedMap<string, Resting>(mostResting, ({ hash }) => hash.drop());

  constructor(store: BucketStore, hashes: HashPool) {
    this.#store = store;
    this.#hashes = hashes;
  }

  /** See `HostedBytes.append`. */
  async append(session: string, algorithm: Algorithm, { bytes, signal }: UploadBytes): Promise<number> {
    signal.throwIfAborted();
    const key = hostedUploadKey(session);
    const found = await readBytesRecord(this.#store, key);
    if (found?.record.committing !== undefined || found?.record.removed === true) throw new TakenOver();
    const before: BytesRecord = found?.record ?? { ...nothing, garbage: [] };
    if (before.pieces.length >= mostPieces) throw tooManyPieces();
    const hash = await this.#hashOf(session, algorithm, before, signal);
    const incoming = receive(untilAborted(bytes, signal), hash);
    let after = before;
    try {
      const start = await readStart(incoming.chunks, Buffer.from(before.tail, "base64"));
      if (start.length > BucketUploads.tailBytes) after = await this.#addPiece(key, found, start, incoming);
      else if (hash.bytes > sizeOfParts(before)) {
        const tail = start.toString("base64");
        const record = { ...before, tail, digest: await hash.soFar() };
        after = (await writeStored(this.#store, key, record, found?.version ?? "absent")).record;
      }
    } catch (error) {
      hash.drop();
      throw error instanceof PreconditionFailed ? new TakenOver() : error;
    } finally {
      // Whoever sends is read from no more.
      await incoming.chunks.return(undefined);
    }
    // Else there is nothing that would have to be read again.
    if (after.pieces.length > 0) this.#resting.set(session, { hash, pieces: after.pieces });
    else hash.drop();
    if (incoming.failure !== undefined) throw incoming.failure.reason;
    return sizeOfParts(after);
  }

  /**
   * The digest of what is stored, which is read for it.
   *
   * @throws {StoreError}
   */
  async digestOf(parts: StoredParts, algorithm: Algorithm): Promise<Digest> {
    const hash = new StreamHash(this.#hashes, algorithm);
    try {
      await this.#catchUp(hash, parts, new AbortController().signal);
      const digest = await hash.soFar();
      if (digest === undefined) throw new StoreError("what was received could not be hashed", undefined);
      return digest;
    } finally {
      hash.drop();
    }
  }

  /** Gives up what is known of an upload. */
  forget(session: string): void {
    this.#resting.get(session)?.hash.drop();
    this.#resting.delete(session);
  }

  close(): void {
    for (const session of this.#resting.keys()) this.forget(session);
  }

  /**
   * Adds what comes as one object that begins with `start`.
   *
   * @throws {PreconditionFailed} another instance goes on with the upload, and nothing was added.
   */
  async #addPiece(
    key: Key,
    found: FoundRecord | undefined,
    start: Buffer,
    { hash, chunks }: Incoming,
  ): Promise<BytesRecord> {
    const store = this.#store;
    const before = found?.record ?? { ...nothing, garbage: [] };
    const name = randomUUID();
    // Who writes the record last has the upload: this is told before anything is stored.
    const claimed = { ...before, garbage: [...before.garbage, name] };
    let claim = await writeStored(store, key, claimed, found?.version ?? "absent");
    let sizeBytes = start.length;
    async function* piece(): AsyncGenerator<Uint8Array> {
      yield start;
      for await (const chunk of chunks) {
        sizeBytes += chunk.length;
        yield chunk;
        if (store.now() - claim.writtenAt < freshMs) continue;
        claim = await writeStored(store, key, claimed, claim.version);
      }
    }
    try {
      // It is ended by its source, so that what has come is kept.
      await store.upload(hostedDataKey(name), piece(), { signal: new AbortController().signal });
      const pieces = [...before.pieces, { name, sizeBytes }];
      const record = { pieces, tail: "", garbage: before.garbage, digest: await hash.soFar() };
      return (await writeStored(store, key, record, claim.version)).record;
    } catch (error) {
      // Else the record names it: who ends the upload removes it.
      if (error instanceof PreconditionFailed) await store.delete(hostedDataKey(name)).catch(() => undefined);
      throw error;
    }
  }

  /** A hash of all that is stored of an upload: what it lacks is read. */
  async #hashOf(session: string, algorithm: Algorithm, parts: StoredParts, signal: AbortSignal): Promise<StreamHash> {
    const resting = this.#resting.get(session);
    this.#resting.delete(session);
    const isOfThese = resting?.pieces.every(({ name }, index) => name === parts.pieces[index]?.name);
    const isUsable = isOfThese === true && (resting?.hash.bytes ?? 0) <= sizeOfParts(parts);
    if (!isUsable) resting?.hash.drop();
    const hash = isUsable && resting !== undefined ? resting.hash : new StreamHash(this.#hashes, algorithm);
    try {
      await this.#catchUp(hash, parts, signal);
    } catch (error) {
      hash.drop();
      throw error;
    }
    return hash;
  }

  async #catchUp(hash: StreamHash, parts: StoredParts, signal: AbortSignal): Promise<void> {
    const end = sizeOfParts(parts);
    if (hash.bytes === end) return;
    const object = await openParts(this.#store, parts, "" as Version);
    if (object === undefined) throw new StoreError("a piece of what was received is missing", undefined);
    try {
      const missing = object.read({ start: hash.bytes, end });
      for await (const chunk of untilAborted(missing, signal)) await hash.take(chunk);
    } finally {
      await object.close();
    }
  }
}

/** Hashes what comes on its way. Its chunks end where their source fails. */
function receive(bytes: AsyncIterable<Uint8Array>, hash: StreamHash): Incoming {
  async function* chunks(): AsyncGenerator<Uint8Array> {
    try {
      for await (const chunk of bytes) {
        await hash.take(chunk);
        yield chunk;
      }
    } catch (reason) {
      incoming.failure = { reason };
    }
  }
  const incoming: Incoming = { hash, chunks: chunks(), failure: undefined };
  return incoming;
}

/** `head`, and what comes until there is more than a tail; less than that is all. */
async function readStart(chunks: AsyncGenerator<Uint8Array>, head: Buffer): Promise<Buffer> {
  const parts = [head];
  let length = head.length;
  while (length <= BucketUploads.tailBytes) {
    const next = await chunks.next();
    if (next.done === true) break;
    parts.push(Buffer.from(next.value));
    length += next.value.length;
  }
  return Buffer.concat(parts, length);
}
