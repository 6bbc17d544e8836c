import assert from "node:assert/strict";
import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { reconcile } from "../../../src/nodes/reconcile.ts";
import type { Wanted } from "../../../src/nodes/settings.ts";
import { NodeFolder, oneFolder as config, said, settingsOf } from "../../support/node-folder.ts";

const mirror = "http://127.0.0.1:6500";
const certs = "etc/containerd/certs.d";

const wanted = (...registries: string[]): Wanted => ({ mirror, registries });

describe("files for containerd", () => {
  test("are written, kept, and taken back, and the node is as before", async () => {
    await using node = await NodeFolder.create({ "etc/containerd/config.toml": config });
    const before = await node.everything();
    const names = ["docker.io", "registry.example.com:5000", "_default"].map((name) => `/${certs}/${name}/hosts.toml`);
    const all = wanted("docker.io", "registry.example.com:5000", "*");
    assert.deepEqual(
      said(await reconcile(settingsOf(node), all)),
      names.map((name) => `written ${name}`),
    );
    const after = await node.everything();
    assert.match(
      after[`${certs}/docker.io/hosts.toml`] ?? "",
      /^644 # >>> entrepot node a [^]*\n\[host\."http:\/\/127\.0\.0\.1:6500"\]\n/,
    );
    assert.deepEqual(
      said(await reconcile(settingsOf(node), all)),
      names.map((name) => `kept ${name}`),
    );
    assert.deepEqual(await node.everything(), after);
    assert.deepEqual(
      said(await reconcile(settingsOf(node), undefined)),
      names.toSorted().map((name) => `removed ${name}`),
    );
    assert.deepEqual(await node.everything(), before);
    assert.deepEqual(said(await reconcile(settingsOf(node), undefined)), []);
  });

  test("what somebody else has stays byte for byte, with its mode", async () => {
    await using node = await NodeFolder.create({
      "etc/containerd/config.toml": config,
      [`${certs}/docker.io/hosts.toml`]: 'server = "https://x"\n[host."https://m"]',
      [`${certs}/quay.io/client.cert`]: "c",
      [`${certs}/quay.io/client.key`]: "k",
      [`${certs}/ghcr.io/`]: "",
      [`${certs}/registry.k8s.io/hosts.toml`]: "",
      [`${certs}/other.example.com/hosts.toml`]: "[host.x]\n",
    });
    await node.chmod(`${certs}/docker.io/hosts.toml`, 0o640);
    const before = await node.everything();
    const state = await reconcile(settingsOf(node), wanted("docker.io", "quay.io", "ghcr.io", "registry.k8s.io"));
    assert.deepEqual(
      state.outcomes.map((each) => each.state),
      ["written", "written", "written", "written"],
    );
    const after = await node.everything();
    assert.match(
      after[`${certs}/docker.io/hosts.toml`] ?? "",
      /^640 server = "https:\/\/x"\n# >>> [^]*<<< entrepot node a\n\[host\."https:\/\/m"\]$/,
    );
    assert.match(after[`${certs}/quay.io/hosts.toml`] ?? "", /\nclient = \[\["client\.cert","client\.key"\]\]\n\[host/);
    await reconcile(settingsOf(node), undefined);
    assert.deepEqual(await node.everything(), before);
  });

  test("a registry that is no longer wanted is taken back, and a new address takes the place of the old", async () => {
    await using node = await NodeFolder.create({ "etc/containerd/config.toml": config });
    await reconcile(settingsOf(node), wanted("docker.io", "quay.io"));
    const next = await reconcile(settingsOf(node), { mirror: "http://b.example.com", registries: ["quay.io"] });
    assert.deepEqual(said(next), [`written /${certs}/quay.io/hosts.toml`, `removed /${certs}/docker.io/hosts.toml`]);
    assert.match(await node.read(`${certs}/quay.io/hosts.toml`), /\[host\."http:\/\/b\.example\.com"\]/);
    await reconcile(settingsOf(node), undefined);
    assert.deepEqual(Object.keys(await node.everything()), ["etc", "etc/containerd", "etc/containerd/config.toml"]);
  });

  test("another owner's files are left, and stay when ours go", async () => {
    await using node = await NodeFolder.create({ "etc/containerd/config.toml": config });
    await reconcile(settingsOf(node, { owner: "b" }), { mirror: "http://b", registries: ["docker.io", "quay.io"] });
    const before = await node.everything();
    await reconcile(settingsOf(node), wanted("docker.io"));
    assert.deepEqual(said(await reconcile(settingsOf(node), undefined)), [`removed /${certs}/docker.io/hosts.toml`]);
    assert.deepEqual(await node.everything(), before);
  });

  test("the last owner takes away what the first has made", async () => {
    await using node = await NodeFolder.create({ "etc/containerd/config.toml": config });
    const before = await node.everything();
    await reconcile(settingsOf(node, { owner: "b" }), { mirror: "http://b", registries: ["docker.io"] });
    await reconcile(settingsOf(node), wanted("docker.io"));
    await reconcile(settingsOf(node, { owner: "b" }), undefined);
    assert.match(await node.read(`${certs}/docker.io/hosts.toml`), /^# >>> entrepot node a /);
    await reconcile(settingsOf(node), undefined);
    assert.deepEqual(await node.everything(), before);
  });

  test("what somebody adds to our files and folders stays", async () => {
    await using node = await NodeFolder.create({ "etc/containerd/config.toml": config });
    await reconcile(settingsOf(node), wanted("docker.io", "quay.io"));
    const ours = await node.read(`${certs}/docker.io/hosts.toml`);
    await node.write({ [`${certs}/docker.io/hosts.toml`]: `${ours}[host.x]\n`, [`${certs}/quay.io/ca.crt`]: "c" });
    await reconcile(settingsOf(node), undefined);
    const { [`${certs}/docker.io/hosts.toml`]: hosts, ...others } = await node.everything();
    assert.equal(hosts, "644 [host.x]\n");
    assert.deepEqual(
      Object.keys(others).filter((name) => name.startsWith(certs)),
      [certs, `${certs}/docker.io`, `${certs}/quay.io`, `${certs}/quay.io/ca.crt`],
    );
  });

  const left: [name: string, spoil: (node: NodeFolder) => Promise<void>, why: string][] = [
    [
      "a file that cannot be parsed",
      (node) => node.write({ [`${certs}/docker.io/hosts.toml`]: "[host" }),
      "it is no valid TOML: ",
    ],
    [
      "our host, written by somebody else",
      (node) => node.write({ [`${certs}/docker.io/hosts.toml`]: `[host."${mirror}"]\n` }),
      `${mirror} is one of its hosts already`,
    ],
    [
      "a file that is a link",
      async (node) => {
        await node.write({ "etc/elsewhere.toml": "", [`${certs}/docker.io/`]: "" });
        await symlink("../../../elsewhere.toml", join(node.path, certs, "docker.io/hosts.toml"));
      },
      "hosts.toml: it is a link",
    ],
    [
      "a folder that is a link",
      async (node) => {
        await node.write({ "etc/elsewhere/": "", [`${certs}/`]: "" });
        await symlink("../../elsewhere", join(node.path, certs, "docker.io"));
      },
      "it is a link",
    ],
    [
      "a hosts.toml that is a folder",
      (node) => node.write({ [`${certs}/docker.io/hosts.toml/`]: "" }),
      "hosts.toml: it is no file",
    ],
  ];
  for (const [name, spoil, why] of left) {
    test(`${name} is left alone, and that is said`, async () => {
      await using node = await NodeFolder.create({ "etc/containerd/config.toml": config });
      await spoil(node);
      const before = await node.everything();
      const [docker = ""] = said(await reconcile(settingsOf(node), wanted("docker.io")));
      assert.ok(docker.startsWith(`left /${certs}/docker.io/hosts.toml: ${why}`), docker);
      assert.deepEqual(await node.everything(), before);
    });
  }

  test("what somebody has edited of ours is left, and is not all taken back", async () => {
    await using node = await NodeFolder.create({ "etc/containerd/config.toml": config });
    await reconcile(settingsOf(node), wanted("docker.io"));
    const edited = (await node.read(`${certs}/docker.io/hosts.toml`)).replace("2s", "9s");
    await node.write({ [`${certs}/docker.io/hosts.toml`]: edited });
    const why = `left /${certs}/docker.io/hosts.toml: somebody has edited what was written here for this owner`;
    assert.deepEqual(said(await reconcile(settingsOf(node), wanted("docker.io"))), [why]);
    assert.deepEqual(said(await reconcile(settingsOf(node), undefined)), [why]);
    assert.equal(await node.read(`${certs}/docker.io/hosts.toml`), edited);
  });

  test("a dry run only tells", async () => {
    await using node = await NodeFolder.create({ "etc/containerd/config.toml": config });
    await reconcile(settingsOf(node), wanted("docker.io", "quay.io"));
    const before = await node.everything();
    assert.deepEqual(said(await reconcile(settingsOf(node), wanted("docker.io", "ghcr.io"), true)), [
      `kept /${certs}/docker.io/hosts.toml`,
      `missing /${certs}/ghcr.io/hosts.toml`,
      `surplus /${certs}/quay.io/hosts.toml`,
    ]);
    assert.deepEqual(said(await reconcile(settingsOf(node), undefined, true)), [
      `kept /${certs}/docker.io/hosts.toml`,
      `kept /${certs}/quay.io/hosts.toml`,
    ]);
    assert.deepEqual(await node.everything(), before);
  });
});
