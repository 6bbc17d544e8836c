import { type Dirent, readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import type { Digest } from "../../src/oci/digest.ts";
import { blobKey, parseKey } from "../../src/store/layout.ts";
import type { Key } from "../../src/store/object-store.ts";

const blockBytes = 4096;

/** A link or tag record as it lies in the folder: `docker.io/library/alpine`. */
export interface StoredLink {
  readonly repository: string;
  readonly digest: Digest;
}

export interface StoredTag extends StoredLink {
  readonly tag: string;
}

/** What a storage folder held at one moment. */
export interface CacheFolder {
  /** What content and records take in whole blocks. */
  readonly chargedBytes: number;
  /** The same for what is unfinished or being removed. */
  readonly temporaryBytes: number;
  /** Sizes. */
  readonly blobs: ReadonlyMap<Digest, number>;
  /** By `linkName`. */
  readonly links: ReadonlyMap<string, StoredLink>;
  readonly tags: readonly StoredTag[];
}

/** A link's name in `CacheFolder.links`. */
export function linkName(repository: string, digest: Digest): string {
  return `${repository}@${digest}`;
}

/**
 * Reads a storage folder in one tick, from outside: a mirror that runs in this process begins nothing meanwhile, and
 * what is moved by what it had begun is counted once. Folders that are not there are empty.
 */
export function readCacheFolder(root: string): CacheFolder {
  const seen = new Set<number>();
  const blobs = new Map<Digest, number>();
  const links = new Map<string, StoredLink>();
  const tags: StoredTag[] = [];
  const charge = (path: string): { sizeBytes: number; charged: number } | undefined => {
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats === undefined || seen.has(stats.ino)) return undefined;
    seen.add(stats.ino);
    return { sizeBytes: stats.size, charged: Math.max(1, Math.ceil(stats.size / blockBytes)) * blockBytes };
  };
  let chargedBytes = 0;
  for (const path of [...filesBelow(join(root, "blobs")), ...filesBelow(join(root, "repositories"))]) {
    const size = charge(path);
    if (size === undefined) continue;
    chargedBytes += size.charged;
    const place = parseKey(relative(root, path) as Key);
    if (place === undefined) throw new Error(`${path} is no file of a cache`);
    if (place.kind === "content") {
      blobs.set(place.digest, size.sizeBytes);
      continue;
    }
    const repository = `${place.id.namespace}/${place.id.repository}`;
    if (place.kind === "link") {
      links.set(linkName(repository, place.digest), { repository, digest: place.digest });
    } else if (place.kind === "tag") {
      const digest = readDigest(path);
      if (digest !== undefined) tags.push({ repository, digest, tag: place.tag });
    }
  }
  const temporaryBytes = filesBelow(join(root, "tmp")).reduce((sum, path) => sum + (charge(path)?.charged ?? 0), 0);
  return { chargedBytes, temporaryBytes, blobs, links, tags };
}

/** The tags of a quiet folder whose manifest is not there, or not linked. */
export function danglingTags({ tags, links, blobs }: CacheFolder): StoredTag[] {
  return tags.filter(({ repository, digest }) => !links.has(linkName(repository, digest)) || !blobs.has(digest));
}

/** A stored blob's bytes. */
export function readBlob(root: string, digest: Digest): Buffer {
  return readFileSync(join(root, blobKey(digest)));
}

function readDigest(path: string): Digest | undefined {
  try {
    return (JSON.parse(readFileSync(path, "utf8")) as { digest: Digest }).digest;
  } catch (error) {
    // It went away after its folder was read.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function filesBelow(folder: string): string[] {
  return entriesBelow(folder)
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** All that lies below a folder, also while somebody empties it: a folder that goes meanwhile holds nothing. */
export function entriesBelow(folder: string): Dirent[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return entries.flatMap((entry) =>
    entry.isDirectory() ? [entry, ...entriesBelow(join(folder, entry.name))] : [entry],
  );
}
