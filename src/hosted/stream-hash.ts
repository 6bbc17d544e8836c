import { type Algorithm, type Digest, digestOf } from "../oci/digest.ts";
import type { HashPool, RunningHash } from "../store/hashing.ts";

/** What is hashed where it arrives: for less, a thread is not worth its messages. */
const hereBytes = 64 * 1024;
/** What a thread gets at a time. */
const messageBytes = 1024 * 1024;

/** Hashes bytes that go by, in a thread of the pool where they are many. It must be dropped. */
export class StreamHash {
  readonly algorithm: Algorithm;
  readonly #hashes: HashPool;
  #running: RunningHash | undefined;
  /** What no thread has got yet. */
  #held: Buffer = Buffer.alloc(0);
  #heldBytes = 0;
  #sending: Promise<void> = Promise.resolve();
  #bytes = 0;

  constructor(hashes: HashPool, algorithm: Algorithm) {
    this.#hashes = hashes;
    this.algorithm = algorithm;
  }

  /** How many bytes it is of. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Takes a copy of bytes; resolves when there may be more. */
  async take(bytes: Uint8Array): Promise<void> {
    this.#bytes += bytes.length;
    for (let taken = 0; taken < bytes.length;) {
      if (this.#heldBytes === this.#held.length) await this.#makeRoom();
      const piece = bytes.subarray(taken, taken + this.#held.length - this.#heldBytes);
      this.#held.set(piece, this.#heldBytes);
      this.#heldBytes += piece.length;
      taken += piece.length;
    }
  }

  /** The digest of all bytes so far; `undefined` where a thread has ended that knew it. */
  async soFar(): Promise<Digest | undefined> {
    if (this.#running === undefined && this.#heldBytes <= hereBytes) {
      return digestOf(this.#held.subarray(0, this.#heldBytes), this.algorithm);
    }
    await this.#send();
    // It may rest from here on, without memory.
    this.#held = Buffer.alloc(0);
    return this.#running?.soFar().catch(() => undefined);
  }

  drop(): void {
    this.#running?.drop();
  }

  async #makeRoom(): Promise<void> {
    if (this.#held.length === messageBytes) {
      await this.#send();
      return;
    }
    const larger = Buffer.allocUnsafeSlow(this.#bytes <= hereBytes ? hereBytes : messageBytes);
    this.#held.copy(larger);
    this.#held = larger;
  }

  /** Has a thread hash what is held; resolves when it has hashed what it got before. */
  async #send(): Promise<void> {
    await this.#sending;
    this.#running ??= this.#hashes.start(this.algorithm);
    // It makes a copy of its own.
    this.#sending = this.#running.bytes(this.#held.subarray(0, this.#heldBytes));
    this.#heldBytes = 0;
  }
}
