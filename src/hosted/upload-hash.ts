import { type Algorithm, createHasher, type Digest, formatDigest } from "../oci/digest.ts";
import type { HashPool, RunningHash } from "../store/hashing.ts";
import type { Hash } from "node:crypto";

/** What is hashed where it arrives: for less, a thread is not worth its messages. */
const hereBytes = 1024 * 1024;
const stepBytes = 1024 * 1024;

/**
 * Hashes the file of an upload while it grows: little in this thread, more in one of the pool's, which reads the file
 * behind its writer. Nothing is open while it rests. It must be dropped, unless its digest was asked for.
 */
export class UploadHash {
  readonly algorithm: Algorithm;
  readonly #hashes: HashPool;
  readonly #path: string;
  #here: Hash | undefined;
  #running: RunningHash | undefined;
  #takenBytes = 0;
  #toldBytes = 0;

  /**
   * @param path The file.
   * @param startBytes What it holds already.
   * @param moreBytes What is known to come.
   */
  constructor(hashes: HashPool, algorithm: Algorithm, path: string, startBytes: number, moreBytes: number) {
    this.#hashes = hashes;
    this.algorithm = algorithm;
    this.#path = path;
    if (startBytes === 0 && moreBytes <= hereBytes) this.#here = createHasher(algorithm);
    this.#takenBytes = startBytes;
    if (startBytes > 0) this.#tell();
  }

  /** How many bytes it is of. */
  get bytes(): number {
    return this.#takenBytes;
  }

  /** Takes bytes that were written to the file, and end at `end` in it. */
  take(bytes: Uint8Array, end: number): void {
    this.#takenBytes = end;
    if (end <= hereBytes && this.#here !== undefined) this.#here.update(bytes);
    else if (end - this.#toldBytes >= stepBytes) this.#tell();
  }

  /** Closes the file until more comes. */
  rest(): void {
    if (this.#here !== undefined) return;
    if (this.#takenBytes > this.#toldBytes) this.#tell();
    this.#running?.rest();
  }

  /**
   * The digest of all of it, which ends the hash.
   *
   * @throws the thread could not read the file, or has ended.
   */
  async digest(): Promise<Digest> {
    if (this.#here !== undefined) return formatDigest(this.algorithm, this.#here.digest("hex"));
    return this.#tell().digest();
  }

  drop(): void {
    this.#running?.drop();
  }

  /** Has all that the file holds hashed by a thread. */
  #tell(): RunningHash {
    this.#here = undefined;
    const running = (this.#running ??= this.#hashes.start(this.algorithm));
    running.file(this.#path, this.#takenBytes);
    this.#toldBytes = this.#takenBytes;
    return running;
  }
}
