import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { access, mkdir, open, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { acquireLock, type Lock } from "./lock.ts";
import { codeOf, type Key, StoreError } from "./object-store.ts";

/** What the format file of a folder says that this version can read. */
export const format = "entrepot 1\n";
/** Below the root: what is not finished yet. */
export const temporaryFolder = "tmp";
const dataFolders = ["blobs", "repositories", "manifests"];

/** The folder is in use by another process, or holds something that is not ours: starting on it would do harm. */
export class RootError extends Error {
  override readonly name = "RootError";
}

/**
 * Where a key's object lies.
 *
 * @throws {StoreError} for what is no key, such as one that would lead out of the folder.
 */
export function pathOf(root: string, key: Key): string {
  if (key.startsWith("/") || key.split("/").includes("..")) throw new StoreError(`${key} is not a key`, undefined);
  return join(root, key);
}

/**
 * Takes the lock of `root`, and writes its format file where there is none.
 *
 * @throws {RootError} the folder is in use, or not ours; then nothing was written to it.
 */
export async function own(root: string): Promise<Lock> {
  await hasFormat(root);
  const temporaryPath = join(root, temporaryFolder);
  await mkdir(temporaryPath, { recursive: true });
  await access(temporaryPath, constants.W_OK);
  const lock = acquireLock(join(root, "lock"));
  if (lock === undefined) {
    throw new RootError(`${root} is in use by another process; give each process a folder of its own`);
  }
  try {
    // Asked again: before the lock was taken, another process may have had it.
    if (!(await hasFormat(root))) await writeFormat(root);
  } catch (error) {
    lock.release();
    throw error;
  }
  return lock;
}

/**
 * Whether the folder has our format file; without one it must hold no data.
 *
 * @throws {RootError} it is of another version, or another program's.
 */
export async function hasFormat(root: string): Promise<boolean> {
  const path = join(root, "format");
  const found = await orAbsent(readFile(path, "utf8"), "the format file could not be read");
  if (found === format) return true;
  // A process that was killed while it wrote the file in place left it empty, and stored nothing.
  if (found !== undefined && found !== "") {
    throw new RootError(
      `${path} says ${JSON.stringify(found.trim())}, this version reads ${JSON.stringify(format.trim())}`,
    );
  }
  for (const name of dataFolders) {
    if ((await orAbsent(stat(join(root, name)), `${name} could not be looked up`)) !== undefined) {
      throw new RootError(
        `${root} holds data of another program (${name}/ without a format file); use an empty folder`,
      );
    }
  }
  return false;
}

async function writeFormat(root: string): Promise<void> {
  const staged = join(root, temporaryFolder, randomUUID());
  try {
    await writeFile(staged, format, { flag: "wx", flush: true });
    await rename(staged, join(root, "format"));
  } catch (error) {
    await rm(staged, { force: true }).catch(() => undefined);
    throw error;
  }
  await flushFolders(root, root);
}

/** Flushes the names in `folder` and in those above it up to `top`. Not every file system can: a failure is ignored. */
export async function flushFolders(folder: string, top: string): Promise<void> {
  const last = resolve(top);
  for (let path = resolve(folder); path.length >= last.length; path = dirname(path)) {
    await flush(path).catch(() => undefined);
    if (path === last) return;
  }
}

/** Makes a file, or the names in a folder, outlive a power failure. */
export async function flush(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** `undefined` where the path (or a folder on the way) does not exist, `StoreError` for every other failure. */
export async function orAbsent<T>(operation: Promise<T>, message: string): Promise<T | undefined> {
  try {
    return await operation;
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw new StoreError(message, error);
  }
}

/** Whether an error of the file system says that the path, or a folder on the way, does not exist. */
export function isAbsence(error: unknown): boolean {
  const code = codeOf(error);
  return code === "ENOENT" || code === "ENOTDIR" || code === "EISDIR";
}
