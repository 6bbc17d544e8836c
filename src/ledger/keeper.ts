import type { FileReader } from "../store/local-upkeep.ts";
import { errorOf, StoreError } from "../store/object-store.ts";
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
import { Rebuild } from "./rebuild.ts";
import { isDamage, isResult, isUnwritable } from "./schema.ts";

/** What a keeper works with. The time is that of the one who asks; each message tells it again. */
export interface KeeperOptions extends Omit<LedgerThreadData, "root"> {
  readonly reader: FileReader;
  readonly reply: (reply: LedgerReply) => void;
}

/**
 * Keeps the ledger for the one who asks: opens the database, and again later where that failed; does what is asked, in
 * order and at once; reads the store beside that where the ledger is not known to be right. On a full disk the ballast
 * goes; where that does not help, what is told is held in memory until there is room, and where it cannot be held, it is
 * lost, and the store read again. A database that is found to be damaged, whatever it was asked for, is removed and made
 * anew. Nothing here throws: what goes wrong is a reply.
 */
export class Keeper {
  readonly #options: KeeperOptions;
  readonly #files: OwnFiles;
  readonly #rebuild: Rebuild;
  #database: LedgerDatabase | undefined;
  /** Why it is not open. */
  #failure: Error | undefined;
  /** Whether what was told was lost since the process began, so that files may be unknown. */
  #hasLost = false;
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
    this.#rebuild = new Rebuild(options);
    this.#open();
  }

  handle(message: LedgerMessage): void {
    this.#clock = { now: message.now, since: performance.now() };
    switch (message.kind) {
      case "changes":
        this.#done(message.id, this.#take(message.changes));
        break;
      case "query":
        this.#answer(message);
        break;
      case "scan":
        void this.#read(message.recent);
        break;
      case "rebuild":
        this.#rebuild.answerWhenDone(message.id);
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
    this.#rebuild.stop();
    try {
      const now = (): number => this.#clock.now + performance.now() - this.#clock.since;
      const { path, logBytes } = this.#files;
      const database = this.#withRoom(() => new LedgerDatabase(path, now, logBytes));
      this.#database = database;
      // It does not have what was told meanwhile, however well it was closed. One that is new has nothing that is gone.
      if (this.#hasLost && database.totals !== undefined) database.doubt();
      this.#hasLost = false;
      this.#tellTotals(database);
      this.#rebuild.plan(asked ?? database.reason);
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
      return this.#write(database, () => database.apply(changes));
    } catch (error) {
      if (isUnwritable(error)) {
        this.#lose(database, error);
        return undefined;
      }
      // Nothing but an order depends on a use: it is not worth the ledger.
      const lasting = changes.filter((change) => change.kind !== "use");
      if (!isDamage(error) && lasting.length < changes.length) {
        this.#options.reply({ kind: "failed", error: errorOf(error) });
        return this.#take(lasting);
      }
      this.#hasLost = true;
      this.#fail(error);
      return undefined;
    }
  }

  #answer({ id, query }: Extract<LedgerRequest, { kind: "query" }>): void {
    const { reply } = this.#options;
    const database = this.#database;
    if (database === undefined) {
      reply({ kind: "not ready", id, ...(this.#failure !== undefined && { error: this.#failure }) });
      return;
    }
    try {
      reply({ kind: "answer", id, value: this.#write(database, () => database.ask(query)) });
    } catch (error) {
      if (isDamage(error)) this.#fail(error);
      if (error instanceof LedgerNotReady) reply({ kind: "not ready", id });
      else reply({ kind: isDamage(error) || isResult(error) ? "not ready" : "refused", id, error: errorOf(error) });
    }
  }

  /** Does something that writes. Where there is no room for that, the ballast goes. */
  #withRoom<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!isUnwritable(error) || !this.#files.dropBallast()) throw error;
      this.#plan();
      return work();
    }
  }

  /** The same; and where that does not help, what is done is held in memory. */
  #write<T>(database: LedgerDatabase, work: () => T): T {
    try {
      return this.#withRoom(work);
    } catch (error) {
      if (!isUnwritable(error) || database.isHolding) throw error;
      database.hold(error);
      this.#sayUnwritable(error);
      return work();
    }
  }

  /** What was told is lost: not all of the store is known until the files have been read. */
  #lose(database: LedgerDatabase, error: unknown): void {
    database.doubt();
    this.#tellTotals(database);
    this.#rebuild.stop();
    this.#sayUnwritable(error);
    this.#readLater(error);
  }

  #sayUnwritable(error: unknown): void {
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

  /** Sees to it that what is held is written, and that there is ballast: now, and later where that cannot be. */
  #lookAfter(): void {
    const database = this.#database;
    if (database === undefined) return;
    try {
      if (database.isHolding && this.#files.hasRoom()) database.commit();
    } catch (error) {
      this.#lose(database, error);
    }
    if (!this.#files.keepBallast() || database.isHolding) this.#plan();
  }

  #done(id: number, totals: TotalsPart | undefined): void {
    const changed = totals && { ...totals, ledgerBytes: this.#files.measure() };
    this.#options.reply({ kind: "done", id, ...(changed !== undefined && { changed }) });
  }

  #tellTotals({ totals }: LedgerDatabase): void {
    this.#options.reply({ kind: "totals", totals: totals && { ...totals, ledgerBytes: this.#files.measure() } });
  }

  async #read(recent: readonly LedgerChange[]): Promise<void> {
    const database = this.#database;
    if (database === undefined) return;
    try {
      await this.#rebuild.run(
        database,
        recent,
        (totals) => this.#done(0, totals),
        () => this.#tellTotals(database),
      );
    } catch (error) {
      if (!(error instanceof StoreError) && !isUnwritable(error)) {
        this.#fail(error);
        return;
      }
      // The ledger itself is as good as before.
      this.#options.reply({ kind: "failed", error: errorOf(error) });
      this.#readLater(error);
    }
  }

  #readLater(error: unknown): void {
    this.#rebuild.refuse(errorOf(error));
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#rebuild.plan(this.#database?.reason), this.#options.retryMs);
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
    this.#rebuild.refuse(this.#failure);
    this.#retry = setTimeout(() => this.#open(), retryMs);
  }

  #leave(): void {
    clearTimeout(this.#retry);
    this.#rebuild.stop();
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
    this.#rebuild.stop();
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
