const pollMs = 1_000;

/** The volume that the store lies on, in bytes. */
export interface Volume {
  readonly totalBytes: number;
  readonly freeBytes: number;
}

/** What a volume is looked at with. */
export interface VolumeWatchOptions {
  readonly look: () => Promise<Volume>;
  /** All that the store has on it; `undefined` where that is not known (yet). */
  readonly storedBytes: () => number | undefined;
  readonly monotonic: () => number;
}

/**
 * How much a volume has left, whoever else uses it. It is looked at no more than once in a second; what the store itself
 * has written since is told here.
 */
export class VolumeWatch {
  readonly #options: VolumeWatchOptions;
  #volume: Volume | undefined;
  /** What the store had when the volume was looked at, where that was known. */
  #storedThen: number | undefined;
  /** What of the reserved room was on the disk then, and what is now. */
  #writtenThen = 0;
  #writtenBytes = 0;
  /** What was released, and so may have been stored, since then. */
  #releasedSince = 0;
  #lookedAt = -Infinity;
  #looking: Promise<void> | undefined;

  constructor(options: VolumeWatchOptions) {
    this.#options = options;
  }

  /** As it was when it was looked at; `undefined` where nothing is known of it. */
  get volume(): Volume | undefined {
    return this.#volume;
  }

  /** What is used of it, by whomever; nothing where nothing is known of it. */
  get usedBytes(): number {
    return this.#volume === undefined ? 0 : usedOf(this.#volume) + this.#releasedSince;
  }

  /** What the store may come to so that `minFreeBytes` stay free; `Infinity` where nothing is known of the volume. */
  limitBytes(minFreeBytes: number): number {
    const volume = this.#volume;
    if (volume === undefined) return Infinity;
    const storedBytes = this.#options.storedBytes();
    // What was stored or removed since the volume was looked at has changed both in equal measure.
    const storedThen =
      storedBytes === undefined ? usedOf(volume) : (this.#storedThen ?? storedBytes - this.#releasedSince);
    return storedThen + this.#writtenThen + volume.freeBytes - minFreeBytes;
  }

  /** Notes that so much of the reserved room is on the disk by now. */
  noteWritten(bytes: number): void {
    this.#writtenBytes += bytes;
  }

  /** Notes that reserved room was given back, of which so much was written. */
  noteReleased(bytes: number, writtenBytes: number): void {
    this.#releasedSince += bytes;
    this.#writtenBytes -= writtenBytes;
  }

  /** Looks at the volume in the background, where that is some time ago. */
  keepUp(): void {
    if (this.#options.monotonic() - this.#lookedAt >= pollMs) void this.refresh();
  }

  /** Looks at the volume. A failure leaves what was known. */
  async refresh(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { look, storedBytes, monotonic } = this.#options;
    this.#lookedAt = monotonic();
    const releasedBefore = this.#releasedSince;
    const storedBefore = storedBytes();
    const writtenBefore = this.#writtenBytes;
    try {
      this.#volume = await look();
      this.#storedThen = storedBefore;
      this.#writtenThen = writtenBefore;
      this.#releasedSince -= releasedBefore;
    } catch {
      // The operations that need the volume fail for themselves, and say why.
    }
  }
}

function usedOf(volume: Volume): number {
  return volume.totalBytes - volume.freeBytes;
}
