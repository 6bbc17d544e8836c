/* A plain nginx serves images that other programs have put into a folder, with what `entrepot nginx` writes. */
import assert from "node:assert/strict";
import { chmod, mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { hexOf } from "../../src/oci/digest.ts";
import { request } from "../support/http.ts";
import { buildImage } from "../support/image.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { startContainerd } from "./containerd.ts";
import { writePolicy } from "./containers-configuration.ts";
import { startDockerd } from "./dockerd.ts";
import { ImageEngines } from "./image.ts";
import { startNginx } from "./nginx.ts";
import { freePort, run } from "./programs.ts";
import { type PushTools, preparePushTools } from "./push-tools.ts";
import { ask, digestsOf, readBack, tagsOf, writeLayout } from "./pushed.ts";

describe("nginx with a configuration of a folder of images", () => {
  const all = buildImage({ platforms: 2, layerBytes: 200_000, seed: "nginx" });
  const one = buildImage({ layers: 2, layerBytes: 200_000, seed: "one for nginx" });
  let stack: AsyncDisposableStack;
  let directory: string;
  let source: string;
  let host: string;
  let tools: PushTools;

  before(async () => {
    stack = new AsyncDisposableStack();
    directory = stack.use(await createTemporaryDirectory()).path;
    await chmod(directory, 0o755);
    const made = join(directory, "images");
    await mkdir(join(made, "tree"), { recursive: true });
    host = `127.0.0.1:${await freePort()}`;
    tools = await preparePushTools(directory, host);
    for (const [name, image] of [["all", all] as const, ["one", one] as const]) {
      await writeLayout(join(directory, name), image, "1");
    }
    const { skopeo, regctl, oras } = tools;
    const from = (name: string): string => `oci:${join(directory, name)}:1`;
    await skopeo("copy", "--all", from("all"), `dir:${join(made, "tree/1")}`);
    await skopeo("copy", from("one"), `dir:${join(made, "tree:one")}`);
    await regctl("image", "copy", `ocidir://${join(directory, "all")}:1`, `ocidir://${join(made, "regctl")}:1`);
    await oras(
      "copy",
      "--from-oci-layout",
      `${join(directory, "all")}:1`,
      "--to-oci-layout",
      `${join(made, "oras")}:1`,
    );
    source = join(directory, 'images "of {all}; sorts');
    await rename(made, source);
    const program = [process.execPath, new URL("../../src/main.ts", import.meta.url).pathname] as const;
    const configuration = await run([
      ...program,
      "nginx",
      source,
      "--name-prefix",
      "images",
      "--server-listen",
      host,
      "--verify",
    ]);
    stack.use(await startNginx(directory, host, configuration));
  });

  after(() => stack[Symbol.asyncDispose]());

  const served = (name: string): string => `${host}/images/${name}`;

  it("serves each of them as it is, and says in OCI's words what it has not", async () => {
    for (const name of ["tree", "regctl", "oras"]) {
      assert.deepEqual((await readBack(served(name), "1")).digests, digestsOf(all), name);
    }
    assert.deepEqual((await readBack(served("tree"), "one")).digests, digestsOf(one));
    assert.deepEqual(await tagsOf(served("tree")), ["1", "one"]);
    const unknown = one.root.digest.replace(/.{8}$/, "00000000");
    const cases = [
      ["manifests/none", 404, "MANIFEST_UNKNOWN"],
      [`manifests/${unknown}`, 404, "MANIFEST_UNKNOWN"],
      [`blobs/${unknown}`, 404, "BLOB_UNKNOWN"],
      ["tags/list?n=1", 400, "PAGINATION_NUMBER_INVALID"],
      ["tags/list?last=1", 400, "PAGINATION_NUMBER_INVALID"],
    ] as const;
    for (const [path, status, code] of cases) {
      const answer = await ask(served("tree"), path);
      assert.equal(answer.status, status, path);
      assert.deepEqual((JSON.parse(answer.body.toString()) as { errors: { code: string }[] }).errors[0]?.code, code);
    }
    assert.equal((await ask(`${host}/none`, "manifests/1")).status, 404);
    assert.equal((await ask(served("tree"), "blobs/uploads/", "POST")).status, 405);
    const [layer = assert.fail()] = one.platforms[0]?.layers ?? [];
    const part = await request(`http://${host}/v2/images/tree/blobs/${layer}`, { headers: { range: "bytes=10-19" } });
    assert.deepEqual([part.status, part.body], [206, one.blobs.get(layer)?.subarray(10, 20)]);
    const referrers = await ask(served("tree"), `referrers/${one.root.digest}`);
    assert.deepEqual(
      [referrers.status, JSON.parse(referrers.body.toString()) as object],
      [200, { schemaVersion: 2, mediaType: referrers.headers["content-type"], manifests: [] }],
    );
  });

  it("docker, containerd, podman, skopeo and oras pull them", async () => {
    await using docker = await startDockerd(directory);
    await using stage = await createTemporaryDirectory();
    await using containerd = await startContainerd(stage.path);
    await using engines = await ImageEngines.create(stage.path);
    const reference = `${served("tree")}:1`;
    await docker.run("pull", reference);
    const [inspected] = JSON.parse(await docker.run("image", "inspect", reference)) as [{ RepoDigests: string[] }];
    assert.deepEqual(inspected.RepoDigests, [`${served("tree")}@${all.root.digest}`]);
    const ctr = (...args: readonly string[]): Promise<string> =>
      run(["/usr/bin/ctr", "-a", containerd.socket, "-n", "test", ...args]);
    await ctr("content", "fetch", "--plain-http", "--all-platforms", reference);
    assert.deepEqual((await ctr("content", "ls", "-q")).trim().split("\n").toSorted(), digestsOf(all));
    const policy = ["--signature-policy", await writePolicy(stage.path)];
    const pulled = await engines.podman("pull", "--quiet", "--tls-verify=false", ...policy, `${served("tree")}:one`);
    assert.equal(pulled.trim(), hexOf(one.platforms[0]?.config ?? one.root.digest));
    await tools.skopeo(
      "copy",
      "--all",
      "--src-tls-verify=false",
      `docker://${reference}`,
      `dir:${join(stage.path, "back")}`,
    );
    await tools.oras("copy", "--from-plain-http", reference, "--to-oci-layout", `${join(stage.path, "oras")}:1`);
  });

  it("a file that is gone is one that nobody has", async () => {
    await rm(join(source, "tree:one", hexOf(one.platforms[0]?.config ?? one.root.digest)));
    const answer = await ask(served("tree"), `blobs/${one.platforms[0]?.config ?? one.root.digest}`);
    assert.deepEqual(
      [answer.status, JSON.parse(answer.body.toString())],
      [404, { errors: [{ code: "BLOB_UNKNOWN", message: "the repository has no such blob" }] }],
    );
  });
});
