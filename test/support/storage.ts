import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { pipeline } from "node:stream/promises";
import { type Algorithm, createHasher, type Digest, formatDigest } from "../../src/oci/digest.ts";

/** What lies in a mirror's storage folder. */
export interface Stored {
  /** Content, each found to have the digest that it is named by; sorted. */
  readonly blobs: readonly Digest[];
  /** Names in the folder of unfinished files. */
  readonly temporary: readonly string[];
  /** All files by their path in the folder, but for the lock and the ledger; sorted. */
  readonly files: readonly string[];
}

/**
 * Reads a storage folder from outside. Content that does not have its digest fails the test, whoever finds it.
 * A folder that does not exist is an empty one.
 */
export async function inspectStorage(root: string): Promise<Stored> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((path) => !/^(?:lock|ledger)/.test(path))
    .toSorted();
  const blobs: Digest[] = [];
  for (const path of files.filter((each) => each.startsWith("blobs/"))) {
    const [, algorithm = "", first = "", rest = ""] = path.split("/");
    const digest = formatDigest(algorithm as Algorithm, first + rest);
    const hasher = createHasher(algorithm as Algorithm);
    await pipeline(createReadStream(join(root, path)), hasher);
    assert.equal(formatDigest(algorithm as Algorithm, hasher.digest("hex")), digest, `${path} has other content`);
    blobs.push(digest);
  }
  const temporary = files.filter((path) => path.startsWith("tmp/")).map((path) => path.slice("tmp/".length));
  return { blobs: blobs.toSorted(), temporary, files };
}
