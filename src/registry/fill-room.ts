import type { Namespace } from "../oci/reference.ts";
import { chargedBytes } from "../ledger/ledger.ts";
import type { Claim, Reservation, Space } from "./space.ts";

/** The room that is set aside at a time for a body whose size is not known, or is nobody's word to go by. */
const stepBytes: Readonly<Record<Claim, number>> = {
  sure: 16 * 1024 * 1024,
  stranger: 16 * 1024 * 1024,
  // There may be little that is free, and the body may be small.
  unknown: 1024 * 1024,
};

/** What a fill's room is taken from. */
export interface FillRoomOptions {
  readonly space: Pick<Space, "reserve" | "acquire">;
  /** Larger blobs are passed on without being stored. */
  readonly maxObjectBytes: number;
  readonly namespace: Namespace;
  /**
   * Whether the upstream's word is enough to set room aside for a whole body, for which other content may have to go. A
   * stranger who announces a lot gets room only as the bytes come.
   */
  readonly trusted: boolean;
}

/** The room that one fill has for its staging file, and for what becomes of it. It must be released. */
export class FillRoom {
  readonly #options: FillRoomOptions;
  #reservation: Reservation | undefined;
  #claim: Claim = "unknown";
  #filedBytes = 0;

  constructor(options: FillRoomOptions) {
    this.#options = options;
  }

  /** What was set aside, to be handed to the content store. */
  get reservation(): Reservation | undefined {
    return this.#reservation;
  }

  /**
   * Sets room aside before a body's first byte; returns why there is none. Aborted, it is as if there were none. What is
   * free now is taken in this tick; only for room that has to be made it is waited.
   *
   * @param sizeBytes As far as it is known for sure, by one account that no other contradicts.
   */
  async take(sizeBytes: number | undefined, signal: AbortSignal): Promise<string | undefined> {
    const { space, maxObjectBytes, namespace, trusted } = this.#options;
    if (sizeBytes !== undefined && sizeBytes > maxObjectBytes) return tooLarge(sizeBytes);
    this.#claim = sizeBytes === undefined ? "unknown" : trusted ? "sure" : "stranger";
    const step = Math.min(stepBytes[this.#claim], maxObjectBytes);
    const wanted = trusted ? (sizeBytes ?? step) : Math.min(sizeBytes ?? step, step);
    const bytes = chargedBytes(wanted);
    this.#reservation =
      space.reserve(namespace, bytes, this.#claim) ?? (await space.acquire(namespace, bytes, signal, this.#claim));
    return this.#reservation === undefined ? `there is no room for ${wanted} bytes` : undefined;
  }

  /** Sees to it that there is room for a body's first `endBytes`; returns why there is none. */
  cover(endBytes: number): string | undefined {
    const room = this.#reservation;
    if (room === undefined) return undefined;
    if (endBytes > this.#options.maxObjectBytes) return tooLarge(endBytes);
    if (endBytes <= room.bytes || room.grow(chargedBytes(endBytes - room.bytes + stepBytes[this.#claim])))
      return undefined;
    return `there is no room for ${endBytes} bytes`;
  }

  /** Notes how much of the room the staging file takes by now. */
  note(filedBytes: number): void {
    this.#reservation?.noteWritten(filedBytes - this.#filedBytes);
    this.#filedBytes = filedBytes;
  }

  release(): void {
    this.#reservation?.release();
  }
}

function tooLarge(sizeBytes: number): string {
  return `${sizeBytes} bytes are more than one object may have`;
}
