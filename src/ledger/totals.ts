import type { Namespace } from "../oci/reference.ts";
import { chargedBytes } from "./ledger.ts";
import type { TotalsPart } from "./messages.ts";
import { LedgerDamaged } from "./schema.ts";
import type { Statements } from "./statements.ts";

/** What a folder takes, as most file systems have it. */
const folderBytes: number = chargedBytes(0);
/** What a name takes in its folder, which is seldom full. */
const nameBytes = 160;
/** The root, and what is in it: `tmp`, `state`, `blobs`, `quarantine` (each with two algorithms), `repositories`. */
const fixedFolders = 10;
/** By the first two digits of a digest, of two algorithms. */
const maxBlobFolders = 512;

/** The row that the sums are in; what is read may be anything. */
interface Sums {
  readonly bytes: unknown;
  readonly files: number;
  readonly blobs: number;
  readonly folders: number;
}

interface NamespaceSum {
  readonly name: Namespace;
  readonly bytes: unknown;
}

/**
 * The totals, with all namespaces.
 *
 * @throws {LedgerDamaged} what is counted is no sum.
 */
export function readTotals(sql: Statements): TotalsPart {
  return totalsOf(sql, sql.all<NamespaceSum>("SELECT name, bytes FROM namespaces"));
}

/**
 * The totals, with the namespaces that are others than when this was called last. What holds nothing any more is gone.
 *
 * @throws {LedgerDamaged} what is counted is no sum.
 */
export function takeChangedTotals(sql: Statements): TotalsPart {
  const changed = "UPDATE namespaces SET changed = 0 WHERE changed = 1 RETURNING name, bytes";
  const namespaces = sql.all<NamespaceSum>(changed);
  for (const { name, bytes } of namespaces) if (bytes === 0) sql.run("DELETE FROM namespaces WHERE name = ?", name);
  return totalsOf(sql, namespaces);
}

function totalsOf(sql: Statements, namespaces: readonly NamespaceSum[]): TotalsPart {
  const sums = sql.get<Sums>("SELECT bytes, files, blobs, folders FROM meta");
  return {
    bytes: readSum(sums?.bytes),
    foldersBytes: sumFolders(sums),
    namespaces: namespaces.map(({ name, bytes }) => [name, readSum(bytes)]),
  };
}

function readSum(bytes: unknown): number {
  if (bytes === 0) return 0;
  if (Number.isSafeInteger(bytes) && chargedBytes(bytes as number) === bytes) return bytes;
  throw new LedgerDamaged("what the ledger counts is no size");
}

/** What the folders of the store take besides the objects in them; hardly less than they do. */
function sumFolders(sums: Sums | undefined): number {
  const { files, blobs, folders } = sums ?? { files: NaN, blobs: NaN, folders: NaN };
  const bytes =
    (fixedFolders + Math.min(blobs, maxBlobFolders) + folders) * folderBytes + chargedBytes(files * nameBytes);
  if (Number.isSafeInteger(bytes) && Math.min(files, blobs, folders) >= 0) return bytes;
  throw new LedgerDamaged("what the ledger counts of files is no number");
}
