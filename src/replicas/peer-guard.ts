import { randomUUID } from "node:crypto";
import type { ReplicaId } from "./board.ts";
import type { SharedSecret } from "./shared-secret.ts";

/** For how long calls may name an epoch, at least; and how many may. */
const epochMs = 10 * 60_000;
const maxCalls = 50_000;

/** A call that may be answered. */
export interface AdmittedCall {
  /** Signs what it is answered with. */
  prove(...says: readonly string[]): string;
}

/**
 * Tells calls of replicas from all others: a call is signed with the shared secret for this replica, names its epoch, and
 * is the only one of its name. So none can be made up, sent on to another replica by who was called in its place, or sent
 * again.
 */
export class PeerGuard {
  readonly #secret: SharedSecret;
  readonly #self: ReplicaId;
  readonly #monotonic: () => number;
  #current: { readonly epoch: string; readonly since: number; readonly seen: Set<string> };
  #previous: { readonly epoch: string; readonly seen: Set<string> } | undefined;

  /** @param monotonic As of `Clock`. */
  constructor(secret: SharedSecret, self: ReplicaId, monotonic: () => number) {
    this.#secret = secret;
    this.#self = self;
    this.#monotonic = monotonic;
    this.#current = { epoch: randomUUID(), since: monotonic(), seen: new Set() };
  }

  /** The epoch that calls are to name. */
  get epoch(): string {
    const now = this.#monotonic();
    if (now - this.#current.since >= epochMs || this.#current.seen.size >= maxCalls) {
      this.#previous = this.#current;
      this.#current = { epoch: randomUUID(), since: now, seen: new Set() };
    }
    return this.#current.epoch;
  }

  /** The call, by its target and its header; `undefined` for one that must not be answered. */
  admit(target: string, header: string): AdmittedCall | undefined {
    const [epoch = "", name = "", signature = ""] = header.split(" ");
    const known = this.epoch === epoch ? this.#current : this.#previous;
    if (known?.epoch !== epoch || name === "" || known.seen.size >= 2 * maxCalls) return undefined;
    if (!this.#secret.isSigned(signature, "call", this.#self, epoch, name, target) || known.seen.has(name))
      return undefined;
    known.seen.add(name);
    return { prove: (...says) => this.#secret.sign("answer", name, ...says) };
  }
}
