import assert from "node:assert/strict";
import { chown, mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { readText, removeFile, sweep, writeText } from "../../../src/nodes/files.ts";
import { NodeFolder } from "../../support/node-folder.ts";

const changed = { name: "FileLeft", message: "something else has written there" };
const temporary = /\.entrepot-node\./;

describe("a file that is written", () => {
  test("keeps its mode and its owner", async () => {
    await using node = await NodeFolder.create({ "a/f": "old" });
    const path = join(node.path, "a/f");
    await node.chmod("a/f", 0o606);
    await chown(path, 12_345, 12_345).catch(() => undefined);
    const before = await stat(path);
    await writeText(path, "old", "new", "o");
    const after = await stat(path);
    assert.deepEqual([after.mode, after.uid, after.gid], [before.mode, before.uid, before.gid]);
    assert.notEqual(after.ino, before.ino, "it was written in place");
    assert.equal(await node.read("a/f"), "new");
  });

  test("comes with its folder, which nobody sees empty", async () => {
    await using node = await NodeFolder.create();
    await writeText(join(node.path, "a/f"), undefined, "new", "o");
    assert.deepEqual({ ...(await node.everything()) }, { ...(await node.everything()), a: "755 /", "a/f": "644 new" });
  });

  const spoils: [name: string, spoil: (node: NodeFolder) => Promise<unknown>][] = [
    ["was changed meanwhile", (node) => node.write({ "a/f": "theirs" })],
    ["has come meanwhile", (node) => node.write({ "b/f": "theirs" })],
  ];
  for (const [name, spoil] of spoils) {
    test(`that ${name} is left, and nothing is left behind`, async () => {
      await using node = await NodeFolder.create({ "a/f": "old" });
      await spoil(node);
      const before = await node.everything();
      await assert.rejects(writeText(join(node.path, "a/f"), "older", "new", "o"), changed);
      if ("b/f" in before) await assert.rejects(writeText(join(node.path, "b/f"), undefined, "new", "o"), changed);
      assert.deepEqual(await node.everything(), before);
    });
  }
});

describe("a file that is removed", () => {
  test("takes along the folder that was made for it", async () => {
    await using node = await NodeFolder.create({ "root/a/f": "ours" });
    await removeFile(join(node.path, "root/a/f"), "ours", join(node.path, "root/a"), "o");
    assert.deepEqual(
      Object.keys(await node.everything()).filter((name) => name.startsWith("root")),
      ["root"],
    );
  });

  test("leaves a folder that was there, or that has something else in it", async () => {
    await using node = await NodeFolder.create({ "root/a/f": "ours", "root/b/f": "ours", "root/b/g": "theirs" });
    const root = join(node.path, "root");
    await removeFile(join(root, "a/f"), "ours", join(root, "a/f"), "o");
    await removeFile(join(root, "b/f"), "ours", root, "o");
    const all = Object.keys(await node.everything()).filter((name) => name.startsWith("root/"));
    assert.deepEqual(all, ["root/a", "root/b", "root/b/g"]);
  });

  for (const top of ["root/a/f", "root/a", "root"]) {
    test(`was changed meanwhile, and stays (${top})`, async () => {
      await using node = await NodeFolder.create({ "root/a/f": "theirs" });
      const before = await node.everything();
      const removing = removeFile(join(node.path, "root/a/f"), "ours", join(node.path, top), "o");
      await assert.rejects(removing, changed);
      assert.deepEqual(await node.everything(), before);
    });
  }
});

describe("what a crash leaves behind", () => {
  test("is swept: files, and folders with their file; not another owner's, nor what somebody else has put there", async () => {
    await using node = await NodeFolder.create({
      ".entrepot-node.o~1": "x",
      ".entrepot-node.o~2/hosts.toml": "x",
      ".entrepot-node.o~3/": "",
      ".entrepot-node.o.p~4": "x",
      ".entrepot-node.o~5/hosts.toml": "x",
      ".entrepot-node.o~5/ca.crt": "x",
    });
    await assert.rejects(sweep(node.path, "o"), changed);
    const left = Object.keys(await node.everything()).filter((name) => temporary.test(name));
    assert.deepEqual(left, [
      ".entrepot-node.o.p~4",
      ".entrepot-node.o~5",
      ".entrepot-node.o~5/ca.crt",
      ".entrepot-node.o~5/hosts.toml",
    ]);
  });
});

test("what is no text of a file's kind is not read", async () => {
  await using node = await NodeFolder.create({ large: "x".repeat(1024 * 1024 + 1), bytes: "" });
  await writeText(join(node.path, "bytes"), "", "\u00E9", "o");
  assert.equal(await readText(join(node.path, "bytes")), "\u00E9");
  assert.equal(await readText(join(node.path, "none")), undefined);
  await assert.rejects(readText(join(node.path, "large")), { message: "it is too large" });
  await mkdir(join(node.path, "folder"));
  await assert.rejects(readText(join(node.path, "folder")), { message: "it is no file" });
});
