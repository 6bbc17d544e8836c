import { readdir, realpath } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { FileLeft, ifThere, isFolder, readText, temporaryPrefix } from "./files.ts";
import type { Certificates } from "./hosts-file.ts";
import { withoutParts } from "./owned-part.ts";

/** A folder with a folder for each registry, as it was looked at. */
export interface HostsRoot {
  /** Its path on the node, and here, where no link is in it: of two names of one folder one path. */
  readonly name: string;
  readonly path: string;
  /** The highest folder that is made where it is absent. */
  readonly top: string;
  readonly access: Access;
  readonly folders: ReadonlyMap<string, RegistryFolder>;
}

/** Whether a folder is there, can be made, or why it can be neither looked at nor made. */
export type Access = "there" | "absent" | { readonly why: string };

/** The folder of one registry. */
export interface RegistryFolder {
  readonly path: string;
  readonly files: readonly string[];
  /** Its `hosts.toml`; `undefined` where it has none. */
  readonly text: string | undefined;
  /** Why nothing in it may be written. */
  readonly why: string | undefined;
  /** It could not be read: something of ours may be in it. */
  readonly isUnknown?: boolean;
}

/** Where a registry's `hosts.toml` is or is to be, or why there is to be none. */
export type Place =
  | { readonly root: HostsRoot; readonly folder: string }
  | { readonly why: string; readonly isCovered: boolean };

/** The folder for registries without one. */
const defaultFolder = "_default";

/** The name of the file that containerd reads in a registry's folder. */
export const hostsFile = "hosts.toml";

/** Looks whether a folder is there, or can be made within what is there. */
export async function accessTo(name: string, hostRoot: string): Promise<Access> {
  const isThere = await isFolder(join(hostRoot, name));
  const nearest = isThere ? name : dirname(firstMade(name));
  if (!isThere && !(await isFolder(join(hostRoot, nearest)))) {
    const isWhole = hostRoot === "/";
    return {
      why: isWhole ? `there is no ${nearest}` : `${nearest} of the node is not mounted below ${hostRoot}, or not there`,
    };
  }
  const outside = relative(await realpath(hostRoot), await realpath(join(hostRoot, nearest))).startsWith("..");
  if (outside) return { why: `${nearest} is a link that leads out of ${hostRoot}` };
  return isThere ? "there" : "absent";
}

/** The highest folder that may be made for a root: itself, or where a list of paths that is taken for one path leaves what is. */
function firstMade(root: string): string {
  return /^.*?:[^/]*/.exec(root)?.[0] ?? root;
}

/** Reads all that containerd may read below a folder. */
export async function readRoot(name: string, hostRoot: string): Promise<HostsRoot> {
  const access = await accessTo(name, hostRoot);
  const host = await realpath(hostRoot);
  const path = access === "there" ? await realpath(join(host, name)) : join(host, name);
  const top = join(host, firstMade(name));
  const folders = new Map<string, RegistryFolder>();
  const entries = access === "there" ? await readdir(path, { withFileTypes: true }) : [];
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.name.startsWith(temporaryPrefix) || entry.isFile()) continue;
    const at = join(path, entry.name);
    const linked = { path: at, files: [], text: undefined, why: "it is a link" };
    const folder = entry.isDirectory() ? await readFolder(at) : linked;
    if (folder !== undefined) folders.set(entry.name, folder);
  }
  return { name, path, top, access, folders };
}

/** `undefined` where another process has taken it away meanwhile. One that cannot be read does not hold up the others. */
async function readFolder(path: string): Promise<RegistryFolder | undefined> {
  try {
    const files = await readdir(path).catch(ifThere);
    if (files === undefined) return undefined;
    return { path, files, text: await readText(join(path, hostsFile)), why: undefined };
  } catch (error) {
    const why = `${hostsFile}: ${(error as Error).message}`;
    return { path, files: [], text: undefined, why, isUnknown: !(error instanceof FileLeft) };
  }
}

/**
 * Finds the folder that containerd takes for a registry, as it does: the first that exists, root by root, with
 * `_default` as the last of each root. A new one must not hide what somebody else has said in a later one.
 *
 * @param lookup The roots in their order.
 * @param wantsAll Whether there is to be a mirror in `_default` too.
 */
export function findPlace(lookup: readonly HostsRoot[], registry: string, wantsAll: boolean): Place {
  const isAll = registry === "*";
  const names = namesOf(registry);
  for (const root of lookup) {
    const name = names.find((each) => root.folders.has(each));
    // A _default of somebody else hides what it does already; one of ours may have to go.
    if (name !== undefined && !(isAll && isOurs(root.folders.get(name)))) return { root, folder: name };
    const fallback = root.folders.get(defaultFolder);
    if (!isAll && fallback !== undefined && !isOurs(fallback)) {
      const file = `${root.name}/${defaultFolder}`;
      if (wantsAll) return { isCovered: true, why: `${file} is for it, where the mirror is too` };
      return {
        isCovered: false,
        why: `${file} of somebody else is for it, which a folder of its own would hide: use --registry "*"`,
      };
    }
  }
  const [first, ...later] = lookup;
  if (first === undefined) return { isCovered: false, why: "containerd looks nowhere" };
  if (isAll && later.some(({ folders }) => !folders.values().every(isOurs))) {
    const hidden = later.map(({ name }) => name).join(", ");
    return {
      isCovered: false,
      why: `${first.name}/${defaultFolder} would hide what is in ${hidden}: name the registries instead`,
    };
  }
  if (typeof first.access === "object") return { isCovered: false, why: first.access.why };
  return { root: first, folder: names.at(-1) ?? registry };
}

/** The names by which containerd looks for a registry's folder, the one that is made if there is none last. */
function namesOf(registry: string): readonly string[] {
  if (registry === "*") return [defaultFolder];
  const colon = registry.lastIndexOf(":");
  if (colon < 0) return [registry];
  return [`${registry.slice(0, colon)}_${registry.slice(colon + 1)}_`, registry];
}

/** Whether nobody else has said anything in a folder. */
function isOurs(folder: RegistryFolder | undefined): boolean {
  return (
    folder?.text !== undefined &&
    withoutParts(folder.text) === "" &&
    folder.files.every((file) => file === hostsFile || file.startsWith(temporaryPrefix))
  );
}

/** The certificates in a folder, by the endings of their names, as containerd reads them without a `hosts.toml`. */
export function certificatesIn(files: readonly string[]): Certificates {
  const sorted = files.toSorted();
  const client = sorted
    .filter((file) => file.endsWith(".cert"))
    .map((cert): [string, string] => {
      const key = cert.replace(/cert$/, "key");
      return [cert, files.includes(key) ? key : cert];
    });
  return { ca: sorted.filter((file) => file.endsWith(".crt")), client };
}
