import type { FileReader } from "../store/local-upkeep.ts";
import type { LedgerDatabase } from "./database.ts";
import type { LedgerChange } from "./ledger.ts";
import type { LedgerReply, RebuildReason, TotalsPart } from "./messages.ts";
import { reconcile } from "./reconcile.ts";

/** What a rebuild works with. */
export interface RebuildOptions {
  readonly reader: FileReader;
  readonly reply: (reply: LedgerReply) => void;
}

/** The reading of the store into a ledger that is not known to be right: why it is due, and who waits for its end. */
export class Rebuild {
  readonly #options: RebuildOptions;
  #reason: RebuildReason | undefined;
  /** What a scan belongs to: one that was begun for another is over. */
  #scan = 0;
  /** Requests to be answered when the store has been read. */
  readonly #waiting: number[] = [];

  constructor(options: RebuildOptions) {
    this.#options = options;
  }

  /** Whether the store is to be read, or being read. */
  get isDue(): boolean {
    return this.#reason !== undefined;
  }

  /** Has the store read as soon as it is asked for (`scan`); without a reason it need not be. */
  plan(reason: RebuildReason | undefined): void {
    this.#reason = reason;
    if (reason !== undefined) this.#options.reply({ kind: "rebuilding", reason });
  }

  /** Has a request answered when the store has been read. */
  answerWhenDone(id: number): void {
    this.#waiting.push(id);
  }

  /** Answers all of them that it has not been. */
  refuse(error: Error): void {
    for (const id of this.#waiting.splice(0)) this.#options.reply({ kind: "refused", id, error });
  }

  /** Ends the reading without a word: it was for something else. */
  stop(): void {
    this.#scan++;
  }

  /**
   * Reads the store to its end, unless something else is begun meanwhile.
   *
   * @param recent As of `reconcile`.
   * @param tell Told of the totals step by step, where they were known before.
   * @param tellAll Told that all of them are known.
   * @throws as `reconcile`
   */
  async run(
    database: LedgerDatabase,
    recent: readonly LedgerChange[],
    tell: (totals: TotalsPart) => void,
    tellAll: () => void,
  ): Promise<void> {
    if (!this.isDue) return;
    const { reader, reply } = this.#options;
    const scan = ++this.#scan;
    const started = performance.now();
    let objects = 0;
    let unreadable = 0;
    try {
      const isComplete = database.totals !== undefined;
      const knewBefore = !["absent", "damaged", "another version"].includes(database.reason ?? "");
      for await (const step of reconcile(database, reader, knewBefore, recent)) {
        if (scan !== this.#scan) return;
        objects += step.objects;
        unreadable += step.unreadable;
        if (isComplete) tell(step.totals);
      }
      tellAll();
    } catch (error) {
      if (scan !== this.#scan) return;
      throw error;
    }
    this.#reason = undefined;
    reply({ kind: "rebuilt", objects, unreadable, durationMs: performance.now() - started });
    for (const id of this.#waiting.splice(0)) reply({ kind: "done", id });
  }
}
