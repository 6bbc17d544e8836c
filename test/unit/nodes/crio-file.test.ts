import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { reconcile } from "../../../src/nodes/reconcile.ts";
import type { Wanted } from "../../../src/nodes/settings.ts";
import { NodeFolder, oneFolder as config, said, settingsOf } from "../../support/node-folder.ts";

const wanted = (...registries: string[]): Wanted => ({ mirror: "http://127.0.0.1:6500", registries });

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
      "etc/containers/registries.conf": '[[registry]]\nprefix = ""\nlocation = "docker.io"\n',
      "etc/containers/registries.conf.d/a.conf": "[[registry]]\nprefix = 1\n",
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
