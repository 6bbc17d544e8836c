import type { Clock } from "../../concurrency/clock.ts";
import type { Repository } from "../../oci/reference.ts";
import type { Budget } from "../budget.ts";
import { type Credentials, fingerprint } from "../credentials.ts";
import { Rests } from "../rest.ts";
import { type CredentialSource, type ProblemListener, toCredentialError } from "./source.ts";

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
export class Rotation implements CredentialSource {
  readonly #sources: readonly CredentialSource[];
  readonly #budget: Pick<Budget, "remaining">;
  readonly #onProblem: ProblemListener | undefined;
  readonly #bench: Rests<string>;
  /** By source: what was last told of its problem. */
  readonly #reported = new Map<CredentialSource, string>();
  #current: CredentialSource | undefined;

  /** @param onProblem Hears, once for each new problem, of an account that has none to give while others have. */
  constructor(
    sources: readonly CredentialSource[],
    budget: Pick<Budget, "remaining">,
    clock: Clock,
    onProblem?: ProblemListener,
  ) {
    this.#sources = sources;
    this.#budget = budget;
    this.#bench = new Rests(clock);
    this.#onProblem = onProblem;
  }

  async get(repository: Repository, signal: AbortSignal): Promise<Credentials | undefined> {
    signal.throwIfAborted();
    const asked = this.#sources.map(async (source): Promise<Candidate> => {
      const credentials = await source.get(repository, signal);
      const own = fingerprint(credentials);
      return { source, credentials, fingerprint: own, remaining: this.#budget.remaining(own) ?? Infinity };
    });
    const results = await Promise.allSettled(asked);
    signal.throwIfAborted();
    const candidates = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    const failures = results.map((result) => (result.status === "rejected" ? (result.reason as unknown) : undefined));
    if (candidates.length === 0) throw toCredentialError("accounts", failures[0]);
    for (const [index, source] of this.#sources.entries()) this.#report(source, failures[index]);
    const chosen = this.#choose(candidates);
    this.#current = chosen?.source;
    return chosen?.credentials;
  }

  refused(credentials: Credentials): void {
    this.#bench.begin(fingerprint(credentials), benchMs);
    for (const source of this.#sources) source.refused(credentials);
  }

  close(): void {
    for (const source of this.#sources) source.close();
  }

  #report(source: CredentialSource, failure: unknown): void {
    if (failure === undefined) {
      this.#reported.delete(source);
      return;
    }
    const problem = toCredentialError("accounts", failure);
    if (this.#reported.get(source) === problem.message) return;
    this.#reported.set(source, problem.message);
    this.#onProblem?.(problem);
  }

  #choose(candidates: readonly Candidate[]): Candidate | undefined {
    const willing = candidates.filter(({ fingerprint: own }) => this.#bench.leftMs(own) === 0);
    const pool = willing.length > 0 ? willing : candidates;
    // Of those that have as much, also of those of which nothing is known, the first.
    const [best] = pool.toSorted((a, b) => b.remaining - a.remaining);
    const staying = pool.find(({ source }) => source === this.#current);
    const stays = staying !== undefined && best !== undefined && staying.remaining >= best.remaining * leavingPart;
    return stays ? staying : best;
  }
}
