import assert from "node:assert/strict";
import { access, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, test } from "node:test";
import { BufferPool } from "../../../src/store/buffers.ts";
import { FilesystemStore } from "../../../src/store/filesystem.ts";
import { type Key, StoreError } from "../../../src/store/object-store.ts";
import { format, RootError } from "../../../src/store/root.ts";
import { failFiles } from "../../support/failing-files.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const key = "blobs/sha256/ab/cd" as Key;

/** Files by their path, and folders, whose path ends with a slash. */
async function make(root: string, files: Readonly<Record<string, string>>): Promise<void> {
  await mkdir(root, { recursive: true });
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(root, path, path.endsWith("/") ? "" : ".."), { recursive: true });
    if (!path.endsWith("/")) await writeFile(join(root, path), text);
  }
}

async function refusal(root: string): Promise<string> {
  const before = await readdir(root, { recursive: true });
  const error = await FilesystemStore.open(root).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof RootError, "it was not refused");
  assert.deepEqual((await readdir(root, { recursive: true })).toSorted(), before.toSorted());
  return error.message;
}

test("a folder in use is refused, and its owner's files are not swept", async () => {
  await using folder = await createTemporaryDirectory();
  const store = await FilesystemStore.open(folder.path);
  const staged = join(store.temporaryPath, "staged");
  await writeFile(staged, "being written");
  assert.match(await refusal(folder.path), /in use by another process/);
  await access(staged);
  await store.put(key, Buffer.from("still works"));
  await store.close();
  const next = await FilesystemStore.open(folder.path);
  await next.close();
});

describe("a folder that is not ours is refused, and nothing in it is touched:", () => {
  const foreign: Readonly<Record<string, { readonly files: Readonly<Record<string, string>>; readonly told: RegExp }>> =
    {
      "another version's": {
        files: { format: "entrepot 2\n", "tmp/staged": "theirs" },
        told: /"entrepot 2".*"entrepot 1"/,
      },
      "one whose temporary folder holds something": { files: { "tmp/theirs": "theirs" }, told: /\(tmp\/ without/ },
      "one with an empty folder of another name": { files: { "data/": "" }, told: /\(data\/ without.*empty folder/ },
      "one with a hidden file": { files: { ".profile": "theirs" }, told: /\(\.profile without/ },
      "one with our names, but of other kinds": {
        files: { "lock/": "", "format/": "" },
        told: /\((?:lock|format)\/, /,
      },
      "one that was ours, without the format file": { files: { "blobs/": "", "tmp/": "" }, told: /\(blobs\/ without/ },
      "a predecessor's": {
        files: { "manifests/x": "", "blobs/y": "", "tmp/z": "" },
        told: /another program \(.*blobs\//,
      },
      "one with an empty format file beside data": { files: { format: "", "blobs/x": "" }, told: /\(blobs\/ without/ },
      "one with very much in it": {
        files: Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`file-${index}`, ""])),
        told: /\((?:file-\d+, ){5}… without/,
      },
    };
  for (const [what, { files, told }] of Object.entries(foreign)) {
    test(what, async () => {
      await using folder = await createTemporaryDirectory();
      await make(folder.path, files);
      assert.match(await refusal(folder.path), told);
    });
  }

  test("one whose temporary folder is a link to somewhere else", async () => {
    await using folder = await createTemporaryDirectory();
    const root = join(folder.path, "root");
    await make(folder.path, { "root/": "", "elsewhere/theirs": "theirs", "empty/": "" });
    for (const target of ["elsewhere", "empty"]) {
      await symlink(join(folder.path, target), join(root, "tmp"));
      assert.match(await refusal(root), /\(tmp without/);
      await rm(join(root, "tmp"));
    }
    assert.equal(await readFile(join(folder.path, "elsewhere/theirs"), "utf8"), "theirs");
  });

  test("a file", async () => {
    await using folder = await createTemporaryDirectory();
    await writeFile(join(folder.path, "file"), "theirs");
    await assert.rejects(FilesystemStore.open(join(folder.path, "file")), {
      name: "RootError",
      message: /not a folder/,
    });
  });
});

describe("a folder is taken that holds nothing but", () => {
  const claimable: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    nothing: {},
    "what a volume has": { "lost+found/": "", ".snapshot/hourly/": "" },
    "what a crash left before the format file": { lock: "", "lock-journal": "", "tmp/": "" },
    "an empty format file": { format: "", lock: "" },
    "a part of the format file": { format: "entre", lock: "" },
    "the ledger of a process that could not write the format file": { "ledger.sqlite": "", "ledger.ballast": "" },
  };
  for (const [what, files] of Object.entries(claimable)) {
    test(what, async () => {
      await using folder = await createTemporaryDirectory();
      await make(folder.path, files);
      const store = await FilesystemStore.open(folder.path);
      assert.equal(store.unwritable, undefined);
      assert.equal(await readFile(join(folder.path, "format"), "utf8"), "entrepot 1\n");
      await store.put(key, Buffer.from("object"));
      await store.close();
    });
  }
});

test("a link to the folder itself is fine, and links in what is swept are removed, not followed", async () => {
  await using folder = await createTemporaryDirectory();
  await make(folder.path, { "root/format": format, "root/tmp/": "", "elsewhere/theirs": "theirs" });
  const root = join(folder.path, "link");
  await symlink(join(folder.path, "root"), root);
  await symlink(join(folder.path, "elsewhere"), join(root, "tmp", "folder"));
  await symlink(join(folder.path, "elsewhere/theirs"), join(root, "tmp", "file"));
  const store = await FilesystemStore.open(root);
  assert.deepEqual(await readdir(store.temporaryPath), []);
  assert.equal(await readFile(join(folder.path, "elsewhere/theirs"), "utf8"), "theirs");
  await store.put(key, Buffer.from("object"));
  await store.close();
});

test("a folder of ours is refused where a part of it is a link", async () => {
  await using folder = await createTemporaryDirectory();
  const root = join(folder.path, "root");
  const files = ["lock", "ledger.sqlite", "ledger.ballast"];
  for (const name of ["tmp", "blobs", "repositories", "quarantine", "state", ...files]) {
    await make(folder.path, { "root/format": format, "elsewhere/theirs": "theirs" });
    await symlink(join(folder.path, files.includes(name) ? "elsewhere/theirs" : "elsewhere"), join(root, name));
    assert.match(await refusal(root), new RegExp(`root/${name} is a symbolic link; .* as a whole`));
    assert.equal(await readFile(join(folder.path, "elsewhere/theirs"), "utf8"), "theirs");
    await rm(root, { recursive: true });
  }
});

test("a new folder that cannot be written is left as it is, and taken when it can", async () => {
  await using folder = await createTemporaryDirectory();
  let now = 0;
  const readOnly = failFiles(folder.path, "EROFS", ["write"]);
  const store = await FilesystemStore.open(folder.path, new BufferPool(), () => now);
  assert.equal(store.unwritable?.code, "EROFS");
  await assert.rejects(store.put(key, Buffer.from("object")), (error) => error === store.unwritable);
  readOnly[Symbol.dispose]();
  now = 3_000;
  await store.put(key, Buffer.from("object"));
  assert.equal(await readFile(join(folder.path, "format"), "utf8"), "entrepot 1\n");
  await store.close();
});

test("a folder whose format file cannot be written is in use by nobody, and taken when it can", async (context) => {
  await using folder = await createTemporaryDirectory();
  let now = 0;
  // A lock that is only forgotten may be closed by the garbage collector, some time.
  const released = context.mock.method(DatabaseSync.prototype, "close");
  const fullDisk = failFiles(join(folder.path, "format"), "ENOSPC", ["write"]);
  const store = await FilesystemStore.open(folder.path, new BufferPool(), () => now);
  assert.equal(store.unwritable?.code, "ENOSPC");
  assert.equal(released.mock.callCount(), 1);
  fullDisk[Symbol.dispose]();
  const other = await FilesystemStore.open(folder.path);
  await other.close();
  now = 3_000;
  await store.put(key, Buffer.from("object"));
  assert.equal(store.unwritable, undefined);
  await store.close();
});

test("nothing is stored without the lock; a put tries again to get it, and sweeps nothing", async () => {
  await using folder = await createTemporaryDirectory();
  // A folder where the lock's file belongs: for now nobody can have it.
  await make(folder.path, { format, "tmp/": "", "lock/": "" });
  let now = 0;
  const store = await FilesystemStore.open(folder.path, new BufferPool(), () => now);
  assert.ok(store.unwritable instanceof StoreError);
  const staged = join(store.temporaryPath, "staged");
  await writeFile(staged, "being fetched");
  await assert.rejects(store.put(key, Buffer.from("object")), (error) => error === store.unwritable);
  await assert.rejects(store.probe(), (error) => error === store.unwritable);
  await rm(join(folder.path, "lock"), { recursive: true });
  now = 2_999;
  await assert.rejects(store.put(key, Buffer.from("object")), StoreError);
  assert.deepEqual(await readdir(folder.path), ["format", "tmp"]);
  now = 3_000;
  await Promise.all([store.put(key, Buffer.from("object")), store.probe()]);
  assert.equal(store.unwritable, undefined);
  await access(staged);
  await assert.rejects(FilesystemStore.open(folder.path), /in use by another process/);
  await store.close();
  const next = await FilesystemStore.open(folder.path);
  assert.equal((await next.head(key))?.sizeBytes, 6);
  await next.close();
});

test("a folder that another process has taken meanwhile is not written", async () => {
  await using folder = await createTemporaryDirectory();
  await make(folder.path, { format, "lock/": "" });
  let now = 0;
  const late = await FilesystemStore.open(folder.path, new BufferPool(), () => now);
  await rm(join(folder.path, "lock"), { recursive: true });
  const owner = await FilesystemStore.open(folder.path);
  now = 10_000;
  await assert.rejects(late.put(key, Buffer.from("object")), (error: unknown) => {
    assert.ok(error instanceof StoreError);
    assert.ok(error.cause instanceof RootError);
    return true;
  });
  assert.equal(await owner.head(key), undefined);
  await late.close();
  await owner.close();
});

test("the format of a folder that cannot be written is checked, too", async () => {
  await using folder = await createTemporaryDirectory();
  // A file where the temporary folder belongs.
  await make(folder.path, { tmp: "", format: "entrepot 2\n" });
  await assert.rejects(FilesystemStore.open(folder.path), RootError);
  await writeFile(join(folder.path, "format"), format);
  const store = await FilesystemStore.open(folder.path);
  assert.equal(store.unwritable?.code, "EEXIST");
  await store.close();
});
