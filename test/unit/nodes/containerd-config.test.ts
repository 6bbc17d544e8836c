import assert from "node:assert/strict";
import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { findHostsFolders } from "../../../src/nodes/containerd-config.ts";
import { NodeFolder } from "../../support/node-folder.ts";

const file = "/etc/containerd/config.toml";
const list = "/etc/containerd/certs.d:/etc/docker/certs.d";
const defaults = [list.split(":"), [list]];
const at = (version: number, text: string): string => {
  const plugin = { 1: "cri", 2: '"io.containerd.grpc.v1.cri"', 3: '"io.containerd.cri.v1.images"' }[version];
  return `${version === 1 ? "" : `version = ${version}\n`}[plugins.${plugin}.registry]\n${text}\n`;
};

interface Case {
  readonly name: string;
  readonly files: Readonly<Record<string, string>>;
  readonly lookups: readonly (readonly string[])[];
  /** What is said, in the order in which it is. */
  readonly notes?: readonly RegExp[];
}

const unset =
  /containerd 2\.2 and later looks in \/etc\/containerd\/certs\.d by itself, an earlier one nowhere; .* restart containerd$/;
const cases: readonly Case[] = [
  {
    name: "no file",
    files: {},
    lookups: defaults,
    notes: [/^there is no \/etc\/containerd\/config\.toml: .*"io\.containerd\.grpc\.v1\.cri"/],
  },
  { name: "an empty file", files: { [file]: "" }, lookups: defaults, notes: [unset] },
  ...[1, 2, 3].map((version) => ({
    name: `version ${version}, one folder`,
    files: { [file]: at(version, 'config_path = "/etc/hosts.d"') },
    lookups: [["/etc/hosts.d"]],
  })),
  {
    name: "version 3, a list, as containerd config default writes it",
    files: { [file]: at(3, `config_path = '${list}'`) },
    lookups: defaults,
  },
  {
    name: "an empty list",
    files: { [file]: at(3, 'config_path = ""') },
    lookups: defaults,
    notes: [/set \[plugins\."io\.containerd\.cri\.v1\.images"\.registry\] config_path/],
  },
  {
    name: "version 3 with the place of version 2, which is not read",
    files: { [file]: at(2, 'config_path = "/etc/hosts.d"').replace("version = 2", "version = 3") },
    lookups: defaults,
    notes: [unset],
  },
  {
    name: "imports, by name and by pattern, of which the last counts",
    files: {
      [file]: `imports = ["conf.d/*.toml", "/etc/more.toml", "/etc/none.toml"]\n${at(2, 'config_path = "/a"')}`,
      "/etc/containerd/conf.d/1.toml": at(2, 'config_path = "/b"'),
      "/etc/containerd/conf.d/2.toml": at(2, 'config_path = "/c"'),
      "/etc/containerd/conf.d/3.txt": at(2, 'config_path = "/d"'),
      "/etc/more.toml": `imports = ["${file}"]\n${at(2, "[plugins.x]")}`,
    },
    lookups: [["/c"]],
    notes: [/^\/etc\/none\.toml cannot be read \(ENOENT\)$/],
  },
  {
    name: "inline mirrors alone",
    files: {
      [file]: at(2, '[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\nendpoint = ["https://m"]'),
    },
    lookups: defaults,
    notes: [
      /has registry\.mirrors, beside which no hosts\.toml is read: move them .* \(with both, it does not load CRI\)$/,
    ],
  },
  {
    name: "inline mirrors beside a folder",
    files: {
      [file]: `${at(2, 'config_path = "/etc/hosts.d"')}[plugins."io.containerd.grpc.v1.cri".registry.mirrors.x]\n`,
    },
    lookups: [["/etc/hosts.d"]],
    notes: [/has both config_path and registry\.mirrors, with which containerd does not load CRI: remove the mirrors/],
  },
  {
    name: "a containerd without CRI, as Docker installs it",
    files: { [file]: `disabled_plugins = ["cri"]\n${at(2, 'config_path = "/etc/hosts.d"')}` },
    lookups: [["/etc/hosts.d"]],
    notes: [/disables CRI: Kubernetes does not use this containerd/],
  },
  {
    name: "no TOML",
    files: { [file]: "[" },
    lookups: defaults,
    notes: [/cannot be understood: it is no valid TOML/, /looks in/],
  },
];

test("a link that leads nowhere is no absent file", async () => {
  await using node = await NodeFolder.create();
  await symlink("/nowhere/config.toml", join(node.path, file));
  const { notes } = await findHostsFolders(file, node.path, undefined);
  assert.equal(notes[0], `${file} cannot be read (ENOENT)`);
});

describe("where containerd looks for hosts.toml files", () => {
  for (const { name, files, lookups, notes = [] } of cases) {
    test(name, async () => {
      await using node = await NodeFolder.create(files);
      const found = await findHostsFolders(file, node.path, undefined);
      assert.deepEqual(found.lookups, lookups);
      assert.equal(found.notes.length, notes.length, found.notes.join("\n"));
      for (const [index, note] of notes.entries()) assert.match(found.notes[index] ?? "", note);
    });
  }
});
