import type { TomlTable } from "smol-toml";
import { FileLeft } from "./files.ts";
import { readToml } from "./hosts-file.ts";
import { formatPart, type Left, type Made, takeOut } from "./owned-part.ts";

/** A file that CRI-O and podman read besides ours. */
export interface RegistriesFile {
  readonly path: string;
  readonly text: string;
}

/**
 * Which of the registries have an entry already, and in which file: of two entries one counts, so that ours would hide
 * it. `*.example.com` is one for all below it.
 *
 * @throws {FileLeft} A file cannot be understood, or no other may be beside it.
 */
export function findTaken(
  files: readonly RegistriesFile[],
  registries: readonly string[],
): ReadonlyMap<string, string> {
  const taken = new Map<string, string>();
  for (const { path, text } of files) {
    const read = readToml(text);
    if ("why" in read) throw new FileLeft(`${path} cannot be read: ${read.why}`);
    // Of that form, "v1", no drop-in may be beside.
    if ("registries" in read.table) {
      throw new FileLeft(`${path} has [registries.*], beside which no file of [[registry]] may be`);
    }
    const entries = read.table["registry"];
    for (const { prefix, location } of Array.isArray(entries) ? (entries as TomlTable[]) : []) {
      const name = [prefix, location].find((each) => typeof each === "string" && each !== "");
      if (typeof name !== "string") continue;
      for (const registry of registries) {
        const isBelow = name.startsWith("*.") && registry.endsWith(name.slice(1));
        if ((name === registry || isBelow) && !taken.has(registry)) taken.set(registry, path);
      }
    }
  }
  return taken;
}

/** What is to be in the file. */
export interface MirrorEntries {
  readonly owner: string;
  readonly mirror: string;
  readonly registries: readonly string[];
  readonly made: readonly Made[];
}

/** What our file becomes: an entry for each registry, with the mirror's path of its name as a mirror of its own. */
export function addEntries(current: string | undefined, wanted: MirrorEntries): { readonly text: string } | Left {
  const own = takeOut(current ?? "", wanted.owner);
  if ("why" in own) return own;
  if (own.rest !== "") return { why: "somebody has written to it" };
  const { protocol, host } = new URL(wanted.mirror);
  const insecure = protocol === "http:" ? "insecure = true\n" : "";
  const body = wanted.registries
    .map((registry) => {
      const entry = `[[registry]]\nprefix = "${registry}"\nlocation = "${registry}"`;
      return `${entry}\n[[registry.mirror]]\nlocation = "${host}/${registry}"\n${insecure}`;
    })
    .join("\n")
    .trimEnd();
  return { text: `${formatPart(wanted.owner, current === undefined ? wanted.made : own.made, body)}\n` };
}
