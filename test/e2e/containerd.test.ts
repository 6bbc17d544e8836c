import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { startContainerd } from "./containerd.ts";
import { run } from "./programs.ts";
import { pullColdThenWarm } from "./scenario.ts";

test("containerd, with a hosts.toml for two registries", async () => {
  await pullColdThenWarm({
    name: "containerd",
    namespaces: ["docker.io", "registry.example.com"],
    async start(directory, mirror) {
      const hosts = join(directory, "certs.d");
      const servers = { "docker.io": "registry-1.docker.io", "registry.example.com": "registry.example.com" };
      for (const [namespace, server] of Object.entries(servers)) {
        await mkdir(join(hosts, namespace), { recursive: true });
        await writeFile(
          join(hosts, namespace, "hosts.toml"),
          `server = "https://${server}"\n\n[host."http://${mirror.host}"]\n  capabilities = ["pull", "resolve"]\n`,
        );
      }
      const containerd = await startContainerd(directory);
      const ctr = (...parameters: string[]): Promise<string> =>
        run(["/usr/bin/ctr", "-a", containerd.socket, "-n", "test", ...parameters]);

      return {
        programs: [containerd.program],
        async pull(reference, { architecture }) {
          const platform = `linux/${architecture}`;
          await ctr(
            "images",
            "pull",
            "--hosts-dir",
            hosts,
            "--snapshotter",
            "native",
            "--platform",
            platform,
            reference,
          );
        },
        async verify({ reference, image }, platform) {
          const row = (await ctr("images", "ls", `name==${reference}`)).split("\n")[1] ?? "";
          assert.deepEqual(row.split(/\s+/).slice(0, 3), [reference, image.root.mediaType, image.root.digest]);
          const content = (await ctr("content", "ls", "-q")).trim().split("\n");
          const wanted = [image.root.digest, platform.manifest.digest, platform.config, ...platform.layers];
          assert.deepEqual(content.toSorted(), wanted.toSorted());
        },
        async remove(reference) {
          await ctr("images", "rm", "--sync", reference);
          assert.equal((await ctr("content", "ls", "-q")).trim(), "");
        },
        [Symbol.asyncDispose]: () => containerd[Symbol.asyncDispose](),
      };
    },
  });
});
