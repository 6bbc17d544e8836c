import type { Algorithm, Digest } from "../oci/digest.ts";
import type { HashPool, RunningHash } from "../store/hashing.ts";
import type { Spool } from "../store/spool.ts";

const stepBytes = 1024 * 1024;

/**
 * Hashes what a spool has taken, behind its writer: what the file holds in a thread that reads it, and what the file does
 * not take any more from memory. It must be dropped.
 */
export class FillHash {
  readonly #hashes: HashPool;
  readonly #algorithm: Algorithm;
  readonly #spool: Spool;
  readonly #running: RunningHash;
  #hashedBytes = 0;

  constructor(hashes: HashPool, algorithm: Algorithm, spool: Spool) {
    this.#hashes = hashes;
    this.#algorithm = algorithm;
    this.#spool = spool;
    this.#running = hashes.start(algorithm);
  }

  /** Takes the chunk that was written last, and ends at `end`; resolves when there may be another one. */
  async take(chunk: Uint8Array, end: number): Promise<void> {
    if (this.#spool.detached === undefined) {
      if (end - this.#hashedBytes >= stepBytes) this.catchUp();
      return;
    }
    this.catchUp();
    this.#hashedBytes = end;
    await this.#running.bytes(chunk);
  }

  /** Has all that the file holds hashed now, as no more comes soon. */
  catchUp(): void {
    const { path, filedBytes } = this.#spool;
    if (filedBytes <= this.#hashedBytes) return;
    this.#running.file(path, filedBytes);
    this.#hashedBytes = filedBytes;
  }

  /** The digest of all of it; where the thread could not read the file, or has ended, from the bytes that are read `again`. */
  async digest(again: AsyncIterable<Uint8Array>): Promise<Digest> {
    return this.#running.digest().catch(async () => {
      const hash = this.#hashes.start(this.#algorithm);
      try {
        for await (const chunk of again) await hash.bytes(chunk);
        return await hash.digest();
      } finally {
        hash.drop();
      }
    });
  }

  drop(): void {
    this.#running.drop();
  }
}
