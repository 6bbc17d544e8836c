import type { Dirent } from "node:fs";
import { type Key, type ListOptions, type ObjectInfo, StoreError } from "./object-store.ts";

/** How many names of a folder are in memory at most; a folder that has more is read several times. */
const mostNames = 32_768;
/** How many files a listing looks up at once: one of the few threads for files is kept busy, most are left to others. */
const lookUpsAtOnce = 2;

/** How folders are read. */
export interface FolderReader<Info> {
  /** What lies in a folder, in any order; nothing where it is absent. */
  entries(folder: Key): AsyncIterable<Dirent> | Iterable<Dirent>;
  head(key: Key): Promise<Info | undefined>;
}

/** A folder that is being listed; the names of folders in it end with `/`, which puts them into the order of the keys. */
interface OpenFolder {
  readonly key: Key;
  names: readonly string[];
  next: number;
  /** Whether `names` go to the folder's end. */
  isWhole: boolean;
}

/** See `ObjectReader.list`. Holds some names for each level and a few objects, however many there are. */
export async function* listInOrder<Info extends ObjectInfo>(
  prefix: Key,
  reader: FolderReader<Info>,
  { after, onUnreadable }: ListOptions = {},
): AsyncGenerator<Info> {
  const skip = (error: unknown): undefined => {
    if (onUnreadable === undefined || !(error instanceof StoreError)) throw error;
    onUnreadable(error);
    return undefined;
  };
  const path: OpenFolder[] = [];
  const enter = async (key: Key): Promise<void> => {
    const start = key === "" ? after : after?.startsWith(`${key}/`) === true ? after.slice(key.length + 1) : undefined;
    path.push({ key, next: 0, ...(await readNames(reader.entries(key), start ?? "")) });
  };
  const isWithin = prefix === "" || after === undefined || after < `${prefix}/` || after.startsWith(`${prefix}/`);
  if (isWithin) await enter(prefix);
  for (let folder = path.at(-1); folder !== undefined; folder = path.at(-1)) {
    const { key, names, next } = folder;
    const files: Key[] = [];
    while (files.length < lookUpsAtOnce && names[next + files.length]?.endsWith("/") === false) {
      files.push(below(key, names[next + files.length] ?? ""));
    }
    folder.next += files.length;
    for (const info of await Promise.all(files.map((file) => reader.head(file).catch(skip)))) {
      if (info !== undefined) yield info;
    }
    const name = names[folder.next];
    if (name?.endsWith("/") === true) {
      folder.next++;
      await enter(below(key, name.slice(0, -1))).catch(skip);
    } else if (name === undefined && folder.isWhole) {
      path.pop();
    } else if (name === undefined) {
      // Of a folder that cannot be read on, the rest is left out.
      const more = await readNames(reader.entries(key), names.at(-1) ?? "").catch(skip);
      Object.assign(folder, { next: 0, ...(more ?? { names: [], isWhole: true }) });
    }
  }
}

function below(folder: Key, name: string): Key {
  return (folder === "" ? name : `${folder}/${name}`) as Key;
}

/** The next names of a folder behind `after`, which may lie within the first of them. */
async function readNames(
  entries: ReturnType<FolderReader<unknown>["entries"]>,
  after: string,
): Promise<Pick<OpenFolder, "names" | "isWhole">> {
  const names: string[] = [];
  let isWhole = true;
  const keepFirst = (): void => {
    names.sort();
    if (names.length <= mostNames) return;
    names.length = mostNames;
    isWhole = false;
  };
  for await (const entry of entries) {
    const name = entry.isDirectory() ? `${entry.name}/` : entry.name;
    if (name <= after && !(after.startsWith(name) && name.endsWith("/") && after !== name)) continue;
    names.push(name);
    if (names.length >= 2 * mostNames) keepFirst();
  }
  keepFirst();
  return { names, isWhole };
}
