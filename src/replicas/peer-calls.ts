import { LRUCache } from "lru-cache";
import { Allowance } from "../concurrency/allowance.ts";
import type { Clock } from "../concurrency/clock.ts";
import { isObject } from "../oci/document.ts";
import { errorOf } from "../store/object-store.ts";
import { type UpstreamBlob, UpstreamError } from "../upstream/upstream.ts";
import type { ReplicaId } from "./board.ts";
import { PeerClient, type PeerClientOptions, PeerRefusal } from "./peer-client.ts";
import type { PeerQuestion } from "./peer-protocol.ts";

/** When nothing has come for so long, it is asked whether there is anything; and so long it may take to say so. */
const silentMs = 250;
const progressMs = 700;
/** For how long a peer is left alone that failed: for longer each time in a row; and one that sent what it should not. */
const firstGoneMs = 500;
const longestGoneMs = 5_000;
const wrongMs = 10 * 60_000;
/** A peer whose bytes come more slowly is asked what it has, in bytes for each second in which it is waited for. */
const paceBytes = 64 * 1024;
const paceMs = 1_000;
const maxLate = 3;
const maxPeers = 64;

/** What calls are made with. */
export interface PeerCallsOptions extends PeerClientOptions {
  readonly clock: Pick<Clock, "monotonic" | "wait">;
  /** Told of a peer that is left alone from now on, for the log. */
  readonly onLeft: (id: ReplicaId, error: Error) => void;
}

/** A blob that is asked for, and its whole size, where that is known. */
type WantedBlob = Extract<PeerQuestion, { kind: "blob" }> & { readonly sizeBytes?: number | undefined };

/**
 * Asks other replicas. Their word counts where it is signed; bytes of blobs are for whoever takes them to verify. One that
 * takes no connection, is silent, or holds back what it has is left alone for a while.
 */
export class PeerCalls {
  readonly #options: PeerCallsOptions;
  readonly #client: PeerClient;
  readonly #leftUntil = new LRUCache<ReplicaId, number>({ max: maxPeers });
  /** How often each has failed since it was heard of last, and when that was. */
  readonly #failures = new LRUCache<ReplicaId, number>({ max: maxPeers });
  readonly #heardAt = new LRUCache<ReplicaId, number>({ max: maxPeers });

  constructor(options: PeerCallsOptions) {
    this.#options = options;
    this.#client = new PeerClient(options);
  }

  /** Whether a peer is not there, or is left alone. */
  async isGone(id: ReplicaId): Promise<boolean> {
    const { clock, addressOf } = this.#options;
    if (clock.monotonic() < (this.#leftUntil.get(id) ?? -Infinity)) return true;
    return (await addressOf(id)) === undefined;
  }

  /** Notes that a peer has sent what it should not. */
  noteWrong(id: ReplicaId): void {
    this.#leave(id, wrongMs, new Error("it sent other bytes than it should"));
  }

  /**
   * A blob from an offset on, as the peer has it or is getting it. A body that breaks throws `UpstreamError`.
   *
   * @throws {PeerRefusal} it does not have the blob, or not for others; or it is not there.
   */
  async blob(peer: ReplicaId, question: WantedBlob, signal: AbortSignal): Promise<UpstreamBlob> {
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    try {
      const asked = this.#client.blob(peer, question, either);
      const { size, body } = await this.#watched(
        asked,
        this.#owing(peer, question, () => question.offset),
      );
      this.#hear(peer);
      const sizeBytes = size === "" ? question.sizeBytes : Number(size);
      if (sizeBytes !== (question.sizeBytes ?? sizeBytes)) throw new Error(`it tells another size: ${size}`);
      return {
        sizeBytes,
        origin: "replica",
        body: this.#read(peer, question, { body, sizeBytes }, over, signal),
        cancel: () => over.abort(),
      };
    } catch (error) {
      over.abort();
      signal.throwIfAborted();
      throw this.#failed(peer, error);
    }
  }

  /**
   * What an upstream has answered a peer, or is about to, as JSON.
   *
   * @throws {PeerRefusal} it has no answer; or it is not there.
   */
  async answer(peer: ReplicaId, name: string, signal: AbortSignal): Promise<unknown> {
    const over = new AbortController();
    try {
      const asked = this.#client.json(peer, { kind: "answer", name }, AbortSignal.any([signal, over.signal]));
      // Whether it is still there: nothing tells how far an answer is.
      const answer = await this.#watched(asked, async () => void (await this.#soon(peer, alive)));
      this.#hear(peer);
      return answer;
    } catch (error) {
      signal.throwIfAborted();
      throw this.#failed(peer, error);
    } finally {
      over.abort();
    }
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  async *#read(
    peer: ReplicaId,
    question: WantedBlob,
    { body, sizeBytes = Infinity }: { readonly body: AsyncIterable<Buffer>; readonly sizeBytes: number | undefined },
    over: AbortController,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer> {
    const { clock } = this.#options;
    let received = question.offset;
    let waitedMs = 0;
    let window = 0;
    let isBroken = false;
    const check = this.#owing(peer, question, () => received);
    try {
      const chunks = body[Symbol.asyncIterator]();
      for (;;) {
        const wantedAt = clock.monotonic();
        const next = chunks.next();
        next.catch(() => (isBroken = true));
        const { value, done } = await this.#watched(next, check);
        if (done === true && received < sizeBytes && sizeBytes !== Infinity) {
          throw new Error(`its body ended at ${received} of ${sizeBytes} bytes`);
        }
        if (done === true) return;
        this.#hear(peer);
        received += value.length;
        if (received > sizeBytes) throw new Error(`its body has more than ${sizeBytes} bytes`);
        window += value.length;
        waitedMs += clock.monotonic() - wantedAt;
        if (waitedMs >= paceMs) {
          // A peer that brings little may have no more itself.
          if (window < (paceBytes * waitedMs) / 1_000) await check(maxLate);
          waitedMs = 0;
          window = 0;
        }
        yield value;
      }
    } catch (error) {
      signal.throwIfAborted();
      const cause = isBroken ? await this.#whyBroken(peer, question, error) : error;
      signal.throwIfAborted();
      throw new UpstreamError(question.id.namespace, "unreachable", "a replica broke off", {
        cause: this.#failed(peer, cause),
      });
    } finally {
      over.abort();
    }
  }

  /** Why a body broke: a peer that is there, and has the blob no more, has failed to get it, and does well otherwise. */
  async #whyBroken(peer: ReplicaId, { id, digest }: WantedBlob, error: unknown): Promise<unknown> {
    try {
      await this.#soon(peer, { kind: "progress", id, digest });
      return error;
    } catch (refusal) {
      return refusal instanceof PeerRefusal ? refusal : error;
    }
  }

  /**
   * A check of a peer that is slow: what it said to have at one of them has to be here three later, in about a second.
   * One after a longer time counts for several.
   */
  #owing(peer: ReplicaId, { id, digest }: WantedBlob, received: () => number): (checks?: number) => Promise<void> {
    let owedBytes = 0;
    let late = 0;
    return async (checks = 1) => {
      if (received() < owedBytes) {
        late += checks;
        if (late < maxLate) return;
        throw new Error("it does not send what it has");
      }
      late = 0;
      const told = await this.#soon(peer, { kind: "progress", id, digest });
      if (told === undefined) return;
      const readyBytes = isObject(told) ? told["readyBytes"] : undefined;
      if (typeof readyBytes !== "number") throw new Error("it does not tell what it has");
      owedBytes = readyBytes;
    };
  }

  /** Waits for something; while it does not come, `check` is asked now and then whether it may still. */
  async #watched<T>(promise: Promise<T>, check: () => Promise<void>): Promise<T> {
    const settled = promise.then(
      () => true,
      () => true,
    );
    for (;;) {
      const allowance = new Allowance(this.#options.clock, silentMs);
      const isHere = await Promise.race([settled, allowance.over.then(() => false)]);
      allowance.stop();
      if (isHere) return promise;
      await Promise.race([settled, check()]);
    }
  }

  /**
   * What a peer answers at once, or not at all: `undefined` where it does not, and something else comes from it
   * meanwhile. One that has much to do is not one that is gone, and is not to be given more.
   */
  async #soon(peer: ReplicaId, question: PeerQuestion): Promise<unknown> {
    const { clock } = this.#options;
    const askedAt = clock.monotonic();
    const over = new AbortController();
    const allowance = new Allowance(clock, progressMs);
    void allowance.over.then(() => over.abort(new Error(`it did not answer in ${progressMs} ms`)));
    try {
      const answer = await this.#client.json(peer, question, over.signal);
      this.#hear(peer);
      return answer;
    } catch (error) {
      if (over.signal.aborted && (this.#heardAt.get(peer) ?? -Infinity) > askedAt) return undefined;
      throw error;
    } finally {
      allowance.stop();
    }
  }

  #hear(peer: ReplicaId): void {
    this.#heardAt.set(peer, this.#options.clock.monotonic());
    this.#failures.delete(peer);
  }

  /** A failure as it is thrown; whoever does not merely refuse is left alone. */
  #failed(peer: ReplicaId, error: unknown): PeerRefusal {
    if (error instanceof PeerRefusal) return error;
    const failures = this.#failures.get(peer) ?? 0;
    this.#failures.set(peer, failures + 1);
    this.#leave(peer, Math.min(longestGoneMs, firstGoneMs * 2 ** failures), errorOf(error));
    return new PeerRefusal("it does not answer as it should", { cause: error });
  }

  #leave(peer: ReplicaId, ms: number, error: Error): void {
    const until = this.#options.clock.monotonic() + ms;
    this.#leftUntil.set(peer, Math.max(until, this.#leftUntil.get(peer) ?? 0));
    this.#options.onLeft(peer, error);
  }
}

const alive: PeerQuestion = { kind: "alive" };
