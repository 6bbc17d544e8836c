import { createHash, randomUUID } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Dispatcher, Pool as PoolType } from "undici";
import type { Clock } from "../concurrency/clock.ts";
import { isObject } from "../oci/document.ts";
import { errorOf } from "../store/object-store.ts";
import { Pool } from "../upstream/undici.ts";
import { type UpstreamBlob, UpstreamError } from "../upstream/upstream.ts";
import type { ReplicaId } from "./board.ts";
import {
  callHeader,
  epochHeader,
  formatQuestion,
  type PeerQuestion,
  proofHeader,
  sizeHeader,
} from "./peer-protocol.ts";
import type { SharedSecret } from "./shared-secret.ts";

/** A peer that takes no connection for so long is not there, in milliseconds. */
const connectMs = 150;
/** When nothing has come for so long, it is asked whether there is anything; and so long it may take to say so. */
const silentMs = 250;
const progressMs = 400;
/** For how long a peer is left alone that failed, and one that sent what it should not. */
const goneMs = 5_000;
const wrongMs = 10 * 60_000;
/** What a peer has must come at this pace, in bytes for each second in which it is waited for. */
const paceBytes = 64 * 1024;
const paceMs = 1_000;
/** What it holds back for good reasons: the end of what is not verified, and what is on its way. */
const heldBackBytes = 512 * 1024;
const maxAnswerBytes = 8 * 1024 * 1024;
const maxPeers = 64;

/** What calls are made with. */
export interface PeerCallsOptions {
  readonly secret: SharedSecret;
  readonly addressOf: (id: ReplicaId) => Promise<string | undefined>;
  readonly clock: Pick<Clock, "monotonic" | "wait">;
  /** Told of a peer that is left alone from now on, for the log. */
  readonly onLeft: (id: ReplicaId, error: Error) => void;
}

/** A peer does not have what it was asked for, or does not give it: somebody else is to be asked. */
export class PeerRefusal extends Error {
  override readonly name = "PeerRefusal";
}

interface Answered {
  readonly name: string;
  readonly status: number;
  readonly body: Dispatcher.ResponseData["body"];
  /** A header by its lower-case name; empty where there is none. */
  readonly header: (name: string) => string;
}

/**
 * Asks other replicas. Their word counts where it is signed; bytes of blobs are for whoever takes them to verify. One that
 * takes no connection, is silent, or holds back what it has is left alone for a while.
 */
export class PeerCalls {
  readonly #options: PeerCallsOptions;
  readonly #pools = new LRUCache<string, PoolType>({ max: maxPeers, dispose: (pool) => void pool.destroy() });
  readonly #epochs = new LRUCache<ReplicaId, string>({ max: maxPeers });
  readonly #leftUntil = new LRUCache<ReplicaId, number>({ max: maxPeers });

  constructor(options: PeerCallsOptions) {
    this.#options = options;
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
  async blob(
    peer: ReplicaId,
    question: Extract<PeerQuestion, { kind: "blob" }>,
    signal: AbortSignal,
  ): Promise<UpstreamBlob> {
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    try {
      const asked = this.#call(peer, question, either);
      const answer = await this.#watched(asked, () => this.#expect(peer, question, question.offset));
      const size = answer.header(sizeHeader);
      this.#assertProven(answer, size);
      if (answer.status !== 200) throw new PeerRefusal(`it answered ${answer.status}`);
      return {
        sizeBytes: size === "" ? undefined : Number(size),
        origin: "replica",
        body: this.#read(peer, question, answer.body, over, signal),
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
    try {
      const asked = this.#json(peer, { kind: "answer", name }, signal);
      // Whether it is still there: nothing tells how far an answer is.
      return await this.#watched(
        asked,
        async () => void (await this.#json(peer, alive, AbortSignal.timeout(progressMs))),
      );
    } catch (error) {
      signal.throwIfAborted();
      throw this.#failed(peer, error);
    }
  }

  async close(): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.all(pools.map((pool) => pool.destroy()));
  }

  async *#read(
    peer: ReplicaId,
    question: Extract<PeerQuestion, { kind: "blob" }>,
    body: AsyncIterable<Buffer>,
    over: AbortController,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer> {
    const { clock } = this.#options;
    let received = question.offset;
    let waitedMs = 0;
    let window = 0;
    try {
      const chunks = body[Symbol.asyncIterator]();
      for (;;) {
        const wantedAt = clock.monotonic();
        const { value, done } = await this.#watched(chunks.next(), () => this.#expect(peer, question, received));
        if (done === true) return;
        received += value.length;
        window += value.length;
        waitedMs += clock.monotonic() - wantedAt;
        if (waitedMs >= paceMs) {
          // A peer that brings little may have no more itself.
          if (window < (paceBytes * waitedMs) / 1_000) await this.#expect(peer, question, received);
          waitedMs = 0;
          window = 0;
        }
        yield value;
      }
    } catch (error) {
      signal.throwIfAborted();
      throw new UpstreamError(question.id.namespace, "unreachable", "a replica broke off", {
        cause: this.#failed(peer, error),
      });
    } finally {
      over.abort();
    }
  }

  /** Throws where a peer does not say that it has no more than what has come. */
  async #expect(
    peer: ReplicaId,
    { id, digest }: Extract<PeerQuestion, { kind: "blob" }>,
    received: number,
  ): Promise<void> {
    const told = await this.#json(peer, { kind: "progress", id, digest }, AbortSignal.timeout(progressMs));
    const has = isObject(told) ? told["receivedBytes"] : undefined;
    if (typeof has !== "number" || has > received + heldBackBytes) throw new Error("it does not send what it has");
  }

  /** Waits for something; while it does not come, `check` is asked now and then whether it may still. */
  async #watched<T>(promise: Promise<T>, check: () => Promise<void>): Promise<T> {
    const settled = promise.then(
      () => true,
      () => true,
    );
    for (;;) {
      const stop = new AbortController();
      const late = this.#options.clock.wait(silentMs, stop.signal).then(
        () => false,
        () => false,
      );
      const isHere = await Promise.race([settled, late]);
      stop.abort();
      if (isHere) return promise;
      await Promise.race([settled, check()]);
    }
  }

  async #json(peer: ReplicaId, question: PeerQuestion, signal: AbortSignal): Promise<unknown> {
    const answer = await this.#call(peer, question, signal);
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > maxAnswerBytes) throw new Error(`its answer has more than ${maxAnswerBytes} bytes`);
      chunks.push(chunk);
    }
    const text = Buffer.concat(chunks).toString("utf8");
    this.#assertProven(answer, createHash("sha256").update(text).digest("hex"));
    if (answer.status !== 200) throw new PeerRefusal(`it answered ${answer.status}`);
    return JSON.parse(text);
  }

  /** Sends a call; where the peer names another epoch, once more. */
  async #call(peer: ReplicaId, question: PeerQuestion, signal: AbortSignal): Promise<Answered> {
    const { secret, addressOf } = this.#options;
    const address = await addressOf(peer);
    if (address === undefined) throw new PeerRefusal("it is not there");
    const pool = this.#poolOf(address);
    const path = formatQuestion(question);
    for (let attempt = 0; ; attempt++) {
      const epoch = this.#epochs.get(peer) ?? "";
      const name = randomUUID();
      const call = `${epoch} ${name} ${secret.sign("call", epoch, name, path)}`;
      const { statusCode, headers, body } = await pool.request({
        method: "GET",
        path,
        headers: { [callHeader]: call },
        signal,
      });
      // An error that comes while nobody reads must not end the process.
      body.on("error", () => undefined);
      const header = (field: string): string => String(headers[field] ?? "");
      if (statusCode !== 401 || attempt > 0) return { name, status: statusCode, body, header };
      await body.dump();
      this.#epochs.set(peer, header(epochHeader));
    }
  }

  #assertProven({ name, status, body, header }: Answered, says: string): void {
    if (this.#options.secret.isSigned(header(proofHeader), "answer", name, String(status), says)) return;
    body.destroy();
    throw new Error("its answer is not signed with the shared secret");
  }

  #poolOf(address: string): PoolType {
    const pool =
      this.#pools.get(address) ??
      new Pool(address, {
        connect: { timeout: connectMs },
        headersTimeout: 0,
        bodyTimeout: 0,
        keepAliveTimeout: 10_000,
      });
    this.#pools.set(address, pool);
    return pool;
  }

  /** A failure as it is thrown; whoever does not merely refuse is left alone. */
  #failed(peer: ReplicaId, error: unknown): PeerRefusal {
    if (error instanceof PeerRefusal) return error;
    this.#leave(peer, goneMs, errorOf(error));
    return new PeerRefusal("it does not answer as it should", { cause: error });
  }

  #leave(peer: ReplicaId, ms: number, error: Error): void {
    this.#leftUntil.set(peer, this.#options.clock.monotonic() + ms);
    this.#options.onLeft(peer, error);
  }
}

const alive: PeerQuestion = { kind: "alive" };
