import assert from "node:assert/strict";
import { access, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { until } from "../support/event-loop.ts";
import { request } from "../support/http.ts";
import { buildImage } from "../support/image.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { type Containerd, startContainerd } from "./containerd.ts";
import { writePolicy } from "./containers-configuration.ts";
import { type Mirror, startMirror } from "./mirror.ts";
import { freePort, run, start } from "./programs.ts";
import { pullColdThenWarm } from "./scenario.ts";
import { startUpstreamRegistry } from "./upstream-registry.ts";

const main = process.env["ENTREPOT_MAIN"] ?? fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const certs = "etc/containerd/certs.d";

/** Makes the folders of a node, and tells its runtimes of a mirror; what the command has said. */
async function writeNode(node: string, mirror: Mirror, registries: readonly string[]): Promise<string> {
  await mkdir(join(node, "etc/containers"), { recursive: true });
  await mkdir(join(node, "etc/containerd"), { recursive: true });
  const flags = registries.flatMap((registry) => ["--registry", registry]);
  const crio = ["--crio", "/etc/containers/registries.conf.d"];
  return run([
    process.execPath,
    main,
    "node",
    "write",
    "--host-root",
    node,
    "--mirror",
    `http://${mirror.host}`,
    ...flags,
    ...crio,
  ]);
}

const ctr = ({ socket }: Containerd, ...words: string[]): Promise<string> =>
  run(["/usr/bin/ctr", "-a", socket, "-n", "test", ...words]);

test("containerd, with files that the program has written: a new one, one with others' hosts, one with a port, _default", async () => {
  const foreign =
    'server = "https://registry-1.docker.io"\n\n# away\n[host."http://127.0.0.1:1"]\n  capabilities = ["pull"]';
  await pullColdThenWarm({
    name: "containerd",
    namespaces: ["docker.io", "registry.example.com", "registry.example.com:5000", "other.example.com"],
    async start(directory, mirror) {
      const node = join(directory, "node");
      const file = join(node, certs, "docker.io/hosts.toml");
      await mkdir(join(file, ".."), { recursive: true });
      await writeFile(file, foreign);
      await writeNode(node, mirror, ["docker.io", "registry.example.com", "registry.example.com:5000", "*"]);
      const containerd = await startContainerd(directory);
      return {
        programs: [containerd.program],
        async pull(reference, { architecture }) {
          const flags = [
            "--hosts-dir",
            join(node, certs),
            "--snapshotter",
            "native",
            "--platform",
            `linux/${architecture}`,
          ];
          await ctr(containerd, "images", "pull", ...flags, reference);
        },
        async verify({ reference, image }) {
          const row = (await ctr(containerd, "images", "ls", `name==${reference}`)).split("\n")[1] ?? "";
          assert.deepEqual(row.split(/\s+/).slice(0, 3), [reference, image.root.mediaType, image.root.digest]);
        },
        async remove(reference) {
          await ctr(containerd, "images", "rm", "--sync", reference);
        },
        async [Symbol.asyncDispose]() {
          await containerd[Symbol.asyncDispose]();
          await run([
            process.execPath,
            main,
            "node",
            "remove",
            "--host-root",
            node,
            "--crio",
            "/etc/containers/registries.conf.d",
          ]);
          assert.equal(await readFile(file, "utf8"), foreign);
          assert.deepEqual((await run(["/usr/bin/find", node, "-type", "f"])).trim(), file);
        },
      };
    },
  });
});

test("skopeo, with the file for CRI-O and podman", async () => {
  const namespaces = ["docker.io", "registry.example.com"];
  await pullColdThenWarm({
    name: "skopeo",
    namespaces,
    async start(directory, mirror) {
      const node = join(directory, "node");
      await writeNode(node, mirror, namespaces);
      const registries = join(node, "etc/containers/registries.conf.d/entrepot-entrepot.conf");
      const policy = await writePolicy(directory);
      const copy = join(directory, "copy");
      return {
        programs: [],
        async pull(reference, { architecture }) {
          const flags = [
            "--registries-conf",
            registries,
            "--policy",
            policy,
            "--override-os",
            "linux",
            "--override-arch",
            architecture,
          ];
          await run(["/usr/bin/skopeo", ...flags, "copy", `docker://${reference}`, `dir:${copy}`]);
        },
        async verify(_, { manifest }) {
          assert.deepEqual(await readFile(join(copy, "manifest.json")), manifest.bytes);
        },
        remove: () => rm(copy, { recursive: true }),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      };
    },
  });
});

test("containerd through a relay; where the mirror is away it turns to the registry, and the files go", async () => {
  await using directory = await createTemporaryDirectory();
  await using upstream = await startUpstreamRegistry("upstream", directory.path);
  // containerd asks a registry of this name without TLS.
  const registry = upstream.host.replace("127.0.0.1", "localhost");
  const images = ["one", "two"].map((seed) => buildImage({ layers: 2, layerBytes: 200_000, platforms: 1, seed }));
  for (const [index, image] of images.entries()) await upstream.push("test", `${index + 1}`, image);
  await using mirror = await startMirror(directory.path, { [registry]: upstream.host });
  const node = join(directory.path, "node");
  await mkdir(join(node, "etc/containerd"), { recursive: true });
  const file = join(node, certs, registry, "hosts.toml");
  const [listen, probes] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
  const relay = ["--relay", `${listen}=${mirror.host}`, "--registry", registry, "--probe-listen", probes];
  await using watch = await start("watch", {
    directory: directory.path,
    command: [process.execPath, main, "node", "watch", "--host-root", node, "--interval", "1s", ...relay],
    isReady: async () => (await request(`http://${probes}/readyz`)).status === 200,
  });
  await using containerd = await startContainerd(directory.path);
  const pull = (tag: string): Promise<string> =>
    ctr(
      containerd,
      "images",
      "pull",
      "--hosts-dir",
      join(node, certs),
      "--snapshotter",
      "native",
      `${registry}/test:${tag}`,
    );
  await pull("1");
  await mirror.program.stop();
  assert.match(await mirror.program.log(), new RegExp(`"endpoint":"blob","namespace":"${registry}"`));
  await access(file);
  await pull("2");
  const isGone = (): Promise<boolean> =>
    access(file).then(
      () => false,
      () => true,
    );
  await until(isGone);
  assert.match((await request(`http://${probes}/readyz`)).body.toString(), /does not answer/);
  await pull("1");
  await watch.stop();
  assert.match(await watch.log(), /"msg":"removed"/);
});
