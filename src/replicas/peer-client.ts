import { createHash, randomUUID } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Dispatcher, Pool as PoolType } from "undici";
import { settleOrAbort } from "../concurrency/settle-or-abort.ts";
import { Pool } from "../upstream/undici.ts";
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
const maxAnswerBytes = 8 * 1024 * 1024;
const maxPeers = 64;

/** What peers are called with. */
export interface PeerClientOptions {
  readonly secret: SharedSecret;
  readonly addressOf: (id: ReplicaId) => Promise<string | undefined>;
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
 * Sends signed calls to other replicas, and takes signed answers alone. What is not answered as it should be throws, and
 * `PeerRefusal` where a peer says no; nothing is waited for but by the signal.
 */
export class PeerClient {
  readonly #options: PeerClientOptions;
  readonly #pools = new LRUCache<string, PoolType>({ max: maxPeers, dispose: (pool) => void pool.destroy() });
  readonly #epochs = new LRUCache<ReplicaId, string>({ max: maxPeers });

  constructor(options: PeerClientOptions) {
    this.#options = options;
  }

  /** A blob's size as it is told, empty where it is not known, and its body, which is nobody's word. */
  async blob(
    peer: ReplicaId,
    question: PeerQuestion,
    signal: AbortSignal,
  ): Promise<{ readonly size: string; readonly body: AsyncIterable<Buffer> }> {
    const answer = await this.#call(peer, question, signal);
    const size = answer.header(sizeHeader);
    this.#assertProven(answer, size);
    if (answer.status !== 200) throw new PeerRefusal(`it answered ${answer.status}`);
    return { size, body: answer.body };
  }

  /** What a peer says to a question but for a blob. */
  async json(peer: ReplicaId, question: PeerQuestion, signal: AbortSignal): Promise<unknown> {
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
    const address = await settleOrAbort(addressOf(peer), signal);
    if (address === undefined) throw new PeerRefusal("it is not there");
    const pool = this.#poolOf(address);
    const path = formatQuestion(question);
    for (let attempt = 0; ; attempt++) {
      const epoch = this.#epochs.get(peer) ?? "";
      const name = randomUUID();
      const call = `${epoch} ${name} ${secret.sign("call", peer, epoch, name, path)}`;
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

  async close(): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.all(pools.map((pool) => pool.destroy()));
  }
}
