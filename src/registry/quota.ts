/** What an upstream said of its rate limit for one of our accounts. */
export interface RateLimitReport {
  readonly limit: number | undefined;
  readonly remaining: number | undefined;
  readonly windowSeconds: number | undefined;
  /** Whom it counts, without being a secret. */
  readonly fingerprint: string;
}

/** What is left of an upstream's rate limit, for people. */
export interface QuotaState {
  readonly limit: number;
  readonly remaining: number;
  readonly windowSeconds: number;
  /** Whether less than the reserve is left. */
  readonly low: boolean;
}

interface Known {
  readonly limit: number;
  readonly remaining: number;
  readonly windowMs: number;
  readonly until: number;
}

const defaultWindowSeconds = 3600;
const rememberedAccounts = 64;

/**
 * What is left of one upstream's rate limit, over all accounts it is asked with. When less than a share of it is left
 * (the *reserve*), tags stay fresh for a whole window, so that what remains is for what is not cached at all.
 */
export class Quota {
  readonly #reserve: number;
  readonly #monotonic: () => number;
  readonly #onChange: (state: QuotaState) => void;
  readonly #accounts = new Map<string, Known>();
  #wasLow = false;

  /** `reserve` is a share from 0 to 1; `onChange` is told when the limit begins to bite, and when it stops to. */
  constructor(reserve: number, monotonic: () => number, onChange: (state: QuotaState) => void) {
    this.#reserve = reserve;
    this.#monotonic = monotonic;
    this.#onChange = onChange;
  }

  /** Takes in what the upstream said with an answer. */
  note(report: RateLimitReport): void {
    const { limit, remaining, windowSeconds = defaultWindowSeconds, fingerprint } = report;
    if (limit === undefined || limit <= 0 || remaining === undefined) return;
    const windowMs = windowSeconds * 1000;
    this.#accounts.delete(fingerprint);
    this.#accounts.set(fingerprint, { limit, remaining, windowMs, until: this.#monotonic() + windowMs });
    const [oldest] = this.#accounts.keys();
    if (this.#accounts.size > rememberedAccounts && oldest !== undefined) this.#accounts.delete(oldest);
    const state = this.state;
    if (state === undefined || state.low === this.#wasLow) return;
    this.#wasLow = state.low;
    this.#onChange(state);
  }

  /** What is known now, of the account that has most left; `undefined` where the upstream has said nothing lately. */
  get state(): QuotaState | undefined {
    const now = this.#monotonic();
    let best: Known | undefined;
    for (const known of this.#accounts.values()) {
      if (known.until <= now) continue;
      if (best === undefined || known.remaining / known.limit > best.remaining / best.limit) best = known;
    }
    if (best === undefined) return undefined;
    const { limit, remaining, windowMs } = best;
    return { limit, remaining, windowSeconds: windowMs / 1000, low: remaining / limit < this.#reserve };
  }

  /** How long a tag stays fresh now, where `ttlMs` is how long it does in good times. */
  stretch(ttlMs: number): number {
    const state = this.state;
    return state?.low === true ? Math.max(ttlMs, state.windowSeconds * 1000) : ttlMs;
  }
}
