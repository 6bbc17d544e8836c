import type { FileHandle } from "node:fs/promises";
import { KeyedQueue } from "../concurrency/keyed-queue.ts";
import { chargedBytes } from "../ledger/ledger.ts";
import type { Namespace } from "../oci/reference.ts";
import { limitError } from "../registry/bookkeeping.ts";
import type { Reservation, Space } from "../registry/space.ts";
import type { FilesystemStore } from "../store/filesystem.ts";
import { hostedPrefix } from "../store/hosted-layout.ts";
import type { StoredFile } from "../store/local-upkeep.ts";
import {
  type DatedStore,
  type Key,
  type ListOptions,
  type OpenObject,
  type PutOptions,
  sizeOf,
  type Source,
  type Staged,
  type Version,
} from "../store/object-store.ts";

/** What was written so lately need not be made young. */
const youngMs = 60_000;
/** Whose room it is that is set aside here, for whichever namespace: none that is mirrored, whose limit it would count for. */
export const hostedRoom: Namespace = "" as Namespace;

/**
 * What is hosted in the store's folder. All of it is written through here: room is set aside for it first, for which
 * cached content may have to go, and what it comes to is known.
 */
export class HostedFiles implements DatedStore {
  readonly #files: FilesystemStore;
  readonly #space: Pick<Space, "acquire">;
  /** What changes, one after the other for each key: so that what was there before is known. */
  readonly #changing = new KeyedQueue<Key>();
  #bytes = 0;
  /** How far the count has come. */
  #countedUpTo = "" as Key;
  /** While it is being counted: what has changed behind that, and what it comes to now. */
  #changedAhead: Map<Key, number> | undefined;
  #isCounted = false;

  constructor(files: FilesystemStore, space: Pick<Space, "acquire">) {
    this.#files = files;
    this.#space = space;
  }

  /** What is hosted comes to, in charged bytes; `undefined` until it was counted. */
  get bytes(): number | undefined {
    return this.#isCounted ? this.#bytes : undefined;
  }

  /**
   * Counts what is there, once, while it changes: nothing may be changing when it begins. What cannot be looked up is left
   * out.
   *
   * @throws {StoreError} a failure to list more than that: nothing is counted, and it may be tried again.
   */
  async count(): Promise<void> {
    const changed = new Map<Key, number>();
    this.#changedAhead = changed;
    this.#countedUpTo = "" as Key;
    this.#bytes = 0;
    try {
      const listed = this.#files.caretaker.list(hostedPrefix, { onUnreadable: () => undefined });
      for await (const { key, sizeBytes } of listed) {
        this.#countedUpTo = key;
        if (!changed.has(key)) this.#bytes += chargedBytes(sizeBytes);
      }
      for (const bytes of changed.values()) this.#bytes += bytes;
      this.#isCounted = true;
    } finally {
      // Else it would grow with all that is ever written.
      this.#changedAhead = undefined;
    }
  }

  /**
   * Notes how large an object is; `undefined` where there is none. It is noted as it is before it changes, too, so that
   * the count does not come upon what is noted later.
   */
  note(key: Key, before: number | undefined, after: number | undefined): void {
    const bytes = after === undefined ? 0 : chargedBytes(after);
    const ahead = this.#changedAhead;
    if (ahead !== undefined && (key > this.#countedUpTo || ahead.has(key))) ahead.set(key, bytes);
    else this.#bytes += bytes - (before === undefined ? 0 : chargedBytes(before));
  }

  /**
   * Sets room aside, in whole blocks; who gets it releases it.
   *
   * @throws {StoreError} `limitReached`: there is no room, nor could any be made.
   * @throws the reason of `signal`.
   */
  async reserve(sizeBytes: number, signal?: AbortSignal): Promise<Reservation> {
    const room = await this.#space.acquire(hostedRoom, chargedBytes(sizeBytes), signal);
    if (room !== undefined) return room;
    signal?.throwIfAborted();
    throw limitError(`there is no room for ${sizeBytes} bytes of what is pushed`);
  }

  head(key: Key): Promise<StoredFile | undefined> {
    return this.#files.head(key);
  }

  get(key: Key): Promise<OpenObject | undefined> {
    return this.#files.get(key);
  }

  list(prefix: Key, options?: ListOptions): AsyncIterable<StoredFile> {
    return this.#files.list(prefix, options);
  }

  /** @throws {StoreError} `limitReached` where there is no room, too. */
  async put(key: Key, source: Source, options: PutOptions = {}): Promise<Version> {
    const room = await this.reserve(sizeOf(source));
    try {
      return await this.#replace(key, source, options);
    } finally {
      room.release();
    }
  }

  async delete(key: Key, options: { readonly if?: Version } = {}): Promise<void> {
    await this.#changing.run(key, async () => {
      const before = (await this.#files.head(key))?.sizeBytes;
      this.note(key, before, before);
      await this.#files.delete(key, options);
      this.note(key, before, undefined);
    });
  }

  /** See `LocalUpkeep`. */
  renew(key: Key): Promise<boolean> {
    return this.#files.renew(key);
  }

  /** See `FilesystemStore`. What is written to it is to be reserved, and noted, by who writes. */
  openUpload(session: string): Promise<{ readonly path: string; readonly file: FileHandle }> {
    return this.#files.openUpload(session);
  }

  /** See `FilesystemStore`. */
  stagedUpload(session: string): Promise<(Staged & StoredFile) | undefined> {
    return this.#files.stagedUpload(session);
  }

  /** Makes the file of an upload, which takes no more room for that, an object: about as young as if it were written now. */
  async adoptUpload(staged: Staged & StoredFile, key: Key): Promise<void> {
    if (this.now() - staged.writtenAt > youngMs) await this.#files.renew(staged.key);
    this.note(staged.key, staged.sizeBytes, staged.sizeBytes);
    await this.#replace(key, staged, {});
    this.note(staged.key, staged.sizeBytes, undefined);
  }

  now(): number {
    return this.#files.now();
  }

  /** Resolves when nothing is being changed; the folder itself is somebody else's. */
  async close(): Promise<void> {
    await this.#changing.idle();
  }

  #replace(key: Key, source: Source, options: PutOptions): Promise<Version> {
    return this.#changing.run(key, async () => {
      const before = (await this.#files.head(key))?.sizeBytes;
      this.note(key, before, before);
      const version = await this.#files.put(key, source, options);
      this.note(key, before, sizeOf(source));
      return version;
    });
  }
}
