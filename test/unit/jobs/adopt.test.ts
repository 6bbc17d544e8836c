import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseRepositoryPattern } from "../../../src/config/repository-names.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { type AdoptWorld, numbersOf, openAdoptWorld } from "../../support/adopt-world.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { addEarlierImage, earlierBlobKey, type EarlierCache, envelopeOf } from "../../support/earlier-cache.ts";
import { buildImage, mediaTypes } from "../../support/image.ts";
import { inspectStorage } from "../../support/storage.ts";

const day = 24 * 3_600_000;
const lately = Math.floor(Date.now() / 1000) * 1000 - day;
const image = buildImage({ platforms: 2 });

describe("an image", () => {
  test("is adopted with its tag, platforms and blobs, and the tag's age", async () => {
    await using world = await openAdoptWorld();
    addEarlierImage(world.cache, image, "docker.io/library/a", "1", lately);
    const job = await world.run();
    assert.equal(job.state, "succeeded");
    assert.deepEqual(numbersOf(job), { tags: [1, 0, {}], manifests: [2, 0, {}], blobs: [6, 0, {}] });
    assert.equal(
      job.adoptedBytes,
      image.blobs.values().reduce((sum, bytes) => sum + bytes.length, 0),
    );
    assert.equal(job.left, 0);
    const { digest, mediaType, bytes } = image.root;
    assert.deepEqual(await world.tag("docker.io/library/a", "1"), {
      digest,
      mediaType,
      size: bytes.length,
      checkedAt: lately,
    });
    const { blobs, temporary, files } = await inspectStorage(world.root);
    const expected = [...image.blobs.keys(), digest, ...image.platforms.map(({ manifest }) => manifest.digest)];
    assert.deepEqual(blobs, expected.toSorted());
    assert.deepEqual(temporary, []);
    assert.equal(files.filter((path) => path.includes("/_links/")).length, blobs.length);
  });

  test("is skipped by the next run, which opens nothing", async () => {
    await using world = await openAdoptWorld();
    addEarlierImage(world.cache, image, "docker.io/library/a", "1", lately);
    await world.run();
    world.source.opened.length = 0;
    const job = await world.run();
    assert.deepEqual(numbersOf(job), { tags: [0, 1, {}], manifests: [0, 2, {}], blobs: [0, 6, {}] });
    assert.deepEqual(world.source.opened, []);
  });

  test("is only counted by a dry run, which stores nothing and opens no blob", async () => {
    await using world = await openAdoptWorld();
    addEarlierImage(world.cache, image, "docker.io/library/a", "1", lately);
    const job = await world.run({ dryRun: true });
    assert.equal(job.dryRun, true);
    assert.deepEqual(numbersOf(job), { tags: [1, 0, {}], manifests: [2, 0, {}], blobs: [6, 0, {}] });
    assert.deepEqual((await inspectStorage(world.root)).files, ["format"]);
    assert.ok(world.source.opened.every((key) => key.startsWith("manifests/")));
  });

  test("whose registry called its manifest just JSON has the type that the manifest tells", async () => {
    await using world = await openAdoptWorld();
    const { root } = buildImage();
    const bytes = envelopeOf(root.bytes, "application/json");
    world.cache.set("manifests/docker.io/library/a/1", { bytes, writtenAt: lately });
    assert.deepEqual(numbersOf(await world.run())["tags"], [1, 0, {}]);
    assert.equal((await world.tag("docker.io/library/a", "1"))?.mediaType, root.mediaType);
  });

  test("of a name that means the same repository is that one's", async () => {
    await using world = await openAdoptWorld();
    addEarlierImage(world.cache, buildImage({ seed: "a" }), "index.docker.io/a", "1", lately);
    assert.equal((await world.run()).state, "succeeded");
    assert.notEqual(await world.tag("docker.io/library/a", "1"), undefined);
  });

  test("shared by two registries is stored once, and linked for both", async () => {
    await using world = await openAdoptWorld();
    addEarlierImage(world.cache, image, "docker.io/library/a", "1", lately);
    addEarlierImage(world.cache, image, "quay.io/team/a", "1", lately);
    assert.deepEqual(numbersOf(await world.run())["blobs"], [6, 0, {}]);
    const { files } = await inspectStorage(world.root);
    for (const name of ["docker.io/library/a", "quay.io/team/a"]) {
      assert.equal(files.filter((path) => path.startsWith(`repositories/${name}/_links/`)).length, 9, name);
    }
  });
});

describe("what is left", () => {
  test("manifests that are torn, wrong, no manifests, misnamed or of nobody, each by its reason", async () => {
    await using world = await openAdoptWorld({ config: { allowUnlisted: false } });
    const { bytes, mediaType, digest } = image.root;
    const whole = envelopeOf(bytes, mediaType);
    const other = digestOf(Buffer.from("other"));
    const put = (key: string, text: Buffer): void => void world.cache.set(key, { bytes: text, writtenAt: lately });
    put("manifests/docker.io/library/a/torn", whole.subarray(0, -20));
    put("manifests/docker.io/library/a/empty", Buffer.alloc(0));
    put("manifests/docker.io/library/a/malformed", Buffer.from("<html>"));
    put("manifests/docker.io/library/a/lie", envelopeOf(bytes, mediaType, other));
    put("manifests/docker.io/library/a/nonsense", envelopeOf(bytes, mediaType, "a digest"));
    put(`manifests/docker.io/library/a/${other}`, envelopeOf(bytes, mediaType, null));
    put("manifests/docker.io/library/a/page", envelopeOf(Buffer.from("<html>"), "text/html"));
    put(
      "manifests/docker.io/library/a/schema1",
      envelopeOf(Buffer.from('{"schemaVersion":1}'), "application/vnd.docker.distribution.manifest.v1+prettyjws"),
    );
    put("manifests/docker.io/library/a/huge", Buffer.alloc(17 * 1024 * 1024, " "));
    put("manifests/docker.io/UPPER/tag", whole);
    put("manifests/tag", whole);
    put("manifests/stranger.example/a/tag", whole);
    put("manifests/not a host/a/tag", whole);
    const job = await world.run();
    assert.equal(job.state, "succeeded");
    assert.deepEqual(numbersOf(job), {
      tags: [
        0,
        0,
        { torn: 2, malformed: 1, "wrong digest": 2, "not a manifest": 2, "too large": 1, "not mirrored": 2 },
      ],
      manifests: [0, 0, { "wrong digest": 1, misnamed: 2 }],
      blobs: [0, 0, {}],
    });
    assert.deepEqual((await inspectStorage(world.root)).blobs, [], digest);
    assert.equal(job.left, 0);
  });

  test("blobs that are torn, changed, too large, misnamed, or of no manifest, each by its reason", async () => {
    await using world = await openAdoptWorld({ storage: { maxObjectBytes: 50_000 } });
    const [torn = "", changed = "", grown = "", ...rest] = image.blobs.keys().map(earlierBlobKey);
    addEarlierImage(world.cache, image, "docker.io/library/a", "1", lately);
    const large = buildImage({ layers: 1, layerBytes: 60_000, seed: "large" });
    addEarlierImage(world.cache, large, "docker.io/library/large", "1", lately);
    const change = (key: string, edit: (bytes: Buffer) => Buffer): void => {
      const bytes = world.cache.get(key)?.bytes ?? Buffer.alloc(0);
      world.cache.set(key, { bytes: edit(Buffer.from(bytes)), writtenAt: lately });
    };
    change(torn, (bytes) => bytes.subarray(0, -1));
    change(changed, (bytes) => bytes.map((byte) => byte ^ 1) as Buffer);
    change(grown, (bytes) => Buffer.concat([bytes, bytes]));
    change("blobs/sha256/ab/not-a-digest", (bytes) => bytes);
    change(earlierBlobKey(digestOf(Buffer.from("lost"))), () => Buffer.from("lost"));
    const job = await world.run();
    assert.equal(job.state, "succeeded");
    assert.deepEqual(numbersOf(job)["blobs"], [
      rest.length + 1,
      0,
      { torn: 1, "wrong digest": 1, "wrong size": 1, misnamed: 1, "of no manifest": 1, "too large": 1 },
    ]);
    assert.deepEqual((await inspectStorage(world.root)).temporary, []);
  });

  test("what cannot be read counts as left; the rest is adopted, and it by the next run", async () => {
    await using world = await openAdoptWorld();
    addEarlierImage(world.cache, image, "docker.io/library/a", "1", lately);
    const [first = "", second = ""] = image.blobs.keys().map(earlierBlobKey);
    world.source.locked.add(first).add("manifests/docker.io/library/a/1");
    world.source.broken.add(second);
    const job = await world.run();
    assert.equal(job.state, "succeeded");
    assert.deepEqual(numbersOf(job), {
      tags: [0, 0, { unreadable: 1 }],
      manifests: [2, 0, {}],
      blobs: [4, 0, { unreadable: 2 }],
    });
    assert.equal(job.left, 3);
    assert.deepEqual((await inspectStorage(world.root)).temporary, []);
    world.source.locked.clear();
    world.source.broken.clear();
    const { blobs } = await inspectStorage(world.root);
    assert.deepEqual(numbersOf(await world.run({ dryRun: true }))["blobs"], [2, 4, {}]);
    assert.deepEqual((await inspectStorage(world.root)).blobs, blobs, "a dry run stores nothing");
    assert.deepEqual(numbersOf(await world.run()), { tags: [1, 0, {}], manifests: [0, 2, {}], blobs: [2, 4, {}] });
  });

  test("what allow and deny keep from being served: manifests, tags, and blobs that nobody else lists", async () => {
    await using world = await openAdoptWorld();
    const names = ["team/a", "team/secret", "others/a"];
    for (const name of names) addEarlierImage(world.cache, buildImage({ seed: name }), `quay.io/${name}`, "1", lately);
    const shared = buildImage({ seed: "team/a" });
    addEarlierImage(world.cache, shared, "quay.io/team/secret", "shared", lately);
    const rules = { allow: [parseRepositoryPattern("team/*")], deny: [parseRepositoryPattern("team/secret")] };
    const others = [{ namespace: "quay.io", host: "quay.invalid", ...rules }];
    const expected = {
      tags: [1, 0, { denied: 3 }],
      manifests: [1, 0, { denied: 3 }],
      blobs: [3, 0, { "of no manifest": 6 }],
    };
    assert.deepEqual(numbersOf(await world.run({ others, dryRun: true })), { ...expected });
    const job = await world.run({ others });
    assert.deepEqual([numbersOf(job)["tags"], numbersOf(job)["blobs"], job.left], [expected.tags, expected.blobs, 0]);
    const { blobs } = await inspectStorage(world.root);
    assert.deepEqual(blobs, [shared.root.digest, ...shared.blobs.keys()].toSorted());
    assert.ok(!world.source.opened.some((key) => key.includes("secret") || key.includes("others")));
    // When it may be served, another run has it.
    assert.deepEqual(numbersOf(await world.run())["tags"], [3, 1, {}]);
  });

  test("a stranger's manifest is adopted, and gives nobody a blob", async () => {
    await using world = await openAdoptWorld();
    addEarlierImage(world.cache, image, "ghcr.io/a", "1", lately);
    const job = await world.run();
    assert.deepEqual(numbersOf(job), {
      tags: [1, 0, {}],
      manifests: [2, 0, {}],
      blobs: [0, 0, { "of no manifest": 6 }],
    });
    assert.equal((await inspectStorage(world.root)).blobs.length, 3);
    assert.deepEqual(numbersOf(await world.run({ dryRun: true }))["blobs"], [0, 0, { "of no manifest": 6 }]);
  });
});

describe("room", () => {
  /** Of images of about 200 KiB each, a storage of 8 MiB takes some, up to its low watermark. */
  const storage = {
    maxSize: { kind: "bytes", bytes: 8 * 1024 * 1024 },
    highWatermark: 0.9,
    lowWatermark: 0.5,
  } as const;
  const fill = (cache: EarlierCache, count: number, prefix: string): void => {
    for (let number = 0; number < count; number++) {
      const seed = `${prefix}${number}`;
      addEarlierImage(
        cache,
        buildImage({ layers: 1, layerBytes: 200_000, seed }),
        `docker.io/library/${seed}`,
        "1",
        lately,
      );
    }
  };

  test("is taken up to the low watermark: what came first stays; a dry run foresees that", async () => {
    await using world = await openAdoptWorld({ storage });
    fill(world.cache, 25, "a");
    const plan = await world.run({ dryRun: true });
    const job = await world.run();
    assert.equal(job.state, "succeeded");
    const [adopted, , skipped] = numbersOf(job)["blobs"] as [number, number, Record<string, number>];
    assert.ok(adopted > 5 && adopted < 40, String(adopted));
    assert.deepEqual(skipped, { "no room": 50 - adopted });
    assert.equal(job.left, 50 - adopted);
    const [planned] = numbersOf(plan)["blobs"] as [number];
    // It does not know how much folders and the ledger will take, which is much of so small a storage.
    assert.ok(planned >= adopted && planned < 50, `${planned} planned, ${adopted} adopted`);
    // Nothing went for what came later, neither at once nor in the background.
    const before = await inspectStorage(world.root);
    await world.run();
    const after = new Set((await inspectStorage(world.root)).blobs);
    assert.deepEqual(
      before.blobs.filter((digest) => !after.has(digest)),
      [],
    );
    assert.ok(before.blobs.length >= adopted);
  });
});

describe("a tag", () => {
  const put = (world: AdoptWorld, seed: string, writtenAt: number): string => {
    const { root } = buildImage({ seed });
    world.cache.set("manifests/docker.io/library/a/1", { bytes: envelopeOf(root.bytes, root.mediaType), writtenAt });
    return root.digest;
  };

  test("takes the place of one that was checked earlier, never of one that was checked later", async () => {
    await using world = await openAdoptWorld();
    const first = put(world, "first", lately);
    await world.run();
    put(world, "older", lately - 1_000);
    assert.deepEqual(numbersOf(await world.run())["tags"], [0, 1, {}]);
    assert.equal((await world.tag("docker.io/library/a", "1"))?.digest, first);
    const newer = put(world, "newer", lately + 1_000);
    assert.deepEqual(numbersOf(await world.run())["tags"], [1, 0, {}]);
    const record = await world.tag("docker.io/library/a", "1");
    assert.deepEqual([record?.digest, record?.checkedAt], [newer, lately + 1_000]);
  });

  test("of a time that is to come counts as not checked", async () => {
    await using world = await openAdoptWorld();
    put(world, "early", Date.now() + day);
    await world.run();
    assert.equal((await world.tag("docker.io/library/a", "1"))?.checkedAt, 0);
  });
});

describe("a run that is stopped", () => {
  test("leaves nothing unfinished, and the next one goes on", async () => {
    await using world = await openAdoptWorld();
    addEarlierImage(world.cache, image, "docker.io/library/a", "1", lately);
    const large = buildImage({ layers: 1, layerBytes: 300_000, seed: "large" });
    addEarlierImage(world.cache, large, "docker.io/library/b", "1", lately);
    const layer = large.platforms[0]?.layers[0];
    assert.ok(layer !== undefined);
    let cancel = (): void => undefined;
    let read = 0;
    world.source.onRead = (key) => {
      if (key === earlierBlobKey(layer) && ++read === 100) cancel();
    };
    const job = await world.run({
      onState: (store, { id }) => {
        cancel = () => void store.administration.cancel(id);
      },
    });
    assert.equal(job.state, "cancelled");
    assert.equal(read, 100, "it stops soon");
    const stored = await inspectStorage(world.root);
    assert.deepEqual(stored.temporary, []);
    assert.ok(!stored.blobs.includes(layer));
    world.source.onRead = () => undefined;
    const [blobs, there] = numbersOf(await world.run())["blobs"] as [number, number];
    assert.equal(blobs + there, 8);
    assert.ok((await inspectStorage(world.root)).blobs.includes(layer));
  });

  test("between a manifest and its links is made up for", async () => {
    await using world = await openAdoptWorld();
    addEarlierImage(world.cache, buildImage({ seed: "half" }), "ghcr.io/team/a", "1", lately);
    // As a stranger's, it is stored without links to what it lists.
    await world.run();
    const links = async (): Promise<number> =>
      (await inspectStorage(world.root)).files.filter((path) => path.includes("/_links/")).length;
    assert.equal(await links(), 1);
    const others = [{ namespace: "ghcr.io", host: "ghcr.invalid" }];
    assert.deepEqual(numbersOf(await world.run({ others })), {
      tags: [1, 0, {}],
      manifests: [0, 1, {}],
      blobs: [3, 0, {}],
    });
    assert.equal(await links(), 4);
  });
});

test("a blob of no bytes is adopted", async () => {
  await using world = await openAdoptWorld();
  const nothing = Buffer.alloc(0);
  const config = pseudoRandomBytes(10, "config");
  const entry = (bytes: Buffer, mediaType: string): object => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config: entry(config, mediaTypes.config),
      layers: [entry(nothing, mediaTypes.layer)],
    }),
  );
  const put = (key: string, bytes: Buffer): void => void world.cache.set(key, { bytes, writtenAt: lately });
  put("manifests/docker.io/library/a/1", envelopeOf(manifest, mediaTypes.manifest));
  put(earlierBlobKey(digestOf(nothing)), nothing);
  assert.deepEqual(numbersOf(await world.run())["blobs"], [1, 0, {}]);
  assert.deepEqual((await inspectStorage(world.root)).blobs, [digestOf(manifest), digestOf(nothing)].toSorted());
});
