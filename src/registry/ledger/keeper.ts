import { type ObjectReader, StoreError } from "../../store/object-store.ts";
import { LedgerDatabase } from "./database.ts";
import type { LedgerChange } from "./ledger.ts";
import type { LedgerReply, LedgerRequest, RebuildReason } from "./messages.ts";
import { reconcile } from "./reconcile.ts";
import { isDamage, removeDatabase } from "./schema.ts";

/** What a keeper works with. */
export interface KeeperOptions {
  readonly path: string;
  readonly reader: ObjectReader;
  readonly retryMs: number;
  readonly reply: (reply: LedgerReply) => void;
}

/**
 * Keeps the ledger for the one who asks: opens the database, and again later where that failed; does what is asked, in
 * order and at once; reads the store beside that where the ledger is not known to be right. Nothing here throws: what
 * goes wrong is a reply.
 */
export class Keeper {
  readonly #options: KeeperOptions;
  #database: LedgerDatabase | undefined;
  /** Why the store is to be read as soon as `scan` comes, or being read. */
  #reason: RebuildReason | undefined;
  /** What a scan belongs to: one that was begun for another is over. */
  #scan = 0;
  /** Requests to be answered when the store has been read. */
  #rebuilds: number[] = [];
  /** Whether what was told was lost since the process began, so that files may be unknown. */
  #hasLost = false;
  #retry: NodeJS.Timeout | undefined;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#open();
  }

  handle(request: LedgerRequest): void {
    switch (request.kind) {
      case "changes": {
        const changed = this.#attempt((database) => database.apply(request.changes));
        if (changed === undefined) this.#hasLost = true;
        this.#options.reply({ kind: "done", id: request.id, ...(changed !== undefined && { changed }) });
        break;
      }
      case "query":
        this.#answer(request);
        break;
      case "scan":
        void this.#read(request.recent);
        break;
      case "rebuild":
        this.#rebuilds.push(request.id);
        this.#leave();
        this.#removeFiles();
        this.#open("asked for");
        break;
      case "close":
        this.#close();
        break;
    }
  }

  #open(asked?: RebuildReason): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#scan++;
    try {
      this.#database = new LedgerDatabase(this.#options.path);
      // It does not have what was told meanwhile, however well it was closed.
      if (this.#hasLost) this.#database.doubt();
      this.#hasLost = false;
      this.#reason = asked ?? this.#database.reason;
      this.#options.reply({ kind: "totals", totals: this.#database.totals });
      if (this.#reason !== undefined) this.#options.reply({ kind: "rebuilding", reason: this.#reason });
    } catch (error) {
      this.#fail(error);
    }
  }

  #answer({ id, query }: Extract<LedgerRequest, { kind: "query" }>): void {
    const { reply } = this.#options;
    try {
      if (this.#database === undefined) throw new Error("the ledger is not available");
      reply({ kind: "answer", id, value: this.#database.ask(query) });
    } catch (error) {
      if (isDamage(error)) this.#fail(error);
      reply({ kind: "refused", id, error: errorOf(error) });
    }
  }

  /** Reads the store to its end, unless something else is begun meanwhile. */
  async #read(recent: readonly LedgerChange[]): Promise<void> {
    const database = this.#database;
    const reason = this.#reason;
    if (database === undefined || reason === undefined) return;
    const scan = ++this.#scan;
    const started = performance.now();
    let objects = 0;
    try {
      const isComplete = database.totals !== undefined;
      const knewBefore = reason === "not closed" || reason === "not complete";
      for await (const step of reconcile(database, this.#options.reader, knewBefore, recent)) {
        if (scan !== this.#scan) return;
        objects += step.objects;
        // No request has this number.
        if (isComplete) this.#options.reply({ kind: "done", id: 0, changed: step.totals });
      }
      this.#options.reply({ kind: "totals", totals: database.totals });
    } catch (error) {
      if (scan !== this.#scan) return;
      if (!(error instanceof StoreError)) {
        this.#fail(error);
        return;
      }
      // The ledger itself is as good as before.
      this.#options.reply({ kind: "failed", error });
      this.#retry = setTimeout(() => this.#options.reply({ kind: "rebuilding", reason }), this.#options.retryMs);
      return;
    }
    this.#reason = undefined;
    this.#options.reply({ kind: "rebuilt", objects, durationMs: performance.now() - started });
    for (const id of this.#rebuilds.splice(0)) this.#options.reply({ kind: "done", id });
  }

  #attempt<T>(work: (database: LedgerDatabase) => T): T | undefined {
    if (this.#database === undefined) return undefined;
    try {
      return work(this.#database);
    } catch (error) {
      this.#fail(error);
      return undefined;
    }
  }

  /** Says what failed. What is damaged is made anew at once, everything else is tried again later. */
  #fail(error: unknown): void {
    const { reply, retryMs } = this.#options;
    reply({ kind: "failed", error: errorOf(error) });
    const wasOpen = this.#database !== undefined;
    this.#leave();
    reply({ kind: "totals", totals: undefined });
    if (wasOpen && isDamage(error)) {
      this.#removeFiles();
      this.#open("damaged");
      return;
    }
    this.#hasLost = true;
    this.#retry = setTimeout(() => this.#open(), retryMs);
  }

  #leave(): void {
    clearTimeout(this.#retry);
    this.#scan++;
    try {
      this.#database?.abandon();
    } catch {
      // It was closed already.
    }
    this.#database = undefined;
  }

  #removeFiles(): void {
    try {
      removeDatabase(this.#options.path);
    } catch {
      // Opening it says what the matter is.
    }
  }

  #close(): void {
    clearTimeout(this.#retry);
    this.#scan++;
    try {
      this.#database?.close();
    } catch (error) {
      this.#options.reply({ kind: "failed", error: errorOf(error) });
    }
    this.#database = undefined;
    this.#options.reply({ kind: "closed" });
  }
}

function errorOf(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
