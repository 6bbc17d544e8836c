import type { Namespace } from "../oci/reference.ts";
import { type Besides, nothingBesides, sumBesides } from "./besides.ts";
import type { Totals } from "../ledger/ledger.ts";
import type { SizeLimit, SpaceLimits } from "./space-limits.ts";
import { type Volume, VolumeWatch } from "./volume-watch.ts";

const maxAttempts = 4;
/** How long it is waited for room to be made, before what needs it does without. */
const waitMs = 2_000;

/** The share of the limit that what may never come to be stored takes, all of it together. */
const unprovenShare = 1 / 8;

/**
 * How much is known of what room is set aside for. What is verified does not make way for what may never be:
 * - `sure`: somebody whose word counts has said how large it is.
 * - `stranger`: somebody else has said so. It gets what is free below the low watermarks, down to which things are
 *   evicted; what goes for its sake, and for others like it, is an eighth of the limit at most.
 * - `unknown`: nobody has. It gets what is free there, and with others like it an eighth of the limit at most.
 */
export type Claim = "sure" | "stranger" | "unknown";

/** What `Space` works with. */
export interface SpaceOptions {
  readonly limits: SpaceLimits;
  /** What lies in the store; `undefined` where that is not known (yet). */
  readonly totals: () => Totals | undefined;
  readonly volume: () => Promise<Volume>;
  readonly monotonic: () => number;
}

/** Who removes things to make room. */
export interface Relief {
  /** Makes room for `bytes` more in a namespace; false where there cannot be enough, or not until `signal`. */
  makeRoom(namespace: Namespace, bytes: number, signal: AbortSignal): Promise<boolean>;
  /** Told that a high watermark was passed, once or often: removes something in the background. */
  relieve(): void;
}

/** Nobody does. */
const noRelief: Relief = { makeRoom: async () => false, relieve: () => undefined };

/** Room that was set aside for something that is being stored. It must be released. */
export interface Reservation {
  readonly bytes: number;
  /** Sets more aside; false where there is no room for it, and nothing has changed. */
  grow(bytes: number): boolean;
  /** Notes that so much more of it is on the disk by now: those bytes are missing from what the volume has left. */
  noteWritten(bytes: number): void;
  /** Gives it back: what was stored is in the totals by now, or was not stored. More than once is harmless. */
  release(): void;
}

/** How full the store is, in charged bytes. */
export interface SpaceState {
  /** Content and records. */
  readonly usedBytes: number;
  readonly reservedBytes: number;
  /** What there is besides; nothing while `usedBytes` has it. */
  readonly besides: Besides;
  /** What all of it may come to at this moment; `Infinity` where nothing is known of the volume. */
  readonly limitBytes: number;
  readonly volume: Volume | undefined;
  /** Whether `usedBytes` is exact; otherwise it is all that the volume holds, of which the store is a part. */
  readonly exact: boolean;
}

/** What has to go so that all is below its low watermark again. */
export interface Overage {
  readonly bytes: number;
  readonly namespaces: readonly { readonly namespace: Namespace; readonly bytes: number }[];
}

/**
 * The room that the store has. Whatever is to be stored first sets its room aside, in one tick, so that the hard limit is
 * never passed, however many fills run.
 */
export class Space {
  readonly #options: SpaceOptions;
  readonly #watch: VolumeWatch;
  #relief = noRelief;
  #besidesNow = (): Besides => nothingBesides;
  readonly #reserved = new Map<Namespace, number>();
  #reservedBytes = 0;
  /** What of it is for what is not sure. */
  #unprovenBytes = 0;

  constructor(options: SpaceOptions) {
    this.#options = options;
    const { volume: look, monotonic } = options;
    this.#watch = new VolumeWatch({ look, monotonic, storedBytes: () => this.#storedBytes });
  }

  /** Says who makes room from here on: it knows what is stored in this room, and so comes after it. */
  relieveBy(relief: Relief): void {
    this.#relief = relief;
  }

  /** Says what lies in the folder besides what `totals` counts from here on: it counts against the limit, too. */
  countBesides(besides: () => Besides): void {
    this.#besidesNow = besides;
  }

  /** Looks at the volume. A failure leaves what was known. */
  async refresh(): Promise<void> {
    await this.#watch.refresh();
  }

  get state(): SpaceState {
    const { maxSize, minFree } = this.#options.limits;
    const { volume } = this.#watch;
    const exactBytes = this.#options.totals()?.bytes;
    const volumeLimit = this.#watch.limitBytes(resolveSize(minFree, volume) ?? 0);
    return {
      usedBytes: exactBytes ?? this.#watch.usedBytes,
      reservedBytes: this.#reservedBytes,
      besides: this.#besides,
      limitBytes: Math.max(0, Math.min(resolveSize(maxSize, volume) ?? Infinity, volumeLimit)),
      volume,
      exact: exactBytes !== undefined,
    };
  }

  get #besides(): Besides {
    return this.#options.totals() === undefined ? nothingBesides : this.#besidesNow();
  }

  get #storedBytes(): number | undefined {
    const totals = this.#options.totals();
    return totals && totals.bytes + sumBesides(this.#besides);
  }

  /** Whether room could be set aside now. */
  hasRoom(namespace: Namespace, bytes: number): boolean {
    return this.#fits(namespace, bytes).fits;
  }

  /** Whether room could be set aside now without anything's having to go for it, at once or later. */
  hasSpareRoom(namespace: Namespace, bytes: number): boolean {
    return this.#fits(namespace, bytes).isSpare;
  }

  /** Sets room aside; `undefined` where there is none now. */
  reserve(namespace: Namespace, bytes: number, claim: Claim = "sure"): Reservation | undefined {
    if (!this.#take(namespace, bytes, claim)) return undefined;
    let held = bytes;
    let written = 0;
    return {
      get bytes() {
        return held;
      },
      grow: (more) => {
        if (!this.#take(namespace, more, claim)) return false;
        held += more;
        return true;
      },
      noteWritten: (more) => {
        if (held === 0) return;
        written += more;
        this.#watch.noteWritten(more);
      },
      release: () => {
        this.#give(namespace, held, claim);
        this.#watch.noteReleased(held, written);
        held = 0;
        written = 0;
      },
    };
  }

  /**
   * Sets room aside, and makes it where there is none. `undefined` where that does not help, or not in 2 s, or not until
   * `stop` aborts; nor is any made that the claim is not good for.
   */
  async acquire(
    namespace: Namespace,
    bytes: number,
    stop?: AbortSignal,
    claim: Claim = "sure",
  ): Promise<Reservation | undefined> {
    const reserved = this.reserve(namespace, bytes, claim);
    if (reserved !== undefined) return reserved;
    // Where it could not have what is made, none is.
    if (!this.#isGranted(bytes, false, claim) || !this.#couldFit(namespace, bytes)) return undefined;
    const late = AbortSignal.timeout(waitMs);
    const signal = stop === undefined ? late : AbortSignal.any([stop, late]);
    const givenUp = Promise.withResolvers<boolean>();
    const giveUp = (): void => givenUp.resolve(false);
    if (signal.aborted) giveUp();
    signal.addEventListener("abort", giveUp, { once: true });
    try {
      // Somebody else may be quicker to take the room that was made.
      for (let attempts = 0; attempts < maxAttempts; attempts++) {
        const made = await Promise.race([this.#relief.makeRoom(namespace, bytes, signal), givenUp.promise]);
        const reservation = this.reserve(namespace, bytes, claim);
        if (reservation !== undefined || !made) return reservation;
      }
      return undefined;
    } finally {
      signal.removeEventListener("abort", giveUp);
    }
  }

  /**
   * Has room made where a namespace holds more than its high watermark by now. A link to content that others hold sets
   * nothing aside for that content, though it counts: so it is only afterwards that a namespace's limit is kept for it.
   */
  noteGrowth(namespace: Namespace): void {
    const { namespaceMaxBytes, highWatermark } = this.#options.limits;
    const limitBytes = namespaceMaxBytes(namespace) ?? Infinity;
    const usedBytes = this.#options.totals()?.namespaces.get(namespace) ?? 0;
    if (usedBytes > limitBytes * highWatermark) this.#relief.relieve();
  }

  /**
   * What has to go now, with room for `more` besides: nothing below the high watermarks, else down to the low ones;
   * down to the low ones in any case where removing has `begun`.
   */
  overage(more?: { readonly namespace: Namespace; readonly bytes: number }, begun: boolean = false): Overage {
    const { namespaceMaxBytes } = this.#options.limits;
    const totals = this.#options.totals();
    const { usedBytes, besides, limitBytes } = this.state;
    const wanted = more?.bytes ?? 0;
    const namespaces = new Set([...(totals?.namespaces.keys() ?? []), ...(more === undefined ? [] : [more.namespace])]);
    return {
      bytes: this.#excess(usedBytes + sumBesides(besides) + this.#reservedBytes, wanted, limitBytes, begun),
      namespaces: [...namespaces].flatMap((namespace) => {
        const limit = namespaceMaxBytes(namespace) ?? Infinity;
        const used = (totals?.namespaces.get(namespace) ?? 0) + (this.#reserved.get(namespace) ?? 0);
        const bytes = this.#excess(used, namespace === more?.namespace ? wanted : 0, limit, begun);
        return bytes > 0 ? [{ namespace, bytes }] : [];
      }),
    };
  }

  #excess(usedBytes: number, wantedBytes: number, limitBytes: number, begun: boolean): number {
    const { highWatermark, lowWatermark } = this.#options.limits;
    if (limitBytes === Infinity) return 0;
    if (!begun && usedBytes <= limitBytes * highWatermark && usedBytes + wantedBytes <= limitBytes) return 0;
    return Math.max(0, Math.ceil(usedBytes - Math.min(limitBytes * lowWatermark, limitBytes - wantedBytes)));
  }

  /** Whether it would fit into a store that holds nothing else. */
  #couldFit(namespace: Namespace, bytes: number): boolean {
    const limit = this.#options.limits.namespaceMaxBytes(namespace) ?? Infinity;
    const { limitBytes, besides } = this.state;
    return bytes <= Math.min(limit, limitBytes - sumBesides(besides));
  }

  #fits(namespace: Namespace, bytes: number): Record<"fits" | "isHigh" | "isSpare", boolean> {
    const { namespaceMaxBytes, highWatermark, lowWatermark } = this.#options.limits;
    const { usedBytes, besides, limitBytes } = this.state;
    const totals = this.#options.totals();
    const limitHere = namespaceMaxBytes(namespace) ?? Infinity;
    // Without totals a namespace may have anything of what is used, and its limit lets nothing more be sure.
    const usedHere = totals === undefined ? usedBytes : (totals.namespaces.get(namespace) ?? 0);
    const inAll = usedBytes + sumBesides(besides) + this.#reservedBytes + bytes;
    const here = usedHere + (this.#reserved.get(namespace) ?? 0) + bytes;
    return {
      fits: inAll <= limitBytes && (limitHere === Infinity || here <= limitHere),
      isHigh: inAll > limitBytes * highWatermark || here > limitHere * highWatermark,
      isSpare: inAll <= limitBytes * lowWatermark && here <= limitHere * lowWatermark,
    };
  }

  /** Whether so much more may be set aside for what may never come to be stored. */
  #isGranted(bytes: number, isSpare: boolean, claim: Claim): boolean {
    if (claim === "sure") return true;
    const isShared = this.#unprovenBytes + bytes <= this.state.limitBytes * unprovenShare;
    return claim === "stranger" ? isSpare || isShared : isSpare && isShared;
  }

  #take(namespace: Namespace, bytes: number, claim: Claim): boolean {
    this.#watch.keepUp();
    const { fits, isHigh, isSpare } = this.#fits(namespace, bytes);
    if (!fits || !this.#isGranted(bytes, isSpare, claim)) return false;
    if (claim !== "sure") this.#unprovenBytes += bytes;
    this.#reservedBytes += bytes;
    this.#reserved.set(namespace, (this.#reserved.get(namespace) ?? 0) + bytes);
    if (isHigh) this.#relief.relieve();
    return true;
  }

  #give(namespace: Namespace, bytes: number, claim: Claim): void {
    this.#reservedBytes -= bytes;
    if (claim !== "sure") this.#unprovenBytes -= bytes;
    const left = (this.#reserved.get(namespace) ?? 0) - bytes;
    if (left > 0) this.#reserved.set(namespace, left);
    else this.#reserved.delete(namespace);
  }
}

function resolveSize(limit: SizeLimit | undefined, volume: Volume | undefined): number | undefined {
  if (limit === undefined) return undefined;
  return limit.kind === "bytes" ? limit.bytes : limit.share * (volume?.totalBytes ?? 0);
}
