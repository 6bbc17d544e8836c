import assert from "node:assert/strict";
import { mkdir, rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { type NodeSettings, type NodeState, reconcile, type Wanted } from "../../../src/nodes/reconcile.ts";
import { NodeFolder } from "../../support/node-folder.ts";

const mirror = "http://127.0.0.1:6500";
const certs = "etc/containerd/certs.d";
const config = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/etc/containerd/certs.d"\n';

function settingsOf(node: NodeFolder, more: Partial<NodeSettings> = {}): NodeSettings {
  return {
    owner: "a",
    hostRoot: node.path,
    containerdConfig: "/etc/containerd/config.toml",
    containerdHosts: undefined,
    crio: undefined,
    ...more,
  };
}

const wanted = (...registries: string[]): Wanted => ({ mirror, registries });

/** What became of the files, in short. */
function said({ outcomes }: NodeState): string[] {
  return outcomes.map(({ file, state, why }) => `${state} ${file}${why === undefined ? "" : `: ${why}`}`);
}

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
      "it is no folder, or a link to one",
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

describe("CRI-O and podman", () => {
  const crio = "/etc/containers/registries.conf.d";
  const file = `${crio}/entrepot-a.conf`;

  test("get one file, with a mirror below each registry", async () => {
    await using node = await NodeFolder.create({ "etc/containerd/config.toml": config, "etc/containers/": "" });
    const before = await node.everything();
    const settings = settingsOf(node, { crio });
    const state = await reconcile(settings, wanted("docker.io", "registry.example.com:5000", "*"));
    assert.deepEqual(said(state).slice(3), [
      "skipped *: CRI-O and podman have no entry for all registries: name them too",
      `written ${file}`,
    ]);
    assert.match(state.notes.join(), /told to reload \(systemctl reload crio: SIGHUP\)/);
    assert.equal(
      (await node.read(file)).replaceAll(/^#.*\n/gm, ""),
      `[[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "127.0.0.1:6500/docker.io"
insecure = true

[[registry]]
prefix = "registry.example.com:5000"
location = "registry.example.com:5000"
[[registry.mirror]]
location = "127.0.0.1:6500/registry.example.com:5000"
insecure = true
`,
    );
    await reconcile(settings, { mirror: "https://m.example.com", registries: ["docker.io"] });
    assert.match(await node.read(file), /^location = "m\.example\.com\/docker\.io"\n# <<</m);
    assert.deepEqual(said(await reconcile(settings, undefined)).slice(1), [`removed ${file}`]);
    assert.deepEqual(await node.everything(), before);
  });

  test("registries that have an entry of somebody else are left out", async () => {
    await using node = await NodeFolder.create({
      "etc/containers/registries.conf": '[[registry]]\nlocation = "docker.io"\n',
      "etc/containers/registries.conf.d/b.conf": '[[registry]]\nprefix = "*.example.com"\nlocation = "x"\n',
      "etc/containers/registries.conf.d/c.txt": '[[registry]]\nlocation = "quay.io"\n',
    });
    const settings = settingsOf(node, { crio });
    const names = wanted("docker.io", "a.example.com", "quay.io");
    const outcomes = said(await reconcile(settings, names)).filter((each) => each.includes("containers"));
    assert.deepEqual(outcomes, [
      "skipped docker.io: /etc/containers/registries.conf has an entry for it",
      `skipped a.example.com: ${crio}/b.conf has an entry for it`,
      `written ${file}`,
    ]);
    assert.match(await node.read(file), /quay\.io/);
    await node.write({
      "etc/containers/registries.conf.d/d.conf": '[[registry]]\nprefix = "quay.io"\nlocation = "x"\n',
    });
    assert.ok(said(await reconcile(settings, names)).includes(`removed ${file}`));
  });

  const refused: [name: string, files: Record<string, string>, why: RegExp][] = [
    [
      "a file that cannot be parsed",
      { "registries.conf.d/b.conf": "[" },
      /b\.conf cannot be read: it is no valid TOML/,
    ],
    [
      "the form of version 1",
      { "registries.conf": '[registries.search]\nregistries = ["x"]\n' },
      /registries\.conf has \[registries\.\*\]/,
    ],
    [
      "what somebody has added to our file",
      { "registries.conf.d/entrepot-a.conf": "# mine\n" },
      /somebody has written to it/,
    ],
  ];
  for (const [name, files, why] of refused) {
    test(`${name}: nothing is written`, async () => {
      await using node = await NodeFolder.create(
        Object.fromEntries(
          Object.entries({ "registries.conf.d/": "", ...files }).map(([path, text]) => [
            `etc/containers/${path}`,
            text,
          ]),
        ),
      );
      const outcomes = said(await reconcile(settingsOf(node, { crio }), wanted("docker.io")));
      assert.match(outcomes.find((each) => each.startsWith(`left ${file}`)) ?? "", why);
    });
  }
});
