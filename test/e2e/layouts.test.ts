/* Other programs write image layouts into a folder, of which images are pulled. */
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { after, before, describe, it } from "node:test";
import type { Key } from "../../src/store/object-store.ts";
import { S3Store } from "../../src/store/s3.ts";
import { entriesBelow } from "../support/cache-folder.ts";
import { type BuiltImage, buildImage } from "../support/image.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../support/temporary.ts";
import { startContainerd } from "./containerd.ts";
import { writePolicy } from "./containers-configuration.ts";
import { startDockerd } from "./dockerd.ts";
import { type HostedRegistry, startHosted } from "./hosted.ts";
import { ImageEngines } from "./image.ts";
import { run } from "./programs.ts";
import { type PushTools, preparePushTools } from "./push-tools.ts";
import { ask, digestsOf, readBack, tagsOf, writeLayout } from "./pushed.ts";
import { startSeaweedfs } from "./seaweedfs.ts";

describe("images that other programs have put into a folder", () => {
  const all: BuiltImage = buildImage({ platforms: 2, layerBytes: 200_000, seed: "layouts" });
  const one: BuiltImage = buildImage({ layers: 2, layerBytes: 200_000, seed: "one layout" });
  let directory: TemporaryDirectory;
  let source: string;
  let registry: HostedRegistry;
  let tools: PushTools;

  before(async () => {
    directory = await createTemporaryDirectory();
    source = join(directory.path, "images");
    await mkdir(source);
    registry = await startHosted(directory.path, {
      hosted: [{ namespace: "apps" }],
      layouts: [{ namespace: "images", source }],
    });
    tools = await preparePushTools(directory.path, registry.host);
    for (const [name, image] of [["all", all] as const, ["one", one] as const]) {
      await writeLayout(join(directory.path, name), image, "1");
      const from = `oci:${join(directory.path, name)}:1`;
      await tools.skopeo("copy", "--all", "--dest-tls-verify=false", from, `docker://${registry.host}/apps/${name}:1`);
    }
  });

  after(async () => {
    await registry?.[Symbol.asyncDispose]();
    await directory[Symbol.asyncDispose]();
  });

  const pushed = (name: string): string => `${registry.host}/apps/${name}:1`;
  const served = (name: string): string => `${registry.host}/images/${name}`;
  const place = (name: string): string => join(source, name);

  async function isServed(name: string, image: BuiltImage, tag = "1"): Promise<void> {
    assert.deepEqual((await readBack(served(name), tag)).digests, digestsOf(image), `${name}:${tag}`);
  }

  it("skopeo's layouts, trees and archives are served", async () => {
    const { skopeo } = tools;
    const copy = (to: string, image: string, ...options: readonly string[]): Promise<string> =>
      skopeo("copy", "--src-tls-verify=false", ...options, `docker://${pushed(image)}`, to);
    await mkdir(place("skopeo/tree"), { recursive: true });
    await copy(`oci:${place("skopeo/layout")}:1`, "all", "--all");
    await copy(`oci:${place("skopeo/layout")}:one`, "one");
    await copy(`dir:${place("skopeo/tree/1")}`, "all", "--all");
    await copy(`dir:${place("skopeo/tree:one")}`, "one");
    await copy(`oci-archive:${place("skopeo/archive.tar")}:1`, "all", "--all");
    for (const name of ["layout", "tree", "archive"]) await isServed(`skopeo/${name}`, all);
    for (const name of ["layout", "tree"]) {
      await isServed(`skopeo/${name}`, one, "one");
      assert.deepEqual(await tagsOf(served(`skopeo/${name}`)), ["1", "one"]);
    }
  });

  it("layouts of crane, regctl and oras are served", async () => {
    const { crane, regctl, oras } = tools;
    await crane("pull", "--format=oci", "--annotate-ref", pushed("all"), place("crane"));
    await regctl("image", "copy", pushed("all"), `ocidir://${place("regctl")}:1`);
    await oras("copy", "--from-plain-http", pushed("all"), "--to-oci-layout", `${place("oras")}:1`);
    await isServed("regctl", all);
    await isServed("oras", all);
    // crane writes whole names, and no repository can be named like a registry's port.
    await isServed("crane", all, all.root.digest);
  });

  it("what podman and buildah save is served", async () => {
    await using stage = await createTemporaryDirectory();
    await using engines = await ImageEngines.create(stage.path);
    const policy = ["--signature-policy", await writePolicy(stage.path)];
    const local = "localhost/test/saved:1";
    await engines.podman("pull", "--quiet", "--tls-verify=false", ...policy, pushed("one"));
    await engines.podman("tag", pushed("one"), local);
    await engines.podman("save", "--quiet", "--format", "oci-archive", "--output", place("podman.tar"), local);
    await engines.buildah("push", "--quiet", ...policy, local, `oci:${place("buildah")}:1`);
    const config = one.platforms[0]?.config;
    assert.equal((await readBack(served("localhost/test/saved"), "1")).manifest.config?.digest, config);
    assert.equal((await readBack(served("buildah"), "1")).manifest.config?.digest, config);
    await engines.podman("rmi", "--all", "--force");
    const pull = ["pull", "--quiet", "--tls-verify=false", ...policy];
    const pulled = await engines.podman(...pull, `${served("buildah")}:1`);
    assert.equal(`sha256:${pulled.trim()}`, config);
  });

  it("docker, containerd, skopeo, oras and crane pull them", async () => {
    await using docker = await startDockerd(directory.path);
    await using stage = await createTemporaryDirectory();
    await using containerd = await startContainerd(stage.path);
    await mkdir(place("pulled"));
    await tools.skopeo("copy", "--all", `oci:${join(directory.path, "all")}:1`, `oci:${place("pulled/app")}:1`);
    const reference = `${served("pulled/app")}:1`;
    await docker.run("pull", reference);
    const [inspected] = JSON.parse(await docker.run("image", "inspect", reference)) as [{ RepoDigests: string[] }];
    assert.deepEqual(inspected.RepoDigests, [`${served("pulled/app")}@${all.root.digest}`]);
    const ctr = (...args: readonly string[]): Promise<string> =>
      run(["/usr/bin/ctr", "-a", containerd.socket, "-n", "test", ...args]);
    await ctr("content", "fetch", "--plain-http", "--all-platforms", reference);
    assert.deepEqual((await ctr("content", "ls", "-q")).trim().split("\n").toSorted(), digestsOf(all));
    const back = join(stage.path, "back");
    await tools.skopeo("copy", "--all", "--src-tls-verify=false", `docker://${reference}`, `dir:${back}`);
    await tools.oras("copy", "--from-plain-http", reference, "--to-oci-layout", `${join(stage.path, "oras")}:1`);
    await tools.crane("pull", "--format=oci", reference, join(stage.path, "crane"));
    assert.equal((await tools.crane("digest", reference)).trim(), all.root.digest);
  });

  it("they are served from a bucket of a real S3 server, and clients are sent there", async () => {
    await using stage = await createTemporaryDirectory();
    await using server = await startSeaweedfs(stage.path);
    const { skopeo } = tools;
    const from = `oci:${join(directory.path, "all")}:1`;
    const tree = join(stage.path, "tree");
    await mkdir(join(tree, "dir"), { recursive: true });
    await skopeo("copy", "--all", from, `oci:${join(tree, "layout")}:1`);
    await skopeo("copy", "--all", from, `dir:${join(tree, "dir/1")}`);
    await skopeo("copy", "--all", from, `oci-archive:${join(tree, "archive.tar")}:1`);
    const { bucket, endpoint, credentials } = server.options;
    const store = await S3Store.open({ ...server.options, prefix: "images/all" });
    for (const entry of entriesBelow(tree).filter((each) => each.isFile())) {
      const path = join(entry.parentPath, entry.name);
      await store.put(relative(tree, path) as Key, await readFile(path));
    }
    await store.close();
    const source = `s3://${bucket}/images/all`;
    const s3 = { endpoint, access_key: credentials.accessKeyId, secret_key: credentials.secretAccessKey };
    const layouts = [
      { namespace: "streamed", source, s3 },
      { namespace: "redirected", source, s3, redirect: true },
    ];
    await using other = await startHosted(stage.path, { hosted: [], layouts, isInBucket: false });
    for (const name of ["layout", "dir", "archive"]) {
      const { digests } = await readBack(`${other.host}/streamed/${name}`, "1");
      assert.deepEqual(digests, digestsOf(all), name);
    }
    const [layer = assert.fail()] = all.platforms[0]?.layers ?? [];
    assert.equal((await ask(`${other.host}/redirected/layout`, `blobs/${layer}`)).status, 307);
    for (const name of ["layout", "dir", "archive"]) {
      const reference = `docker://${other.host}/redirected/${name}:1`;
      await skopeo("copy", "--all", "--src-tls-verify=false", reference, `dir:${join(stage.path, `back-${name}`)}`);
    }
  });
});
