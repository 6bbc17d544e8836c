import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeNodeImage } from "./node-image.ts";
import { run } from "./programs.ts";

const project = join(import.meta.dirname, "../..");
const nodeImage = "localhost/node:test";

/** buildah and podman with a storage of their own, in which the project's image is built. */
export class ImageEngines implements AsyncDisposable {
  readonly #directory: string;
  readonly #storage: readonly string[];
  readonly #variables: Readonly<Record<string, string>>;

  private constructor(directory: string) {
    const own = (name: string): string => join(directory, name);
    this.#directory = directory;
    this.#storage = ["--root", own("storage"), "--runroot", own("runtime"), "--storage-driver", "overlay"];
    this.#variables = { HOME: own("home"), CONTAINERS_CONF: own("containers.conf"), BUILDAH_ISOLATION: "chroot" };
  }

  /** Makes them below a folder, which may go only after they were disposed of. */
  static async create(directory: string): Promise<ImageEngines> {
    // Where limits cannot be raised, containers start only with lower ones.
    const engine = ["[engine]", 'cgroup_manager = "cgroupfs"', 'runtime = "runc"', 'events_logger = "none"'];
    const limits = ["[containers]", 'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]', "pids_limit = 0"];
    await writeFile(join(directory, "containers.conf"), [...limits, ...engine, ""].join("\n"));
    await mkdir(join(directory, "home"));
    return new ImageEngines(directory);
  }

  buildah(...args: readonly string[]): Promise<string> {
    return run(["/usr/bin/buildah", ...this.#storage, ...args], this.#variables);
  }

  podman(...args: readonly string[]): Promise<string> {
    return run(["/usr/bin/podman", ...this.#storage, ...args], this.#variables);
  }

  /** Builds the project's image of its Dockerfile, with a Node image that is made of what runs this. */
  async build(tag: string, version: string): Promise<void> {
    const files = join(this.#directory, "node");
    const environment = await writeNodeImage(files);
    const container = (await this.buildah("from", "scratch")).trim();
    await this.buildah("copy", "--quiet", container, files, "/");
    for (const [name, value] of Object.entries(environment)) {
      await this.buildah("config", "--env", `${name}=${value}`, container);
    }
    await this.buildah("commit", "--quiet", "--rm", container, nodeImage);
    const settings = [`NODE_IMAGE=${nodeImage}`, `VERSION=${version}`, "SOURCE_DATE_EPOCH=1700000000"];
    const options = ["--format", "docker", "--timestamp", "1700000000", "--layers"];
    await this.buildah(
      "build",
      ...options,
      ...settings.flatMap((each) => ["--build-arg", each]),
      "--tag",
      tag,
      project,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // They leave it mounted upon itself.
    await run(["/usr/bin/umount", join(this.#directory, "storage/overlay")]).catch(() => undefined);
  }
}
