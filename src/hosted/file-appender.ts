import type { FileHandle } from "node:fs/promises";
import type { BufferPool } from "../store/buffers.ts";
import { errorOf, StoreError } from "../store/object-store.ts";

const bufferBytes = 1024 * 1024;
/** So much may be written and not flushed: what is left of it is flushed when somebody waits for that. */
const unflushedBytes = 64 * 1024 * 1024;

/** What a file is written with. */
export interface FileAppenderOptions {
  readonly file: FileHandle;
  /** Where the file ends. */
  readonly position: number;
  readonly pool: BufferPool;
  /** How many bytes come, where that is known. */
  readonly sizeBytes: number | undefined;
  /** Told of what was written, in order, with where it ends; the bytes are valid for the call. */
  readonly onWritten: (bytes: Uint8Array, end: number) => void;
}

/**
 * Writes what comes to the end of a file, in few system calls: what comes while one runs is written with the next one.
 * It must be ended.
 */
export class FileAppender {
  readonly #options: FileAppenderOptions;
  readonly #lent: Buffer[] = [];
  readonly #spare: Buffer[] = [];
  #filling: Buffer | undefined;
  #filledBytes = 0;
  #position: number;
  #writing: Promise<void> | undefined;
  #flushing: Promise<void> | undefined;
  #unflushedBytes = 0;
  #failure: Error | undefined;
  #isLost = false;

  constructor(options: FileAppenderOptions) {
    this.#options = options;
    this.#position = options.position;
  }

  /**
   * Takes a copy of bytes; resolves when there may be more.
   *
   * @throws {StoreError} bytes that came before could not be written.
   */
  async add(bytes: Uint8Array): Promise<void> {
    for (let taken = 0; taken < bytes.length;) {
      if (this.#failure !== undefined) throw this.#failure;
      this.#filling ??= this.#nextBuffer();
      if (this.#filling === undefined || this.#filledBytes === this.#filling.length) {
        await this.#writing;
        continue;
      }
      const piece = bytes.subarray(taken, taken + this.#filling.length - this.#filledBytes);
      this.#filling.set(piece, this.#filledBytes);
      this.#filledBytes += piece.length;
      taken += piece.length;
      this.#write();
    }
  }

  /**
   * Resolves when all that was added is in the file.
   *
   * @throws {StoreError} not all of it is; what is in the file is the beginning, if anything.
   */
  async end(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
    await this.#flushing;
    // That it could not be flushed is told only once: who flushes the file later would take for safe what is lost.
    if (this.#isLost) await this.#options.file.truncate(0).catch(() => undefined);
    for (const buffer of this.#lent.splice(0)) this.#options.pool.release(buffer);
    if (this.#failure !== undefined) throw this.#failure;
  }

  #nextBuffer(): Buffer | undefined {
    const spare = this.#spare.pop();
    if (spare !== undefined || this.#lent.length === 2) return spare;
    const buffer = this.#options.pool.acquire(Math.min(bufferBytes, this.#options.sizeBytes ?? bufferBytes));
    this.#lent.push(buffer);
    return buffer;
  }

  /** Begins to write what is there, where nothing is being written. */
  #write(): void {
    const buffer = this.#filling;
    if (buffer === undefined || this.#filledBytes === 0) return;
    if (this.#writing !== undefined || this.#failure !== undefined) return;
    const bytes = buffer.subarray(0, this.#filledBytes);
    this.#filling = undefined;
    this.#filledBytes = 0;
    this.#writing = this.#writeAll(bytes).then(
      () => {
        this.#writing = undefined;
        this.#spare.push(buffer);
        this.#write();
      },
      (error: unknown) => {
        this.#writing = undefined;
        this.#failure ??= new StoreError("what was received could not be written", errorOf(error));
      },
    );
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    const { file, onWritten } = this.#options;
    for (let done = 0; done < bytes.length;) {
      done += (await file.write(bytes, done, bytes.length - done, this.#position + done)).bytesWritten;
    }
    this.#position += bytes.length;
    onWritten(bytes, this.#position);
    this.#unflushedBytes += bytes.length;
    if (this.#unflushedBytes >= unflushedBytes) this.#flush();
  }

  #flush(): void {
    if (this.#flushing !== undefined) return;
    const { file } = this.#options;
    this.#unflushedBytes = 0;
    this.#flushing = file
      .datasync()
      .catch((error: unknown) => {
        this.#failure ??= new StoreError("what was received could not be flushed", errorOf(error));
        this.#isLost = true;
      })
      .finally(() => (this.#flushing = undefined));
  }
}
