import { mkdir, readdir, readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { defaultFolders, findHostsFolders } from "./containerd-config.ts";
import { FileLeft, readText, removeFile, removeRoot, sweep, writeText } from "./files.ts";
import { addMirror } from "./hosts-file.ts";
import { accessTo, certificatesIn, findPlace, hostsFile, type HostsRoot, isFolder, readRoot } from "./hosts-folders.ts";
import { findParts, type Made, takeOut } from "./owned-part.ts";
import { addEntries, findTaken } from "./registries-file.ts";

/** Where the runtimes of a node have their files, and whose part of them is meant. */
export interface NodeSettings {
  /** Nothing of another owner is ever changed. */
  readonly owner: string;
  /** Where the node's `/` is. */
  readonly hostRoot: string;
  /** Paths on the node. */
  readonly containerdConfig: string;
  readonly containerdHosts: string | undefined;
  readonly crio: string | undefined;
}

/** What the runtimes are to be told. */
export interface Wanted {
  /** The mirror's address, such as `http://127.0.0.1:6500`. */
  readonly mirror: string;
  /** `docker.io`, `registry.example.com:5000`; `*` is containerd's `_default`. */
  readonly registries: readonly string[];
}

/** What became of one file, or of a registry that gets none. */
export interface FileOutcome {
  /** The file's path on the node, or the registry's name. */
  readonly file: string;
  /**
   * `skipped` needs nothing; `left` is not as it should be. Of a dry run: `missing` would be written, and `surplus` taken
   * away.
   */
  readonly state: "written" | "kept" | "removed" | "skipped" | "left" | "missing" | "surplus";
  readonly why?: string;
}

/** How a node's files are. */
export interface NodeState {
  readonly outcomes: readonly FileOutcome[];
  /** What is written and not used, or not by each runtime, with what to do. */
  readonly notes: readonly string[];
}

/** What differs between files of the two kinds. */
interface OwnFile {
  readonly name: string;
  readonly path: string;
  /** The folder in which folders may be made for the file: its own, or the one above. */
  readonly root: string;
  readonly before: string | undefined;
}

/**
 * Makes the files of a node's runtimes say what is wanted: what is missing is written, and what is there of this owner
 * and no longer wanted is taken back. Nothing that anybody else has written is changed or removed. May be called at any
 * time, by several processes, and again after a crash.
 *
 * @param wanted `undefined` takes back all.
 * @param isDryRun Only looks.
 * @throws Where it cannot be told what is there.
 */
export async function reconcile(
  settings: NodeSettings,
  wanted: Wanted | undefined,
  isDryRun = false,
): Promise<NodeState> {
  if (!(await isFolder(settings.hostRoot))) throw new FileLeft(`there is no folder ${settings.hostRoot}`);
  const pass = new Pass(settings, wanted, isDryRun);
  await pass.containerd();
  await pass.crio();
  return pass;
}

class Pass implements NodeState {
  readonly outcomes: FileOutcome[] = [];
  readonly notes: string[] = [];
  readonly #settings: NodeSettings;
  readonly #wanted: Wanted | undefined;
  readonly #isDryRun: boolean;

  constructor(settings: NodeSettings, wanted: Wanted | undefined, isDryRun: boolean) {
    this.#settings = settings;
    this.#wanted = wanted;
    this.#isDryRun = isDryRun;
  }

  async containerd(): Promise<void> {
    const { owner, hostRoot, containerdConfig, containerdHosts } = this.#settings;
    const { lookups, notes } = await findHostsFolders(containerdConfig, hostRoot, containerdHosts);
    // Where it pointed before may be left something of ours.
    const names = new Set([...lookups.flat(), ...defaultFolders, defaultFolders.join(":")]);
    const roots = new Map<string, HostsRoot>();
    for (const name of names) roots.set(name, await readRoot(name, hostRoot));
    if (!this.#isDryRun) await this.#sweep([...roots.values()].flatMap(foldersOf));
    const targets = new Set<string>();
    for (const lookup of lookups) {
      const known = lookup.flatMap((name) => roots.get(name) ?? []);
      for (const path of await this.#writeHosts(known)) targets.add(path);
    }
    const emptied = new Set<string>();
    for (const root of roots.values()) {
      for (const folder of root.folders.values()) {
        const path = join(folder.path, hostsFile);
        if (folder.text === undefined || targets.has(path)) continue;
        const name = join(root.name, basename(folder.path), hostsFile);
        const made = await this.#takeBack({ name, path, root: root.path, before: folder.text }, owner);
        if (made.includes("root")) emptied.add(root.path);
      }
    }
    for (const path of this.#isDryRun ? [] : emptied) await removeRoot(path);
    if (this.#wanted !== undefined || this.outcomes.length > 0) this.notes.push(...notes);
  }

  /** Writes a file for each registry; returns the paths of those that are not to be taken back. */
  async #writeHosts(lookup: readonly HostsRoot[]): Promise<string[]> {
    const { owner } = this.#settings;
    const { mirror = "", registries = [] } = this.#wanted ?? {};
    const paths: string[] = [];
    for (const { name, access } of this.#wanted === undefined ? [] : lookup.slice(1)) {
      if (typeof access !== "object" || this.#settings.hostRoot === "/") continue;
      this.notes.push(
        `${access.why}: where ${name} has certificates of a registry, this registry's new file hides them`,
      );
    }
    for (const registry of registries) {
      const place = findPlace(lookup, registry, registries.includes("*"));
      if ("why" in place) {
        this.#add(registry, place.isCovered ? "skipped" : "left", place.why);
        continue;
      }
      const { root, folder: name } = place;
      const folder = root.folders.get(name);
      const file = join(root.name, name, hostsFile);
      const path = join(root.path, name, hostsFile);
      paths.push(path);
      if (folder?.why !== undefined) {
        this.#add(file, "left", folder.why);
        continue;
      }
      const made: Made[] = [
        ...(isMadeByUs(root, owner) ? (["root"] as const) : []),
        ...(folder === undefined ? (["folder"] as const) : []),
        "file",
      ];
      const certificates = certificatesIn(folder?.files ?? []);
      const after = addMirror(folder?.text, { owner, mirror, certificates, made });
      await this.#write({ name: file, path, root: root.path, before: folder?.text }, after);
    }
    return paths;
  }

  async crio(): Promise<void> {
    const { owner, hostRoot, crio } = this.#settings;
    if (crio === undefined) return;
    const access = await accessTo(crio, hostRoot);
    if (typeof access === "object") {
      if (this.#wanted !== undefined) this.#add(crio, "left", access.why);
      return;
    }
    const root = join(hostRoot, crio);
    const file = `entrepot-${owner}.conf`;
    const name = join(crio, file);
    const path = join(root, file);
    if (access === "there" && !this.#isDryRun) await this.#sweep([root]);
    let before: string | undefined;
    try {
      before = access === "there" ? await readText(path) : undefined;
    } catch (error) {
      if (!(error instanceof FileLeft)) throw error;
      this.#add(name, "left", error.message);
      return;
    }
    const own: OwnFile = { name, path, root, before };
    const registries = await this.#registriesForCrio(access === "there" ? root : undefined, crio, file);
    if (registries === undefined) return;
    if (this.#wanted !== undefined && registries.length > 0) {
      const made: Made[] = access === "there" ? ["file"] : ["root", "file"];
      const { mirror } = this.#wanted;
      await this.#write(own, addEntries(before, { owner, mirror, registries, made }));
    } else if (before !== undefined) {
      const made = await this.#takeBack(own, owner);
      if (made.includes("root") && !this.#isDryRun) await removeRoot(root);
    } else {
      return;
    }
    this.notes.push(
      `CRI-O takes ${name} as it is when it is told to reload (systemctl reload crio: SIGHUP), or by itself with ` +
        "auto_reload_registries = true; podman does with each command",
    );
  }

  /** Those of the wanted registries that may have an entry in our file; `undefined` where nothing may be written. */
  async #registriesForCrio(
    root: string | undefined,
    crio: string,
    own: string,
  ): Promise<readonly string[] | undefined> {
    const names = (this.#wanted?.registries ?? []).filter((registry) => registry !== "*");
    if (names.length < (this.#wanted?.registries.length ?? 0)) {
      this.#add("*", "skipped", "CRI-O and podman have no entry for all registries: name them too");
    }
    const { hostRoot } = this.#settings;
    const others =
      root === undefined ? [] : (await readdir(root)).filter((name) => name.endsWith(".conf") && name !== own);
    const paths = [join(dirname(crio), "registries.conf"), ...others.toSorted().map((name) => join(crio, name))];
    if (hostRoot !== "/" && names.length > 0 && (await readdir(join(hostRoot, dirname(crio)))).length === 1) {
      this.notes.push(
        `${dirname(crio)} of the node is not mounted: registries that have an entry in its registries.conf are not seen`,
      );
    }
    const files: { path: string; text: string }[] = [];
    for (const path of names.length === 0 ? [] : paths) {
      const text = await readFile(join(hostRoot, path), "utf8").catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") throw error;
      });
      if (text !== undefined) files.push({ path, text });
    }
    const found = findTaken(files, names);
    if ("why" in found) {
      this.#add(join(crio, own), "left", found.why);
      return undefined;
    }
    for (const { registry, by } of found.taken) this.#add(registry, "skipped", `${by} has an entry for it`);
    return names.filter((name) => !found.taken.some(({ registry }) => registry === name));
  }

  async #write(file: OwnFile, after: { readonly text: string } | { readonly why: string }): Promise<void> {
    if ("why" in after) this.#add(file.name, "left", after.why);
    else if (after.text === file.before) this.#add(file.name, "kept");
    else if (this.#isDryRun) this.#add(file.name, "missing");
    else {
      await this.#try(file, "written", async () => {
        await mkdir(file.root, { recursive: true, mode: 0o755 });
        await writeText(file.path, file.before, after.text, this.#settings.owner);
      });
    }
  }

  /** Takes back what this owner has written in a file, if anything; returns what may go with it. */
  async #takeBack(file: OwnFile, owner: string): Promise<readonly Made[]> {
    const { before = "" } = file;
    const own = takeOut(before, owner);
    if ("why" in own) {
      this.#add(file.name, "left", own.why);
      return [];
    }
    if (own.at === undefined) return [];
    if (this.#isDryRun) {
      this.#add(file.name, this.#wanted === undefined ? "kept" : "surplus");
      return [];
    }
    const { rest, made } = own;
    const isRemoved = await this.#try(file, "removed", () =>
      rest === "" && made.includes("file")
        ? removeFile(file.path, before, made, file.root, owner)
        : writeText(file.path, before, rest, owner),
    );
    return isRemoved ? made : [];
  }

  async #try(file: OwnFile, state: "written" | "removed", act: () => Promise<void>): Promise<boolean> {
    try {
      await act();
    } catch (error) {
      this.#add(file.name, "left", (error as Error).message);
      return false;
    }
    this.#add(file.name, state);
    return true;
  }

  async #sweep(folders: readonly string[]): Promise<void> {
    for (const folder of folders) {
      try {
        await sweep(folder, this.#settings.owner);
      } catch (error) {
        // Another process was faster.
        if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
        this.#add(folder, "left", `what a crash has left behind cannot be removed: ${(error as Error).message}`);
      }
    }
  }

  #add(file: string, state: FileOutcome["state"], why?: string): void {
    const isSaid = this.outcomes.some((each) => each.file === file && each.state === state && each.why === why);
    if (!isSaid) this.outcomes.push(why === undefined ? { file, state } : { file, state, why });
  }
}

function foldersOf({ path, access, folders }: HostsRoot): string[] {
  if (access !== "there") return [];
  return [path, ...[...folders.values()].filter(({ why }) => why === undefined).map((folder) => folder.path)];
}

/** Whether a root is to go with the last file of ours in it. */
function isMadeByUs({ access, folders }: HostsRoot, owner: string): boolean {
  if (access === "absent") return true;
  return [...folders.values()].some(({ text }) =>
    findParts(text ?? "").some((part) => part.owner === owner && part.made.includes("root")),
  );
}
