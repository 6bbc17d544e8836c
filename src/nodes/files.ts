import { randomUUID } from "node:crypto";
import type { Stats } from "node:fs";
import { chmod, lstat, mkdir, open, readdir, readFile, rename, rm, rmdir, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Made } from "./owned-part.ts";

/** A file was not what it was a moment before, or is nothing that may be written: it is left alone. */
export class FileLeft extends Error {
  override readonly name = "FileLeft";
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** What names of files begin with that are not finished, or being removed. */
export const temporaryPrefix = ".entrepot-node.";
const maxBytes = 1024 * 1024;
const newFile = 0o644;
const newFolder = 0o755;

/**
 * Reads a file as it is, byte for byte. `undefined` where there is none.
 *
 * @throws {FileLeft} It is a link, or no text.
 */
export async function readText(path: string): Promise<string | undefined> {
  const stat = await lstatIfThere(path);
  if (stat === undefined) return undefined;
  if (stat.isSymbolicLink()) throw new FileLeft("it is a link");
  if (!stat.isFile()) throw new FileLeft("it is no file");
  if (stat.size > maxBytes) throw new FileLeft("it is too large");
  try {
    return utf8.decode(await readFile(path));
  } catch (error) {
    if (error instanceof TypeError) throw new FileLeft("it is not UTF-8");
    throw error;
  }
}

/**
 * Makes a file be `text`, whole or not at all, with mode and owner as they are. A new folder comes with its file in it,
 * as an empty one already means something to containerd.
 *
 * @param before What it was when it was read; `undefined` where it was not there.
 * @throws {FileLeft} It has changed since.
 */
export async function writeText(path: string, before: string | undefined, text: string, owner: string): Promise<void> {
  const folder = dirname(path);
  const isNewFolder = (await lstatIfThere(folder)) === undefined;
  const staged = temporaryName(isNewFolder ? dirname(folder) : folder, owner);
  if (isNewFolder) await mkdir(staged, { mode: newFolder });
  const file = isNewFolder ? join(staged, basename(path)) : staged;
  try {
    const stat = await lstatIfThere(path);
    const handle = await open(file, "wx", newFile);
    try {
      await handle.writeFile(text);
      // What the process's umask took away.
      await handle.chmod(stat === undefined ? newFile : stat.mode & 0o7777);
      if (stat !== undefined) await handle.chown(stat.uid, stat.gid);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (isNewFolder) await chmod(staged, newFolder);
    await expectText(path, before);
    await rename(staged, isNewFolder ? folder : path);
  } catch (error) {
    await rm(staged, { recursive: true, force: true });
    throw isConflict(error) ? new FileLeft("something else has written there", { cause: error }) : error;
  }
  await syncFolder(isNewFolder ? dirname(folder) : folder);
}

/**
 * Removes a file, and the folders that were made with it where nothing else is in them.
 *
 * @param before What it was when it was read.
 * @throws {FileLeft} It has changed since.
 */
export async function removeFile(
  path: string,
  before: string,
  made: readonly Made[],
  root: string,
  owner: string,
): Promise<void> {
  const folder = dirname(path);
  const isAlone = (await readdir(folder)).length === 1;
  if (made.includes("folder") && isAlone && folder !== root) {
    // At once, as an empty folder already means something to containerd.
    const staged = temporaryName(root, owner);
    await rename(folder, staged);
    await removeStagedFolder(staged, folder, (text) => text === before);
    await syncFolder(root);
  } else {
    await expectText(path, before);
    await unlink(path);
    await syncFolder(folder);
  }
}

/**
 * Removes a folder that was made for us, when it is empty; of one whose name has a colon also those that are in the name.
 *
 * @param name Its path on the node.
 */
export async function removeRoot(hostRoot: string, name: string): Promise<void> {
  const last = firstMade(name);
  try {
    for (let folder = name; folder.length >= last.length; folder = dirname(folder)) await rmdir(join(hostRoot, folder));
  } catch (error) {
    if (!["ENOTEMPTY", "ENOENT", "ENOTDIR", "EEXIST", "EBUSY"].includes((error as NodeJS.ErrnoException).code ?? ""))
      throw error;
  }
}

/** The highest folder that may be made for a root: itself, or where a list of paths that is taken for one path leaves what is. */
export function firstMade(root: string): string {
  return /^.*?:[^/]*/.exec(root)?.[0] ?? root;
}

/** Removes what a process of this owner has left behind in a folder when it was killed. */
export async function sweep(folder: string, owner: string): Promise<void> {
  const prefix = basename(temporaryName("", owner, ""));
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (!entry.name.startsWith(prefix)) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await removeStagedFolder(path, undefined, () => true);
    else await unlink(path);
  }
}

/** Removes a folder that was moved aside, with its one file; where something else is in it, it goes back where it was. */
async function removeStagedFolder(
  staged: string,
  folder: string | undefined,
  isOurs: (text: string) => boolean,
): Promise<void> {
  const [name, ...others] = await readdir(staged);
  const isOnlyOurs = name === undefined || (others.length === 0 && isOurs(await readFile(join(staged, name), "utf8")));
  if (!isOnlyOurs) {
    if (folder !== undefined) await rename(staged, folder);
    throw new FileLeft("something else has written there");
  }
  if (name !== undefined) await unlink(join(staged, name));
  await rmdir(staged);
}

async function expectText(path: string, before: string | undefined): Promise<void> {
  if ((await readText(path)) !== before) throw new FileLeft("something else has written there");
}

function temporaryName(folder: string, owner: string, id: string = randomUUID()): string {
  return join(folder, `${temporaryPrefix}${owner}~${id}`);
}

function isConflict(error: unknown): boolean {
  return ["ENOTEMPTY", "EEXIST", "ENOENT"].includes((error as NodeJS.ErrnoException).code ?? "");
}

async function lstatIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Flushes a folder, so that what was renamed in it is there after a power failure. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
