import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { link, mkdir, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { type ArchiveFiles, openArchive } from "../../../src/layout/archive.ts";
import type { LayoutFiles } from "../../../src/layout/files.ts";
import { LayoutError } from "../../../src/layout/index-document.ts";
import { type Key, StoreError } from "../../../src/store/object-store.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { readWhole } from "../../../src/store/read-whole.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { filesOf } from "../../support/layout-world.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const long = `${"deep/".repeat(30)}${"n".repeat(120)}`;
const contents: Readonly<Record<string, Buffer>> = {
  "index.json": Buffer.from("{}"),
  "blobs/sha256/a": pseudoRandomBytes(100_000, "a"),
  "blobs/sha256/empty": Buffer.alloc(0),
  "blobs/sha256/block": pseudoRandomBytes(512, "block"),
  [long]: Buffer.from("long"),
};

async function open(files: LayoutFiles, key: string): Promise<ArchiveFiles> {
  const object = (await files.get(key as Key)) ?? assert.fail();
  await object.close();
  return (await openArchive(files, key as Key, object.version)) ?? assert.fail();
}

async function read(archive: ArchiveFiles, name: string): Promise<Buffer | undefined> {
  const object = await archive.get(name as Key);
  return object && readWhole(object, Infinity);
}

/** An archive of `contents` as tar makes it, in `<root>/it.tar`. */
async function archiveIn(root: string, ...options: string[]): Promise<LayoutFiles> {
  for (const [name, bytes] of Object.entries(contents)) {
    await mkdir(join(root, "tree", name, ".."), { recursive: true });
    await writeFile(join(root, "tree", name), bytes);
  }
  await link(join(root, "tree/blobs/sha256/a"), join(root, "tree/linked"));
  await symlink("linked", join(root, "tree/symbolic"));
  execFileSync("tar", [...options, "-C", join(root, "tree"), "-cf", join(root, "it.tar"), "."]);
  return filesOf(root);
}

for (const format of ["gnu", "pax", "ustar", "posix"]) {
  const names = Object.keys(contents).filter((name) => format !== "ustar" || name !== long);
  test(`orbstack/orbstack#2059: what is in a tar as ./… is read by its name, in ranges too (${format})`, async () => {
    await using folder = await createTemporaryDirectory();
    const excluded = format === "ustar" ? [`--exclude=deep`] : [];
    const archive = await open(await archiveIn(folder.path, `--format=${format}`, ...excluded), "it.tar");
    assert.deepEqual(archive.names.toSorted(), [...names, "linked"].toSorted());
    for (const name of names) assert.deepEqual(await read(archive, name), contents[name], name);
    assert.deepEqual(await read(archive, "linked"), contents["blobs/sha256/a"], "a hard link is what it links to");
    const object = (await archive.get("blobs/sha256/a" as Key)) ?? assert.fail();
    const parts: Buffer[] = [];
    for await (const chunk of object.read({ start: 70_000, end: 70_010 })) parts.push(Buffer.from(chunk));
    assert.deepEqual(Buffer.concat(parts), contents["blobs/sha256/a"]?.subarray(70_000, 70_010));
    await object.close();
    const listed: string[] = [];
    for await (const { key } of archive.list("blobs" as Key, { after: "blobs/sha256/a" as Key })) listed.push(key);
    assert.deepEqual(listed, ["blobs/sha256/block", "blobs/sha256/empty"]);
  });
}

test("a compressed archive says how to uncompress it", async () => {
  await using folder = await createTemporaryDirectory();
  const files = await archiveIn(folder.path, "-z");
  await assert.rejects(open(files, "it.tar"), { name: "LayoutError", message: /compressed with gzip.*gunzip/ });
});

test("an archive that ends early is refused, wherever that is", async () => {
  await using folder = await createTemporaryDirectory();
  const files = await archiveIn(folder.path);
  const whole = (await files.get("it.tar" as Key)) ?? assert.fail();
  await whole.close();
  const { sizeBytes } = whole;
  // Within the large file's content, whose header is before the middle or behind it.
  for (const size of [100, sizeBytes - 104_000, 60_000]) {
    await truncate(join(folder.path, "it.tar"), size);
    await assert.rejects(open(files, "it.tar"), LayoutError, `${size} bytes`);
  }
});

test("an archive that was replaced has no files any more; the new one has its own", async () => {
  await using folder = await createTemporaryDirectory();
  const files = await archiveIn(folder.path);
  const archive = await open(files, "it.tar");
  await writeFile(join(folder.path, "tree/index.json"), "another");
  execFileSync("tar", ["-C", join(folder.path, "tree"), "-cf", join(folder.path, "new.tar"), "index.json"]);
  execFileSync("mv", [join(folder.path, "new.tar"), join(folder.path, "it.tar")]);
  assert.equal(await archive.get("index.json" as Key), undefined);
  assert.equal((await read(await open(files, "it.tar"), "index.json"))?.toString(), "another");
});

test("names that lead out of the archive are none, and the rest is there", async () => {
  await using folder = await createTemporaryDirectory();
  await mkdir(join(folder.path, "tree"));
  for (const name of ["up", "absolute", "fine"]) await writeFile(join(folder.path, "tree", name), name);
  const renames = ["s,^up$,../up,", "s,^absolute$,/absolute,", "s,^fine$,.//a/./fine,"];
  const file = join(folder.path, "it.tar");
  const options = renames.map((rename) => `--transform=${rename}`);
  execFileSync("tar", ["-P", ...options, "-C", join(folder.path, "tree"), "-cf", file, "up", "absolute", "fine"]);
  const archive = await open(await filesOf(folder.path), "it.tar");
  assert.deepEqual(archive.names, ["a/fine"]);
});

test("bytes that are no archive, or a damaged one, are refused or give files within it", async () => {
  await using folder = await createTemporaryDirectory();
  const files = await archiveIn(folder.path, "--format=pax");
  const good = (await readWhole((await files.get("it.tar" as Key)) ?? assert.fail(), Infinity)) ?? assert.fail();
  const store = new MemoryStore();
  await fc.assert(
    fc.asyncProperty(fc.nat(good.length - 1), fc.uint8Array({ minLength: 1, maxLength: 40 }), async (at, bytes) => {
      const damaged = Buffer.from(good);
      damaged.set(bytes.subarray(0, good.length - at), at);
      const version = await store.put("it.tar" as Key, damaged);
      try {
        const archive = (await openArchive(store, "it.tar" as Key, version)) ?? assert.fail();
        for (const name of archive.names) await read(archive, name);
      } catch (error) {
        assert.ok(error instanceof LayoutError || error instanceof StoreError, String(error));
      }
    }),
    { numRuns: 300 },
  );
});
