import type { Clock } from "../../concurrency/clock.ts";
import type { Repository } from "../../oci/reference.ts";
import { type Credentials, fingerprint } from "../credentials.ts";
import { settleOrAbort } from "../../concurrency/settle-or-abort.ts";
import { CredentialError, type CredentialSource, type ProblemListener, toCredentialError } from "./source.ts";

/** Credentials, and how long they are good for. */
export interface Lease {
  readonly credentials: Credentials | undefined;
  /** From this moment on (milliseconds since 1970) they are of no use. */
  readonly expiresAt: number;
  /** When to ask for new ones; without it, at some point in the last quarter of their life. */
  readonly renewAt?: number;
}

/** What a renewing source is made of. */
export interface RenewingOptions {
  /** The source's name in messages. */
  readonly name: string;
  readonly clock: Clock;
  /** Asks for credentials. It may ignore the signal: nobody waits for it any longer after an abort. */
  readonly fetch: (signal: AbortSignal) => Promise<Lease>;
  /** How long one question may take. */
  readonly timeoutMs?: number | undefined;
  /** From 0 up to 1: spreads renewals. */
  readonly random?: (() => number) | undefined;
  /** Hears of a renewal that failed while there are credentials still. */
  readonly onProblem?: ProblemListener | undefined;
}

/** What is used now; its moments are those of `Clock.monotonic`. */
interface Held extends Required<Lease> {
  refused: boolean;
}

const defaultTimeoutMs = 30_000;
/** How long an answer is kept at least, whatever it says, and how long after a failure nobody asks again. */
const restMs = 5000;
/** One refusal in this time is believed: registries say 403 for an absent repository as well. */
const refusalIntervalMs = 60_000;
/** Renewal begins in this part of the lifetime: at its beginning, or up to `jitterPart` later. */
const renewalPart = 0.75;
const jitterPart = 0.15;

/**
 * A source that asks somebody for credentials with a lifetime. They are renewed in the background in the last quarter
 * of it; a renewal that fails leaves the old ones in use until they expire. After a refusal the next `get` waits for
 * new ones, and takes the refused ones where there are none: the refusal may have had another reason.
 */
export class RenewingSource implements CredentialSource {
  readonly #options: RenewingOptions;
  readonly #closing = new AbortController();
  #held: Held | undefined;
  #failure: { readonly error: CredentialError; readonly until: number } | undefined;
  #flight: Promise<Credentials | undefined> | undefined;
  #believedAt = -Infinity;

  constructor(options: RenewingOptions) {
    this.#options = options;
  }

  async get(_repository: Repository, signal: AbortSignal): Promise<Credentials | undefined> {
    const { clock, onProblem } = this.#options;
    signal.throwIfAborted();
    this.#closing.signal.throwIfAborted();
    const current = this.#held !== undefined && clock.monotonic() < this.#held.expiresAt ? this.#held : undefined;
    if (current !== undefined && (this.#isResting || !current.refused)) {
      if (clock.monotonic() >= current.renewAt && this.#flight === undefined && !this.#isResting) {
        this.#join().catch((error: unknown) => onProblem?.(error as CredentialError));
      }
      return current.credentials;
    }
    if (this.#failure !== undefined && this.#isResting) throw this.#failure.error;
    try {
      return await settleOrAbort(this.#join(), signal);
    } catch (error) {
      if (signal.aborted || current === undefined || !(error instanceof CredentialError)) throw error;
      onProblem?.(error);
      return current.credentials;
    }
  }

  refused(credentials: Credentials): void {
    const now = this.#options.clock.monotonic();
    const held = this.#held;
    const isOwn = held !== undefined && fingerprint(held.credentials) === fingerprint(credentials);
    if (isOwn && now - this.#believedAt >= refusalIntervalMs) {
      this.#believedAt = now;
      held.refused = true;
    }
  }

  close(): void {
    this.#closing.abort(new CredentialError(this.#options.name, "closed"));
    this.#held = undefined;
  }

  /** Whether nobody asks, as the last question failed just now. */
  get #isResting(): boolean {
    const { clock } = this.#options;
    return this.#flight === undefined && this.#failure !== undefined && clock.monotonic() < this.#failure.until;
  }

  #join(): Promise<Credentials | undefined> {
    // It begins in the next tick, so that `#flight` is set before it can end.
    this.#flight ??= Promise.resolve().then(() => this.#ask());
    return this.#flight;
  }

  async #ask(): Promise<Credentials | undefined> {
    const { name, clock, fetch, timeoutMs = defaultTimeoutMs, random = Math.random } = this.#options;
    const timeout = AbortSignal.timeout(timeoutMs);
    const signal = AbortSignal.any([this.#closing.signal, timeout]);
    try {
      const lease = await settleOrAbort(fetch(signal), signal);
      this.#held = hold(lease, clock, random());
      this.#failure = undefined;
      return lease.credentials;
    } catch (error) {
      const isLate = timeout.aborted && !this.#closing.signal.aborted;
      const problem = isLate
        ? new CredentialError(name, `no answer within ${timeoutMs / 1000} s`)
        : toCredentialError(name, error);
      this.#failure = { error: problem, until: clock.monotonic() + restMs };
      throw problem;
    } finally {
      this.#flight = undefined;
    }
  }
}

function hold({ credentials, expiresAt, renewAt }: Lease, clock: Clock, random: number): Held {
  const received = clock.now();
  const lifetimeMs = Math.max(expiresAt - received, restMs);
  const plannedMs = renewAt === undefined ? lifetimeMs * (renewalPart + jitterPart * random) : renewAt - received;
  const now = clock.monotonic();
  return { credentials, expiresAt: now + lifetimeMs, renewAt: now + Math.max(plannedMs, restMs), refused: false };
}
