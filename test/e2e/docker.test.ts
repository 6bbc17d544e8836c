import assert from "node:assert/strict";
import { test } from "node:test";
import { startDockerd } from "./dockerd.ts";
import { pullColdThenWarm } from "./scenario.ts";

test("dockerd, with registry-mirrors", async () => {
  await pullColdThenWarm({
    name: "docker",
    namespaces: ["docker.io"], // Its mirrors are for Docker Hub only.
    async start(directory, mirror) {
      const docker = await startDockerd(directory, { "registry-mirrors": [`http://${mirror.host}`] });

      return {
        programs: docker.programs,
        async pull(reference, { architecture }) {
          await docker.run("pull", "--platform", `linux/${architecture}`, reference);
        },
        async verify({ reference, image }, platform) {
          const [inspected] = JSON.parse(await docker.run("image", "inspect", reference)) as [
            { Id: string; Architecture: string; RepoDigests: string[]; RootFS: { Layers: string[] } },
          ];
          assert.equal(inspected.Id, platform.config);
          assert.equal(inspected.Architecture, platform.architecture);
          assert.equal(inspected.RootFS.Layers.length, platform.layers.length);
          assert.deepEqual(inspected.RepoDigests, [`test@${image.root.digest}`]);
        },
        async remove(reference) {
          await docker.run("image", "rm", reference);
          assert.equal((await docker.run("image", "ls", "-aq")).trim(), "");
        },
        [Symbol.asyncDispose]: () => docker[Symbol.asyncDispose](),
      };
    },
  });
});
