/* Engines push to a hosted namespace, forget what they had, and pull it back. */
import assert from "node:assert/strict";
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { hexOf } from "../../src/oci/digest.ts";
import { type BuiltImage, buildImage, mediaTypes } from "../support/image.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../support/temporary.ts";
import { startBuildkit } from "./buildkit.ts";
import { startContainerd } from "./containerd.ts";
import { writePolicy } from "./containers-configuration.ts";
import { startDockerd } from "./dockerd.ts";
import { type HostedRegistry, startHosted } from "./hosted.ts";
import { ImageEngines } from "./image.ts";
import { run } from "./programs.ts";
import { ask, digestsOf, readBack, writeLayout } from "./pushed.ts";

describe("engines push to a hosted namespace", () => {
  let directory: TemporaryDirectory;
  let registry: HostedRegistry;

  before(async () => {
    directory = await createTemporaryDirectory();
    registry = await startHosted(directory.path, { hosted: [{ namespace: "apps" }] });
  });

  after(async () => {
    await registry?.[Symbol.asyncDispose]();
    await directory[Symbol.asyncDispose]();
  });

  const repositoryOf = (name: string): string => `${registry.host}/apps/${name}`;

  it("docker pushes an image, and pulls the same", async () => {
    await using docker = await startDockerd(directory.path);
    const image = buildImage({ layers: 3, layerBytes: 300_000, seed: "docker" });
    const repository = repositoryOf("docker");
    const archive = await archiveOf("docker", image, "docker-archive", `${repository}:1`);
    await docker.run("load", "--input", archive);
    await docker.run("push", `${repository}:1`);
    const { digest, manifest } = await readBack(repository, "1");
    assert.equal(manifest.config?.digest, image.platforms[0]?.config);
    await docker.run("tag", `${repository}:1`, `${repository}-copy:1`);
    await docker.run("push", `${repository}-copy:1`);
    assert.equal((await readBack(`${repository}-copy`, "1")).digest, digest);
    await docker.run("image", "rm", `${repository}:1`, `${repository}-copy:1`);
    await docker.run("pull", `${repository}:1`);
    const [inspected] = JSON.parse(await docker.run("image", "inspect", `${repository}:1`)) as [
      { Id: string; RepoDigests: string[] },
    ];
    assert.equal(inspected.Id, image.platforms[0]?.config);
    assert.deepEqual(inspected.RepoDigests, [`${repository}@${digest}`]);
  });

  it("containerd pushes an index with all platforms, and pulls the same", async () => {
    await using stage = await createTemporaryDirectory();
    await using containerd = await startContainerd(stage.path);
    const ctr = (...args: readonly string[]): Promise<string> =>
      run(["/usr/bin/ctr", "-a", containerd.socket, "-n", "test", ...args]);
    const image = buildImage({ platforms: 2, layerBytes: 300_000, seed: "containerd" });
    const reference = `${repositoryOf("containerd")}:1`;
    const archive = await archiveOf("containerd", image, "oci-archive", reference);
    await ctr("images", "import", "--all-platforms", "--no-unpack", archive);
    const [, row = ""] = (await ctr("images", "ls")).split("\n");
    await ctr("images", "push", "--plain-http", reference, row.split(/\s+/)[0] ?? "");
    assert.deepEqual((await readBack(repositoryOf("containerd"), "1")).digests, digestsOf(image));
    await ctr("images", "rm", "--sync", row.split(/\s+/)[0] ?? "");
    assert.equal((await ctr("content", "ls", "-q")).trim(), "");
    await ctr("content", "fetch", "--plain-http", "--all-platforms", reference);
    assert.deepEqual((await ctr("content", "ls", "-q")).trim().split("\n").toSorted(), digestsOf(image));
  });

  it("podman and buildah push images and a list of them, and podman pulls the same", async () => {
    await using stage = await createTemporaryDirectory();
    await using engines = await ImageEngines.create(stage.path);
    const policy = ["--signature-policy", await writePolicy(stage.path)];
    const plain = "--tls-verify=false";
    const image = buildImage({ layerBytes: 300_000, seed: "podman" });
    const config = image.platforms[0]?.config ?? image.root.digest;
    const repository = repositoryOf("podman");
    const archive = await archiveOf("podman", image, "docker-archive", "localhost/test:1");
    const id = (await engines.podman("pull", "--quiet", ...policy, `docker-archive:${archive}`)).trim();
    assert.equal(id, hexOf(config));
    for (const format of ["oci", "v2s2"]) {
      await engines.podman("push", plain, ...policy, "--format", format, id, `${repository}:${format}`);
      const { manifest } = await readBack(repository, format);
      assert.equal(manifest.mediaType === mediaTypes.manifest, format === "oci");
    }
    await engines.podman("manifest", "create", "both");
    const added = ["--arch", "amd64", "--os", "linux", plain, "both"];
    await engines.podman("manifest", "add", ...added, `docker://${repository}:oci`);
    await engines.podman("manifest", "push", "--all", plain, "both", `docker://${repository}:both`);
    assert.equal((await readBack(repository, "both")).manifest.manifests?.length, 1);

    const container = (await engines.buildah("from", "scratch")).trim();
    await writeFile(join(stage.path, "hello"), "hello");
    await engines.buildah("copy", "--quiet", container, join(stage.path, "hello"), "/hello");
    await engines.buildah("commit", "--quiet", "--rm", ...policy, container, "localhost/built:1");
    await engines.buildah("push", plain, ...policy, "localhost/built:1", `docker://${repository}:built`);
    const built = await readBack(repository, "built");

    await engines.podman("rmi", "--all", "--force");
    for (const [tag, wanted] of [["oci", config] as const, ["built", built.manifest.config?.digest] as const]) {
      const pulled = await engines.podman("pull", "--quiet", plain, ...policy, `${repository}:${tag}`);
      assert.equal(`sha256:${pulled.trim()}`, wanted);
    }
  });

  it("BuildKit pushes an image with its cache, and builds again from that cache", async () => {
    await using stage = await createTemporaryDirectory();
    await using buildkit = await startBuildkit(stage.path, registry.host);
    const context = join(stage.path, "context");
    await mkdir(context);
    await copyFile("/bin/busybox", join(context, "busybox"));
    await writeFile(
      join(context, "Dockerfile"),
      [
        "FROM scratch",
        "COPY busybox /bin/busybox",
        // Another run writes something else.
        'RUN ["/bin/busybox", "sh", "-c", "/bin/busybox head -c 16 /dev/urandom > /stamp"]',
        "",
      ].join("\n"),
    );
    const [repository, cache] = [repositoryOf("buildkit"), `type=registry,ref=${repositoryOf("buildkit")}:cache`];
    const build = (tag: string, ...options: readonly string[]): Promise<string> => {
      const from = ["--frontend", "dockerfile.v0", "--local", `context=${context}`, "--local", `dockerfile=${context}`];
      const to = `type=image,name=${repository}:${tag},push=true`;
      return buildkit.run("build", "--progress", "plain", ...from, "--output", to, ...options);
    };
    await build("1", "--export-cache", `${cache},mode=max,oci-mediatypes=true,image-manifest=true`);
    const first = await readBack(repository, "1");
    assert.equal((await ask(repository, "manifests/cache")).status, 200);
    await buildkit.run("prune", "--all");
    await build("2", "--import-cache", cache);
    const { layers } = (await readBack(repository, "2")).manifest;
    assert.equal(layers?.length, 2);
    assert.deepEqual(layers, first.manifest.layers);
  });

  /** Writes an image as an archive of a form that skopeo knows, and gives its path. */
  async function archiveOf(name: string, image: BuiltImage, form: string, reference: string): Promise<string> {
    const folder = join(directory.path, name);
    const archive = `${folder}.tar`;
    await writeLayout(`${folder}-layout`, image, "1");
    const [from, to] = [`oci:${folder}-layout:1`, `${form}:${archive}:${reference}`];
    await run(["/usr/bin/skopeo", "--insecure-policy", "copy", "--all", from, to]);
    return archive;
  }
});
