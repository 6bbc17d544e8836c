import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startContainerd } from "./containerd.ts";
import { type Program, run, start } from "./programs.ts";

/** A dockerd with a root, a socket and a containerd of its own. */
export interface Dockerd extends AsyncDisposable {
  readonly programs: readonly Program[];
  /** Runs `docker` with these arguments, and gives what it wrote to standard output. */
  run(...args: readonly string[]): Promise<string>;
}

/** Starts it, with more settings of `daemon.json`; nothing of it lies outside of `directory`. */
export async function startDockerd(directory: string, settings: object = {}): Promise<Dockerd> {
  await using stack = new AsyncDisposableStack();
  const own = join(directory, "docker");
  await mkdir(own);
  const socket = join(own, "docker.sock");
  const file = join(own, "daemon.json");
  await writeFile(
    file,
    JSON.stringify({
      ...settings,
      "data-root": join(own, "data"),
      "exec-root": join(own, "exec"),
      "storage-driver": "vfs",
      pidfile: join(own, "docker.pid"),
      hosts: [`unix://${socket}`],
      bridge: "none",
      iptables: false,
    }),
  );
  // Without one of its own it would use the machine's, where that runs.
  const containerd = stack.use(await startContainerd(directory));
  const docker = (...parameters: readonly string[]): Promise<string> =>
    run(["/usr/bin/docker", "-H", `unix://${socket}`, ...parameters], { HOME: own });
  const program = stack.use(
    await start("dockerd", {
      directory,
      command: ["/usr/sbin/dockerd", "--config-file", file, "--containerd", containerd.socket],
      environment: { HOME: own },
      isReady: async () => (await docker("version")) !== "",
    }),
  );
  const all = stack.move();
  return {
    programs: [program, containerd.program],
    run: docker,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
