import { constants } from "node:fs";
import { access, lstat, mkdir, open, opendir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { acquireLock, type Lock } from "./lock.ts";
import { codeOf, type Key, StoreError } from "./object-store.ts";

/** What the format file of a folder says that this version can read. */
export const format = "entrepot 1\n";
/** Below the root: what is not finished yet. */
export const temporaryFolder = "tmp";
/** What must be folders of the root itself, on its own file system: files are moved from one to the other. */
const ownFolders = [temporaryFolder, "blobs", "repositories", "quarantine", "state", "hosted"];
/** Files of ours in it, which are written whatever they hold. */
const ownFiles = ["lock", "ledger.sqlite", "ledger.ballast"];
/** What a volume has in its top folder when it is new. */
const volumesOwn: ReadonlySet<string> = new Set(["lost+found", ".snapshot", ".zfs"]);
/** What a process has made that ended before it could write the format file. */
const unclaimed = /^(?:format|lock(?:-journal)?|ledger\.(?:ballast|sqlite(?:-journal|-wal|-shm)?))$/;
/** How many of the names that are in the way are told. */
const toldNames = 5;

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
 * Proves that `root` is ours, or that nobody else's data is there, takes its lock, and makes what is missing: the folder
 * itself, its format file, the temporary folder.
 *
 * @throws {RootError} the folder is in use, or not ours; then nothing was changed in it.
 */
export async function own(root: string): Promise<Lock> {
  await expectOurs(root);
  await mkdir(root, { recursive: true });
  await access(root, constants.W_OK);
  const lock = acquireLock(join(root, "lock"));
  if (lock === undefined) {
    throw new RootError(`${root} is in use by another process; give each process a folder of its own`);
  }
  try {
    // Asked again: before the lock was taken, another process may have had it.
    if (!(await expectOurs(root))) await writeFormat(root);
    const temporaryPath = join(root, temporaryFolder);
    await mkdir(temporaryPath, { recursive: true });
    await access(temporaryPath, constants.W_OK);
  } catch (error) {
    lock.release();
    throw error;
  }
  return lock;
}

/**
 * Whether the folder has our format file; false also where a crash left it written in part.
 *
 * @throws {RootError} it is of another version, or another program's.
 */
export async function hasFormat(root: string): Promise<boolean> {
  const path = join(root, "format");
  const found = await orAbsent(readFile(path, "utf8"), "the format file could not be read");
  if (found === format) return true;
  if (found === undefined || format.startsWith(found)) return false;
  throw new RootError(
    `${path} says ${JSON.stringify(found.slice(0, 80).trim())}, this version reads ${JSON.stringify(format.trim())}`,
  );
}

/**
 * Whether the folder is ours; false where it holds nothing that is anybody's, or does not exist.
 *
 * @throws {RootError} it holds something else, or is not laid out as ours must be.
 */
async function expectOurs(root: string): Promise<boolean> {
  const info = await orAbsent(stat(root), `${root} could not be looked up`);
  if (info === undefined) return false;
  if (!info.isDirectory()) throw new RootError(`${root} is not a folder`);
  const isOurs = await hasFormat(root);
  if (!isOurs) await expectNothing(root);
  for (const name of [...ownFolders, ...ownFiles]) {
    const path = join(root, name);
    const own = await orAbsent(lstat(path), `${path} could not be looked up`);
    // A link may lead to what is somebody else's, which would be swept or written over.
    if (own === undefined || (!own.isSymbolicLink() && own.dev === info.dev)) continue;
    const what = own.isSymbolicLink() ? "is a symbolic link" : "is on another file system";
    throw new RootError(`${path} ${what}; what a mirror keeps must be together: link or mount ${root} as a whole`);
  }
  return isOurs;
}

/** @throws {RootError} the folder, which has no format file, holds what we have not begun to make. */
async function expectNothing(root: string): Promise<void> {
  const strange: string[] = [];
  for await (const entry of await opendir(root)) {
    const { name } = entry;
    if (entry.isFile() && unclaimed.test(name)) continue;
    if (entry.isDirectory()) {
      if (volumesOwn.has(name)) continue;
      if (name === temporaryFolder && (await readdir(join(root, name))).length === 0) continue;
    }
    strange.push(entry.isDirectory() ? `${name}/` : name);
    if (strange.length > toldNames) break;
  }
  // Another process may have made it its own meanwhile.
  if (strange.length === 0 || (await hasFormat(root))) return;
  const told = strange.slice(0, toldNames).join(", ") + (strange.length > toldNames ? ", …" : "");
  throw new RootError(
    `${root} holds data of another program (${told} without a format file); use an empty folder, or move that away`,
  );
}

/** In its place at once: whoever sees a part of it waits for the lock, and a crash leaves a part that is taken for none. */
async function writeFormat(root: string): Promise<void> {
  await writeFile(join(root, "format"), format, { flush: true });
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
