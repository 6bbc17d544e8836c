import { codeOf } from "../store/object-store.ts";
import { limitReached } from "../registry/bookkeeping.ts";
import type { Reservation } from "../registry/space.ts";
import type { HostedFiles } from "./hosted-files.ts";

/** What is set aside at a time, at most. */
const stepBytes = 16 * 1024 * 1024;

/**
 * The room of what is being received: set aside as it comes, as nobody's word is enough to remove other things for all of
 * it. It must be released.
 */
export class UploadRoom {
  readonly #files: Pick<HostedFiles, "reserve">;
  /** How many bytes are to come, as the client says. */
  readonly #announcedBytes: number | undefined;
  readonly #held: Reservation[] = [];
  #heldBytes = 0;

  constructor(files: Pick<HostedFiles, "reserve">, announcedBytes: number | undefined) {
    this.#files = files;
    this.#announcedBytes = announcedBytes;
  }

  /**
   * Sees to it that there is room for the first `bytes` that are received.
   *
   * @throws {StoreError} `limitReached`: there is none.
   * @throws the reason of `signal`.
   */
  async cover(bytes: number, signal: AbortSignal): Promise<void> {
    const missing = bytes - this.#heldBytes;
    if (missing <= 0) return;
    // Where nobody has said how much comes, it may be as much again.
    const expected = this.#announcedBytes === undefined ? bytes : this.#announcedBytes - this.#heldBytes;
    const step = Math.max(missing, Math.min(stepBytes, expected));
    try {
      this.#hold(await this.#files.reserve(step, signal));
    } catch (error) {
      if (step === missing || codeOf(error) !== limitReached) throw error;
      this.#hold(await this.#files.reserve(missing, signal));
    }
  }

  /** Notes that so many bytes more of it are on the disk by now. */
  noteWritten(bytes: number): void {
    this.#held[0]?.noteWritten(bytes);
  }

  release(): void {
    for (const room of this.#held.splice(0)) room.release();
    this.#heldBytes = 0;
  }

  #hold(room: Reservation): void {
    this.#held.push(room);
    this.#heldBytes += room.bytes;
  }
}
