import type { Clock } from "../../concurrency/clock.ts";
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
export function createRenewing(options: RenewingOptions): CredentialSource {
  const { name, clock, fetch, timeoutMs = defaultTimeoutMs, random = Math.random, onProblem } = options;
  const closing = new AbortController();
  let held: Held | undefined;
  let failure: { readonly error: CredentialError; readonly until: number } | undefined;
  let flight: Promise<Credentials | undefined> | undefined;
  let believedAt = Number.NEGATIVE_INFINITY;

  const ask = async (): Promise<Credentials | undefined> => {
    const timeout = AbortSignal.timeout(timeoutMs);
    const signal = AbortSignal.any([closing.signal, timeout]);
    try {
      const lease = await settleOrAbort(fetch(signal), signal);
      held = hold(lease, clock, random());
      failure = undefined;
      return lease.credentials;
    } catch (error) {
      const problem =
        timeout.aborted && !closing.signal.aborted
          ? new CredentialError(name, `no answer within ${timeoutMs / 1000} s`)
          : toCredentialError(name, error);
      failure = { error: problem, until: clock.monotonic() + restMs };
      throw problem;
    } finally {
      flight = undefined;
    }
  };
  const join = (): Promise<Credentials | undefined> => {
    // It begins in the next tick, so that `flight` is set before it can end.
    flight ??= Promise.resolve().then(ask);
    return flight;
  };
  const isResting = (): boolean => flight === undefined && failure !== undefined && clock.monotonic() < failure.until;

  return {
    async get(_repository, signal) {
      signal.throwIfAborted();
      closing.signal.throwIfAborted();
      const current = held !== undefined && clock.monotonic() < held.expiresAt ? held : undefined;
      if (current !== undefined && (isResting() || !current.refused)) {
        if (clock.monotonic() >= current.renewAt && flight === undefined && !isResting()) {
          join().catch((error: unknown) => onProblem?.(error as CredentialError));
        }
        return current.credentials;
      }
      if (failure !== undefined && isResting()) throw failure.error;
      try {
        return await settleOrAbort(join(), signal);
      } catch (error) {
        if (signal.aborted || current === undefined || !(error instanceof CredentialError)) throw error;
        onProblem?.(error);
        return current.credentials;
      }
    },
    refused(credentials) {
      const now = clock.monotonic();
      const isOwn = held !== undefined && fingerprint(held.credentials) === fingerprint(credentials);
      if (held !== undefined && isOwn && now - believedAt >= refusalIntervalMs) {
        believedAt = now;
        held.refused = true;
      }
    },
    close() {
      closing.abort(new CredentialError(name, "closed"));
      held = undefined;
    },
  };
}

function hold({ credentials, expiresAt, renewAt }: Lease, clock: Clock, random: number): Held {
  const received = clock.now();
  const lifetimeMs = Math.max(expiresAt - received, restMs);
  const plannedMs = renewAt === undefined ? lifetimeMs * (renewalPart + jitterPart * random) : renewAt - received;
  const now = clock.monotonic();
  return { credentials, expiresAt: now + lifetimeMs, renewAt: now + Math.max(plannedMs, restMs), refused: false };
}
