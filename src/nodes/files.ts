import { randomUUID } from "node:crypto";
import { chmod, lstat, mkdir, open, readdir, readFile, rename, rm, stat, unlink } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";

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
  const stats = await lstat(path).catch(ifThere);
  if (stats === undefined) return undefined;
  if (stats.isSymbolicLink()) throw new FileLeft("it is a link");
  if (!stats.isFile()) throw new FileLeft("it is no file");
  if (stats.size > maxBytes) throw new FileLeft("it is too large");
  try {
    return utf8.decode(await readFile(path));
  } catch (error) {
    if (error instanceof TypeError) throw new FileLeft("it is not UTF-8");
    throw error;
  }
}

/**
 * Makes a file be `text`, whole or not at all, with mode and owner as they are. New folders come with their file in them,
 * as an empty one already means something to containerd, and would not be known for ours.
 *
 * @param before What it was when it was read; `undefined` where it was not there.
 * @throws {FileLeft} It has changed since.
 */
export async function writeText(path: string, before: string | undefined, text: string, owner: string): Promise<void> {
  const top = await topOfNew(path);
  const staged = temporaryName(dirname(top), owner);
  const file = join(staged, relative(top, path));
  try {
    if (top !== path) await mkdir(dirname(file), { recursive: true });
    const stats = await lstat(path).catch(ifThere);
    const handle = await open(file, "wx", newFile);
    try {
      await handle.writeFile(text);
      // What the process's umask took away.
      await handle.chmod(stats === undefined ? newFile : stats.mode & 0o7777);
      if (stats !== undefined) await handle.chown(stats.uid, stats.gid);
      await handle.sync();
    } finally {
      await handle.close();
    }
    for (let at = dirname(file); at.length >= staged.length; at = dirname(at)) await chmod(at, newFolder);
    await expectText(path, before);
    await rename(staged, top);
  } catch (error) {
    await rm(staged, { recursive: true, force: true });
    throw isConflict(error) ? new FileLeft("something else has written there", { cause: error }) : error;
  }
  await syncFolder(dirname(top));
}

/** The highest folder that is to be made for a file, or the file itself. */
async function topOfNew(path: string): Promise<string> {
  const folder = dirname(path);
  return (await lstat(folder).catch(ifThere)) === undefined ? topOfNew(folder) : path;
}

/**
 * Removes a file, and with it, at once, the folders that have nothing else in them.
 *
 * @param before What it was when it was read.
 * @param top The highest folder that may go with it, or the file itself.
 * @throws {FileLeft} It has changed since.
 */
export async function removeFile(path: string, before: string, top: string, owner: string): Promise<void> {
  let at = path;
  while (at.startsWith(`${top}/`) && (await readdir(dirname(at))).length === 1) at = dirname(at);
  if (at === path) {
    await expectText(path, before);
    await unlink(path);
  } else {
    const staged = temporaryName(dirname(at), owner);
    await rename(at, staged);
    await removeStaged(staged, at, (text) => text === before);
  }
  await syncFolder(dirname(at));
}

/** Removes what a process of this owner has left behind in a folder when it was killed. */
export async function sweep(folder: string, owner: string): Promise<void> {
  const prefix = basename(temporaryName("", owner, ""));
  for (const name of await readdir(folder)) {
    if (name.startsWith(prefix)) await removeStaged(join(folder, name), undefined, () => true);
  }
}

/** Removes folders that were moved aside, with their one file; where something else is in them, they go back where they were. */
async function removeStaged(
  staged: string,
  folder: string | undefined,
  isOurs: (text: string) => boolean,
): Promise<void> {
  const all = (await lstat(staged)).isDirectory()
    ? await readdir(staged, { recursive: true, withFileTypes: true })
    : [];
  const [file, ...others] = all.filter((entry) => !entry.isDirectory());
  const isOnlyOurs =
    file === undefined || (others.length === 0 && isOurs(await readFile(join(file.parentPath, file.name), "utf8")));
  if (!isOnlyOurs) {
    if (folder !== undefined) await rename(staged, folder);
    throw new FileLeft("something else has written there");
  }
  await rm(staged, { recursive: true });
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

/** For a `catch`: what is not there is `undefined`. */
export function ifThere(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT" && error.code !== "ENOTDIR") throw error;
}

/** Whether there is a folder, or a link to one. */
export async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(ifThere))?.isDirectory() === true;
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
