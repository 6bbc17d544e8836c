import { Allowance } from "../concurrency/allowance.ts";
import type { Clock } from "../concurrency/clock.ts";
import { errorOf } from "../store/object-store.ts";
import type { ReplicaId } from "./board.ts";
import type { HeldLease, Leases, Taken } from "./leases.ts";

/** How long nothing is settled after it could not be: 1 s, doubling; and between tries to give something back. */
const firstRestMs = 1_000;
const longestRestMs = 30_000;
const maxTold = 100;

/** What claims are made with. */
export interface ClaimsOptions {
  readonly leases: Pick<Leases, "take">;
  readonly clock: Pick<Clock, "monotonic" | "wait">;
  /** Told when it could not be settled who fetches something. */
  readonly onUnsettled: (error: Error) => void;
}

/** The right of this process to fetch something for all. */
export interface Claim {
  readonly name: string;
  readonly taken: Promise<Taken>;
  lease: HeldLease | undefined;
  /** How many use it, or wait for it: it is given back by the last of them. */
  users: number;
}

/**
 * The leases of this process. Whoever needs the same at once shares one: it is taken once, and given back when all have
 * done. What comes when nobody waits for it any more is given back at once, and what cannot be given back is tried again.
 * While the bucket fails nothing is asked of it but now and then.
 */
export class Claims {
  readonly #options: ClaimsOptions;
  readonly #claims = new Map<string, Claim>();
  readonly #stopping = new AbortController();
  #failures = 0;
  #restUntil = -Infinity;

  constructor(options: ClaimsOptions) {
    this.#options = options;
  }

  /** What is held: names, and not more than a hundred. */
  get held(): readonly string[] {
    const held = this.#claims.values().filter(({ lease }) => lease !== undefined);
    return Array.from(held.take(maxTold), ({ name }) => name);
  }

  /** A claim, which whoever gets it gives back once; or who else has it; `undefined` where that cannot be told in time. */
  async take(name: string, withinMs: number): Promise<Claim | { readonly holder: ReplicaId } | undefined> {
    const { clock } = this.#options;
    if (this.#stopping.signal.aborted || clock.monotonic() < this.#restUntil) return undefined;
    const claim = this.#claims.get(name) ?? this.#begin(name);
    claim.users++;
    const allowance = new Allowance(clock, withinMs);
    try {
      const taken = await Promise.race([claim.taken, allowance.over.then(() => "late" as const)]);
      if (taken === "late") throw new Error("who fetches something was not settled in time");
      this.#failures = 0;
      return "lease" in taken ? claim : taken;
    } catch (error) {
      this.give(claim);
      this.#noteUnsettled(errorOf(error));
      return undefined;
    } finally {
      allowance.stop();
    }
  }

  /** Gives a claim back that was got before. */
  give(claim: Claim): void {
    claim.users--;
    // What is still being taken is given back when it has come; at the end all was.
    if (claim.users > 0 || claim.lease === undefined || this.#claims.get(claim.name) !== claim) return;
    this.#forget(claim);
    void this.#release(claim.lease);
  }

  /** Gives all back, and takes nothing more. */
  async close(): Promise<void> {
    this.#stopping.abort(new Error("the process is stopping"));
    const claims = [...this.#claims.values()];
    this.#claims.clear();
    await Promise.allSettled(
      claims.map(async ({ taken }) => {
        const found = await taken;
        if ("lease" in found) await found.lease.release();
      }),
    );
  }

  #begin(name: string): Claim {
    const claim: Claim = { name, taken: this.#options.leases.take(name), lease: undefined, users: 0 };
    this.#claims.set(name, claim);
    claim.taken.then(
      (taken) => {
        if (!("lease" in taken)) return this.#forget(claim);
        claim.lease = taken.lease;
        if (claim.users > 0) return undefined;
        this.#forget(claim);
        return this.#release(taken.lease);
      },
      () => this.#forget(claim),
    );
    return claim;
  }

  #forget(claim: Claim): void {
    if (this.#claims.get(claim.name) === claim) this.#claims.delete(claim.name);
  }

  /** Others who find it held would ask here for nothing. */
  async #release(lease: HeldLease): Promise<void> {
    const { clock, onUnsettled } = this.#options;
    const { signal } = this.#stopping;
    for (let failures = 0; ; failures++) {
      try {
        return await lease.release();
      } catch (error) {
        if (signal.aborted) return;
        onUnsettled(errorOf(error));
      }
      await clock.wait(restMs(failures), signal).catch(() => undefined);
    }
  }

  #noteUnsettled(error: Error): void {
    const now = this.#options.clock.monotonic();
    // What was under way when the rest began tells nothing new.
    if (now < this.#restUntil || this.#stopping.signal.aborted) return;
    this.#restUntil = now + restMs(this.#failures++);
    this.#options.onUnsettled(error);
  }
}

function restMs(failures: number): number {
  return Math.min(longestRestMs, firstRestMs * 2 ** failures);
}
