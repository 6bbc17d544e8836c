import { type ObjectReader, StoreError } from "../../store/object-store.ts";
import { LedgerDatabase } from "./database.ts";
import { type LedgerChange, LedgerNotReady } from "./ledger.ts";
import type {
  LedgerMessage,
  LedgerReply,
  LedgerRequest,
  LedgerThreadData,
  RebuildReason,
  TotalsPart,
} from "./messages.ts";
import { OwnFiles } from "./own-files.ts";
import { reconcile } from "./reconcile.ts";
import { isDamage, isResult, isUnwritable } from "./schema.ts";

/** What a keeper works with. The time is that of the one who asks; each message tells it again. */
export interface KeeperOptions extends Omit<LedgerThreadData, "root"> {
  readonly reader: ObjectReader;
  readonly reply: (reply: LedgerReply) => void;
}

/**
 * Keeps the ledger for the one who asks: opens the database, and again later where that failed; does what is asked, in
 * order and at once; reads the store beside that where the ledger is not known to be right. A database that cannot be
 * written stays open: what is told is in what it answers, and written when that is possible again. One that is found to
 * be damaged, whatever it was asked for, is removed and made anew. Nothing here throws: what goes wrong is a reply.
 */
export class Keeper {
  readonly #options: KeeperOptions;
  readonly #files: OwnFiles;
  #database: LedgerDatabase | undefined;
  /** Why the store is to be read as soon as `scan` comes, or being read. */
  #reason: RebuildReason | undefined;
  /** Why it is not open. */
  #failure: Error | undefined;
  /** What a scan belongs to: one that was begun for another is over. */
  #scan = 0;
  /** Requests to be answered when the store has been read. */
  #rebuilds: number[] = [];
  /** Whether what was told was lost since the process began, so that files may be unknown. */
  #hasLost = false;
  /** Whether the totals were said to be unknown until what was told is written. */
  #isUnsure = false;
  /** When what was damaged was made anew last. */
  #remadeAt = -Infinity;
  #retry: NodeJS.Timeout | undefined;
  #upkeep: NodeJS.Timeout | undefined;
  #saidUnwritable = false;
  #clock: { readonly now: number; readonly since: number };

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#clock = { now: options.now, since: performance.now() };
    this.#files = new OwnFiles(options.path, options.maxBytes);
    this.#open();
  }

  handle(message: LedgerMessage): void {
    this.#clock = { now: message.now, since: performance.now() };
    switch (message.kind) {
      case "changes": {
        const changed = this.#take(message.changes);
        this.#done(message.id, changed);
        break;
      }
      case "query":
        this.#answer(message);
        break;
      case "scan":
        void this.#read(message.recent);
        break;
      case "rebuild":
        this.#rebuilds.push(message.id);
        this.#leave();
        this.#files.remove();
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
      const now = (): number => this.#clock.now + performance.now() - this.#clock.since;
      const { path, logBytes } = this.#files;
      const database = this.#withRoom(() => new LedgerDatabase(path, now, logBytes));
      this.#database = database;
      // It does not have what was told meanwhile, however well it was closed.
      if (this.#hasLost) this.#withRoom(() => database.doubt());
      this.#hasLost = false;
      this.#reason = asked ?? database.reason;
      this.#tellTotals(database);
      if (this.#reason !== undefined) this.#options.reply({ kind: "rebuilding", reason: this.#reason });
      this.#lookAfter();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Brings in what was told. The new totals, as far as the ledger has it. */
  #take(changes: readonly LedgerChange[]): TotalsPart | undefined {
    const database = this.#database;
    if (database === undefined) {
      this.#hasLost = true;
      return undefined;
    }
    try {
      const totals = this.#withRoom(() => database.apply(changes));
      if (this.#isUnsure) this.#tellTotals(database);
      this.#isUnsure = false;
      return totals;
    } catch (error) {
      return this.#takeOtherwise(database, changes, error);
    }
  }

  #takeOtherwise(database: LedgerDatabase, changes: readonly LedgerChange[], error: unknown): TotalsPart | undefined {
    let cause = error;
    try {
      if (isUnwritable(error)) {
        this.#noteUnwritable(error);
        return database.defer(changes);
      }
      // Nothing but an order depends on a use: it is not worth the ledger.
      const lasting = changes.filter((change) => change.kind !== "use");
      if (!isDamage(error) && lasting.length < changes.length) {
        const totals = database.apply(lasting);
        this.#options.reply({ kind: "failed", error: errorOf(error) });
        return totals;
      }
    } catch (second) {
      if (isUnwritable(second)) {
        // What was told is remembered; only its sums are not known.
        this.#isUnsure = true;
        this.#options.reply({ kind: "totals", totals: undefined });
        return undefined;
      }
      cause = second;
    }
    this.#hasLost = true;
    this.#fail(cause);
    return undefined;
  }

  #answer({ id, query }: Extract<LedgerRequest, { kind: "query" }>): void {
    const { reply } = this.#options;
    const database = this.#database;
    try {
      if (database === undefined) {
        reply({ kind: "not ready", id, ...(this.#failure !== undefined && { error: this.#failure }) });
        return;
      }
      let value: unknown;
      try {
        value = this.#withRoom(() => database.ask(query));
      } catch (error) {
        if (!isUnwritable(error)) throw error;
        value = database.askUnwritten(query);
      }
      reply({ kind: "answer", id, value });
    } catch (error) {
      if (error instanceof LedgerNotReady) {
        reply({ kind: "not ready", id });
        return;
      }
      if (isDamage(error)) this.#fail(error);
      reply({ kind: isDamage(error) || isResult(error) ? "not ready" : "refused", id, error: errorOf(error) });
    }
  }

  /** Does something that writes; where the disk has no room for that, the ballast goes. */
  #withRoom<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!isUnwritable(error) || !this.#files.dropBallast()) throw error;
      this.#plan();
      return work();
    }
  }

  #noteUnwritable(error: unknown): void {
    this.#plan();
    // Once for all that is told until it is tried again.
    if (this.#saidUnwritable) return;
    this.#saidUnwritable = true;
    this.#options.reply({ kind: "failed", error: errorOf(error) });
  }

  #plan(): void {
    this.#upkeep ??= setTimeout(() => {
      this.#upkeep = undefined;
      this.#saidUnwritable = false;
      this.#lookAfter();
    }, this.#options.retryMs);
  }

  /** Sees to it that what could not be written is, and that there is ballast: now, and later where that cannot be. */
  #lookAfter(): void {
    const database = this.#database;
    if (database === undefined) return;
    if (database.hasUnwritten) {
      const totals = this.#take([]);
      // No request has this number.
      if (totals !== undefined) this.#done(0, totals);
    }
    if (this.#database !== database) return;
    if (!database.hasUnwritten && this.#reason === undefined && database.reason !== undefined) {
      this.#reason = database.reason;
      this.#options.reply({ kind: "rebuilding", reason: this.#reason });
    }
    if (!this.#files.keepBallast() || database.hasUnwritten) this.#plan();
  }

  #done(id: number, totals: TotalsPart | undefined): void {
    const changed = totals && { ...totals, ledgerBytes: this.#files.measure() };
    this.#options.reply({ kind: "done", id, ...(changed !== undefined && { changed }) });
  }

  #tellTotals({ totals }: LedgerDatabase): void {
    this.#options.reply({ kind: "totals", totals: totals && { ...totals, ledgerBytes: this.#files.measure() } });
  }

  /** Reads the store to its end, unless something else is begun meanwhile. */
  async #read(recent: readonly LedgerChange[]): Promise<void> {
    const database = this.#database;
    const reason = this.#reason;
    if (database === undefined || reason === undefined) return;
    const scan = ++this.#scan;
    const started = performance.now();
    let objects = 0;
    let unreadable = 0;
    try {
      const isComplete = database.totals !== undefined;
      const knewBefore = !["absent", "damaged", "another version"].includes(database.reason ?? "");
      for await (const step of reconcile(database, this.#options.reader, knewBefore, recent)) {
        if (scan !== this.#scan) return;
        objects += step.objects;
        unreadable += step.unreadable;
        if (isComplete) this.#done(0, step.totals);
      }
      this.#tellTotals(database);
    } catch (error) {
      if (scan !== this.#scan) return;
      if (!(error instanceof StoreError) && !isUnwritable(error)) {
        this.#fail(error);
        return;
      }
      // The ledger itself is as good as before.
      this.#options.reply({ kind: "failed", error: errorOf(error) });
      this.#refuseRebuilds(error);
      this.#retry = setTimeout(() => this.#options.reply({ kind: "rebuilding", reason }), this.#options.retryMs);
      return;
    }
    this.#reason = undefined;
    this.#options.reply({ kind: "rebuilt", objects, unreadable, durationMs: performance.now() - started });
    for (const id of this.#rebuilds.splice(0)) this.#options.reply({ kind: "done", id });
  }

  /**
   * Says what failed. What is damaged is made anew at once, everything else is tried again later; so is what is damaged
   * again soon, as then it is the disk.
   */
  #fail(error: unknown): void {
    const { reply, retryMs } = this.#options;
    this.#failure = errorOf(error);
    reply({ kind: "failed", error: this.#failure });
    this.#leave();
    reply({ kind: "totals", totals: undefined });
    const now = performance.now();
    if (isDamage(error) && now - this.#remadeAt >= retryMs) {
      this.#remadeAt = now;
      this.#files.remove();
      this.#open("damaged");
      return;
    }
    this.#hasLost = true;
    this.#refuseRebuilds(error);
    this.#retry = setTimeout(() => this.#open(), retryMs);
  }

  #refuseRebuilds(error: unknown): void {
    for (const id of this.#rebuilds.splice(0)) this.#options.reply({ kind: "refused", id, error: errorOf(error) });
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

  #close(): void {
    clearTimeout(this.#retry);
    clearTimeout(this.#upkeep);
    this.#scan++;
    const database = this.#database;
    try {
      if (database !== undefined) this.#withRoom(() => database.settle());
      database?.close();
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
