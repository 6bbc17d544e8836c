import type { DatabaseSync } from "node:sqlite";
import type { Digest } from "../../oci/digest.ts";
import { maxManifestBytes } from "../../oci/manifest.ts";
import type { Namespace } from "../../oci/reference.ts";
import { formatPlace, type Place } from "../layout.ts";
import { findCandidates } from "./candidates.ts";
import { Changes } from "./changes.ts";
import { chargedBytes, type LedgerChange } from "./ledger.ts";
import { findHolding, listNamespaces, listRepositories, listTags, sumPinned } from "./listings.ts";
import type { Query, RebuildReason, TotalsPart } from "./messages.ts";
import { findContent } from "./names.ts";
import { refreshPinned } from "./pinned.ts";
import { placesAfter, type PlaceCursor } from "./places.ts";
import { planPurge } from "./purge.ts";
import { placeOf } from "./recent-changes.ts";
import { openDatabase } from "./schema.ts";
import { Statements } from "./statements.ts";

/** The ledger's tables: what is told, what is asked, and how the files correct them. All of it takes effect at once. */
export class LedgerDatabase {
  readonly #database: DatabaseSync;
  readonly #sql: Statements;
  #isScanning = false;
  #reason: RebuildReason | undefined;

  /**
   * Opens or makes the database at a path, or `:memory:`. Who opens it closes it.
   *
   * @throws where the system does not let it.
   */
  constructor(path: string) {
    const { database, reason } = openDatabase(path);
    this.#database = database;
    this.#sql = new Statements(database);
    this.#reason = reason;
    try {
      this.#sql.run("UPDATE meta SET state = 'open' WHERE state = 'closed'");
    } catch (error) {
      database.close();
      throw error;
    }
  }

  /** Why the files must be read for the ledger to be right; `undefined` where it is. */
  get reason(): RebuildReason | undefined {
    return this.#reason;
  }

  /** Notes that changes were lost: not all of the store is known. */
  doubt(): void {
    this.#reason ??= "not complete";
    this.#sql.run("UPDATE meta SET state = 'building'");
  }

  /** Of all namespaces; `undefined` while not all of the store is known. */
  get totals(): TotalsPart | undefined {
    const meta = this.#sql.get<{ state: string; bytes: number }>("SELECT state, bytes FROM meta");
    if (meta === undefined || meta.state === "building") return undefined;
    const namespaces = this.#sql.all<{ name: Namespace; bytes: number }>("SELECT name, bytes FROM namespaces");
    return { bytes: meta.bytes, namespaces: namespaces.map(({ name, bytes }) => [name, bytes]) };
  }

  /** Brings in what was told, all or nothing; what was there already, or was not, changes nothing. The new totals. */
  apply(changes: readonly LedgerChange[]): TotalsPart {
    return this.#transact(() => {
      const applied = new Changes(this.#sql);
      for (const change of changes) {
        if (this.#isScanning) this.#noteTold(change);
        applied.apply(change);
      }
      return applied.finish();
    });
  }

  ask(query: Query): unknown {
    switch (query.name) {
      case "candidates": {
        const [wanted] = query.parameters;
        this.#refreshPinned(wanted.pins);
        return findCandidates(this.#sql, wanted);
      }
      case "holding":
        return findHolding(this.#sql, ...query.parameters);
      case "pinnedBytes":
        this.#refreshPinned(...query.parameters);
        return sumPinned(this.#sql);
      case "namespaces":
        return listNamespaces(this.#sql);
      case "repositories":
        return listRepositories(this.#sql, ...query.parameters);
      case "tags":
        this.#refreshPinned(query.parameters[0].pins);
        return listTags(this.#sql, ...query.parameters);
      case "purgePlan":
        return planPurge(this.#sql, ...query.parameters);
    }
  }

  /** From now on it is noted what is told, so that a scan does not undo it. */
  beginScan(): void {
    this.#sql.run("DELETE FROM told");
    this.#isScanning = true;
  }

  /** Brings in what the files say, but for what was told since the scan began. The new totals. */
  applyScanned(changes: readonly LedgerChange[]): TotalsPart {
    return this.#transact(() => {
      const applied = new Changes(this.#sql);
      for (const change of changes) {
        const place = placeOf(change);
        const told = place && this.#told(place);
        if (told === undefined) applied.apply(change);
        else if (told.used !== null) {
          applied.apply("at" in change ? { ...change, at: Math.max(change.at, told.used) } : change);
        }
      }
      return applied.finish();
    });
  }

  /** Everything the ledger knows of is as it was told or found. */
  endScan(): void {
    this.#isScanning = false;
    this.#reason = undefined;
    this.#sql.run("DELETE FROM told");
    this.#sql.run("UPDATE meta SET state = 'open'");
  }

  /** Some of the objects that the ledger knows of, in an order; and where the next ones begin. */
  places(after: PlaceCursor | undefined, limit: number): ReturnType<typeof placesAfter> {
    return placesAfter(this.#sql, after, limit);
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

  /** Closes it. Where the files need not be read now, they need not be when it is opened again. */
  close(): void {
    try {
      if (this.#reason === undefined) this.#sql.run("UPDATE meta SET state = 'closed' WHERE state = 'open'");
    } finally {
      this.#database.close();
    }
  }

  /** Closes it as it is: when it is opened again, the files are read. */
  abandon(): void {
    this.#database.close();
  }

  #refreshPinned(pins: readonly string[]): void {
    this.#transact(() => refreshPinned(this.#sql, pins));
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

  #transact<T>(work: () => T): T {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      const result = work();
      this.#database.exec("COMMIT");
      return result;
    } catch (error) {
      // Some failures have rolled it back already.
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
  }
}
