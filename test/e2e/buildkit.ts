import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { install, type Program, run, start } from "./programs.ts";

/** A buildkitd with a root and a socket of its own. */
export interface Buildkit extends AsyncDisposable {
  readonly program: Program;
  /** Runs `buildctl` with these arguments, and gives what it wrote to standard output. */
  run(...args: readonly string[]): Promise<string>;
}

/** Starts it, built where that was not done before; it asks a registry without TLS. */
export async function startBuildkit(directory: string, registry: string): Promise<Buildkit> {
  const programs = await install("push-tools");
  const own = join(directory, "buildkit");
  await mkdir(own);
  const address = `unix://${join(own, "buildkitd.sock")}`;
  const file = join(own, "buildkitd.toml");
  await writeFile(
    file,
    [
      `root = "${join(own, "root")}"`,
      "[grpc]",
      `  address = ["${address}"]`,
      "[worker.containerd]",
      "  enabled = false",
      "[worker.oci]",
      '  snapshotter = "native"',
      '  binary = "/usr/sbin/runc"',
      '  networkMode = "host"',
      `[registry."${registry}"]`,
      "  http = true",
      "",
    ].join("\n"),
  );
  const buildctl = (...args: readonly string[]): Promise<string> =>
    run([`${programs}/buildctl`, "--addr", address, ...args], { HOME: own });
  const program = await start("buildkitd", {
    directory,
    command: [`${programs}/buildkitd`, "--config", file],
    environment: { HOME: own },
    isReady: async () => (await buildctl("debug", "workers")) !== "",
  });
  return { program, run: buildctl, [Symbol.asyncDispose]: () => program.stop() };
}
