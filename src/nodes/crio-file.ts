import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { FileLeft, readText } from "./files.ts";
import { accessTo } from "./hosts-folders.ts";
import type { OwnFiles } from "./own-files.ts";
import type { NodeSettings, Wanted } from "./settings.ts";
import { addEntries, findTaken, type RegistriesFile } from "./registries-file.ts";

/** Brings our file for CRI-O and podman in order, where a folder for it is named. */
export async function reconcileCrio(
  own: OwnFiles,
  { hostRoot, crio }: NodeSettings,
  wanted: Wanted | undefined,
): Promise<void> {
  if (crio === undefined) return;
  const access = await accessTo(crio, hostRoot);
  if (typeof access === "object") {
    if (wanted !== undefined) own.add(crio, "left", access.why);
    return;
  }
  const root = join(hostRoot, crio);
  const name = join(crio, `entrepot-${own.owner}.conf`);
  const path = join(hostRoot, name);
  let before: string | undefined;
  try {
    await own.sweep([dirname(root), root]);
    before = await readText(path);
  } catch (error) {
    if (!(error instanceof FileLeft)) throw error;
    own.add(name, "left", error.message);
    return;
  }
  const registries = wanted === undefined ? [] : await findFree(own, crio, hostRoot, name, wanted.registries);
  if (registries === undefined) return;
  const file = { name, path, top: root, before };
  if (wanted !== undefined && registries.length > 0) {
    const made = access === "there" ? (["file"] as const) : (["root", "file"] as const);
    await own.write(file, addEntries(before, { owner: own.owner, mirror: wanted.mirror, registries, made }));
  } else if (before === undefined) {
    return;
  } else {
    await own.takeBack(file, wanted !== undefined);
  }
  own.notes.push(
    `CRI-O takes ${name} as it is when it is told to reload (systemctl reload crio: SIGHUP), or by itself with ` +
      "auto_reload_registries = true; podman does with each command",
  );
}

/** Those of the registries that may have an entry in our file; `undefined` where nothing may be written. */
async function findFree(
  own: OwnFiles,
  crio: string,
  hostRoot: string,
  ours: string,
  wanted: readonly string[],
): Promise<readonly string[] | undefined> {
  const registries = wanted.filter((registry) => registry !== "*");
  if (registries.length < wanted.length) {
    own.add("*", "skipped", "CRI-O and podman have no entry for all registries: name them too");
  }
  const above = await readdir(join(hostRoot, dirname(crio)));
  if (hostRoot !== "/" && above.length === 1) {
    own.notes.push(`${dirname(crio)} of the node is not mounted: what is in its registries.conf is not seen`);
  }
  const files: RegistriesFile[] = [];
  for (const path of [join(dirname(crio), "registries.conf"), ...(await listConfigurations(crio, hostRoot))]) {
    const text = path === ours ? undefined : await readIfThere(join(hostRoot, path));
    if (text !== undefined) files.push({ path, text });
  }
  const found = findTaken(files, registries);
  if ("why" in found) {
    own.add(ours, "left", found.why);
    return undefined;
  }
  for (const { registry, by } of found.taken) own.add(registry, "skipped", `${by} has an entry for it`);
  return registries.filter((name) => !found.taken.some(({ registry }) => registry === name));
}

async function listConfigurations(crio: string, hostRoot: string): Promise<string[]> {
  const names = await readdir(join(hostRoot, crio)).catch(ifThere);
  return (names ?? [])
    .filter((name) => name.endsWith(".conf"))
    .toSorted()
    .map((name) => join(crio, name));
}

function readIfThere(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").catch(ifThere);
}

function ifThere(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}
