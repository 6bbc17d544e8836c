import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { startContainerd } from "./containerd.ts";
import { run, start } from "./programs.ts";
import { pullColdThenWarm } from "./scenario.ts";

test("dockerd, with registry-mirrors", async () => {
  await pullColdThenWarm({
    name: "docker",
    namespaces: ["docker.io"], // Its mirrors are for Docker Hub only.
    async start(directory, mirror) {
      await using stack = new AsyncDisposableStack();
      const own = join(directory, "docker");
      await mkdir(own);
      const socket = join(own, "docker.sock");
      const file = join(own, "daemon.json");
      await writeFile(
        file,
        JSON.stringify({
          "registry-mirrors": [`http://${mirror.host}`],
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
      const docker = (...parameters: string[]): Promise<string> =>
        run(["/usr/bin/docker", "-H", `unix://${socket}`, ...parameters], { HOME: own });
      const program = stack.use(
        await start("dockerd", {
          directory,
          command: ["/usr/sbin/dockerd", "--config-file", file, "--containerd", containerd.socket],
          environment: { HOME: own },
          isReady: async () => (await docker("version")) !== "",
        }),
      );
      const programs = stack.move();

      return {
        programs: [program, containerd.program],
        async pull(reference, { architecture }) {
          await docker("pull", "--platform", `linux/${architecture}`, reference);
        },
        async verify({ reference, image }, platform) {
          const [inspected] = JSON.parse(await docker("image", "inspect", reference)) as [
            { Id: string; Architecture: string; RepoDigests: string[]; RootFS: { Layers: string[] } },
          ];
          assert.equal(inspected.Id, platform.config);
          assert.equal(inspected.Architecture, platform.architecture);
          assert.equal(inspected.RootFS.Layers.length, platform.layers.length);
          assert.deepEqual(inspected.RepoDigests, [`test@${image.root.digest}`]);
        },
        async remove(reference) {
          await docker("image", "rm", reference);
          assert.equal((await docker("image", "ls", "-aq")).trim(), "");
        },
        [Symbol.asyncDispose]: () => programs.disposeAsync(),
      };
    },
  });
});
