import type { RepositoryId } from "../store/layout.ts";
import { chargedBytes } from "./ledger.ts";
import { LedgerDamaged } from "./schema.ts";

/** What a folder takes, as most file systems have it. */
const folderBytes: number = chargedBytes(0);
/** What a name takes in its folder, which is seldom full. */
const nameBytes = 160;
/** The root, and what is in it: `tmp`, `state`, `blobs`, `quarantine` (each with two algorithms), `repositories`. */
const fixedFolders = 10;
/** By the first two digits of a digest, of two algorithms. */
const maxBlobFolders = 512;
/** For links, tags and two sorts of pages, and that of the namespace. */
const foldersOfRepository = 7;

/** What it takes to know how much folders take. */
export interface FolderCounts {
  /** Objects that are stored. */
  readonly files: number;
  /** Of these, content. */
  readonly blobs: number;
  /** Those of repositories. */
  readonly folders: number;
}

/** How many folders a repository has, at most. */
export function countFolders({ repository }: Pick<RepositoryId, "repository">): number {
  return foldersOfRepository + repository.split("/").length;
}

/**
 * What the folders of the store take besides the objects in them; hardly less than they do.
 *
 * @throws {LedgerDamaged} the counts are none.
 */
export function sumFolders(counts: FolderCounts | undefined): number {
  const { files, blobs, folders } = counts ?? { files: NaN, blobs: NaN, folders: NaN };
  const bytes =
    (fixedFolders + Math.min(blobs, maxBlobFolders) + folders) * folderBytes + chargedBytes(files * nameBytes);
  if (Number.isSafeInteger(bytes) && Math.min(files, blobs, folders) >= 0) return bytes;
  throw new LedgerDamaged("what the ledger counts of files is no number");
}
