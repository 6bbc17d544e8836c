import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { NamePattern } from "../../../src/oci/name-pattern.ts";
import type { Namespace, Tag } from "../../../src/oci/reference.ts";
import { hostedBlobKey, hostedLinkKey, hostedReferrersPrefix, hostedTagKey } from "../../../src/store/hosted-layout.ts";
import type { RepositoryId } from "../../../src/store/layout.ts";
import { StoreError } from "../../../src/store/object-store.ts";
import {
  app,
  arm,
  armConfig,
  CollectedWorld,
  config,
  dayMs,
  digestsOf,
  graceMs,
  image,
  index,
  layer,
  namespaceOf,
  other,
  run,
} from "../../support/collected-world.ts";
import { never, turn } from "../../support/event-loop.ts";
import { blobOf, indexOf, pushBlobs, pushOf, referrerOf } from "../../support/hosted-content.ts";
import { assertSound, openHosted } from "../../support/hosted-world.ts";
import { all } from "../../support/s3-store.ts";
import { SteppedStore } from "../../support/stepped-store.ts";

describe("what is collected", () => {
  test("is what nothing reaches, when the grace has passed, and its content with it", async () => {
    const world = new CollectedWorld();
    await world.pushIndex("latest");
    await world.push(app, referrerOf(index, blobOf("signature")), [blobOf("signature")]);
    world.now += 10 * dayMs;
    await world.collect();
    const whole = digestsOf(
      index,
      image,
      arm,
      config,
      armConfig,
      layer,
      referrerOf(index, blobOf("signature")),
      blobOf("signature"),
    );
    assert.deepEqual(await world.links(), whole, "all that a tag reaches stays, however old it is");
    await world.untag("latest");
    await world.collect();
    assert.deepEqual(await world.links(), new Set());
    assert.deepEqual(await world.content(), new Set());
    assert.equal(await openHosted(world.memory).repositories.exists(app), false);
    assert.deepEqual(await world.keys(), []);
  });

  test("is never younger than the grace", async () => {
    const world = new CollectedWorld();
    await pushBlobs(world.instance, app, [layer]);
    world.now += graceMs - 1;
    await world.collect();
    assert.deepEqual(await world.links(), digestsOf(layer));
    world.now += 1;
    await world.collect();
    assert.deepEqual(await world.keys(), []);
  });

  test("is not what something young refers to, at any depth", async () => {
    const world = new CollectedWorld();
    await world.pushIndex();
    world.now += graceMs;
    assert.ok((await world.instance.repositories.rely(app, index.descriptor.digest)) !== undefined);
    assert.deepEqual((await world.collect({ dryRun: true })).notes, []);
    await world.collect();
    assert.deepEqual(await world.links(), digestsOf(index, image, arm, config, armConfig, layer));
    world.now += graceMs;
    await world.instance.repositories.rely(app, image.descriptor.digest);
    await world.collect();
    assert.deepEqual(await world.links(), digestsOf(image, config, layer));
  });

  test("is not what another repository has, but there it is", async () => {
    const world = new CollectedWorld();
    await world.push(app, image, [config, layer], "latest");
    await world.instance.repositories.mountBlob(other, layer.digest);
    world.now += graceMs;
    await world.collect();
    assert.deepEqual(await world.links(other), new Set());
    await world.untag("latest");
    await world.instance.repositories.mountBlob(other, layer.digest);
    await world.collect();
    assert.deepEqual([await world.links(), await world.content()], [new Set(), digestsOf(layer)]);
  });

  test("is not what belongs to a namespace that is not configured any more", async () => {
    const world = new CollectedWorld();
    await world.push({ ...app, namespace: "former" as Namespace }, image, [config, layer], "latest");
    await world.push(app, image, [config, layer]);
    world.now += graceMs;
    await world.collect();
    assert.deepEqual([await world.links(), await world.content()], [new Set(), digestsOf(image, config, layer)]);
  });

  test("referrers live and die with their subject, and so do those that refer to them", async () => {
    const world = new CollectedWorld();
    const signature = referrerOf(image, blobOf("signature"));
    const countersign = referrerOf(signature, blobOf("countersignature"));
    const early = referrerOf(arm, blobOf("early"));
    await world.push(app, image, [config, layer], "latest");
    await world.push(app, signature, [blobOf("signature")]);
    await world.push(app, countersign, [blobOf("countersignature")]);
    await world.push(app, early, [blobOf("early")]);
    world.now += graceMs - 1;
    await world.collect();
    assert.ok((await world.links()).has(early.descriptor.digest), "one may come before its subject");
    world.now += 1;
    await world.collect();
    assert.deepEqual(
      await world.links(),
      digestsOf(image, config, layer, signature, blobOf("signature"), countersign, blobOf("countersignature")),
    );
    const listed = await all(world.instance.repositories.listReferrers(app, image.descriptor.digest));
    assert.deepEqual(
      listed.map(({ digest }) => digest),
      [signature.descriptor.digest],
    );
    await world.untag("latest");
    await world.collect();
    assert.deepEqual(await world.keys(), []);
  });

  test("a referrer does not keep its subject, unless it lists it; an index or a tag keeps a referrer", async () => {
    const world = new CollectedWorld();
    const signature = referrerOf(image, layer);
    const bundle = indexOf([arm], { subject: arm.descriptor });
    await world.push(app, image, [config, layer]);
    await world.push(app, signature, [layer], "signature");
    await world.push(app, arm, [armConfig, layer]);
    await world.push(app, bundle, [], "bundle");
    world.now += graceMs;
    await world.collect();
    assert.deepEqual(await world.links(), digestsOf(signature, layer, bundle, arm, armConfig));
  });

  test("children that a sparse index misses are not invented, and kept when they come", async () => {
    const world = new CollectedWorld();
    await world.push(app, image, [config, layer]);
    await world.instance.repositories.putManifest(app, { ...pushOf(index, "latest"), isSparse: true });
    await world.push(app, arm, [armConfig, layer]);
    world.now += graceMs;
    await world.collect();
    assert.deepEqual(await world.links(), digestsOf(index, image, arm, config, armConfig, layer));
  });

  test("what an earlier process has left half done goes as well", async () => {
    const world = new CollectedWorld();
    const signature = referrerOf(image, layer);
    await world.push(app, signature, [layer], "kept");
    await world.push(app, referrerOf(image, config), [config]);
    // The link is gone, and it is listed still; and content that no repository ever had.
    await world.memory.delete(hostedLinkKey(app, referrerOf(image, config).descriptor.digest));
    await world.instance.bytes.put(armConfig.digest, armConfig.bytes);
    world.now += graceMs;
    const { counts } = await world.collect();
    assert.equal(counts["links"]?.["referrers removed"], 1);
    assert.equal((await all(world.memory.list(hostedReferrersPrefix(app)))).length, 1);
    assert.deepEqual(await world.content(), digestsOf(signature, layer));
  });

  test("an upload that nobody can go on with is dropped, by its last byte", async () => {
    const world = new CollectedWorld();
    const { bytes } = world.instance;
    const send = (session: string): Promise<number> =>
      bytes.append(session, "sha256", {
        bytes: (async function* () {
          yield layer.bytes;
        })(),
        sizeBytes: undefined,
        signal: never(),
      });
    await send("slow");
    await send("left");
    world.now += dayMs;
    await send("slow");
    world.now += graceMs + 2_000;
    const namespaces = [namespaceOf({ expiryMs: 1_000 }), namespaceOf({ namespace: "more" as Namespace })];
    const dry = await world.collect({ namespaces, dryRun: true });
    assert.deepEqual(dry.notes, ["left"]);
    assert.equal((await all(bytes.uploads())).length, 2);
    const { counts } = await world.collect({ namespaces });
    assert.deepEqual(counts["uploads"], { examined: 2, removed: 1, "bytes freed": layer.bytes.length });
    assert.deepEqual(
      (await all(bytes.uploads())).map(({ session }) => session),
      ["slow"],
    );
  });

  test("what cannot be read is not taken for absent: its repository is left as it is", async () => {
    for (const key of [hostedLinkKey(app, index.descriptor.digest), hostedTagKey(app, "latest" as Tag)]) {
      const world = new CollectedWorld();
      await world.pushIndex("latest");
      await world.push(other, image, [config, layer]);
      await world.memory.put(key, Buffer.from("damaged"));
      world.now += graceMs;
      const { counts, notes } = await world.collect();
      assert.equal(counts["links"]?.["unreadable"], 1);
      assert.ok(notes.includes(`${key} cannot be read: apps/team/app is left as it is`));
      assert.deepEqual(await world.content(), digestsOf(index, image, arm, config, armConfig, layer));
      assert.deepEqual(await world.links(other), new Set(), "and the others are collected");
    }
  });

  test("a dry run names all that would go, and changes nothing", async () => {
    const world = new CollectedWorld();
    const retention = [{ repositories: undefined, tags: undefined, keepLast: 1, keepWithinMs: undefined }];
    const namespaces = [namespaceOf({ retention })];
    await world.push(other, image, [config, layer], "kept");
    await world.pushIndex("old");
    await world.push(app, referrerOf(arm, blobOf("signature")), [blobOf("signature")]);
    world.now += graceMs;
    await world.push(app, image, [config, layer], "new");
    const before = await world.keys();
    const dry = await world.collect({ namespaces, dryRun: true });
    assert.deepEqual(await world.keys(), before);
    const real = await world.collect({ namespaces });
    assert.deepEqual(real.counts, dry.counts);
    assert.deepEqual(
      dry.notes.filter((note) => note.startsWith("stays")),
      ["stays apps/team/app:new (one of the last 1)", "stays apps/team/other:kept (one of the last 1)"],
    );
    const referrer = referrerOf(arm, blobOf("signature"));
    const gone = digestsOf(index, arm, armConfig, referrer, blobOf("signature"));
    const named = ["goes apps/team/app:old (pushed 1970-01-02T00:00:00.000Z, and no rule keeps it)"];
    assert.deepEqual(
      new Set(dry.notes.filter((note) => !note.startsWith("stays"))),
      new Set([...named, ...[...gone].flatMap((digest) => [digest, `apps/team/app@${digest}`])]),
    );
    assert.deepEqual(real.notes, []);
    assert.deepEqual(await world.links(), digestsOf(image, config, layer));
    assert.deepEqual(await world.content(), digestsOf(image, config, layer));
    const again = await world.collect({ namespaces });
    assert.equal(
      Object.values(again.counts).every(({ removed = 0 }) => removed === 0),
      true,
    );
  });

  test("retention spares immutable and pinned tags, and those that were pushed again meanwhile", async () => {
    const world = new CollectedWorld();
    const retention = [{ repositories: undefined, tags: undefined, keepLast: undefined, keepWithinMs: 1_000 }];
    const immutableTags = [new NamePattern("v*")];
    const namespaces = [namespaceOf({ retention, immutableTags })];
    await world.push(app, image, [config, layer], "v1", "pinned", "moving", "old");
    world.now += graceMs;
    let isPushed = false;
    const store = new SteppedStore(world.memory, {
      before: async ({ verb, key }) => {
        if (verb !== "delete" || isPushed || key !== hostedTagKey(app, "moving" as Tag)) return;
        isPushed = true;
        await world.instance.repositories.putManifest(app, pushOf(image, "moving"));
      },
    });
    const isPinned = (_: RepositoryId, tag: Tag): boolean => tag === "pinned";
    const { counts } = await run(
      world.collection({ store, namespaces, isPinned, ...openHosted(store, { graceMs, isShared: true }) }),
    );
    assert.deepEqual(counts["tags"], { examined: 4, removed: 1 });
    assert.deepEqual(await all(world.instance.repositories.listTags(app)), ["moving", "pinned", "v1"]);
  });

  test("whoever loses the right to collect stops, and so does one that is told to", async () => {
    const world = new CollectedWorld();
    await pushBlobs(world.instance, app, [layer]);
    world.now += graceMs;
    const before = await world.keys();
    await assert.rejects(world.collect({ acquire: async () => false }), /another instance is collecting/);
    const ended = AbortSignal.abort(new Error("stop"));
    const progress = { count: () => undefined, note: () => undefined };
    for (const step of ["links", "content"] as const) {
      await assert.rejects(world.collection()[step](progress, ended), /stop/);
    }
    assert.deepEqual(await world.keys(), before);
    let asked = 0;
    let monotonic = 0;
    const acquire = async (): Promise<boolean> => ++asked > 0;
    await world.collect({ acquire, monotonic: () => (monotonic += 20_000) });
    assert.ok(asked > 2, "it is renewed all the time");
    assert.deepEqual(await world.keys(), []);
  });

  test("what cannot be removed ends its step, also while others are listed, and a repository with it keeps its name", async () => {
    const world = new CollectedWorld();
    await pushBlobs(world.instance, app, [layer, config]);
    world.now += graceMs;
    const store = new SteppedStore(world.memory, {
      before: async ({ verb, key }) => {
        if (verb === "list") await turn();
        if (verb === "delete" && key === hostedLinkKey(app, layer.digest)) throw new StoreError("full", undefined);
      },
    });
    const { repositories } = openHosted(store, { graceMs, isShared: true });
    await assert.rejects(run(world.collection({ store, repositories })), /full/);
    assert.equal(await world.instance.repositories.exists(app), true);
  });

  test("what is pushed at once after a collection has removed it is there", async () => {
    const world = new CollectedWorld();
    await world.pushIndex();
    world.now += graceMs;
    await world.collect();
    assert.deepEqual(await world.keys(), []);
    await world.pushIndex("latest");
    await world.collect();
    await assertSound(openHosted(world.memory), app);
    assert.equal((await world.links()).size, 6);
    assert.ok((await world.memory.head(hostedBlobKey(layer.digest))) !== undefined);
  });
});
