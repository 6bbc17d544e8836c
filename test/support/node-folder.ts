import { chmod, lstat, mkdir, readdir, readFile, readlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { NodeState } from "../../src/nodes/reconcile.ts";
import type { NodeSettings } from "../../src/nodes/settings.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "./temporary.ts";

/** The files of a node that stands for a real one: a folder that is its `/`. */
export class NodeFolder implements AsyncDisposable {
  readonly path: string;
  readonly #directory: TemporaryDirectory;

  private constructor(directory: TemporaryDirectory) {
    this.#directory = directory;
    this.path = directory.path;
  }

  /** Makes one with these files; a name that ends in `/` is an empty folder's. `/etc/containerd` is always there. */
  static async create(files: Readonly<Record<string, string>> = {}): Promise<NodeFolder> {
    const node = new NodeFolder(await createTemporaryDirectory());
    await mkdir(join(node.path, "etc/containerd"), { recursive: true });
    await node.write(files);
    return node;
  }

  async write(files: Readonly<Record<string, string>>): Promise<void> {
    for (const [name, text] of Object.entries(files)) {
      const path = join(this.path, name);
      await mkdir(name.endsWith("/") ? path : dirname(path), { recursive: true });
      if (!name.endsWith("/")) await writeFile(path, text);
    }
  }

  read(name: string): Promise<string> {
    return readFile(join(this.path, name), "utf8");
  }

  /** All that is in it: what files say, where links lead, and their modes. */
  async everything(): Promise<Record<string, string>> {
    const all: Record<string, string> = {};
    for (const name of (await readdir(this.path, { recursive: true })).toSorted()) {
      const path = join(this.path, name);
      const stat = await lstat(path);
      const says = stat.isFile() ? await readFile(path, "utf8") : stat.isSymbolicLink() ? await readlink(path) : "/";
      all[name] = `${(stat.mode & 0o7777).toString(8)} ${says}`;
    }
    return all;
  }

  chmod(name: string, mode: number): Promise<void> {
    return chmod(join(this.path, name), mode);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#directory[Symbol.asyncDispose]();
  }
}

/** A configuration with which containerd looks in one folder. */
export const oneFolder =
  'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/etc/containerd/certs.d"\n';

/** The settings by which the program finds a node's files, for the owner `a`. */
export function settingsOf({ path }: NodeFolder, more: Partial<NodeSettings> = {}): NodeSettings {
  return {
    owner: "a",
    hostRoot: path,
    containerdConfig: "/etc/containerd/config.toml",
    containerdHosts: undefined,
    crio: undefined,
    ...more,
  };
}

/** What became of a node's files, in short. */
export function said({ outcomes }: NodeState): string[] {
  return outcomes.map(({ file, state, why }) => `${state} ${file}${why === undefined ? "" : `: ${why}`}`);
}
