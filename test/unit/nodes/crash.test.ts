import assert from "node:assert/strict";
import files from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { describe, test } from "node:test";
import { withoutParts } from "../../../src/nodes/owned-part.ts";
import { reconcile } from "../../../src/nodes/reconcile.ts";
import type { NodeSettings, Wanted } from "../../../src/nodes/settings.ts";
import { NodeFolder, oneFolder, said, settingsOf } from "../../support/node-folder.ts";

const certs = "etc/containerd/certs.d";
const wanted: Wanted = { mirror: "http://127.0.0.1:6500", registries: ["docker.io", "quay.io", "ghcr.io"] };
const foreign = 'server = "https://x"\n[host."https://m"]';

const createNode = (): Promise<NodeFolder> =>
  NodeFolder.create({
    "etc/containerd/config.toml": oneFolder,
    [`${certs}/docker.io/hosts.toml`]: foreign,
    [`${certs}/quay.io/ca.crt`]: "c",
  });

/** What changes the file system. */
const changes = ["mkdir", "open", "chmod", "rename", "rm", "rmdir", "unlink"] as const;

/**
 * Lets a piece of work run until before a change of the file system, where it stands still for ever: all that a process
 * which is killed there leaves behind. False where it ends before.
 */
async function killBefore(change: number, work: () => Promise<unknown>): Promise<boolean> {
  const reached = Promise.withResolvers<true>();
  const originals = changes.map((name) => [name, files[name]] as const);
  let count = 0;
  for (const [name, original] of originals) {
    Object.assign(files, {
      [name]: (...args: unknown[]) => {
        // Folders are flushed by a handle, too.
        if (name === "open" && args[1] === "r") return Reflect.apply(original, files, args) as unknown;
        count += 1;
        if (count < change) return Reflect.apply(original, files, args) as unknown;
        reached.resolve(true);
        return new Promise(() => undefined);
      },
    });
  }
  syncBuiltinESMExports();
  try {
    return await Promise.race([reached.promise, work().then(() => false)]);
  } finally {
    Object.assign(files, Object.fromEntries(originals));
    syncBuiltinESMExports();
  }
}

const nodes: readonly [name: string, create: () => Promise<NodeFolder>][] = [
  ["where somebody has files", createNode],
  ["where no folder is yet", () => NodeFolder.create({ "etc/containers/": "" })],
];
const settings = (node: NodeFolder): NodeSettings => settingsOf(node, { crio: "/etc/containers/registries.conf.d" });

/** What is neither finished nor as it was before nor as it is to be. */
async function spoiled(node: NodeFolder, ...states: readonly Record<string, string>[]): Promise<unknown> {
  const finished = Object.entries(await node.everything()).filter(([name]) => !name.includes(".entrepot-node"));
  return finished.filter(([name, text]) => states.every((state) => state[name] !== text));
}

describe("a process that is killed at any point", () => {
  for (const [where, create] of nodes) {
    test(`while it writes, ${where}: each file is the old or the new, and the next run brings all in order`, async () => {
      await using whole = await create();
      await reconcile(settings(whole), wanted);
      const after = await whole.everything();
      for (let change = 1; ; change += 1) {
        await using node = await create();
        const before = await node.everything();
        if (!(await killBefore(change, () => reconcile(settings(node), wanted)))) {
          assert.ok(change > 8, `there are only ${change - 1} changes`);
          return;
        }
        assert.deepEqual(await spoiled(node, before, after), []);
        await reconcile(settings(node), wanted);
        assert.deepEqual(await node.everything(), after, `after change ${change}`);
        await reconcile(settings(node), undefined);
        assert.deepEqual(await node.everything(), before, `after change ${change}`);
      }
    });

    test(`while it takes back, ${where}`, async () => {
      for (let change = 1; ; change += 1) {
        await using node = await create();
        const before = await node.everything();
        await reconcile(settings(node), wanted);
        const after = await node.everything();
        if (!(await killBefore(change, () => reconcile(settings(node), undefined)))) {
          assert.ok(change > 5, `there are only ${change - 1} changes`);
          return;
        }
        assert.deepEqual(await spoiled(node, before, after), []);
        await reconcile(settings(node), undefined);
        assert.deepEqual(await node.everything(), before, `after change ${change}`);
      }
    });
  }
});

/** Does a piece of work while a function of the file system fails for the folder of quay.io. */
async function failingAt<T>(name: "open" | "readdir", error: Error, work: () => Promise<T>): Promise<T> {
  const original = files[name] as (...args: unknown[]) => Promise<unknown>;
  Object.assign(files, {
    [name]: (...args: unknown[]) =>
      String(args[0]).includes("quay.io") ? Promise.reject(error) : Reflect.apply(original, files, args),
  });
  syncBuiltinESMExports();
  try {
    return await work();
  } finally {
    Object.assign(files, { [name]: original });
    syncBuiltinESMExports();
  }
}

test("what cannot be written is said, and the rest is done", async () => {
  await using node = await createNode();
  const before = await node.everything();
  const error = new Error("EROFS: read-only file system");
  const state = await failingAt("open", error, () => reconcile(settingsOf(node), wanted));
  assert.deepEqual(said(state), [
    `written /${certs}/docker.io/hosts.toml`,
    `left /${certs}/quay.io/hosts.toml: EROFS: read-only file system`,
    `written /${certs}/ghcr.io/hosts.toml`,
  ]);
  await reconcile(settingsOf(node), undefined);
  assert.deepEqual(await node.everything(), before);
});

test("a folder that cannot be read is left, the rest is done, and it is not all taken back", async () => {
  await using node = await createNode();
  const before = await node.everything();
  const error = Object.assign(new Error("EACCES: permission denied"), { code: "EACCES" });
  const why = `left /${certs}/quay.io/hosts.toml: hosts.toml: EACCES: permission denied`;
  const write = (registries: readonly string[]): Promise<unknown> =>
    failingAt("readdir", error, async () => said(await reconcile(settingsOf(node), { ...wanted, registries })));
  assert.deepEqual(await write(["docker.io", "quay.io"]), [`written /${certs}/docker.io/hosts.toml`, why]);
  assert.deepEqual(await write(["docker.io"]), [`kept /${certs}/docker.io/hosts.toml`]);
  const removed = await failingAt("readdir", error, () => reconcile(settingsOf(node), undefined));
  assert.deepEqual(said(removed), [`removed /${certs}/docker.io/hosts.toml`, why]);
  assert.deepEqual(await node.everything(), before);
});

test("processes that work on the same files at once spoil nothing that is not theirs", async () => {
  await using node = await createNode();
  const before = await node.everything();
  const other: Wanted = { mirror: "http://b.example.com", registries: ["docker.io", "ghcr.io"] };
  for (let round = 0; round < 20; round += 1) {
    await Promise.all([
      reconcile(settingsOf(node), wanted),
      reconcile(settingsOf(node), undefined),
      reconcile(settingsOf(node, { owner: "b" }), other),
    ]);
    assert.equal(withoutParts(await node.read(`${certs}/docker.io/hosts.toml`)), foreign);
  }
  const { outcomes } = await reconcile(settingsOf(node), wanted);
  assert.ok(
    outcomes.every(({ state }) => state === "written" || state === "kept"),
    JSON.stringify(outcomes),
  );
  await reconcile(settingsOf(node), undefined);
  await reconcile(settingsOf(node, { owner: "b" }), undefined);
  assert.deepEqual(await node.everything(), before);
});
