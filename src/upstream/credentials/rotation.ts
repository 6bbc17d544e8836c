import type { Clock } from "../../concurrency/clock.ts";
import type { Budget } from "../budget.ts";
import { type Credentials, fingerprint } from "../credentials.ts";
import { Rests } from "../rest.ts";
import { type CredentialSource, type ProblemListener, toCredentialError } from "./source.ts";

/** How accounts are used in turn. */
export interface RotationOptions {
  readonly clock: Clock;
  /** Hears, once for each new problem, of an account that has no credentials to give while others have. */
  readonly onProblem?: ProblemListener | undefined;
}

interface Candidate {
  readonly source: CredentialSource;
  readonly credentials: Credentials | undefined;
  readonly fingerprint: string;
  readonly remaining: number;
}

/** The account in use is left when it has less than this part of what the best has. */
const leavingPart = 0.5;
/** For this long, an account that was refused comes after all others. */
const benchMs = 60_000;

/**
 * A source that is made of several accounts of one upstream. It stays with an account, whose tokens are at hand, until
 * another has twice as much left, and then goes to the one with the most. An account that the registry has said nothing
 * about counts as full. It closes all of its sources.
 */
export function createRotation(
  sources: readonly CredentialSource[],
  budget: Pick<Budget, "remaining">,
  { clock, onProblem }: RotationOptions,
): CredentialSource {
  const bench = new Rests<string>(clock);
  /** By source: what was last told of its problem. */
  const reported = new Map<CredentialSource, string>();
  let current: CredentialSource | undefined;

  const report = (source: CredentialSource, failure: unknown): void => {
    const problem = toCredentialError("accounts", failure);
    if (reported.get(source) !== problem.message) {
      reported.set(source, problem.message);
      onProblem?.(problem);
    }
  };
  const isBenched = ({ fingerprint: own }: Candidate): boolean => bench.leftMs(own) > 0;

  return {
    async get(repository, signal) {
      signal.throwIfAborted();
      const asked = sources.map(async (source): Promise<Candidate> => {
        const credentials = await source.get(repository, signal);
        const own = fingerprint(credentials);
        return { source, credentials, fingerprint: own, remaining: budget.remaining(own) ?? Number.POSITIVE_INFINITY };
      });
      const results = await Promise.allSettled(asked);
      signal.throwIfAborted();
      const candidates = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
      const failures = results.map((result) => (result.status === "rejected" ? (result.reason as unknown) : undefined));
      if (candidates.length === 0) throw toCredentialError("accounts", failures[0]);
      for (const [index, source] of sources.entries()) {
        if (failures[index] === undefined) {
          reported.delete(source);
        } else {
          report(source, failures[index]);
        }
      }
      const chosen = choose(candidates, isBenched, current);
      current = chosen?.source;
      return chosen?.credentials;
    },
    refused(credentials) {
      bench.begin(fingerprint(credentials), benchMs);
      for (const source of sources) {
        source.refused(credentials);
      }
    },
    close() {
      for (const source of sources) {
        source.close();
      }
    },
  };
}

function choose(
  candidates: readonly Candidate[],
  isBenched: (candidate: Candidate) => boolean,
  current: CredentialSource | undefined,
): Candidate | undefined {
  const willing = candidates.filter((candidate) => !isBenched(candidate));
  const pool = willing.length > 0 ? willing : candidates;
  const best = pool.reduce<Candidate | undefined>(
    (most, candidate) => (most === undefined || candidate.remaining > most.remaining ? candidate : most),
    undefined,
  );
  const staying = pool.find(({ source }) => source === current);
  return staying !== undefined && best !== undefined && staying.remaining >= best.remaining * leavingPart
    ? staying
    : best;
}
