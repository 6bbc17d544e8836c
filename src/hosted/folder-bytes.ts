import { boundedMap } from "../concurrency/bounded-map.ts";
import { KeyedQueue } from "../concurrency/keyed-queue.ts";
import { untilAborted } from "../concurrency/until-aborted.ts";
import { type Algorithm, algorithmOf, type Digest, isOfNothing } from "../oci/digest.ts";
import type { BufferPool } from "../store/buffers.ts";
import type { HashPool } from "../store/hashing.ts";
import {
  digestOfHostedBlob,
  hostedBlobKey,
  hostedBlobsPrefix,
  hostedUploadKey,
  hostedUploadsPrefix,
} from "../store/hosted-layout.ts";
import type { StoredFile } from "../store/local-upkeep.ts";
import { deleteUnchanged, type OpenObject, type Staged, StoreError } from "../store/object-store.ts";
import type { HostedBytes, ListedContent, StoredContent, StoredUpload, UploadBytes } from "./bytes.ts";
import { FileAppender } from "./file-appender.ts";
import type { HostedFiles } from "./hosted-files.ts";
import { UploadHash } from "./upload-hash.ts";
import { UploadRoom } from "./upload-room.ts";

/** For how many uploads that rest it is kept how far they are hashed; others are read again when they go on. */
const mostResting = 1_024;

/** What hosted bytes in a folder are made of; none of it is closed with them. */
export interface FolderBytesOptions {
  readonly files: HostedFiles;
  readonly hashes: HashPool;
  readonly pool: BufferPool;
}

/**
 * Hosted bytes in the store's folder: content is a file of its digest's name. An upload is a file that grows, is hashed
 * meanwhile, and is moved to that name in the end.
 */
export class FolderBytes implements HostedBytes {
  readonly #files: HostedFiles;
  readonly #hashes: HashPool;
  readonly #pool: BufferPool;
  /** What concerns an upload is done one after the other. */
  readonly #turns = new KeyedQueue<string>();
  /** The hashes of uploads to which nothing is being added. */
  readonly #resting = boundedMap<string, UploadHash>(mostResting, (hash) => hash.drop());

  constructor({ files, hashes, pool }: FolderBytesOptions) {
    this.#files = files;
    this.#hashes = hashes;
    this.#pool = pool;
  }

  async stat(digest: Digest): Promise<StoredContent | undefined> {
    const found = await this.#files.head(hostedBlobKey(digest));
    return found && contentOf(digest, found);
  }

  open(digest: Digest): Promise<OpenObject | undefined> {
    return this.#files.get(hostedBlobKey(digest));
  }

  async put(digest: Digest, bytes: Uint8Array): Promise<void> {
    if (await this.#renewStored(digest, bytes.length)) return;
    await this.#files.put(hostedBlobKey(digest), bytes);
  }

  async renew(digest: Digest, maxAgeMs: number): Promise<boolean> {
    const found = await this.stat(digest);
    if (found === undefined) return false;
    return Math.max(0, this.now() - found.writtenAt) < maxAgeMs || this.#files.renew(hostedBlobKey(digest));
  }

  async *list(): AsyncGenerator<ListedContent> {
    for await (const found of this.#files.list(hostedBlobsPrefix)) {
      const digest = digestOfHostedBlob(found.key);
      if (digest !== undefined) yield contentOf(digest, found);
    }
  }

  remove({ digest, version }: ListedContent): Promise<boolean> {
    return deleteUnchanged(this.#files, hostedBlobKey(digest), version);
  }

  async received(session: string): Promise<StoredUpload | undefined> {
    const found = await this.#files.head(hostedUploadKey(session));
    return found && uploadOf(found);
  }

  append(session: string, algorithm: Algorithm, chunk: UploadBytes): Promise<number> {
    return this.#turns.run(session, () => this.#append(session, algorithm, chunk));
  }

  commit(session: string, digest: Digest): Promise<number | undefined> {
    return this.#turns.run(session, async () => {
      const staged = await this.#files.stagedUpload(session);
      const hash = this.#takeHash(session, staged?.sizeBytes);
      if (staged === undefined) {
        if (!isOfNothing(digest)) return undefined;
        if (!(await this.#renewStored(digest, 0))) await this.#files.put(hostedBlobKey(digest), new Uint8Array(0));
        return 0;
      }
      const isRight = (await this.#digestOf(staged, hash, algorithmOf(digest))) === digest;
      if (!isRight || (await this.#renewStored(digest, staged.sizeBytes))) {
        await this.#files.delete(staged.key);
      } else {
        await this.#files.adoptUpload(staged, hostedBlobKey(digest));
      }
      return isRight ? staged.sizeBytes : undefined;
    });
  }

  async drop(session: string): Promise<void> {
    await this.#turns.run(session, async () => {
      this.#takeHash(session, undefined);
      await this.#files.delete(hostedUploadKey(session));
    });
  }

  async *uploads(): AsyncGenerator<StoredUpload> {
    for await (const found of this.#files.list(hostedUploadsPrefix)) yield uploadOf(found);
  }

  now(): number {
    return this.#files.now();
  }

  async close(): Promise<void> {
    await this.#turns.idle();
    for (const session of this.#resting.keys()) this.#takeHash(session, undefined);
  }

  async #append(session: string, algorithm: Algorithm, chunk: UploadBytes): Promise<number> {
    const { bytes, sizeBytes, signal } = chunk;
    signal.throwIfAborted();
    const key = hostedUploadKey(session);
    const before = (await this.#files.head(key))?.sizeBytes;
    const start = before ?? 0;
    this.#files.note(key, before, before);
    const { path, file: opened } = await this.#files.openUpload(session);
    await using file = opened;
    const hash = this.#takeHash(session, start) ?? new UploadHash(this.#hashes, algorithm, path, start, sizeBytes ?? 0);
    const room = new UploadRoom(this.#files, sizeBytes);
    const appender = new FileAppender({
      file,
      position: start,
      pool: this.#pool,
      sizeBytes,
      onWritten: (written, end) => {
        hash.take(written, end);
        room.noteWritten(written.length);
      },
    });
    try {
      let received = 0;
      try {
        for await (const piece of untilAborted(bytes, signal)) {
          received += piece.length;
          await room.cover(received, signal);
          await appender.add(piece);
        }
      } finally {
        await appender.end();
      }
    } finally {
      // A write that failed may have left a part of its bytes.
      const { size } = await file.stat().catch(() => ({ size: hash.bytes }));
      this.#files.note(key, before, size);
      room.release();
      hash.rest();
      this.#resting.set(session, hash);
    }
    return hash.bytes;
  }

  /** The digest of what was received; where `hash` is none of it, or has failed, it is read again. */
  async #digestOf(staged: Staged, hash: UploadHash | undefined, algorithm: Algorithm): Promise<Digest> {
    if (hash?.algorithm === algorithm) {
      const digest = await hash.digest().catch(() => undefined);
      if (digest !== undefined) return digest;
    }
    hash?.drop();
    try {
      return await new UploadHash(this.#hashes, algorithm, staged.path, staged.sizeBytes, 0).digest();
    } catch (error) {
      throw new StoreError("what was received could not be read", error);
    }
  }

  /** Whether content was there, of this size, and is young now. */
  async #renewStored(digest: Digest, sizeBytes: number): Promise<boolean> {
    const found = await this.stat(digest);
    return found?.sizeBytes === sizeBytes && (await this.#files.renew(hostedBlobKey(digest)));
  }

  /** The hash of an upload that has so many bytes; one of other bytes is dropped. */
  #takeHash(session: string, bytes: number | undefined): UploadHash | undefined {
    const hash = this.#resting.get(session);
    this.#resting.delete(session);
    if (hash === undefined || hash.bytes === bytes) return hash;
    hash.drop();
    return undefined;
  }
}

function contentOf(digest: Digest, { sizeBytes, version, writtenAt }: StoredFile): StoredContent {
  return { digest, sizeBytes, version, writtenAt };
}

function uploadOf({ key, sizeBytes, writtenAt }: StoredFile): StoredUpload {
  return { session: key.slice(hostedUploadsPrefix.length + 1), receivedBytes: sizeBytes, writtenAt };
}
