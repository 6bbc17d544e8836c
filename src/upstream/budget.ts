import type { LRUCache } from "lru-cache";
import { boundedMap } from "../concurrency/bounded-map.ts";
import type { Clock } from "../concurrency/clock.ts";
import { longestRestMs, Rests } from "./rest.ts";

/** What a registry says of the requests that are left (Docker Hub's headers; there is no specification). */
export interface RateLimit {
  /** How many requests a window has; `undefined`: not said. */
  readonly limit: number | undefined;
  /** How many of them are left; `undefined`: not said. */
  readonly remaining: number | undefined;
  /** The length of the window in seconds; `undefined`: not said. */
  readonly windowSeconds: number | undefined;
}

/** What is left of an upstream's rate limit. */
export interface BudgetState {
  readonly limit: number;
  readonly remaining: number;
  readonly windowSeconds: number;
  /** Whether less than the reserve is left. */
  readonly low: boolean;
}

/** How a budget is kept. */
export interface BudgetOptions {
  /** Which share of the limit is kept for what is not cached at all, from 0 to 1. Default: 0. */
  readonly reserve?: number;
  /** Hears what the upstream said is left; `turned`: less than the reserve is since now, or no longer. */
  readonly onTold?: ((state: BudgetState, turned: boolean) => void) | undefined;
  /** How many accounts, and how many hosts that hold one off, are remembered. Default: 1,024. */
  readonly remembered?: number;
}

interface Told {
  readonly limit: number | undefined;
  readonly remaining: number;
  readonly windowMs: number;
  /** When it was told, and until when it counts. */
  readonly at: number;
  readonly until: number;
  /** Whether it was told to this process. */
  readonly isOwn: boolean;
}

/** What a book knows, as it is told to another process: times are milliseconds from now, or before. */
export interface BudgetEntries {
  readonly told: readonly {
    readonly account: string;
    readonly limit: number | undefined;
    readonly remaining: number;
    readonly windowMs: number;
    readonly ageMs: number;
  }[];
  /** By account, and by host and account. */
  readonly exhausted: readonly (readonly [string, number])[];
  readonly held: readonly (readonly [string, number])[];
}

const usuallyRemembered = 1024;
/** How long a 429 without `Retry-After` counts as "nothing left". */
const exhaustedMs = 60_000;
/** A timer may fire this much before its time. */
const timerSlackMs = 5;
/** How long a remainder is believed where no window is told. */
const defaultWindowSeconds = 3600;

/**
 * The book of an upstream's limits: what it said is left to each account that it is asked with, and who is to leave it
 * alone. Accounts are known by the `fingerprint` of their credentials.
 *
 * When less than the reserve is left, tags stay fresh for a whole window, and nothing is fetched ahead, so that what
 * remains is for what is not cached at all.
 */
export class Budget {
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #reserve: number;
  readonly #onTold: BudgetOptions["onTold"];
  readonly #told: LRUCache<string, Told>;
  readonly #exhausted: Rests<string>;
  readonly #held: Rests<string>;
  readonly #exhaustedElsewhere: Rests<string>;
  readonly #heldElsewhere: Rests<string>;
  #wasLow = false;

  constructor(clock: Pick<Clock, "monotonic">, options: BudgetOptions = {}) {
    const { reserve = 0, onTold, remembered = usuallyRemembered } = options;
    this.#clock = clock;
    this.#reserve = reserve;
    this.#onTold = onTold;
    this.#told = boundedMap(remembered);
    this.#exhausted = new Rests(clock, remembered);
    this.#held = new Rests(clock, remembered);
    this.#exhaustedElsewhere = new Rests(clock, remembered);
    this.#heldElsewhere = new Rests(clock, remembered);
  }

  /** The upstream told an account what is left. */
  note(account: string, { limit, remaining, windowSeconds = defaultWindowSeconds }: RateLimit): void {
    if (remaining === undefined) return;
    this.#note(account, limit, remaining, windowSeconds * 1000, 0, true);
  }

  /**
   * What was told to this process, for another one that asks the same upstream. What it has from others is not told on: with
   * each telling it would seem a little newer, and never end.
   */
  get entries(): BudgetEntries {
    const now = this.#clock.monotonic();
    const told = [...this.#told.entries()].flatMap(([account, { at, until, isOwn, ...rest }]) =>
      isOwn && until > now ? [{ account, ...rest, ageMs: now - at }] : [],
    );
    return { told, exhausted: this.#exhausted.resting, held: this.#held.resting };
  }

  /** Takes over what another process knows; what is known here, and newer, stays. */
  learn({ told, exhausted, held }: BudgetEntries): void {
    const now = this.#clock.monotonic();
    for (const { account, limit, remaining, windowMs, ageMs } of told) {
      const known = this.#told.peek(account);
      if (known === undefined || known.at < now - ageMs) this.#note(account, limit, remaining, windowMs, ageMs, false);
    }
    for (const [account, ms] of exhausted) this.#exhaustedElsewhere.begin(account, Math.min(ms, longestRestMs));
    for (const [who, ms] of held) this.#heldElsewhere.begin(who, Math.min(ms, longestRestMs));
  }

  #note(
    account: string,
    limit: number | undefined,
    remaining: number,
    windowMs: number,
    ageMs: number,
    isOwn: boolean,
  ): void {
    const at = this.#clock.monotonic() - ageMs;
    this.#told.set(account, { limit, remaining, windowMs, at, until: at + windowMs, isOwn });
    const { state } = this;
    if (state === undefined) return;
    const turned = state.low !== this.#wasLow;
    this.#wasLow = state.low;
    this.#onTold?.(state, turned);
  }

  /** The upstream refused an account with 429. */
  exhaust(account: string): void {
    this.#exhausted.begin(account, exhaustedMs);
  }

  /** A host refused an account with 429 or 503, and asked to be left alone for so long. */
  hold(host: string, account: string, seconds: number): void {
    this.#held.begin(`${host} ${account}`, seconds * 1000);
    this.#exhausted.begin(account, seconds * 1000);
  }

  /** How long a host still wants to be left alone by an account, in whole seconds; 0: it may be asked. */
  heldSeconds(host: string, account: string): number {
    const who = `${host} ${account}`;
    const leftMs = Math.max(this.#held.leftMs(who), this.#heldElsewhere.leftMs(who));
    return leftMs > timerSlackMs ? Math.ceil(leftMs / 1000) : 0;
  }

  /** What an account has left, as far as it is known; 0 while a host holds it off or has just refused it. */
  remaining(account: string): number | undefined {
    const isExhausted = this.#exhausted.leftMs(account) > 0 || this.#exhaustedElsewhere.leftMs(account) > 0;
    return isExhausted ? 0 : this.#known(account)?.remaining;
  }

  /** What the account has that has most left; `undefined` where the upstream has said nothing lately. */
  get state(): BudgetState | undefined {
    let best: BudgetState | undefined;
    for (const account of this.#told.keys()) {
      const { limit = 0, remaining = 0, windowMs = 0 } = this.#known(account) ?? {};
      if (limit > 0 && (best === undefined || remaining / limit > best.remaining / best.limit)) {
        best = { limit, remaining, windowSeconds: windowMs / 1000, low: remaining / limit < this.#reserve };
      }
    }
    return best;
  }

  /** Whether less than the reserve is left, as far as is known. */
  get isLow(): boolean {
    return this.state?.low === true;
  }

  /** How long a tag stays fresh now, where `ttlMs` is how long it does in good times. */
  stretch(ttlMs: number): number {
    const { state } = this;
    return state?.low === true ? Math.max(ttlMs, state.windowSeconds * 1000) : ttlMs;
  }

  #known(account: string): Told | undefined {
    const told = this.#told.peek(account);
    return told !== undefined && told.until > this.#clock.monotonic() ? told : undefined;
  }
}
