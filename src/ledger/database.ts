import type { DatabaseSync } from "node:sqlite";
import type { Digest } from "../oci/digest.ts";
import { maxManifestBytes } from "../oci/manifest.ts";
import { formatPlace, type Place } from "../store/layout.ts";
import { clampTimes } from "./age.ts";
import { findCandidates } from "./candidates.ts";
import { applyChange } from "./changes.ts";
import { chargedBytes, type LedgerChange, LedgerNotReady } from "./ledger.ts";
import { findHolding, listHolders, listNamespaces, listRepositories, listTags, sumPinned } from "./listings.ts";
import type { Query, RebuildReason, TotalsPart } from "./messages.ts";
import { findContent } from "./names.ts";
import { refreshPinned } from "./pinned.ts";
import { walkPlaces, walkTagUses } from "./places.ts";
import { planPurge } from "./purge.ts";
import { placeOf } from "./recent-changes.ts";
import { isUnwritable, openDatabase } from "./schema.ts";
import { Statements } from "./statements.ts";
import { readTotals, takeChangedTotals } from "./totals.ts";
import { Transactions } from "./transactions.ts";

/** Large enough for it to be rare that what it holds is brought into the database. */
const defaultLogBytes = 4 * 1024 * 1024;

/** The ledger's tables: what is told, what is asked, and how the files correct them. All of it takes effect at once. */
export class LedgerDatabase {
  readonly #database: DatabaseSync;
  readonly #sql: Statements;
  readonly #transactions: Transactions;
  readonly #now: () => number;
  /** Whether all of the store is known. */
  #isComplete: boolean;
  /** Why what is told is held in memory. */
  #unwritable: unknown;
  #isScanning = false;
  #reason: RebuildReason | undefined;

  /**
   * Opens or makes the database at a path, or `:memory:`. Who opens it closes it.
   *
   * @param now Milliseconds since 1970.
   * @param maxLogBytes About how large the log of writes becomes that lies beside it.
   * @throws where the system does not let it, or where it is found to be damaged.
   */
  constructor(path: string, now: () => number = Date.now, maxLogBytes: number = defaultLogBytes) {
    const { database, reason } = openDatabase(path, maxLogBytes);
    this.#database = database;
    this.#sql = new Statements(database);
    this.#transactions = new Transactions(database);
    this.#now = now;
    this.#reason = reason;
    this.#isComplete = reason === undefined || reason === "not closed";
    try {
      this.#transactions.run(() => {
        this.#sql.run("UPDATE meta SET state = 'open' WHERE state = 'closed'");
        clampTimes(this.#sql, now());
      });
    } catch (error) {
      database.close();
      throw error;
    }
  }

  /** Why the files must be read for the ledger to be right; `undefined` where it is. */
  get reason(): RebuildReason | undefined {
    return this.#reason;
  }

  /** Notes that changes were lost: not all of the store is known until the files were read, and what is known may be gone. */
  doubt(): void {
    this.#reason = "not complete";
    this.#isComplete = false;
    try {
      this.#sql.run("UPDATE meta SET state = 'building'");
    } catch (error) {
      // When it is opened again it was not closed: then, too, the files are read.
      if (!isUnwritable(error)) throw error;
    }
  }

  /** Of all namespaces; `undefined` while not all of the store is known. */
  get totals(): TotalsPart | undefined {
    if (!this.#isComplete) return undefined;
    return readTotals(this.#sql);
  }

  /**
   * Brings in what was told, all or nothing; what was there already, or was not, changes nothing. The new totals.
   */
  apply(changes: readonly LedgerChange[]): TotalsPart {
    return this.#transactions.run(() => {
      for (const change of changes) {
        if (this.#isScanning) this.#noteTold(change);
        applyChange(this.#sql, change);
      }
      return takeChangedTotals(this.#sql);
    });
  }

  /**
   * Holds what is told from now on in memory, as it cannot be written: it is in all that is answered. The files are not
   * read meanwhile.
   *
   * @param cause Why.
   * @throws where somebody else has locked the database.
   */
  hold(cause: unknown): void {
    this.#transactions.hold();
    this.#unwritable = cause;
  }

  /** Whether what was told is held in memory. */
  get isHolding(): boolean {
    return this.#transactions.isHolding;
  }

  /** Writes what is held. @throws where it cannot be; then it is lost. */
  commit(): void {
    this.#transactions.commit();
  }

  /** @throws {LedgerNotReady} */
  ask(query: Query): unknown {
    return this.#transactions.run(() => this.#answer(query));
  }

  /** From now on it is noted what is told, so that a scan does not undo it. */
  beginScan(): void {
    this.#expectWritable();
    if (!this.#isComplete) this.#sql.run("UPDATE meta SET state = 'building'");
    this.#sql.run("DELETE FROM told");
    this.#isScanning = true;
  }

  /** Brings in what the files say, but for what was told since the scan began. The new totals. */
  applyScanned(changes: readonly LedgerChange[]): TotalsPart {
    this.#expectWritable();
    return this.#transactions.run(() => {
      const now = this.#now();
      for (const found of changes) {
        // A file's time may lie ahead, where a clock was wrong.
        const change = "at" in found && found.at > now ? { ...found, at: now } : found;
        const place = placeOf(change);
        const told = place && this.#told(place);
        if (told === undefined) applyChange(this.#sql, change);
        else if (told.used !== null) {
          applyChange(this.#sql, "at" in change ? { ...change, at: Math.max(change.at, told.used) } : change);
        }
      }
      return takeChangedTotals(this.#sql);
    });
  }

  /** Everything the ledger knows of is as it was told or found. */
  endScan(): void {
    this.#expectWritable();
    this.#transactions.run(() => {
      this.#sql.run("DELETE FROM told");
      this.#sql.run("UPDATE meta SET state = 'open'");
    });
    this.#isScanning = false;
    this.#isComplete = true;
    this.#reason = undefined;
  }

  /** See `walkPlaces`. */
  places(limit: number): Generator<Place[]> {
    return walkPlaces(this.#sql, limit);
  }

  /** See `walkTagUses`. */
  tagUses(limit: number): Generator<LedgerChange[]> {
    return walkTagUses(this.#sql, limit);
  }

  /** Whether it is worth finding out if this is a manifest and what it refers to. */
  wantsChildren(digest: Digest): boolean {
    const content = findContent(this.#sql, digest);
    return (
      content !== undefined &&
      content.manifest === 0 &&
      content.bytes > 0 &&
      content.bytes <= chargedBytes(maxManifestBytes)
    );
  }

  /** Writes what is held, and that all is well, where it is: nothing more is to be told. */
  settle(): void {
    if (this.isHolding) this.commit();
    if (this.#reason === undefined) this.#sql.run("UPDATE meta SET state = 'closed' WHERE state = 'open'");
  }

  /** Closes it. Where the files need not be read now, they need not be when it is opened again. */
  close(): void {
    try {
      this.settle();
    } finally {
      this.#database.close();
    }
  }

  /** Closes it as it is: when it is opened again, the files are read. */
  abandon(): void {
    this.#database.close();
  }

  #answer(query: Query): unknown {
    switch (query.name) {
      case "candidates": {
        const [wanted] = query.parameters;
        this.#expectReady();
        clampTimes(this.#sql, this.#now());
        refreshPinned(this.#sql, wanted.pins);
        // The link of what seems to have none may have been lost; then it is in the files.
        return findCandidates(this.#sql, wanted, this.#reason === undefined);
      }
      case "holding":
        this.#expectReady();
        return findHolding(this.#sql, ...query.parameters);
      case "holders":
        this.#expectReady();
        return listHolders(this.#sql, ...query.parameters);
      case "pinnedBytes":
        refreshPinned(this.#sql, ...query.parameters);
        return sumPinned(this.#sql);
      case "namespaces":
        return listNamespaces(this.#sql);
      case "repositories":
        return listRepositories(this.#sql, ...query.parameters);
      case "tags":
        refreshPinned(this.#sql, query.parameters[0].pins);
        return listTags(this.#sql, ...query.parameters);
      case "purgePlan":
        this.#expectReady();
        return planPurge(this.#sql, ...query.parameters);
    }
  }

  #expectReady(): void {
    if (!this.#isComplete) throw new LedgerNotReady();
  }

  /** What all files say would not fit into memory. */
  #expectWritable(): void {
    if (this.isHolding) throw this.#unwritable;
  }

  #noteTold(change: LedgerChange): void {
    const place = placeOf(change);
    if (place !== undefined) {
      this.#sql.run("INSERT INTO told VALUES (?, NULL) ON CONFLICT DO UPDATE SET used = NULL", formatPlace(place));
    } else if (change.kind === "use") {
      // The scan has perhaps not come to it.
      this.#noteUsed({ kind: "link", id: change.id, digest: change.digest }, change.at);
      if (change.tag !== undefined) this.#noteUsed({ kind: "tag", id: change.id, tag: change.tag }, change.at);
    }
  }

  #noteUsed(place: Place, at: number): void {
    const sql = "INSERT INTO told VALUES (?, ?) ON CONFLICT DO UPDATE SET used = max(used, excluded.used)";
    // Of what was told itself the use is in the ledger: null stays null.
    this.#sql.run(sql, formatPlace(place), at);
  }

  #told(place: Place): { readonly used: number | null } | undefined {
    return this.#sql.get("SELECT used FROM told WHERE key = ?", formatPlace(place));
  }
}
