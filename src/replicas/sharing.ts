import type { Clock } from "../concurrency/clock.ts";
import { settleOrAbort } from "../concurrency/settle-or-abort.ts";
import type { Digest } from "../oci/digest.ts";
import type { Fill } from "../registry/fill.ts";
import { blobKey, type RepositoryId } from "../store/layout.ts";
import { errorOf, type Key } from "../store/object-store.ts";
import { type UpstreamBlob, UpstreamError } from "../upstream/upstream.ts";
import { Answers, type Told } from "./answers.ts";
import type { ReplicaId } from "./board.ts";
import type { HeldLease, Leases, Taken } from "./leases.ts";
import { type PeerCalls, PeerRefusal } from "./peer-calls.ts";

/** How long anybody waits for who fetches something to be settled; then it is fetched without that, in milliseconds. */
const settledMs = 1_000;
const lookAgainMs = 50;
/** How long a lease is kept after what it is for is in the bucket, so that whoever saw it absent there still finds it here. */
const keptMs = 15_000;
/** The same after an answer, which reaches the bucket by itself or not at all. */
const answeredMs = 5_000;

/** What is shared by. */
export interface SharingOptions {
  readonly leases: Pick<Leases, "take">;
  readonly calls: Pick<PeerCalls, "blob" | "answer" | "noteWrong">;
  /** Resolves when an object is in the bucket, or will not be. */
  readonly copied: (key: Key) => Promise<void>;
  readonly clock: Clock;
  /** Told when it could not be settled who fetches something, for the log. */
  readonly onUnsettled: (error: Error) => void;
}

/** A blob to be fetched. */
export interface SharedBlob {
  readonly id: RepositoryId;
  readonly digest: Digest;
  readonly offset: number;
}

/**
 * Has each thing fetched by one replica: whoever holds its lease asks the upstream, and the others ask that replica,
 * while it fetches or has it. Where that cannot be settled in a second each asks the upstream itself: it never fails, and
 * nothing waits for longer, because of others.
 */
export class Sharing {
  /** What others may be told. */
  readonly answers: Answers;
  readonly #options: SharingOptions;
  readonly #held = new Map<string, HeldLease>();
  /** Who sent each blob that is being fetched from another replica. */
  readonly #senders = new Map<string, ReplicaId>();
  readonly #stopping = new AbortController();

  constructor(options: SharingOptions) {
    this.#options = options;
    this.answers = new Answers(() => options.clock.monotonic());
  }

  /** What this replica fetches for all, or has just fetched: names, and not more than a hundred. */
  get fetching(): readonly string[] {
    return [...this.#held.keys().take(100)];
  }

  /**
   * A blob, from another replica that fetches it or, by `ask`, from the upstream. `stored` finds it where it may have been
   * stored meanwhile.
   */
  async blob(
    blob: SharedBlob,
    ask: () => Promise<UpstreamBlob | undefined>,
    stored: () => Promise<UpstreamBlob | undefined>,
    signal: AbortSignal,
  ): Promise<UpstreamBlob | undefined> {
    const { calls } = this.#options;
    const name = nameOfBlob(blob);
    this.#senders.delete(name);
    const taken = await this.#settle(
      name,
      async (peer) => {
        const found = await calls.blob(peer, { kind: "blob", ...blob }, signal);
        this.#senders.set(name, peer);
        return found;
      },
      stored,
      signal,
    );
    if (typeof taken === "object") return taken.found;
    try {
      const found = await ask();
      if (found === undefined && taken === "held") this.#release(name);
      return found;
    } catch (error) {
      if (taken === "held") this.#release(name);
      throw error;
    }
  }

  /** Whether a blob is on its way from another replica now, so that it is nobody else's to be sent on. */
  isFromPeer(id: RepositoryId, digest: Digest): boolean {
    return this.#senders.has(nameOfBlob({ id, digest }));
  }

  /** Gives the lease of a blob back when the bucket has it, or when it does not come. */
  follow(fill: Fill, id: RepositoryId, digest: Digest): void {
    const { calls, copied } = this.#options;
    const name = nameOfBlob({ id, digest });
    void fill.ended.then(async () => {
      const sender = this.#senders.get(name);
      this.#senders.delete(name);
      const isWrong = fill.failure instanceof UpstreamError && fill.failure.failure === "invalid";
      if (sender !== undefined && isWrong) calls.noteWrong(sender);
      if (!this.#held.has(name)) return;
      if (fill.isVerified) {
        await copied(blobKey(digest));
        await this.#rest(keptMs);
      }
      this.#release(name);
    });
  }

  /**
   * What the upstream answers to a question that `ask` asks, here or at another replica.
   *
   * @param form How it is written for others, and read; `undefined`: it says nothing here.
   */
  async answer<T>(
    name: string,
    ask: () => Promise<T>,
    form: { write(answer: T): Told; read(told: unknown): Promise<{ readonly found: T } | undefined> },
    signal: AbortSignal,
  ): Promise<T> {
    const { calls } = this.#options;
    const taken = await this.#settle(
      name,
      async (peer) => {
        const told = await form.read(await calls.answer(peer, name, signal));
        if (told === undefined) throw new PeerRefusal("its answer is of no use");
        return told;
      },
      async () => undefined,
      signal,
    );
    if (typeof taken === "object") return taken.found.found;
    const asked = ask();
    if (taken === "alone") return asked;
    this.answers.tell(
      name,
      asked.then((answer) => form.write(answer)),
    );
    try {
      const answer = await asked;
      void this.#rest(answeredMs).then(() => this.#release(name));
      return answer;
    } catch (error) {
      this.#release(name);
      throw error;
    }
  }

  /** Gives everything back. */
  async close(): Promise<void> {
    this.#stopping.abort(new Error("the process is stopping"));
    const held = [...this.#held.values()];
    this.#held.clear();
    await Promise.allSettled(held.map((lease) => lease.release()));
  }

  /** Who is to ask the upstream: this replica, for all (`held`) or for itself (`alone`), or nobody, as it was found. */
  async #settle<T extends object>(
    name: string,
    fromPeer: (peer: ReplicaId) => Promise<T>,
    stored: () => Promise<T | undefined>,
    signal: AbortSignal,
  ): Promise<"held" | "alone" | { readonly found: T }> {
    const { clock } = this.#options;
    if (this.#held.has(name)) return "held";
    const until = clock.monotonic() + settledMs;
    for (;;) {
      const taken = await this.#take(name, until - clock.monotonic());
      signal.throwIfAborted();
      if (taken === undefined) return "alone";
      if ("lease" in taken) return "held";
      try {
        return { found: await fromPeer(taken.holder) };
      } catch (error) {
        if (!(error instanceof PeerRefusal)) throw error;
      }
      const found = await stored();
      if (found !== undefined) return { found };
      if (clock.monotonic() >= until) return "alone";
      await clock.wait(lookAgainMs, signal);
    }
  }

  /** Takes a lease; `undefined` where that cannot be told in time. */
  async #take(name: string, withinMs: number): Promise<Taken | undefined> {
    const { leases, clock, onUnsettled } = this.#options;
    const late = new AbortController();
    const taking = leases.take(name);
    const waiting = clock.wait(Math.max(0, withinMs), late.signal).then(() => "late" as const);
    waiting.catch(() => undefined);
    try {
      const taken = await Promise.race([taking, waiting]);
      if (taken === "late") {
        // Nobody is to find it held who finds nothing here.
        taking
          .then(async (found) => {
            if ("lease" in found) await found.lease.release();
          })
          .catch(() => undefined);
        throw new Error(`it was not settled in ${settledMs} ms`);
      }
      if ("lease" in taken) this.#held.set(name, taken.lease);
      return taken;
    } catch (error) {
      onUnsettled(errorOf(error));
      return undefined;
    } finally {
      late.abort();
    }
  }

  #release(name: string): void {
    const lease = this.#held.get(name);
    this.#held.delete(name);
    lease?.release().catch((error: unknown) => this.#options.onUnsettled(errorOf(error)));
  }

  async #rest(ms: number): Promise<void> {
    await settleOrAbort(this.#options.clock.wait(ms, this.#stopping.signal), this.#stopping.signal).catch(
      () => undefined,
    );
  }
}

function nameOfBlob({ id, digest }: Pick<SharedBlob, "id" | "digest">): string {
  return `blob ${id.namespace}/${id.repository}@${digest}`;
}
