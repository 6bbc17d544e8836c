import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Program, run, start } from "./programs.ts";

/** A containerd with a root, a state folder and a socket of its own. */
export interface Containerd extends AsyncDisposable {
  readonly program: Program;
  readonly socket: string;
}

/** Starts it; nothing of it lies outside of `directory`. */
export async function startContainerd(directory: string): Promise<Containerd> {
  const own = join(directory, "containerd");
  await mkdir(own);
  const socket = join(own, "containerd.sock");
  const file = join(own, "config.toml");
  await writeFile(
    file,
    [
      "version = 2",
      `root = "${join(own, "root")}"`,
      `state = "${join(own, "state")}"`,
      'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
      "[grpc]",
      `  address = "${socket}"`,
      '[plugins."io.containerd.internal.v1.opt"]',
      `  path = "${join(own, "opt")}"`,
      "",
    ].join("\n"),
  );
  const program = await start("containerd", {
    directory,
    command: ["/usr/bin/containerd", "--config", file],
    isReady: async () => (await run(["/usr/bin/ctr", "-a", socket, "version"])) !== "",
  });
  return { program, socket, [Symbol.asyncDispose]: () => program.stop() };
}
