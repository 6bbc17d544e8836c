import { basename, dirname, join } from "node:path";
import { defaultFolders, findHostsFolders } from "./containerd-config.ts";
import { addMirror } from "./hosts-file.ts";
import { certificatesIn, findPlace, hostsFile, type HostsRoot, readRoot } from "./hosts-folders.ts";
import type { OwnFiles } from "./own-files.ts";
import { findParts, type Made } from "./owned-part.ts";
import type { NodeSettings, Wanted } from "./settings.ts";

/** Brings the `hosts.toml` files of containerd in order. */
export async function reconcileContainerd(
  own: OwnFiles,
  { hostRoot, containerdConfig, containerdHosts }: NodeSettings,
  wanted: Wanted | undefined,
): Promise<void> {
  const { lookups, notes } = await findHostsFolders(containerdConfig, hostRoot, containerdHosts);
  // Something of ours may be where it pointed before.
  const names = new Set([...lookups.flat(), ...defaultFolders, defaultFolders.join(":")]);
  const roots = new Map<string, HostsRoot>();
  for (const name of names) {
    const root = await readRoot(name, hostRoot);
    roots.set(name, [...roots.values()].find(({ path }) => path === root.path) ?? root);
  }
  const distinct = new Set(roots.values());
  await own.sweep([...distinct].flatMap(foldersOf));
  const targets = new Set<string>();
  for (const lookup of wanted === undefined ? [] : lookups) {
    const known = [...new Set(lookup.flatMap((name) => roots.get(name) ?? []))];
    for (const { name, access } of known.slice(1)) {
      if (typeof access !== "object" || hostRoot === "/") continue;
      own.notes.push(`${access.why}: where ${name} has certificates of a registry, its new file elsewhere hides them`);
    }
    for (const path of await writeAll(own, known, wanted)) targets.add(path);
  }
  for (const root of distinct) {
    for (const folder of root.folders.values()) {
      const path = join(folder.path, hostsFile);
      const name = join(root.name, basename(folder.path), hostsFile);
      if (folder.isUnknown === true && wanted === undefined) own.add(name, "left", folder.why);
      if (folder.text === undefined || targets.has(path)) continue;
      await own.takeBack({ name, path, top: root.top, before: folder.text }, wanted !== undefined);
    }
  }
  if (wanted !== undefined || own.outcomes.length > 0) own.notes.push(...notes);
}

/** Writes a file for each registry; returns the paths of those that are not to be taken back. */
async function writeAll(
  own: OwnFiles,
  lookup: readonly HostsRoot[],
  { mirror, registries }: Wanted = { mirror: "", registries: [] },
): Promise<string[]> {
  const paths: string[] = [];
  for (const registry of registries) {
    const place = findPlace(lookup, registry, registries.includes("*"));
    if ("why" in place) {
      own.add(registry, place.isCovered ? "skipped" : "left", place.why);
      continue;
    }
    const { root } = place;
    const folder = root.folders.get(place.folder);
    const name = join(root.name, place.folder, hostsFile);
    const path = join(root.path, place.folder, hostsFile);
    paths.push(path);
    const made: Made[] = [];
    if (isMadeByUs(root, own.owner)) made.push("root");
    if (folder === undefined) made.push("folder");
    made.push("file");
    const certificates = certificatesIn(folder?.files ?? []);
    const after =
      folder?.why === undefined
        ? addMirror(folder?.text, { owner: own.owner, mirror, certificates, made })
        : { why: folder.why };
    await own.write({ name, path, top: root.top, before: folder?.text }, after);
  }
  return paths;
}

/** Where something of ours that is not finished may be. */
function foldersOf({ path, top, access, folders }: HostsRoot): string[] {
  if (typeof access === "object") return [];
  const known = [...folders.values()].filter(({ why }) => why === undefined).map((folder) => folder.path);
  return [dirname(top), path, ...known];
}

/** Whether a root is to go with the last file of ours in it. */
function isMadeByUs({ access, folders }: HostsRoot, owner: string): boolean {
  if (access === "absent") return true;
  return [...folders.values()].some(({ text }) =>
    findParts(text ?? "").some((part) => part.owner === owner && part.made.includes("root")),
  );
}
