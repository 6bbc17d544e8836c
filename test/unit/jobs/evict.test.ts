import assert from "node:assert/strict";
import { test } from "node:test";
import type { Namespace, Tag } from "../../../src/oci/reference.ts";
import { blobKey, linkKey, pageKey, pageName, tagKey } from "../../../src/store/layout.ts";
import { createBarrier } from "../../support/barrier.ts";
import { never, turn } from "../../support/event-loop.ts";
import { addBlobs, block, createEvictWorld, type EvictWorld, named, repository, runSteps } from "./evict-world.ts";

const a = repository("docker.io/library/a");
const b = repository("docker.io/library/b");
const quay = repository("quay.io/team/app");

/** After a run that could not make enough room, the next one is that much later. */
const shortMs = 5_000;

function usedBlocks(world: EvictWorld): number {
  return (world.totals()?.bytes ?? 0) / block;
}

test("below the high watermark nothing goes; above it the least recently used, down to the low one", async () => {
  const world = createEvictWorld(20);
  const names = await addBlobs(world, 9, a);
  await world.evictor.tidy();
  assert.deepEqual(await world.left(a, names), names);
  await world.add(a, "last", { at: 20 });
  world.tell({ kind: "use", id: a, digest: named("library/a 2"), at: 100 });
  await world.evictor.tidy();
  // 20 blocks are used, and 10 is the low watermark.
  assert.deepEqual(await world.left(a, [...names, "last"]), ["library/a 2", ...names.slice(6), "last"]);
  const gone = ["library/a 1", ...names.slice(2, 6)];
  assert.deepEqual(
    world.deleted,
    gone.flatMap((name) => [linkKey(a, named(name)), blobKey(named(name))]),
  );
  assert.equal(usedBlocks(world), 10);
  assert.equal(world.freed(), 10 * block);
  assert.deepEqual(world.shortages, []);
});

test("a tag goes, then its index, then the manifest, then the blobs; also where all are equally old", async () => {
  const world = createEvictWorld(1);
  for (const name of ["layer", "config"]) await world.add(a, name, { at: 1 });
  await world.add(a, "manifest", { at: 1, children: ["layer", "config"] });
  await world.add(a, "index", { at: 1, children: ["manifest"], tag: "latest" });
  await world.evictor.tidy();
  const keys = (name: string): string[] => [linkKey(a, named(name)), blobKey(named(name))];
  assert.deepEqual(world.deleted.slice(0, 5), [tagKey(a, "latest" as Tag), ...keys("index"), ...keys("manifest")]);
  assert.deepEqual(world.deleted.slice(5).toSorted(), [...keys("layer"), ...keys("config")].toSorted());
  assert.equal(usedBlocks(world), 0);
});

test("a manifest in use keeps its blobs", async () => {
  const world = createEvictWorld(10);
  await world.add(a, "layer", { at: 1 });
  await world.add(a, "manifest", { at: 2, children: ["layer"], tag: "1" });
  for (const name of ["x", "y", "z"]) await world.add(b, name, { at: 3 });
  world.tell({ kind: "use", id: a, digest: named("manifest"), at: 4 });
  await world.evictor.tidy();
  assert.deepEqual(await world.left(a, ["layer", "manifest"]), ["layer", "manifest"]);
  assert.deepEqual(await world.left(b, ["x", "y", "z"]), []);
});

test("content that several repositories hold goes with the last link", async () => {
  const world = createEvictWorld(4);
  await world.add(a, "shared", { at: 1, blocks: 3 });
  await world.add(b, "shared", { at: 2, blocks: 3 });
  assert.equal(usedBlocks(world), 5);
  await world.evictor.makeRoom(a.namespace, 0, never());
  assert.deepEqual(world.deleted, [linkKey(a, named("shared")), linkKey(b, named("shared")), blobKey(named("shared"))]);
  assert.equal(usedBlocks(world), 0);
});

test("what was used within the grace stays, and it is said that there is no room", async () => {
  const world = createEvictWorld(8, 60_000);
  const { now } = world;
  await world.add(a, "old", { at: now - 60_001 });
  for (const name of ["young", "younger"]) await world.add(a, name, { at: now - 60_000, blocks: 4 });
  assert.equal(await world.evictor.makeRoom(a.namespace, block, never()), false);
  world.now += shortMs;
  assert.deepEqual(await world.left(a, ["old", "young", "younger"]), ["young", "younger"]);
  assert.deepEqual(world.shortages, [{ namespace: undefined, missingBytes: 6 * block, pinnedBytes: 0, kept: [] }]);
  world.now += shortMs;
  assert.equal(await world.evictor.makeRoom(a.namespace, block, never()), true);
});

test("a time that is set back changes nothing for how long it is not tried again", async () => {
  const world = createEvictWorld(2, 60_000);
  await world.add(a, "young", { at: world.now, blocks: 1 });
  assert.equal(await world.evictor.makeRoom(a.namespace, block, never()), false);
  const before = world.shortages.length;
  world.now -= 3_600_000;
  world.setMs = -3_600_000;
  world.evictor.relieve();
  await turn(5);
  assert.equal(world.shortages.length, before, "it is tried again before its time");
  world.now += shortMs;
  world.evictor.relieve();
  await turn(5);
  assert.equal(world.shortages.length, before + 1);
});

test("what is being read or filled stays and counts as used, the others go", async () => {
  const world = createEvictWorld(13);
  const names = await addBlobs(world, 6, a);
  const [read = "", filled = "", ...others] = names;
  const reader = await world.content.openBlob(named(read));
  world.filling.add(named(filled));
  await world.evictor.tidy();
  assert.deepEqual(await world.left(a, names), [read, filled, ...others.slice(-1)].toSorted());
  // Having been read until now they are the youngest.
  await reader?.close();
  world.filling.clear();
  world.now++;
  world.limitBlocks = 4;
  await world.evictor.tidy();
  assert.deepEqual((await world.left(a, names)).length, 1);
  assert.ok(!(await world.has(a, others.at(-1) ?? "")));
});

test("however many are being read, what is not goes", async () => {
  const world = createEvictWorld(650);
  const names = await addBlobs(world, 300, a);
  const busy = names.slice(0, 140);
  for (const name of busy) world.filling.add(named(name));
  assert.equal(await world.evictor.makeRoom(a.namespace, 0, never()), true);
  assert.deepEqual(await world.left(a, names), [...busy, ...names.slice(-22)]);
  world.limitBlocks = 290;
  world.now++;
  assert.equal(await world.evictor.makeRoom(a.namespace, 0, never()), false);
  world.now += shortMs;
  assert.deepEqual(await world.left(a, names), busy);
  assert.equal(world.shortages.length, 1);
});

test("busy content that nobody holds is left alone, and keeps nobody waiting", async () => {
  const world = createEvictWorld(100);
  const names = Array.from({ length: 130 }, (_, index) => `loose ${index}`);
  for (const name of names) {
    world.tell({ kind: "content", digest: named(name), sizeBytes: block, at: 1 });
    world.filling.add(named(name));
  }
  assert.equal(await world.evictor.makeRoom(a.namespace, 0, never()), false);
  world.now += shortMs;
  assert.deepEqual(world.deleted, []);
  assert.deepEqual(world.failures, []);
});

test("what was used since it was chosen stays", async () => {
  const world = createEvictWorld(13);
  const names = await addBlobs(world, 6, a);
  const [told = "", noted = ""] = names;
  world.onCandidates = () => {
    world.tell({ kind: "use", id: a, digest: named(told), at: world.now });
    world.pending.add(linkKey(a, named(noted)));
    // The next answer has seen it.
    world.onCandidates = () => {
      world.tell({ kind: "use", id: a, digest: named(noted), at: world.now });
      world.pending.clear();
    };
  };
  await world.evictor.tidy();
  assert.deepEqual(await world.left(a, names), [told, noted, names.at(-1)]);
});

test("what a tag came to point at meanwhile loses the tag too", async () => {
  const world = createEvictWorld(10);
  await addBlobs(world, 5, a);
  await world.add(a, "manifest", { at: 0 });
  world.onCandidates = () => {
    world.onCandidates = () => undefined;
    world.tell({ kind: "tag", id: a, tag: "new" as Tag, digest: named("manifest"), at: 0 });
  };
  await world.evictor.tidy();
  assert.deepEqual(world.deleted.slice(0, 2), [tagKey(a, "new" as Tag), linkKey(a, named("manifest"))]);
});

test("pins stay with all that they reach; where they alone are too much, that is said", async () => {
  const world = createEvictWorld(10);
  await world.add(a, "layer", { at: 1, blocks: 7 });
  await world.add(a, "manifest", { at: 1, children: ["layer"], tag: "lts" });
  await world.add(b, "other", { at: 100 });
  world.pins = ["docker.io/library/*:lts"];
  assert.equal(await world.evictor.makeRoom(b.namespace, block, never()), false);
  assert.deepEqual(await world.left(a, ["layer", "manifest"]), ["layer", "manifest"]);
  assert.ok(!(await world.has(b, "other")));
  assert.deepEqual(world.shortages, [
    { namespace: undefined, missingBytes: 6 * block, pinnedBytes: 8 * block, kept: [] },
  ]);
  world.pins = [];
  world.now += shortMs;
  assert.equal(await world.evictor.makeRoom(b.namespace, block, never()), true);
  assert.equal(usedBlocks(world), 0);
});

test("a namespace that is offline or fails keeps everything while it is so", async () => {
  const world = createEvictWorld(10);
  const old = await addBlobs(world, 4, a);
  await world.add(quay, "young", { at: 100 });
  const keeping = new Set<Namespace>([a.namespace]);
  world.retention = (namespace) => ({ idleMs: 1, keeps: keeping.has(namespace) });
  await world.evictor.tidy();
  assert.deepEqual(await world.left(a, old), old);
  assert.ok(!(await world.has(quay, "young")));
  world.limitBlocks = 4;
  await world.evictor.tidy();
  assert.deepEqual(
    world.shortages.map(({ missingBytes, kept }) => [missingBytes / block, kept]),
    [[6, [a.namespace]]],
  );
  keeping.clear();
  await world.evictor.tidy();
  assert.deepEqual(await world.left(a, old), []);
});

test("a namespace's own limit concerns what it holds, and the store's limit all", async () => {
  const world = createEvictWorld(1_000);
  const older = await addBlobs(world, 4, a);
  await world.add(quay, "first", { at: 100 });
  await world.add(quay, "second", { at: 101, blocks: 2 });
  world.namespaceBlocks.set(quay.namespace, 4);
  await world.evictor.tidy();
  assert.deepEqual(await world.left(a, older), older);
  assert.deepEqual(await world.left(quay, ["first", "second"]), []);
  assert.equal(await world.evictor.makeRoom(quay.namespace, 5 * block, never()), false);
  world.now += shortMs;
  assert.deepEqual(
    world.shortages.map(({ namespace }) => namespace),
    [quay.namespace],
  );
  assert.deepEqual(await world.left(a, older), older);
});

test("while it is not known what lies in the store, nothing goes, however full the volume is", async () => {
  const world = createEvictWorld(20);
  const names = await addBlobs(world, 10, a);
  world.volume = { totalBytes: 100 * block, freeBytes: 0 };
  world.retention = () => ({ idleMs: 1, keeps: false });
  world.doubt();
  assert.equal(await world.evictor.makeRoom(a.namespace, block, never()), false);
  world.now += shortMs;
  await world.evictor.tidy();
  assert.deepEqual(await world.left(a, names), names);
  world.believe();
  world.now += shortMs;
  // It stops as soon as that is so.
  world.onDelete = async () => world.doubt();
  assert.equal(await world.evictor.makeRoom(a.namespace, block, never()), false);
  world.now += shortMs;
  assert.deepEqual(await world.left(a, names), names.slice(1));
  assert.deepEqual(world.shortages, []);
});

test("what nobody used for a namespace's idle time goes, whatever room there is", async () => {
  const world = createEvictWorld(1_000);
  const { now } = world;
  world.retention = (namespace) => ({ idleMs: namespace === quay.namespace ? Infinity : 1_000, keeps: false });
  await world.add(a, "idle", { at: now - 1_001 });
  await world.add(a, "used", { at: now - 1_000 });
  await world.add(quay, "kept", { at: 1 });
  world.pins = ["docker.io/library/b"];
  await world.add(b, "pinned", { at: 1 });
  await world.evictor.tidy();
  assert.deepEqual(await world.left(a, ["idle", "used"]), ["used"]);
  assert.ok((await world.has(quay, "kept")) && (await world.has(b, "pinned")));
});

test("listings and content of nobody are evicted in their turn", async () => {
  const world = createEvictWorld(10);
  const name = pageName("");
  world.tell(
    { kind: "page", id: a, page: "tags", name, sizeBytes: 10, at: 1 },
    { kind: "content", digest: named("loose"), sizeBytes: 2 * block, at: 2 },
  );
  await world.add(b, "blob", { at: 3, blocks: 2 });
  await world.add(b, "last", { at: 4, blocks: 3 });
  await world.evictor.tidy();
  assert.deepEqual(world.deleted, [
    pageKey(a, "tags", ""),
    blobKey(named("loose")),
    linkKey(b, named("blob")),
    blobKey(named("blob")),
  ]);
});

test("what is pinned while others are removed stays, and what cannot be fetched again since then", async () => {
  for (const keep of [
    (world: EvictWorld) => void (world.pins = ["docker.io/library/a"]),
    (world: EvictWorld) => void (world.retention = () => ({ idleMs: Infinity, keeps: true })),
  ]) {
    const world = createEvictWorld(20);
    const names = await addBlobs(world, 12, a);
    world.onDelete = async () => keep(world);
    await world.evictor.tidy();
    assert.deepEqual(await world.left(a, names), names.slice(1));
  }
});

test("a pin that is added while others are removed ends nothing: the next ones go", async () => {
  const world = createEvictWorld(20);
  const names = await addBlobs(world, 12, a);
  world.onDelete = async () => void (world.pins = ["docker.io/library/b"]);
  await world.evictor.tidy();
  assert.deepEqual(await world.left(a, names), names.slice(7));
  assert.deepEqual(world.shortages, []);
});

test("a dry run counts what would go, once, and removes nothing", async () => {
  const world = createEvictWorld(20);
  const names = await addBlobs(world, 12, a);
  world.retention = () => ({ idleMs: world.now - 3, keeps: false });
  const planned = await runSteps(world, true);
  assert.deepEqual(await world.left(a, names), names);
  assert.deepEqual(world.deleted, []);
  assert.equal(world.freed(), 0);
  assert.deepEqual(planned, {
    idle: { "manifests and blobs": 2, "bytes freed": 4 * block },
    limits: { "manifests and blobs": 5, "bytes freed": 10 * block },
  });
  assert.deepEqual(await runSteps(world, false), planned);
  assert.deepEqual(await world.left(a, names), names.slice(7));
  assert.equal(world.freed(), 14 * block);
});

test("a dry run counts what would go of each namespace that is too large", async () => {
  const world = createEvictWorld(100);
  const names = [...(await addBlobs(world, 6, a)), ...(await addBlobs(world, 6, quay))];
  for (const { namespace } of [a, quay]) world.namespaceBlocks.set(namespace, 8);
  const planned = await runSteps(world, true);
  assert.deepEqual(planned["limits"], { "manifests and blobs": 8, "bytes freed": 16 * block });
  assert.deepEqual(await runSteps(world, false), planned);
  assert.deepEqual(await world.left(a, names), names.slice(4, 6));
});

test("a dry run of very much asks for it in parts", async () => {
  const world = createEvictWorld(20);
  const count = 10_100;
  for (let number = 0; number < count; number++) {
    world.tell({ kind: "link", id: a, digest: named(`${number}`), at: number });
  }
  assert.deepEqual(await runSteps(world, true), {
    idle: {},
    limits: { "manifests and blobs": count - 10, "bytes freed": (count - 10) * block },
  });
  assert.equal(world.asked.filter((what) => what === "candidates").length, 2);
});

test("closing stops after the object that is being removed; then nothing starts any more", async () => {
  const world = createEvictWorld(4);
  const names = await addBlobs(world, 10, a);
  const barrier = createBarrier();
  world.onDelete = () => barrier.wait();
  const running = world.evictor.makeRoom(a.namespace, 0, never());
  await barrier.reached;
  const closed = world.evictor.close();
  let isClosed = false;
  void closed.then(() => {
    isClosed = true;
  });
  await new Promise(setImmediate);
  assert.equal(isClosed, false);
  barrier.release();
  await closed;
  assert.equal(await running, false);
  assert.deepEqual(await world.left(a, names), names.slice(1));
  assert.equal(await world.evictor.makeRoom(a.namespace, 0, never()), false);
  world.now += shortMs;
  await world.evictor.tidy();
  world.evictor.relieve();
  assert.deepEqual(await world.left(a, names), names.slice(1));
  assert.deepEqual(world.failures, []);
});

test("who asks for room at the same time gets what one run has made", async () => {
  const world = createEvictWorld(20);
  await addBlobs(world, 10, a);
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => world.evictor.makeRoom(a.namespace, 2 * block, never())),
  );
  assert.ok(answers.every(Boolean));
  assert.equal(usedBlocks(world), 10);
  assert.equal(await world.evictor.makeRoom(a.namespace, 18 * block, never()), true);
  assert.equal(usedBlocks(world), 2);
});

test("a ledger or a store that fails is told, and the next run does what is to be done", async () => {
  const world = createEvictWorld(4);
  const names = await addBlobs(world, 4, a);
  const error = new Error("the disk is gone");
  world.onDelete = () => Promise.reject(error);
  assert.equal(await world.evictor.makeRoom(a.namespace, 0, never()), false);
  world.now += shortMs;
  world.onDelete = async () => undefined;
  world.now += shortMs;
  world.onCandidates = () => {
    world.onCandidates = () => undefined;
    throw error;
  };
  assert.equal(await world.evictor.makeRoom(a.namespace, 0, never()), false);
  world.now += shortMs;
  assert.deepEqual(world.failures, [error, error]);
  assert.deepEqual(await world.left(a, names), names);
  world.now += shortMs;
  assert.equal(await world.evictor.makeRoom(a.namespace, 0, never()), true);
  assert.deepEqual(await world.left(a, names), names.slice(3));
});

test("a run that is under way is not asked for twice", async () => {
  const world = createEvictWorld(20);
  const names = await addBlobs(world, 10, a);
  for (let count = 0; count < 10; count++) world.evictor.relieve();
  await world.evictor.makeRoom(a.namespace, 0, never());
  assert.deepEqual(await world.left(a, names), names.slice(5));
  for (let count = 0; count < 5; count++) await world.add(a, `more ${count}`, { at: 1 });
  world.evictor.relieve();
  await world.evictor.makeRoom(a.namespace, 0, never());
  assert.equal(usedBlocks(world), 10);
});
