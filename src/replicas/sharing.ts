import { Allowance } from "../concurrency/allowance.ts";
import type { Clock } from "../concurrency/clock.ts";
import type { Digest } from "../oci/digest.ts";
import type { Fill } from "../registry/fill.ts";
import { blobKey, type RepositoryId } from "../store/layout.ts";
import type { Key } from "../store/object-store.ts";
import { type UpstreamBlob, UpstreamError } from "../upstream/upstream.ts";
import { Answers, type Told } from "./answers.ts";
import type { ReplicaId } from "./board.ts";
import { Claims } from "./claims.ts";
import type { Claim } from "./claims.ts";
import type { Leases } from "./leases.ts";
import type { PeerCalls } from "./peer-calls.ts";
import { PeerRefusal } from "./peer-client.ts";

/** How long anybody waits for who fetches something to be settled; then it is fetched without that, in milliseconds. */
const settledMs = 1_000;
/** How soon it is looked again after the first refusal; after each other one twice as late. */
const lookAgainMs = 50;
/** How long the bucket is given at least for a look. */
const lastLookMs = 250;
/** How long a lease is kept after what it is for is in the bucket, so that whoever saw it absent there still finds it here. */
const keptMs = 15_000;
/** The same after an answer, which reaches the bucket by itself or not at all. */
const answeredMs = 5_000;

/** What is shared by. */
export interface SharingOptions {
  readonly leases: Pick<Leases, "take" | "clear">;
  readonly calls: Pick<PeerCalls, "blob" | "answer" | "noteWrong">;
  /** Resolves when an object is in the bucket, or will not be. */
  readonly copied: (key: Key) => Promise<void>;
  /** Whether nothing is to be settled now: the bucket fails, or this replica is none that others could ask. */
  readonly isSpared?: () => boolean;
  readonly clock: Clock;
  /** Told when it could not be settled who fetches something, for the log. */
  readonly onUnsettled: (error: Error) => void;
}

/** A blob to be fetched. */
export interface SharedBlob {
  readonly id: RepositoryId;
  readonly digest: Digest;
  readonly offset: number;
  /** The whole blob's size, where this replica knows it. */
  readonly sizeBytes: number | undefined;
}

/** How an answer is told to others. */
export interface AnswerForm<T> {
  write(answer: T): Told;
  /**
   * What another replica has told; `undefined`: it says nothing here.
   *
   * @param waitedMs How long ago it was asked for: what is no older is an answer to this very question.
   */
  read(told: unknown, waitedMs: number): Promise<{ readonly found: T } | undefined>;
  /** How long an answer may be of use to others, in milliseconds. */
  freshMs(answer: T): number;
}

/** A blob on its way here. */
interface Transfer {
  /** Where this replica fetches it for all. */
  claim: Claim | undefined;
  /** The replica that sends it now, and those that broke off: they are not asked again. */
  sender: ReplicaId | undefined;
  readonly left: Set<ReplicaId>;
}

/** Who is to ask the upstream: this replica, by a claim for all, or without one for itself; or nobody. */
type Settled<T> = { readonly claim: Claim | undefined } | { readonly found: T };

/**
 * Has each thing fetched by one replica: whoever holds its lease asks the upstream, and the others ask that replica,
 * while it fetches or has it. Where that cannot be settled in a second each asks the upstream itself: it never fails, and
 * nothing waits for longer, because of others.
 */
export class Sharing {
  /** What others may be told. */
  readonly answers: Answers;
  readonly #options: SharingOptions;
  readonly #claims: Claims;
  readonly #transfers = new Map<string, Transfer>();
  readonly #stopping = new AbortController();

  constructor(options: SharingOptions) {
    this.#options = options;
    this.#claims = new Claims(options);
    this.answers = new Answers(() => options.clock.monotonic());
  }

  /** What this replica fetches for all, or has just fetched: names, and not more than a hundred. */
  get fetching(): readonly string[] {
    return this.#claims.held;
  }

  /**
   * A blob that is followed, from another replica that fetches it or, by `ask`, from the upstream. `stored` finds it
   * where it may have been stored meanwhile. One that nobody follows is not shared, as nobody would give it back.
   *
   * @param mayHold Whether others may wait for this one to get it.
   */
  async blob(
    blob: SharedBlob,
    ask: () => Promise<UpstreamBlob | undefined>,
    stored: () => Promise<UpstreamBlob | undefined>,
    signal: AbortSignal,
    mayHold?: () => boolean,
  ): Promise<UpstreamBlob | undefined> {
    const { calls } = this.#options;
    const name = nameOfBlob(blob);
    const transfer = this.#transfers.get(name);
    if (transfer === undefined) return ask();
    // It would not be asked for again if that one had sent it all.
    if (transfer.sender !== undefined) transfer.left.add(transfer.sender);
    transfer.sender = undefined;
    if (transfer.claim !== undefined) return ask();
    const settled = await this.#settle<UpstreamBlob>(
      name,
      async (peer) => {
        if (transfer.left.has(peer)) throw new PeerRefusal("it broke off before");
        const found = await calls.blob(peer, { kind: "blob", ...blob }, signal);
        transfer.sender = peer;
        return found;
      },
      { find: stored, drop: (late) => late.cancel() },
      signal,
      mayHold,
    );
    if ("found" in settled) return settled.found;
    transfer.claim = settled.claim;
    return ask();
  }

  /** Whether a blob is on its way from another replica now, so that it is nobody else's to be sent on. */
  isFromPeer(id: RepositoryId, digest: Digest): boolean {
    return this.#transfers.get(nameOfBlob({ id, digest }))?.sender !== undefined;
  }

  /** Shares a fill's blob; to be called before it is asked for. Its lease is given back when the bucket has it, or when it does not come. */
  follow(fill: Pick<Fill, "ended" | "failure" | "isVerified">, id: RepositoryId, digest: Digest): void {
    const { calls, copied } = this.#options;
    const name = nameOfBlob({ id, digest });
    const transfer: Transfer = { claim: undefined, sender: undefined, left: new Set() };
    this.#transfers.set(name, transfer);
    void fill.ended.then(async () => {
      if (this.#transfers.get(name) === transfer) this.#transfers.delete(name);
      const { claim, sender, left } = transfer;
      const isWrong = fill.failure instanceof UpstreamError && fill.failure.failure === "invalid";
      // It sends the end when it has found all of it to be right; of what came from several nobody knows whose was wrong.
      if (sender !== undefined && left.size === 0 && isWrong) calls.noteWrong(sender);
      if (claim === undefined) return;
      if (fill.isVerified) {
        await copied(blobKey(digest));
        await this.#rest(keptMs);
      }
      this.#claims.give(claim);
    });
  }

  /** What the upstream answers to a question that `ask` asks, here or at another replica. */
  async answer<T>(
    name: string,
    ask: () => Promise<T>,
    form: AnswerForm<T>,
    signal: AbortSignal,
    mayHold?: () => boolean,
  ): Promise<T> {
    const { calls, clock } = this.#options;
    const settled = await this.#settle(
      name,
      async (peer) => {
        const askedAt = clock.monotonic();
        const answer = await calls.answer(peer, name, signal);
        const told = await form.read(answer, clock.monotonic() - askedAt);
        if (told === undefined) throw new PeerRefusal("its answer is of no use");
        return told;
      },
      { find: async () => undefined, drop: () => undefined },
      signal,
      mayHold,
    );
    if ("found" in settled) return settled.found.found;
    const { claim } = settled;
    const asked = ask();
    if (claim === undefined) return asked;
    this.answers.tell(
      name,
      asked.then((answer) => form.write(answer)),
    );
    try {
      const answer = await asked;
      // Whoever finds the lease is to find an answer that is of use.
      const ms = Math.min(answeredMs, form.freshMs(answer));
      void this.#rest(ms).then(() => this.#claims.give(claim));
      return answer;
    } catch (error) {
      this.#claims.give(claim);
      throw error;
    }
  }

  /** Gives everything back. */
  async close(): Promise<void> {
    this.#stopping.abort(new Error("the process is stopping"));
    await this.#claims.close();
  }

  async #settle<T extends object>(
    name: string,
    fromPeer: (peer: ReplicaId) => Promise<T>,
    stored: { find(): Promise<T | undefined>; drop(late: T): void },
    signal: AbortSignal,
    mayHold = () => true,
  ): Promise<Settled<T>> {
    const { clock, isSpared = () => false } = this.#options;
    if (isSpared()) return { claim: undefined };
    const allowance = new Allowance(clock, settledMs);
    try {
      const settled = await this.#settleWithin(allowance, name, fromPeer, stored, signal);
      if ("found" in settled || settled.claim === undefined || mayHold()) return settled;
      this.#claims.give(settled.claim);
      return { claim: undefined };
    } finally {
      allowance.stop();
    }
  }

  async #settleWithin<T extends object>(
    allowance: Allowance,
    name: string,
    fromPeer: (peer: ReplicaId) => Promise<T>,
    stored: { find(): Promise<T | undefined>; drop(late: T): void },
    signal: AbortSignal,
  ): Promise<Settled<T>> {
    const { clock, leases } = this.#options;
    for (let pauseMs = lookAgainMs; ; pauseMs *= 2) {
      const taken = await this.#claims.take(name, allowance.leftMs);
      if (signal.aborted && taken !== undefined && "users" in taken) this.#claims.give(taken);
      signal.throwIfAborted();
      if (taken === undefined) return { claim: undefined };
      if ("users" in taken) return { claim: taken };
      try {
        return { found: await fromPeer(taken.holder) };
      } catch (error) {
        if (!(error instanceof PeerRefusal)) throw error;
      }
      const lookMs = Math.max(allowance.leftMs, lastLookMs);
      const found = await this.#inTime(stored.find(), lookMs, (late) => stored.drop(late)).catch(() => undefined);
      if (found !== undefined) return { found };
      // A bucket that could not answer in what would be left of the time does not fail for that.
      if (allowance.leftMs < pauseMs + lastLookMs) {
        // Where that one has it no more, its lease would keep everybody waiting; where it has, another one fetches it too.
        leases.clear(name, taken.holder).catch(() => undefined);
        return { claim: undefined };
      }
      await clock.wait(pauseMs, signal);
    }
  }

  /** What is found in this time; `undefined` where it comes later, and is dropped then. */
  async #inTime<T extends object>(
    finding: Promise<T | undefined>,
    ms: number,
    drop: (late: T) => void,
  ): Promise<T | undefined> {
    const allowance = new Allowance(this.#options.clock, ms);
    try {
      const found = await Promise.race([finding, allowance.over.then(() => "late" as const)]);
      if (found !== "late") return found;
      finding.then((value) => value && drop(value)).catch(() => undefined);
      return undefined;
    } finally {
      allowance.stop();
    }
  }

  async #rest(ms: number): Promise<void> {
    await this.#options.clock.wait(ms, this.#stopping.signal).catch(() => undefined);
  }
}

function nameOfBlob({ id, digest }: Pick<SharedBlob, "id" | "digest">): string {
  return `blob ${id.namespace}/${id.repository}@${digest}`;
}
