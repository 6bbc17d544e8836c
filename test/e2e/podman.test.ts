import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { hexOf } from "../../src/oci/digest.ts";
import { writeContainersConfiguration } from "./containers-configuration.ts";
import { run } from "./programs.ts";
import { pullColdThenWarm } from "./scenario.ts";

test("podman, with path mirrors in registries.conf", async () => {
  const namespaces = ["docker.io", "registry.example.com"];
  await pullColdThenWarm({
    name: "podman",
    namespaces,
    async start(directory, mirror) {
      const own = join(directory, "podman");
      await mkdir(join(own, "tmp"), { recursive: true });
      const { registries, policy } = await writeContainersConfiguration(directory, mirror.host, namespaces);
      const folders = ["--root", join(own, "root"), "--runroot", join(own, "runroot"), "--tmpdir", join(own, "tmp")];
      const engine = ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"];
      const variables = { CONTAINERS_REGISTRIES_CONF: registries, HOME: own, TMPDIR: join(own, "tmp") };
      const podman = (...parameters: string[]): Promise<string> =>
        run(["/usr/bin/podman", ...folders, ...engine, ...parameters], variables);

      return {
        programs: [],
        async pull(reference, { architecture }) {
          await podman("pull", "--signature-policy", policy, "--platform", `linux/${architecture}`, reference);
        },
        async verify({ reference, image }, platform) {
          const [inspected] = JSON.parse(await podman("image", "inspect", reference)) as [
            { Id: string; Architecture: string; RepoDigests: string[]; RootFS: { Layers: string[] } },
          ];
          assert.equal(inspected.Id, hexOf(platform.config));
          assert.equal(inspected.Architecture, platform.architecture);
          assert.equal(inspected.RootFS.Layers.length, platform.layers.length);
          const repository = reference.slice(0, reference.lastIndexOf(":"));
          assert.deepEqual(
            inspected.RepoDigests.toSorted(),
            [image.root.digest, platform.manifest.digest].map((digest) => `${repository}@${digest}`).toSorted(),
          );
        },
        async remove(reference) {
          await podman("rmi", reference);
          assert.equal((await podman("images", "-aq")).trim(), "");
        },
        [Symbol.asyncDispose]: () => Promise.resolve(),
      };
    },
  });
});
