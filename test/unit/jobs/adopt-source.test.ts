import assert from "node:assert/strict";
import { mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { openEarlierFolder } from "../../../src/jobs/adopt-source.ts";
import { BufferPool } from "../../../src/store/buffers.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

test("a folder with manifests is one of the earlier system, also where it is named by a link", async () => {
  await using temporary = await createTemporaryDirectory();
  const { path } = temporary;
  await mkdir(join(path, "old/manifests"), { recursive: true });
  await symlink(join(path, "old"), join(path, "link"));
  for (const name of ["old", "link"]) {
    const folder = await openEarlierFolder(join(path, name), join(path, "new/storage"), new BufferPool());
    assert.equal(folder.root, join(path, "old"));
  }
  assert.deepEqual((await readdir(path)).toSorted(), ["link", "old"]);
});

test("what is no such folder, or the target itself, is refused", async () => {
  await using temporary = await createTemporaryDirectory();
  const { path } = temporary;
  for (const name of [
    "old/manifests",
    "ours/manifests",
    "layout/manifests",
    "other/docker",
    "other/manifests",
    "none",
  ]) {
    await mkdir(join(path, name), { recursive: true });
  }
  await mkdir(join(path, "linked"));
  await symlink(join(path, "old/manifests"), join(path, "linked/manifests"));
  await symlink(join(path, "old"), join(path, "alias"));
  await writeFile(join(path, "ours/format"), "entrepot 1\n");
  await writeFile(join(path, "layout/oci-layout"), "{}");
  await writeFile(join(path, "file"), "");
  const cases = [
    ["absent", "new", /absent cannot be adopted: there is no such folder$/],
    ["file", "new", /file cannot be adopted: a folder of .* has a folder manifests\/ in it, this has none$/],
    ["none", "new", /this has none$/],
    ["linked", "new", /this has none$/],
    ["ours", "new", /it is a storage of entrepot already \(format\)$/],
    ["layout", "new", /it is an OCI layout \(oci-layout\)$/],
    ["other", "new", /it is a storage of the distribution registry \(docker\)$/],
    ["old", "old", /one is in the other/],
    ["old", "old/new", /one is in the other/],
    ["old", "old/manifests/new/deeper", /one is in the other/],
    ["old", ".", /one is in the other/],
    ["alias", "old", /one is in the other/],
    ["old", "alias/new", /one is in the other/],
  ] as const;
  for (const [from, target, message] of cases) {
    const opened = openEarlierFolder(join(path, from), join(path, target), new BufferPool());
    await assert.rejects(opened, { name: "NotAdoptable", message }, `${from} into ${target}`);
  }
});

test("a folder beside the target whose name begins like it is another one", async () => {
  await using temporary = await createTemporaryDirectory();
  const { path } = temporary;
  await mkdir(join(path, "data..old/manifests"), { recursive: true });
  await mkdir(join(path, "data"));
  await openEarlierFolder(join(path, "data..old"), join(path, "data"), new BufferPool());
  await openEarlierFolder(join(path, "data..old"), join(path, "data..ol"), new BufferPool());
});
