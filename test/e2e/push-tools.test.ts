/* Clients without an engine push to a hosted namespace, list, copy, attach, discover and delete there. */
import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { buildImage } from "../support/image.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../support/temporary.ts";
import { type HostedRegistry, startHosted } from "./hosted.ts";
import { run } from "./programs.ts";
import { type PushTools, preparePushTools } from "./push-tools.ts";
import { ask, digestsOf, readBack, referrersOf, tagsOf, writeLayout } from "./pushed.ts";
import { pushImage } from "./upstream-registry.ts";

const plain = "--plain-http";

describe("clients without an engine push to a hosted namespace", () => {
  let directory: TemporaryDirectory;
  let registry: HostedRegistry;
  let tools: PushTools;

  before(async () => {
    directory = await createTemporaryDirectory();
    registry = await startHosted(directory.path, { hosted: [{ namespace: "apps" }] });
    tools = await preparePushTools(directory.path, registry.host);
  });

  after(async () => {
    await registry?.[Symbol.asyncDispose]();
    await directory[Symbol.asyncDispose]();
  });

  const path = (name: string): string => join(directory.path, name);
  const repositoryOf = (name: string): string => `${registry.host}/apps/${name}`;

  it("skopeo copies an index with all platforms, reads it back, lists and deletes it", async () => {
    const { skopeo } = tools;
    const image = buildImage({ platforms: 2, seed: "skopeo" });
    const repository = repositoryOf("skopeo");
    await writeLayout(path("skopeo"), image, "1");
    await skopeo("copy", "--all", "--dest-tls-verify=false", `oci:${path("skopeo")}:1`, `docker://${repository}:1`);
    assert.deepEqual((await readBack(repository, "1")).digests, digestsOf(image));
    await skopeo("copy", "--all", "--src-tls-verify=false", `docker://${repository}:1`, `dir:${path("skopeo-back")}`);
    assert.deepEqual(await readFile(path("skopeo-back/manifest.json")), image.root.bytes);
    const listed = JSON.parse(await skopeo("list-tags", "--tls-verify=false", `docker://${repository}`)) as object;
    assert.deepEqual(listed, { Repository: repository, Tags: ["1"] });
    await skopeo("delete", "--tls-verify=false", `docker://${repository}:1`);
    assert.equal((await ask(repository, "manifests/1")).status, 404);
  });

  const forms = [
    { name: "zstd", options: ["--format", "oci", "--dest-compress-format", "zstd"], layer: /\.v1\.tar\+zstd$/ },
    { name: "oci", options: ["--format", "oci"], layer: /^application\/vnd\.oci\.image\.layer\.v1\.tar\+gzip$/ },
    {
      name: "v2s2",
      options: ["--format", "v2s2"],
      layer: /^application\/vnd\.docker\.image\.rootfs\.diff\.tar\.gzip$/,
    },
  ];
  for (const { name, options, layer } of forms) {
    it(`skopeo converts as it pushes: ${name}`, async () => {
      const image = buildImage({ seed: name });
      const repository = repositoryOf("skopeo-forms");
      await writeLayout(path(name), image, "1");
      const to = `docker://${repository}:${name}`;
      await tools.skopeo("copy", "--dest-tls-verify=false", ...options, `oci:${path(name)}:1`, to);
      const pushed = await readBack(repository, name);
      assert.equal(pushed.manifest.layers?.length, 2);
      for (const { mediaType } of pushed.manifest.layers ?? []) assert.match(mediaType, layer);
      await tools.skopeo("copy", "--src-tls-verify=false", to, `dir:${path(`${name}-back`)}`);
    });
  }

  it("skopeo encrypts layers, and who has the key reads them", async () => {
    const image = buildImage({ seed: "secret" });
    const repository = repositoryOf("skopeo-encrypted");
    const [secret, open] = [path("key.pem"), path("key.pub.pem")];
    await run(["/usr/bin/openssl", "genrsa", "-out", secret, "2048"]);
    await run(["/usr/bin/openssl", "rsa", "-in", secret, "-pubout", "-out", open]);
    await writeLayout(path("secret"), image, "1");
    const [from, to] = [`oci:${path("secret")}:1`, `docker://${repository}:1`];
    await tools.skopeo("copy", "--dest-tls-verify=false", "--encryption-key", `jwe:${open}`, from, to);
    const { manifest } = await readBack(repository, "1");
    for (const { mediaType } of manifest.layers ?? []) assert.match(mediaType, /\+encrypted$/);
    const back = `oci:${path("secret-back")}:1`;
    await tools.skopeo("copy", "--src-tls-verify=false", "--decryption-key", secret, to, back);
    const index = JSON.parse(await readFile(path("secret-back/index.json"), "utf8")) as {
      manifests: { digest: string }[];
    };
    const read = await readFile(path(`secret-back/blobs/sha256/${index.manifests[0]?.digest.slice(7)}`), "utf8");
    const { layers } = JSON.parse(read) as { layers: { digest: string }[] };
    assert.deepEqual(
      layers.map(({ digest }) => digest),
      image.platforms[0]?.layers,
    );
  });

  it("crane pushes, copies, tags, lists, appends to an index, validates and deletes", async () => {
    const { crane } = tools;
    const image = buildImage({ platforms: 2, seed: "crane" });
    const other = buildImage({ seed: "crane-other" });
    const [repository, copy] = [repositoryOf("crane"), repositoryOf("crane-copy")];
    await writeLayout(path("crane"), image, "1");
    await crane("push", "--index", path("crane"), `${repository}:layout`);
    await crane("tag", `${repository}@${image.root.digest}`, "1");
    await pushImage(repository, "other", other);
    assert.equal((await crane("digest", `${repository}:1`)).trim(), image.root.digest);
    await crane("copy", `${repository}:1`, `${copy}:1`);
    assert.deepEqual((await readBack(copy, "1")).digests, digestsOf(image));
    await crane("tag", `${copy}:1`, "2");
    assert.deepEqual((await crane("ls", copy)).trim().split("\n"), ["1", "2"]);
    assert.match(await crane("catalog", registry.host), /^apps\/crane-copy$/m);
    await crane("index", "append", `${repository}:1`, "-m", `${repository}:other`, "-t", `${repository}:appended`);
    const children = [...image.platforms.map(({ manifest }) => manifest), other.root].map(({ digest }) => digest);
    assert.deepEqual(
      (await readBack(repository, "appended")).manifest.manifests?.map(({ digest }) => digest),
      children,
    );
    await crane("validate", "--remote", `${repository}:other`);
    await crane("delete", `${copy}@${image.root.digest}`);
    assert.deepEqual(await tagsOf(copy), []);
    assert.deepEqual((await readBack(repository, "1")).digests, digestsOf(image));
  });

  it("oras pushes, attaches, discovers, copies with all that is attached, and deletes", async () => {
    const { oras } = tools;
    const [repository, copy] = [repositoryOf("oras"), repositoryOf("oras-copy")];
    const file = path("hello.txt");
    await writeFile(file, "hello");
    const push = ["--disable-path-validation", "--artifact-type", "application/vnd.example.hello"];
    await oras("push", plain, ...push, `${repository}:1`, file);
    const { digest: subject } = await readBack(repository, "1");
    await attach(`${repository}:1`, "application/vnd.example.signature");
    const [signature = ""] = await referrersOf(repository, subject);
    await attach(`${repository}@${signature}`, "application/vnd.example.timestamp");
    const tree = JSON.parse(await oras("discover", plain, "--format", "json", `${repository}:1`)) as Discovered;
    assert.deepEqual(
      tree.referrers?.map(({ digest }) => digest),
      [signature],
    );
    assert.equal(tree.referrers?.[0]?.referrers?.[0]?.artifactType, "application/vnd.example.timestamp");

    await oras("cp", "-r", "--from-plain-http", "--to-plain-http", `${repository}:1`, `${copy}:1,2`);
    assert.equal((await readBack(copy, "2")).digest, subject);
    assert.deepEqual(await referrersOf(copy, subject), [signature]);
    assert.equal((await referrersOf(copy, signature)).length, 1);
    assert.deepEqual((await oras("repo", "tags", plain, copy)).trim().split("\n"), ["1", "2"]);
    assert.match(await oras("repo", "ls", plain, registry.host), /^apps\/oras-copy$/m);
    await oras("pull", plain, "-o", path("oras-back"), `${copy}@${signature}`);

    await oras("manifest", "delete", plain, "--force", `${copy}@${signature}`);
    assert.deepEqual(await referrersOf(copy, subject), []);
    assert.deepEqual(await referrersOf(repository, subject), [signature]);
    await oras("blob", "push", plain, `${copy}`, file);
  });

  it("many attach to one image at once, and nothing is lost", async () => {
    const image = buildImage({ seed: "attached" });
    const repository = repositoryOf("attached");
    await pushImage(repository, "1", image);
    const types = Array.from({ length: 8 }, (_, index) => `application/vnd.example.n${index}`);
    await Promise.all(types.map((type) => attach(`${repository}:1`, type)));
    const found = await ask(repository, `referrers/${image.root.digest}`);
    const { manifests } = JSON.parse(found.body.toString()) as { manifests: { artifactType: string }[] };
    assert.deepEqual(manifests.map(({ artifactType }) => artifactType).toSorted(), types);
  });

  it("what is attached by the tag of clients without a referrers API is found in both ways", async () => {
    const image = buildImage({ seed: "fallback" });
    const repository = repositoryOf("fallback");
    const byTag = ["--distribution-spec", "v1.1-referrers-tag"];
    await pushImage(repository, "1", image);
    await attach(`${repository}:1`, "application/vnd.example.a", ...byTag);
    await attach(`${repository}:1`, "application/vnd.example.b", ...byTag);
    assert.deepEqual(await tagsOf(repository), ["1", image.root.digest.replace(":", "-")]);
    for (const how of ["v1.1-referrers-tag", "v1.1-referrers-api"]) {
      const options = [plain, "--format", "json", "--distribution-spec", how];
      const { referrers } = JSON.parse(await tools.oras("discover", ...options, `${repository}:1`)) as Discovered;
      assert.deepEqual(
        referrers?.map(({ artifactType }) => artifactType).toSorted(),
        ["application/vnd.example.a", "application/vnd.example.b"],
        how,
      );
    }
  });

  it("regctl copies with what refers to the image, in chunks, lists and deletes tags", async () => {
    const { regctl } = tools;
    const image = buildImage({ platforms: 2, layerBytes: 400_000, seed: "regctl" });
    const [repository, copy] = [repositoryOf("regctl"), repositoryOf("regctl-copy")];
    const layout = path("regctl");
    await writeLayout(layout, image, "1");
    await regctl("registry", "set", registry.host, "--tls", "disabled", "--blob-chunk", "100000", "--blob-max", "1000");
    await regctl("image", "copy", `ocidir://${layout}:1`, `${repository}:1`);
    assert.deepEqual((await readBack(repository, "1")).digests, digestsOf(image));
    const file = path("sbom.json");
    await writeFile(file, "{}");
    const put = ["--artifact-type", "application/spdx+json", "--file", file, "--subject", `${repository}:1`];
    await regctl("artifact", "put", ...put);
    const [sbom = ""] = await referrersOf(repository, image.root.digest);
    assert.match(await regctl("artifact", "list", `${repository}:1`), new RegExp(sbom));

    await regctl("image", "copy", "--referrers", "--digest-tags", `${repository}:1`, `${copy}:1`);
    assert.deepEqual(await referrersOf(copy, image.root.digest), [sbom]);
    await regctl("image", "copy", `${copy}:1`, `${copy}:2`);
    assert.deepEqual((await regctl("tag", "ls", copy)).trim().split("\n"), ["1", "2"]);
    assert.equal((await regctl("image", "digest", `${copy}:2`)).trim(), image.root.digest);
    await regctl("tag", "delete", `${copy}:1`);
    assert.deepEqual(await tagsOf(copy), ["2"]);
    await regctl("manifest", "delete", "--force-tag-dereference", `${copy}:2`);
    assert.equal((await ask(copy, `manifests/${image.root.digest}`)).status, 404);
    assert.match(await regctl("repo", "ls", registry.host), /^apps\/regctl$/m);
  });

  it("helm pushes a chart, shows it and pulls it", async () => {
    const { helm } = tools;
    const chart = path("example");
    await mkdir(join(chart, "templates"), { recursive: true });
    await writeFile(join(chart, "Chart.yaml"), "apiVersion: v2\nname: example\nversion: 1.2.3+build.4\n");
    await writeFile(join(chart, "values.yaml"), "answer: 42\n");
    await helm("package", chart, "--destination", directory.path);
    const archive = path("example-1.2.3+build.4.tgz");
    await helm("push", archive, `oci://${repositoryOf("charts")}`, plain);
    // A tag has no plus; Helm writes another character for it.
    const { manifest } = await readBack(repositoryOf("charts/example"), "1.2.3_build.4");
    assert.equal(manifest.config?.mediaType, "application/vnd.cncf.helm.config.v1+json");
    const reference = `oci://${repositoryOf("charts/example")}`;
    assert.match(await helm("show", "values", reference, "--version", "1.2.3+build.4", plain), /answer: 42/);
    await mkdir(path("charts-back"));
    await helm("pull", reference, "--version", "1.2.3+build.4", plain, "--destination", path("charts-back"));
    assert.deepEqual(await readFile(path("charts-back/example-1.2.3+build.4.tgz")), await readFile(archive));
  });

  /** Attaches an artifact of this type, without a file. */
  async function attach(subject: string, artifactType: string, ...options: readonly string[]): Promise<void> {
    const what = ["--artifact-type", artifactType, "--annotation", "example=1"];
    await tools.oras("attach", plain, ...options, ...what, subject);
  }
});

interface Discovered {
  readonly digest: string;
  readonly artifactType: string;
  readonly referrers?: readonly Discovered[];
}
