import type { Namespace, Repository } from "../oci/reference.ts";
import type { RepositoryId } from "../store/layout.ts";
import { countFolders, type FolderCounts, sumFolders } from "./folders.ts";
import { chargedBytes } from "./ledger.ts";
import type { TotalsPart } from "./messages.ts";
import type { RepositoryRow } from "./names.ts";
import { LedgerDamaged } from "./schema.ts";
import type { Statements } from "./statements.ts";

interface RepositorySum {
  bytes: number;
  used: number;
  stale: boolean;
}

/** What a transaction changes of the sums, collected so that each row is written once. */
export class Sums {
  readonly #sql: Statements;
  #bytes = 0;
  #files = 0;
  #blobs = 0;
  #folders = 0;
  readonly #namespaces = new Map<number, number>();
  readonly #repositories = new Map<number, RepositorySum>();

  constructor(sql: Statements) {
    this.#sql = sql;
  }

  /** So many charged bytes more in the store. */
  addStored(bytes: number): void {
    this.#bytes += bytes;
  }

  /** So many files more with content. */
  addBlobs(count: number): void {
    this.#blobs += count;
    this.#files += count;
  }

  /** A repository that there was not. */
  addRepository(id: RepositoryId): void {
    this.#folders += countFolders(id);
  }

  /** So many of content that a namespace holds. */
  addHeld(namespace: number, bytes: number): void {
    this.#namespaces.set(namespace, (this.#namespaces.get(namespace) ?? 0) + bytes);
  }

  /** So many of content that a repository holds. */
  addLinked(repository: RepositoryRow, bytes: number): void {
    this.#of(repository).bytes += bytes;
  }

  /** So many bytes, and files, of a repository's own records. */
  addRecord(repository: RepositoryRow, bytes: number, files: -1 | 0 | 1): void {
    this.addStored(bytes);
    this.#files += files;
    this.addHeld(repository.namespace, bytes);
    this.addLinked(repository, bytes);
  }

  /** A repository was used (packed time). */
  noteUse(repository: RepositoryRow, used: number): void {
    const sum = this.#of(repository);
    sum.used = Math.max(sum.used, used);
  }

  /** What pins hold in a repository may be something else now. */
  noteStale(repository: RepositoryRow): void {
    this.#of(repository).stale = true;
  }

  /** Writes the sums; what holds nothing any more is gone. Returns the new totals. */
  write(): TotalsPart {
    const sql = this.#sql;
    for (const [id, { bytes, used, stale }] of this.#repositories) {
      sql.run(
        "UPDATE repositories SET bytes = bytes + ?, used = max(used, ?), stale = max(stale, ?) WHERE id = ?",
        bytes,
        used,
        Number(stale),
        id,
      );
      const gone = sql.get<{ name: Repository }>(
        "DELETE FROM repositories WHERE id = ? AND bytes = 0 RETURNING name",
        id,
      );
      if (gone !== undefined) this.#folders -= countFolders({ repository: gone.name });
    }
    const namespaces: [Namespace, number][] = [];
    for (const [id, bytes] of this.#namespaces) {
      const row = sql.get<{ name: Namespace; bytes: number }>(
        "UPDATE namespaces SET bytes = bytes + ? WHERE id = ? RETURNING name, bytes",
        bytes,
        id,
      );
      if (row !== undefined) namespaces.push([row.name, readSum(row.bytes)]);
      sql.run("DELETE FROM namespaces WHERE id = ? AND bytes = 0", id);
    }
    const meta = sql.get<{ bytes: unknown } & FolderCounts>(
      "UPDATE meta SET bytes = bytes + ?, files = files + ?, blobs = blobs + ?, folders = folders + ? RETURNING *",
      this.#bytes,
      this.#files,
      this.#blobs,
      this.#folders,
    );
    return { bytes: readSum(meta?.bytes), foldersBytes: sumFolders(meta), namespaces };
  }

  #of({ id }: RepositoryRow): RepositorySum {
    let sum = this.#repositories.get(id);
    if (sum === undefined) {
      sum = { bytes: 0, used: 0, stale: false };
      this.#repositories.set(id, sum);
    }
    return sum;
  }
}

/**
 * A sum as it was read.
 *
 * @throws {LedgerDamaged} it is none.
 */
export function readSum(bytes: unknown): number {
  if (bytes === 0) return 0;
  if (Number.isSafeInteger(bytes) && chargedBytes(bytes as number) === bytes) return bytes;
  throw new LedgerDamaged("what the ledger counts is no size");
}
