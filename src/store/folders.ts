import { constants } from "node:fs";
import { type FileHandle, lstat, mkdir, open, opendir, rename, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { codeOf } from "./object-store.ts";
import { flushFolders, orAbsent } from "./root.ts";

/** How often a folder may be removed between being made and being used. */
const attempts = 10;

/**
 * Renames a file, and makes the folders of its new path: `folder` is the last of them, `made` the topmost that was not
 * there. Another's `removeEmptyFolders` may take them away again at any moment until the file is in them.
 *
 * @throws the system's error.
 */
export async function putInPlace(
  path: string,
  target: string,
): Promise<{ readonly folder: string; readonly made: string | undefined }> {
  const folder = dirname(target);
  let made: string | undefined;
  for (let left = attempts; ; left--) {
    try {
      const topmost = await mkdir(folder, { recursive: true });
      // Of several attempts' folders the topmost counts, as what is above it alone is known to be safe on the disk.
      if (topmost !== undefined && (made === undefined || topmost.length < made.length)) made = topmost;
      await rename(path, target);
      return { folder, made };
    } catch (error) {
      const isGone = codeOf(error) === "ENOENT";
      if (!isGone || left <= 1 || (await orAbsent(lstat(path), `${path} could not be looked up`)) === undefined) {
        throw error;
      }
    }
  }
}

/**
 * Opens a file to be written, and makes it and its folders where they are not there; the folders outlive a power failure,
 * as what is put into them later counts on that.
 *
 * @throws the system's error.
 */
export async function openInPlace(path: string): Promise<FileHandle> {
  for (let left = attempts; ; left--) {
    try {
      return await open(path, constants.O_WRONLY | constants.O_CREAT);
    } catch (error) {
      if (codeOf(error) !== "ENOENT" || left <= 1) throw error;
    }
    const made = await mkdir(dirname(path), { recursive: true });
    if (made !== undefined) await flushFolders(dirname(path), dirname(made));
  }
}

/**
 * Removes the folders below `path`, not itself, that hold nothing, the deepest first; a dry run only finds them.
 *
 * @returns how many were removed, and whether `path` now holds nothing.
 * @throws the system's error.
 */
export async function removeEmptyFolders(
  path: string,
  dryRun: boolean,
): Promise<{ readonly count: number; readonly empty: boolean }> {
  const entries = await orAbsent(opendir(path), `${path} could not be listed`);
  if (entries === undefined) return { count: 0, empty: false };
  let count = 0;
  let empty = true;
  for await (const entry of entries) {
    if (!entry.isDirectory()) {
      empty = false;
      continue;
    }
    const folder = join(path, entry.name);
    const inner = await removeEmptyFolders(folder, dryRun);
    count += inner.count;
    if (inner.empty && (dryRun || (await removeFolder(folder)))) count++;
    else empty = false;
  }
  return { count, empty };
}

/**
 * Removes a folder that holds nothing any more, and those above it of which that is true then, but not what lies in `top`
 * itself; each is told. What cannot be removed stays: `removeEmptyFolders` tells of it.
 */
export async function removeEmptied(folder: string, top: string, removed: (path: string) => void): Promise<void> {
  for (let path = folder; dirname(path) !== top && path !== top; path = dirname(path)) {
    const isRemoved = await removeFolder(path).catch(() => false);
    if (!isRemoved) return;
    removed(path);
  }
}

/** Whether a folder was removed; false where it is not empty (any more), or gone. */
async function removeFolder(path: string): Promise<boolean> {
  try {
    await rmdir(path);
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (code === "ENOTEMPTY" || code === "EEXIST" || code === "ENOENT") return false;
    throw error;
  }
}
