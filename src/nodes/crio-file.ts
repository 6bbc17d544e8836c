import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { FileLeft, ifThere, readText } from "./files.ts";
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
  const name = join(crio, `entrepot-${own.owner}.conf`);
  const access = await accessTo(crio, hostRoot);
  if (typeof access === "object") {
    if (wanted !== undefined) own.add(crio, "left", access.why);
    return;
  }
  const top = join(hostRoot, crio);
  const path = join(hostRoot, name);
  await own.sweep([dirname(top), top]);
  try {
    const before = await readText(path);
    const file = { name, path, top, before };
    const registries = wanted === undefined ? [] : await findFree(own, crio, hostRoot, name, wanted.registries);
    if (wanted !== undefined && registries.length > 0) {
      const made = access === "there" ? (["file"] as const) : (["root", "file"] as const);
      await own.write(file, addEntries(before, { owner: own.owner, mirror: wanted.mirror, registries, made }));
    } else {
      await own.takeBack(file, wanted !== undefined);
      if (before === undefined) return;
    }
  } catch (error) {
    if (!(error instanceof FileLeft)) throw error;
    own.add(name, "left", error.message);
    return;
  }
  own.notes.push(
    `CRI-O takes ${name} as it is when it is told to reload (systemctl reload crio: SIGHUP), or by itself with ` +
      "auto_reload_registries = true; podman does with each command",
  );
}

/**
 * Those of the registries that may have an entry in our file.
 *
 * @throws {FileLeft} Nothing may be written, as another file cannot be understood.
 */
async function findFree(
  own: OwnFiles,
  crio: string,
  hostRoot: string,
  ours: string,
  wanted: readonly string[],
): Promise<readonly string[]> {
  const registries = wanted.filter((registry) => registry !== "*");
  if (registries.length < wanted.length) {
    own.add("*", "skipped", "CRI-O and podman have no entry for all registries: name them too");
  }
  const above = dirname(crio);
  if (hostRoot !== "/" && (await readdir(join(hostRoot, above))).length === 1) {
    own.notes.push(`${above} of the node is not mounted: what is in its registries.conf is not seen`);
  }
  const dropIns = (await readdir(join(hostRoot, crio)).catch(ifThere)) ?? [];
  const paths = dropIns.filter((name) => name.endsWith(".conf")).map((name) => join(crio, name));
  const files: RegistriesFile[] = [];
  for (const path of [join(above, "registries.conf"), ...paths.toSorted()]) {
    const text = path === ours ? undefined : await readFile(join(hostRoot, path), "utf8").catch(ifThere);
    if (text !== undefined) files.push({ path, text });
  }
  const taken = findTaken(files, registries);
  for (const [registry, by] of taken) own.add(registry, "skipped", `${by} has an entry for it`);
  return registries.filter((registry) => !taken.has(registry));
}
