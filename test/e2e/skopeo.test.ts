import assert from "node:assert/strict";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { writeContainersConfiguration } from "./containers-configuration.ts";
import { run } from "./programs.ts";
import { pullColdThenWarm } from "./scenario.ts";

test("skopeo, copying to a folder through path mirrors", async () => {
  const namespaces = ["docker.io", "registry.example.com"];
  await pullColdThenWarm({
    name: "skopeo",
    namespaces,
    async start(directory, mirror) {
      const { registries, policy } = await writeContainersConfiguration(directory, mirror.host, namespaces);
      const one = join(directory, "one");
      const all = join(directory, "all");
      const common = ["--registries-conf", registries, "--policy", policy, "--override-os", "linux"];
      const skopeo = (...parameters: string[]): Promise<string> => run(["/usr/bin/skopeo", ...common, ...parameters]);

      return {
        programs: [],
        async pull(reference, { architecture }) {
          await skopeo("--override-arch", architecture, "copy", `docker://${reference}`, `dir:${one}`);
          await skopeo("copy", "--all", `docker://${reference}`, `dir:${all}`);
        },
        async verify({ image }, platform) {
          assert.deepEqual(
            await readCopy(one),
            [platform.manifest.digest, platform.config, ...platform.layers].toSorted(),
          );
          const manifests = image.platforms.map(({ manifest }) => manifest.digest);
          assert.deepEqual(await readCopy(all), [image.root.digest, ...manifests, ...image.blobs.keys()].toSorted());
        },
        async remove() {
          await rm(one, { recursive: true });
          await rm(all, { recursive: true });
        },
        [Symbol.asyncDispose]: () => Promise.resolve(),
      };
    },
  });
});

/** The digests of the files that skopeo has written, computed from what is in them. */
async function readCopy(directory: string): Promise<Digest[]> {
  const names = (await readdir(directory)).filter((name) => name !== "version");
  const digests = await Promise.all(names.map(async (name) => digestOf(await readFile(join(directory, name)))));
  return digests.toSorted();
}
