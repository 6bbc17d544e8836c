import { glob, lstat, readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { TomlTable } from "smol-toml";
import { readToml } from "./hosts-file.ts";

/** Where containerd looks for `hosts.toml` files. */
export interface HostsFolders {
  /** Folders in the order in which they are searched; one list for each way of pulling that has its own. */
  readonly lookups: readonly (readonly string[])[];
  /** Why what is there is not used, or not by each containerd, with what to do. */
  readonly notes: readonly string[];
}

/** What a configuration of containerd says of registries. */
interface RegistrySettings {
  readonly version: number;
  readonly configPath: string;
  readonly hasMirrors: boolean;
  readonly isDisabled: boolean;
}

const criPlugins: ReadonlySet<unknown> = new Set(["cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"]);

/** Where containerd looks by default; 2.2 is the first that has a default. */
export const defaultFolders: readonly string[] = ["/etc/containerd/certs.d", "/etc/docker/certs.d"];

/**
 * Reads containerd's configuration, with what it imports, and tells where `hosts.toml` files are looked for.
 *
 * @param file Its path on the node.
 * @param hostRoot Where the node's `/` is.
 * @param folder Where to write in any case.
 */
export async function findHostsFolders(
  file: string,
  hostRoot: string,
  folder: string | undefined,
): Promise<HostsFolders> {
  const notes: string[] = [];
  const settings = await readSettings(file, hostRoot, notes);
  const found = interpret(settings, file);
  if (folder === undefined) return { lookups: found.lookups, notes: [...notes, ...found.notes] };
  const isRead = found.lookups.some((folders) => folders.includes(folder));
  const elsewhere = `${file} has containerd look in ${found.lookups[0]?.join(":")}, not in ${folder}: set config_path to it, and restart containerd`;
  return { lookups: [[folder]], notes: [...notes, ...(isRead ? found.notes : [elsewhere])] };
}

function interpret(settings: RegistrySettings | undefined, file: string): HostsFolders {
  const { version = 0, configPath = "", hasMirrors = false, isDisabled = false } = settings ?? {};
  const notes: string[] = [];
  const plugin = version >= 3 ? "io.containerd.cri.v1.images" : version === 1 ? "cri" : "io.containerd.grpc.v1.cri";
  const setting = `[plugins.${JSON.stringify(plugin)}.registry] config_path = "${defaultFolders[0]}"`;
  if (isDisabled) notes.push(`${file} disables CRI: Kubernetes does not use this containerd`);
  if (hasMirrors) {
    notes.push(
      configPath === ""
        ? `${file} has registry.mirrors, beside which no hosts.toml is read: move them into files of ` +
            `${defaultFolders[0]}, set ${setting} in their place, and restart containerd (with both, it does not load CRI)`
        : `${file} has both config_path and registry.mirrors, with which containerd does not load CRI: remove the mirrors`,
    );
  } else if (configPath === "") {
    const where = settings === undefined ? `there is no ${file}` : `${file} sets no config_path`;
    notes.push(
      `${where}: containerd 2.2 and later looks in ${defaultFolders[0]} by itself, an earlier one nowhere; for that, set ` +
        `${setting}, and restart containerd`,
    );
  }
  const list = configPath === "" ? defaultFolders.join(":") : configPath;
  const folders = list
    .split(":")
    .filter((each) => each !== "")
    .map((each) => resolve("/", each));
  // A pull through the transfer service, which is the default since 2.1, takes the list for one folder's name
  // (containerd#12808).
  return { lookups: folders.length > 1 ? [folders, [list]] : [folders], notes };
}

/** `undefined` where there is no file that can be understood; adds to `notes` what cannot be. */
async function readSettings(file: string, hostRoot: string, notes: string[]): Promise<RegistrySettings | undefined> {
  let settings: RegistrySettings | undefined;
  // What is found is added to the list, and looked at in its turn.
  const paths = new Set([file]);
  for (const path of paths) {
    const text = await readFile(join(hostRoot, path), "utf8").catch((error: NodeJS.ErrnoException) => error);
    const read = typeof text === "string" ? readToml(text) : text;
    if (read instanceof Error) {
      // A link may lead to where nothing is mounted.
      const isThere = await lstat(join(hostRoot, path)).then(Boolean, () => false);
      if (path !== file || isThere) notes.push(`${path} cannot be read (${read.code ?? read.message})`);
    } else if ("why" in read) {
      notes.push(`${path} cannot be understood: ${read.why}`);
    } else {
      settings = merge(settings, settingsOf(read.table));
      for (const each of await resolveImports(path, read.table["imports"], hostRoot)) paths.add(each);
    }
  }
  return settings;
}

function settingsOf(config: TomlTable): RegistrySettings {
  const version = Number(config["version"] ?? 1);
  const plugin = version >= 3 ? "io.containerd.cri.v1.images" : version === 2 ? "io.containerd.grpc.v1.cri" : "cri";
  const registry = tableAt(config, "plugins", plugin, "registry");
  const { config_path: configPath } = registry;
  const disabled = config["disabled_plugins"];
  return {
    version,
    configPath: typeof configPath === "string" ? configPath : "",
    hasMirrors: Object.keys(tableAt(registry, "mirrors")).length > 0,
    isDisabled: Array.isArray(disabled) && disabled.some((name) => criPlugins.has(name)),
  };
}

/** What is imported comes later, and beats what it sets. */
function merge(before: RegistrySettings | undefined, next: RegistrySettings): RegistrySettings {
  if (before === undefined) return next;
  return {
    version: Math.max(before.version, next.version),
    configPath: next.configPath === "" ? before.configPath : next.configPath,
    hasMirrors: before.hasMirrors || next.hasMirrors,
    isDisabled: before.isDisabled || next.isDisabled,
  };
}

async function resolveImports(file: string, imports: unknown, hostRoot: string): Promise<string[]> {
  const paths: string[] = [];
  for (const each of Array.isArray(imports) ? imports : []) {
    const path = resolve(dirname(file), String(each));
    if (!path.includes("*")) {
      paths.push(path);
      continue;
    }
    const matches: string[] = [];
    for await (const match of glob(path.slice(1), { cwd: hostRoot })) matches.push(`/${match}`);
    paths.push(...matches.toSorted());
  }
  return paths;
}

function tableAt(table: TomlTable, ...path: readonly string[]): TomlTable {
  let at: unknown = table;
  for (const key of path) at = typeof at === "object" && at !== null ? (at as TomlTable)[key] : undefined;
  return typeof at === "object" && at !== null ? (at as TomlTable) : {};
}
