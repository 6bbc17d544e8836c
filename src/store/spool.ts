import { randomUUID } from "node:crypto";
import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { Changes } from "../concurrency/changes.ts";
import type { BufferPool } from "./buffers.ts";
import { type OpenObject, type Span, type Staged, StoreError, type Version } from "./object-store.ts";
import { Segments } from "./segments.ts";
import { SpoolWindow } from "./spool-window.ts";

/** How a spool keeps to its bounds. */
export interface SpoolOptions {
  /** The newest bytes that are kept in memory for readers that keep pace; each chunk counts for some bytes more. */
  readonly windowBytes: number;
  /**
   * Once the file takes no more: for how long the writer waits for readers before they must have taken a quarter of the
   * window, in milliseconds.
   */
  readonly laggardMs: number;
  readonly pool: BufferPool;
}

/** The share of the window that readers must take in `laggardMs`. */
const leastShare = 1 / 4;

/** A reader's place in a spool; from `attach` to `leave`. */
export interface SpoolReader {
  position: number;
}

/**
 * A staging file that is read while it grows, by any number of readers, each at its own speed.
 *
 * The newest bytes also stay in memory (the *window*): readers that keep pace share those buffers, readers that do not
 * read the file. When the file fails (a full disk), or is not to grow, the bytes go on through the window alone: the
 * spool is *detached*, `write` waits for the readers, and one that holds it up for too long loses its place.
 *
 * States: growing, then `end()` or `fail()`; `discard()` last, by the owner, once.
 */
export class Spool {
  /** The staging file's path; the file is made by the first `write`. */
  readonly path: string;
  #file: FileHandle | undefined;
  #opening: Promise<FileHandle> | undefined;
  readonly #options: SpoolOptions;
  readonly #segments = new Segments();
  readonly #readers = new Set<SpoolReader>();
  readonly #changes = new Changes();
  readonly #window: SpoolWindow;
  /** How far the file holds bytes without a gap. */
  #filedBytes = 0;
  /** The end of the newest byte that came in order. */
  #arrivedBytes = 0;
  #detached: StoreError | undefined;
  /** Until when the writer waits for its readers, and what it has written since it began to. */
  #patience: { readonly deadline: AbortSignal; bytes: number } | undefined;
  #ended = false;
  #failure: Error | undefined;
  #discarded = false;

  /** A spool whose staging file lies in `folder`. */
  constructor(folder: string, options: SpoolOptions) {
    this.path = join(folder, randomUUID());
    this.#options = options;
    this.#window = new SpoolWindow(options.windowBytes);
  }

  /** Why the file does not hold all bytes, where it does not: such a spool cannot be stored. */
  get detached(): StoreError | undefined {
    return this.#detached;
  }

  /** How many bytes the file holds from the start on without a gap. */
  get filedBytes(): number {
    return this.#filedBytes;
  }

  /** Whether somebody reads it, or is about to, who has not lost its place. */
  get hasReaders(): boolean {
    return [...this.#readers].some(({ position }) => this.servesFrom(position));
  }

  /** Whether a reader that begins at `position` can get every byte from there on. */
  servesFrom(position: number): boolean {
    if (position >= this.#windowStart()) return true;
    // Once it is discarded, the last reader has closed the file; who comes then finds only what is in memory.
    if (this.#discarded && this.#file === undefined) return false;
    return this.#detached === undefined || this.#windowStart() <= this.#filedBytes;
  }

  /**
   * Adds bytes at `offset`; the spool keeps `bytes`, which must not change afterwards. Resolves when they may be read
   * and there is room for more. Bytes out of order need the file: on a detached spool they throw.
   *
   * @throws the reason of `signal`, when a detached spool waits for its readers.
   */
  async write(offset: number, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    const inOrder = offset === this.#arrivedBytes;
    if (inOrder) {
      this.#window.add(offset, bytes);
      this.#arrivedBytes = this.#segments.endFrom(offset + bytes.length);
      this.#changes.tell();
    }
    if (this.#detached === undefined) await this.#writeToFile(offset, bytes);
    if (this.#detached !== undefined) {
      if (!inOrder) throw this.#detached;
      if (this.#patience !== undefined) this.#patience.bytes += bytes.length;
      await this.#makeRoom(signal);
    }
    this.#trim();
    if (!inOrder) this.#changes.tell();
  }

  /**
   * From now on the file takes no more bytes, as if it had failed with `reason`; what it holds stays readable. Only the
   * first reason counts.
   */
  detach(reason: StoreError): void {
    this.#detached ??= reason;
  }

  /** Every byte is here. */
  end(): void {
    this.#ended = true;
    this.#changes.tell();
  }

  /** No more bytes will come; readers get `error` when they have read what is here. */
  fail(error: Error): void {
    this.#failure = error;
    this.#changes.tell();
  }

  /**
   * Takes a place at the start, so that a detached spool keeps the bytes until this reader has begun. Who attaches must
   * `leave`.
   */
  attach(): SpoolReader {
    const reader: SpoolReader = { position: 0 };
    this.#readers.add(reader);
    return reader;
  }

  /** Gives the place up; the last reader of a discarded spool closes its file. */
  async leave(reader: SpoolReader): Promise<void> {
    this.#readers.delete(reader);
    this.#tellWriter();
    if (this.#discarded && this.#readers.size === 0) await this.#closeFile();
  }

  /**
   * The bytes of `span` as they arrive; `span.end` may lie beyond the end where the size is not known yet. A chunk is
   * valid until the next one is asked for. When `signal` aborts, the iteration ends with its reason.
   */
  async *read(reader: SpoolReader, span: Span, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    reader.position = span.start;
    this.#tellWriter();
    while (reader.position < span.end) {
      signal.throwIfAborted();
      const chunk = this.#window.at(reader.position, span.end);
      if (chunk !== undefined) {
        yield chunk;
        reader.position += chunk.length;
        this.#tellWriter();
      } else if (this.#segments.endFrom(reader.position) > reader.position) {
        yield* this.#fromFile(reader, span.end);
      } else if (this.#failure !== undefined) {
        throw this.#failure;
      } else if (this.#ended && reader.position >= this.#arrivedBytes) {
        return;
      } else if (reader.position < this.#windowStart()) {
        throw new StoreError("the reader was too slow for a disk that is full", this.#detached);
      } else {
        await this.#changes.next(signal);
      }
    }
    // It may keep its place for long (its answer's last bytes wait for the digest), but no byte is kept for it.
    reader.position = Infinity;
    this.#tellWriter();
  }

  /** The file with all its bytes, once it holds them; it can be opened until it is discarded. */
  staged(sizeBytes: number): Staged {
    return { path: this.path, sizeBytes, open: async () => this.#openStaged(sizeBytes) };
  }

  /**
   * Gives the file up and removes it, unless a store has taken it to itself. Readers that are there go on: the last one
   * closes it.
   */
  async discard(): Promise<void> {
    this.#discarded = true;
    // A first write may be making it.
    await this.#opening?.catch(() => undefined);
    if (this.#readers.size === 0) await this.#closeFile();
    await rm(this.path, { force: true }).catch(() => undefined);
  }

  async #writeToFile(offset: number, bytes: Uint8Array): Promise<void> {
    try {
      // Several first writes may be under way: the file is made once.
      this.#opening ??= open(this.path, "wx+");
      const file = (this.#file ??= await this.#opening);
      for (let done = 0; done < bytes.length;) {
        done += (await file.write(bytes, done, bytes.length - done, offset + done)).bytesWritten;
      }
      // Detached meanwhile: who was told so takes no byte from then on to be in the file.
      if (this.#detached !== undefined) return;
      this.#segments.add({ start: offset, end: offset + bytes.length });
      this.#filedBytes = this.#segments.contiguousBytes;
      this.#arrivedBytes = Math.max(this.#arrivedBytes, this.#filedBytes);
    } catch (error) {
      this.detach(new StoreError("the staging file could not be written", error));
    }
  }

  /**
   * Waits until the window has room again: until its oldest bytes were read by all who still can, or those who have not
   * have had their time. It is not theirs alone: the upstream's connection waits with them.
   */
  async #makeRoom(signal: AbortSignal): Promise<void> {
    // One that passed while nobody was waited for says nothing of anybody.
    if (this.#patience?.deadline.aborted === true) this.#patience = undefined;
    let isOver = false;
    for (this.#trim(); this.#window.isFull;) {
      signal.throwIfAborted();
      const { oldest } = this.#window;
      if (oldest === undefined) return;
      const fromFile = oldest.start <= this.#filedBytes;
      // Who is behind what is left has lost its place: it is waited for once, not with every write.
      const needed = [...this.#readers].some(
        ({ position }) => position < oldest.end && (fromFile || position >= oldest.start),
      );
      if (!needed || isOver) {
        this.#window.dropOldest();
        continue;
      }
      this.#patience ??= { deadline: AbortSignal.timeout(this.#options.laggardMs), bytes: 0 };
      const { deadline, bytes } = this.#patience;
      await this.#changes.next(AbortSignal.any([signal, deadline])).catch((error: unknown) => {
        if (signal.aborted) throw error;
      });
      if (!deadline.aborted) continue;
      isOver = bytes < this.#options.windowBytes * leastShare;
      this.#patience = undefined;
    }
  }

  /** Drops what is over the window's size and safe in the file. */
  #trim(): void {
    while (this.#window.isFull && (this.#window.oldest?.end ?? Infinity) <= this.#filedBytes) this.#window.dropOldest();
  }

  #windowStart(): number {
    return this.#window.oldest?.start ?? this.#arrivedBytes;
  }

  #openStaged(sizeBytes: number): OpenObject {
    const reader = this.attach();
    return {
      sizeBytes,
      version: this.path as Version,
      read: (span) => this.read(reader, span, AbortSignal.any([])),
      close: () => this.leave(reader),
    };
  }

  async *#fromFile(reader: SpoolReader, end: number): AsyncGenerator<Uint8Array> {
    const file = this.#file;
    if (file === undefined) throw new StoreError("the staging file is closed already", undefined);
    const available = Math.min(end, this.#segments.endFrom(reader.position)) - reader.position;
    const buffer = this.#options.pool.acquire(available);
    try {
      const wanted = Math.min(buffer.length, available);
      const { bytesRead } = await file.read(buffer, 0, wanted, reader.position);
      if (bytesRead === 0) throw new StoreError("the staging file is shorter than what was written to it", undefined);
      yield buffer.subarray(0, bytesRead);
      reader.position += bytesRead;
    } catch (error) {
      throw error instanceof StoreError ? error : new StoreError("the staging file could not be read", error);
    } finally {
      this.#options.pool.release(buffer);
    }
  }

  async #closeFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    // What matters was flushed by the store; a failing close of the staging file loses nothing.
    await file?.close().catch(() => undefined);
  }

  /** A place has changed: the writer of a detached spool waits for that. */
  #tellWriter(): void {
    if (this.#detached !== undefined) this.#changes.tell();
  }
}
