import { Worker } from "node:worker_threads";
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import type { RepositoryId } from "../store/layout.ts";
import { KnownTotals } from "./known-totals.ts";
import {
  type Ledger,
  type LedgerChange,
  LedgerNotReady,
  type LedgerOverhead,
  type LedgerQueries,
  type Totals,
} from "./ledger.ts";
import type {
  LedgerMessage,
  LedgerReply,
  LedgerRequest,
  LedgerThreadData,
  RebuildReason,
  RebuildStats,
} from "./messages.ts";
import { RecentChanges } from "./recent-changes.ts";
import { Uses } from "./uses.ts";

/** Told of what happens to the ledger. */
export interface LedgerObserver {
  /** The store is read, to make the ledger right. */
  rebuilding(reason: RebuildReason): void;
  rebuilt(stats: RebuildStats): void;
  /** The ledger could not be opened, written or rebuilt, or not all of it; it is tried again later. */
  failed(error: Error): void;
}

/** How a ledger is opened. */
export interface LedgerOptions {
  /** The database's file, beside the data; SQLite adds others with the same beginning. */
  readonly path: string;
  /** The folder of the filesystem store. */
  readonly root: string;
  readonly observer: LedgerObserver;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** What the store may take in all, where that is a size: in a small one the ledger keeps itself small. */
  readonly maxBytes?: number | undefined;
  /** After which time uses are told that nothing else takes along, in milliseconds; 1000. */
  readonly useDelayMs?: number;
  /** After which time it is tried again what failed, in milliseconds; a minute. */
  readonly retryMs?: number;
}

/**
 * Opens the ledger of a store. Returns at once and never throws: whether it can be opened turns out in its thread, and
 * is said to the observer. Who opens it closes it.
 */
export function openLedger(options: LedgerOptions): Ledger {
  return new LedgerClient(options);
}

/** Changes that are told together, and when they are in the ledger. */
interface Batch {
  readonly changes: LedgerChange[];
  readonly told: PromiseWithResolvers<void>;
}

function createBatch(): Batch {
  return { changes: [], told: Promise.withResolvers<void>() };
}

/** The ledger as the main thread has it: changes go to the thread in batches, each as soon as the last one is in. */
class LedgerClient implements Ledger {
  readonly candidates: LedgerQueries["candidates"] = (...query) => this.#ask("candidates", query);
  readonly holding: LedgerQueries["holding"] = (...query) => this.#ask("holding", query);
  readonly holders: LedgerQueries["holders"] = (...query) => this.#ask("holders", query);
  readonly pinnedBytes: LedgerQueries["pinnedBytes"] = (...query) => this.#ask("pinnedBytes", query);
  readonly namespaces: LedgerQueries["namespaces"] = (...query) => this.#ask("namespaces", query);
  readonly repositories: LedgerQueries["repositories"] = (...query) => this.#ask("repositories", query);
  readonly tags: LedgerQueries["tags"] = (...query) => this.#ask("tags", query);
  readonly purgePlan: LedgerQueries["purgePlan"] = (...query) => this.#ask("purgePlan", query);
  readonly #options: LedgerOptions;
  readonly #retryMs: number;
  #worker: Worker | undefined;
  readonly #known = new KnownTotals();
  /** What is told while others are on their way. */
  #next = createBatch();
  readonly #uses = new Uses();
  readonly #recent = new RecentChanges();
  /** Batches that were sent and are not in the ledger yet, in order. */
  readonly #batches = new Map<number, Batch>();
  /** Questions and rebuilds that are not answered yet. */
  readonly #requests = new Map<number, PromiseWithResolvers<unknown>>();
  #nextId = 1;
  #useTimer: NodeJS.Timeout | undefined;
  #restartTimer: NodeJS.Timeout | undefined;
  #closing: PromiseWithResolvers<void> | undefined;

  constructor(options: LedgerOptions) {
    this.#options = options;
    this.#retryMs = options.retryMs ?? 60_000;
    this.#start();
  }

  get totals(): Totals | undefined {
    return this.#known.totals;
  }

  get overhead(): LedgerOverhead {
    return this.#known.overhead;
  }

  async tell(change: LedgerChange): Promise<void> {
    this.#recent.note(change);
    // Without a thread the change is in the files, or will be; the next thread finds it there.
    if (this.#worker === undefined || this.#closing !== undefined) return;
    const { changes, told } = this.#next;
    changes.push(change);
    if (this.#batches.size === 0) this.#flush();
    await told.promise;
  }

  use(id: RepositoryId, digest: Digest, tag?: Tag): void {
    if (this.#worker === undefined || this.#closing !== undefined) return;
    if (this.#uses.note(id, digest, tag, this.#options.now())) {
      this.#flush();
      return;
    }
    this.#useTimer ??= setTimeout(() => this.#flush(), this.#options.useDelayMs ?? 1_000).unref();
  }

  isUsePending(id: RepositoryId, digest: Digest): boolean {
    return this.#uses.isPending(id, digest);
  }

  async rebuild(): Promise<void> {
    await this.#request((id) => ({ kind: "rebuild", id }));
  }

  async close(): Promise<void> {
    if (this.#closing === undefined) {
      this.#closing = Promise.withResolvers<void>();
      clearTimeout(this.#restartTimer);
      if (this.#worker === undefined) {
        this.#closing.resolve();
      } else {
        this.#flush();
        this.#worker.ref();
        this.#post({ kind: "close" });
      }
    }
    await this.#closing.promise;
  }

  async #ask<Name extends keyof LedgerQueries>(
    name: Name,
    parameters: Parameters<LedgerQueries[Name]>,
  ): Promise<Awaited<ReturnType<LedgerQueries[Name]>>> {
    // Messages keep their order: what was told before the question is in the ledger when it is answered.
    this.#flush();
    const seen = this.#uses.mark();
    const query = { name, parameters } as Extract<LedgerRequest, { kind: "query" }>["query"];
    const answer = await this.#request((id) => ({ kind: "query", id, query }));
    seen();
    return answer as Awaited<ReturnType<LedgerQueries[Name]>>;
  }

  async #request(request: (id: number) => LedgerRequest): Promise<unknown> {
    if (this.#worker === undefined || this.#closing !== undefined) throw unavailable();
    const id = this.#nextId++;
    const answer = Promise.withResolvers<unknown>();
    this.#requests.set(id, answer);
    this.#post(request(id));
    return answer.promise;
  }

  #flush(): void {
    clearTimeout(this.#useTimer);
    this.#useTimer = undefined;
    const uses = this.#uses.take();
    const batch = this.#next;
    // Uses last: one of what was told with it counts, and one of what was removed is of nothing.
    batch.changes.push(...uses);
    if (this.#worker === undefined || batch.changes.length === 0) return;
    this.#next = createBatch();
    const id = this.#nextId++;
    this.#batches.set(id, batch);
    this.#post({ kind: "changes", id, changes: batch.changes });
  }

  #post(request: LedgerRequest): void {
    const message: LedgerMessage = { ...request, now: this.#options.now() };
    this.#worker?.postMessage(message);
    this.#keepAlive();
  }

  /** The thread keeps the process alive only while somebody waits for it. */
  #keepAlive(): void {
    if (this.#batches.size + this.#requests.size > 0 || this.#closing !== undefined) this.#worker?.ref();
    else this.#worker?.unref();
  }

  #start(): void {
    const { path, root, maxBytes, now } = this.#options;
    const workerData: LedgerThreadData = { path, root, maxBytes, retryMs: this.#retryMs, now: now() };
    const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
    const worker = new Worker(new URL(`./thread.${extension}`, import.meta.url), {
      workerData,
      // Room for the largest manifest and the longest list of candidates.
      resourceLimits: { maxOldGenerationSizeMb: 96, maxYoungGenerationSizeMb: 4 },
    });
    const started = performance.now();
    let reason: Error | undefined;
    worker.on("message", (reply: LedgerReply) => this.#receive(reply));
    worker.on("error", (error: Error) => {
      reason = error;
    });
    worker.on("exit", () => this.#ended(reason, performance.now() - started));
    this.#worker = worker;
    // What the last thread did not come to; done twice it changes nothing.
    for (const [id, { changes }] of this.#batches) this.#post({ kind: "changes", id, changes });
    this.#keepAlive();
  }

  #receive(reply: LedgerReply): void {
    switch (reply.kind) {
      case "done":
        if (reply.changed !== undefined) this.#known.change(reply.changed);
        this.#batches.get(reply.id)?.told.resolve();
        if (this.#batches.delete(reply.id) && this.#batches.size === 0 && this.#next.changes.length > 0) this.#flush();
        this.#requests.get(reply.id)?.resolve(undefined);
        break;
      case "answer":
        this.#requests.get(reply.id)?.resolve(reply.value);
        break;
      case "refused":
        this.#requests.get(reply.id)?.reject(reply.error);
        break;
      case "not ready":
        this.#requests
          .get(reply.id)
          ?.reject(reply.error === undefined ? new LedgerNotReady() : unavailable(reply.error));
        break;
      case "totals":
        this.#known.set(reply.totals);
        break;
      case "rebuilding":
        this.#post({ kind: "scan", recent: this.#recent.list() });
        this.#options.observer.rebuilding(reply.reason);
        break;
      case "rebuilt":
        this.#options.observer.rebuilt(reply);
        break;
      case "failed":
        this.#options.observer.failed(reply.error);
        break;
      case "closed":
        void this.#worker?.terminate();
        break;
    }
    if ("id" in reply) this.#requests.delete(reply.id);
    this.#keepAlive();
  }

  #ended(reason: Error | undefined, livedMs: number): void {
    this.#worker = undefined;
    this.#known.set(undefined);
    const error = new LedgerNotReady("the ledger's thread ended", { cause: reason });
    for (const { reject } of this.#requests.values()) reject(error);
    this.#requests.clear();
    if (this.#closing !== undefined) {
      this.#letGo();
      this.#closing.resolve();
      return;
    }
    this.#options.observer.failed(error);
    if (livedMs >= this.#retryMs) {
      this.#start();
      return;
    }
    // One that dies again and again is not waited for.
    this.#letGo();
    this.#restartTimer = setTimeout(() => this.#start(), this.#retryMs).unref();
  }

  /** Lets go of who waits for changes that no thread takes. */
  #letGo(): void {
    for (const { told } of [...this.#batches.values(), this.#next]) told.resolve();
    this.#batches.clear();
    this.#next = createBatch();
  }
}

function unavailable(cause?: Error): LedgerNotReady {
  return new LedgerNotReady("the ledger is not available", { cause });
}
