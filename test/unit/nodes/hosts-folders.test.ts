import assert from "node:assert/strict";
import { mkdir, rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { reconcile } from "../../../src/nodes/reconcile.ts";
import type { Wanted } from "../../../src/nodes/settings.ts";
import { NodeFolder, oneFolder as config, said, settingsOf } from "../../support/node-folder.ts";

const certs = "etc/containerd/certs.d";

const wanted = (...registries: string[]): Wanted => ({ mirror: "http://127.0.0.1:6500", registries });

describe("where containerd looks", () => {
  const both = "/etc/containerd/certs.d:/etc/docker/certs.d";

  test("of a list, each of its folders and the folder of the whole list's name", async () => {
    await using node = await NodeFolder.create({
      "etc/containerd/config.toml": config.replace("/etc/containerd/certs.d", both),
      "etc/docker/certs.d/quay.io/ca.crt": "c",
    });
    const before = await node.everything();
    assert.deepEqual(said(await reconcile(settingsOf(node), wanted("docker.io", "quay.io"))), [
      "written /etc/containerd/certs.d/docker.io/hosts.toml",
      // It would hide the certificates elsewhere.
      "written /etc/docker/certs.d/quay.io/hosts.toml",
      `written ${both}/docker.io/hosts.toml`,
      `written ${both}/quay.io/hosts.toml`,
    ]);
    assert.match(await node.read("etc/docker/certs.d/quay.io/hosts.toml"), /^ca = \["ca\.crt"\]$/m);
    await reconcile(settingsOf(node), undefined);
    assert.deepEqual(await node.everything(), before);
  });

  test("where it pointed before, nothing is forgotten", async () => {
    await using node = await NodeFolder.create();
    const before = await node.everything();
    await reconcile(settingsOf(node), wanted("docker.io"));
    await node.write({ "etc/containerd/config.toml": config.replace("certs.d", "hosts.d") });
    await reconcile(settingsOf(node), wanted("docker.io"));
    assert.deepEqual(
      Object.keys(await node.everything()).filter((name) => name.endsWith("hosts.toml")),
      ["etc/containerd/hosts.d/docker.io/hosts.toml"],
    );
    await reconcile(settingsOf(node), undefined);
    await rm(join(node.path, "etc/containerd/config.toml"));
    assert.deepEqual(await node.everything(), before);
  });

  test("a registry's folder by its other name", async () => {
    await using node = await NodeFolder.create({
      "etc/containerd/config.toml": config,
      [`${certs}/registry.example.com_5000_/hosts.toml`]: "[host.x]\n",
    });
    assert.deepEqual(said(await reconcile(settingsOf(node), wanted("registry.example.com:5000"))), [
      `written /${certs}/registry.example.com_5000_/hosts.toml`,
    ]);
  });

  test("somebody else's _default is not hidden by a folder of ours", async () => {
    await using node = await NodeFolder.create({
      "etc/containerd/config.toml": config,
      [`${certs}/_default/hosts.toml`]: "[host.x]\n",
    });
    const [docker = ""] = said(await reconcile(settingsOf(node), wanted("docker.io")));
    assert.match(docker, /^left docker\.io: .*_default of somebody else is for it.*--registry "\*"/);
    assert.deepEqual(said(await reconcile(settingsOf(node), wanted("docker.io", "*"))), [
      `skipped docker.io: /${certs}/_default is for it, where the mirror is too`,
      `written /${certs}/_default/hosts.toml`,
    ]);
  });

  test("a _default of ours does not hide what somebody else has in a later folder", async () => {
    await using node = await NodeFolder.create({ "etc/docker/certs.d/quay.io/ca.crt": "c" });
    const before = await node.everything();
    const [all = ""] = said(await reconcile(settingsOf(node), wanted("*")));
    assert.match(all, /^left \*: .* would hide what is in \/etc\/docker\/certs\.d: name the registries/);
    await rename(join(node.path, "etc/docker"), join(node.path, "etc/gone"));
    await reconcile(settingsOf(node), wanted("*"));
    await rename(join(node.path, "etc/gone"), join(node.path, "etc/docker"));
    // It goes when such a folder comes.
    await reconcile(settingsOf(node), wanted("*"));
    const { [`${certs}:`]: _, ...after } = await node.everything();
    assert.ok(!(`${certs}/_default/hosts.toml` in after));
    await reconcile(settingsOf(node), undefined);
    assert.deepEqual(await node.everything(), before);
  });

  test("somebody else's _default hides what it does already", async () => {
    await using node = await NodeFolder.create({
      [`${certs}/_default/hosts.toml`]: "[host.x]\n",
      "etc/docker/certs.d/quay.io/ca.crt": "c",
    });
    assert.ok(said(await reconcile(settingsOf(node), wanted("*"))).includes(`written /${certs}/_default/hosts.toml`));
  });

  test("a file among the folders is no registry's", async () => {
    await using node = await NodeFolder.create({ [`${certs}/docker.io`]: "", "etc/docker/certs.d/README": "" });
    const [docker = "", all = ""] = said(await reconcile(settingsOf(node), wanted("docker.io", "*")));
    assert.match(docker, /^left .*docker\.io\/hosts\.toml: ENOTDIR/);
    assert.equal(all, `written /${certs}/_default/hosts.toml`);
  });

  test("a folder that is not mounted, or a link out of what is", async () => {
    await using node = await NodeFolder.create({
      "etc/containerd/config.toml": config.replace("/etc/containerd/certs.d", "/var/lib/certs.d"),
    });
    const before = await node.everything();
    assert.deepEqual(said(await reconcile(settingsOf(node), wanted("docker.io"))), [
      `left docker.io: /var/lib of the node is not mounted below ${node.path}, or not there`,
    ]);
    assert.deepEqual(await node.everything(), before);
    await using elsewhere = await NodeFolder.create();
    await mkdir(join(node.path, "var/lib"), { recursive: true });
    await symlink(elsewhere.path, join(node.path, "var/lib/certs.d"));
    assert.deepEqual(said(await reconcile(settingsOf(node), wanted("docker.io"))), [
      `left docker.io: /var/lib/certs.d is a link that leads out of ${node.path}`,
    ]);
    // Nor is such a folder made there.
    await node.write({
      "etc/containerd/config.toml": config.replace("/etc/containerd/certs.d", "/var/lib/certs.d/in"),
    });
    assert.deepEqual(said(await reconcile(settingsOf(node), wanted("docker.io"))), [
      `left docker.io: /var/lib/certs.d is a link that leads out of ${node.path}`,
    ]);
  });

  const twice: [name: string, configPath: string][] = [
    ["a list with a link", both],
    ["a list with a link first", "/etc/docker/certs.d:/etc/containerd/certs.d"],
    ["a slash at the end", "/etc/containerd/certs.d/"],
  ];
  for (const [name, configPath] of twice) {
    test(`one folder by two names has one file for a registry, which stays, and goes: ${name}`, async () => {
      await using node = await NodeFolder.create({
        "etc/containerd/config.toml": config.replace("/etc/containerd/certs.d", configPath),
        "etc/docker/": "",
        [`${certs}/`]: "",
      });
      await symlink("../containerd/certs.d", join(node.path, "etc/docker/certs.d"));
      const before = await node.everything();
      const states = async (each: Wanted | undefined): Promise<Set<string>> =>
        new Set((await reconcile(settingsOf(node), each)).outcomes.map(({ state }) => state));
      assert.deepEqual(await states(wanted("docker.io")), new Set(["written"]));
      assert.deepEqual(await states(wanted("docker.io")), new Set(["kept"]));
      assert.deepEqual(await states(undefined), new Set(["removed"]));
      assert.deepEqual(await node.everything(), before);
    });
  }

  test("none: what is of containerd is neither written nor looked at", async () => {
    await using node = await NodeFolder.create({ "etc/containerd/config.toml": "not TOML" });
    const state = await reconcile(settingsOf(node, { containerdHosts: "none" }), wanted("docker.io"));
    assert.deepEqual([said(state), state.notes], [[], []]);
  });

  test("a folder that is told, and not looked at", async () => {
    await using node = await NodeFolder.create({ "etc/containerd/config.toml": config });
    const settings = settingsOf(node, { containerdHosts: "/etc/containerd/mine" });
    const state = await reconcile(settings, wanted("docker.io"));
    assert.deepEqual(said(state), ["written /etc/containerd/mine/docker.io/hosts.toml"]);
    assert.match(
      state.notes.join(),
      /has containerd look in \/etc\/containerd\/certs\.d, not in \/etc\/containerd\/mine/,
    );
    assert.deepEqual(said(await reconcile(settings, undefined)), ["removed /etc/containerd/mine/docker.io/hosts.toml"]);
  });
});
