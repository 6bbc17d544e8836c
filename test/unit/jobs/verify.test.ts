import assert from "node:assert/strict";
import { mkdir, readFile, stat } from "node:fs/promises";
import { test } from "node:test";
import type { JobState, StepCounts } from "../../../src/jobs/job.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { blobKey, linkKey, quarantineKey, tagKey } from "../../../src/store/layout.ts";
import { mediaTypes } from "../../support/image.ts";
import { countsOf, id, latest, openWorld, type ScrubWorld } from "./scrub-world.ts";
import { countProblems } from "../../support/problems.ts";

const day = 24 * 3_600_000;

/** What a scrub of the image counts where nothing is wrong. */
const sound: Readonly<Record<string, StepCounts>> = {
  leftovers: { "removed at the start": 0, leftovers: 0, "leftover bytes": 0 },
  quarantine: {},
  links: { examined: 4 },
  orphans: { examined: 4 },
  content: { examined: 4 },
  tags: { examined: 1 },
  folders: { empty: 0 },
};

function allCounts(job: JobState): Record<string, StepCounts> {
  return Object.fromEntries(job.steps.map(({ name, counts }) => [name, counts]));
}

/** Counts by step, as those of a sound image but for the steps that are named. */
function plus(changes: Readonly<Record<string, StepCounts>>): Record<string, StepCounts> {
  return { ...sound, ...changes };
}

const repaired = { leftovers: { ...sound["leftovers"], removed: 0 }, folders: { empty: 0, removed: 0 } };

interface Damage {
  readonly what: string;
  readonly plant: (world: ScrubWorld) => Promise<void>;
  /** What a dry run counts beyond what is counted of a sound image. */
  readonly found: Readonly<Record<string, StepCounts>>;
  /** What the repair counts beyond that; the steps that are not named count as in the dry run. */
  readonly repair: Readonly<Record<string, StepCounts>>;
  /** What a third run counts beyond a sound image. */
  readonly after?: Readonly<Record<string, StepCounts>>;
  readonly problems: number;
}

async function change(world: ScrubWorld, edit: (bytes: Buffer) => Uint8Array): Promise<void> {
  const key = blobKey(world.layer);
  await world.plant(key, edit(await readFile(world.path(key))));
}

/** Damage to a layer's bytes, which leaves it `size` bytes. */
function damagedLayer(what: string, size: (bytes: number) => number, plant: Damage["plant"]): Damage {
  const bytes = layerBytes();
  return {
    what,
    plant,
    found: { content: { examined: 4, damaged: 1, "damaged bytes": size(bytes) } },
    repair: {
      content: { examined: 4, damaged: 1, "damaged bytes": size(bytes), quarantined: 1 },
    },
    after: {
      quarantine: { examined: 1 },
      links: { examined: 4, "without content": 1 },
      orphans: { examined: 3 },
      content: { examined: 3 },
    },
    problems: 1,
  };
}

function layerBytes(): number {
  const layer = image.platforms[0]?.layers[0];
  return image.blobs.get(layer ?? digestOf(Buffer.of()))?.length ?? 0;
}

const { image } = await (async () => {
  await using world = await openWorld();
  return { image: world.image };
})();
const orphan = Buffer.from("nobody's");
const rootBytes = image.root.bytes.length;

const damages: readonly Damage[] = [
  damagedLayer(
    "a flipped bit",
    (bytes) => bytes,
    (world) =>
      change(world, (bytes) => {
        bytes[100] = (bytes[100] ?? 0) ^ 1;
        return bytes;
      }),
  ),
  damagedLayer(
    "a truncated blob",
    (bytes) => bytes - 1,
    (world) => change(world, (bytes) => bytes.subarray(0, -1)),
  ),
  damagedLayer(
    "a blob with bytes too many",
    (bytes) => bytes + 3,
    (world) => change(world, (bytes) => Buffer.concat([bytes, Buffer.alloc(3)])),
  ),
  damagedLayer(
    "an empty blob",
    () => 0,
    (world) => change(world, () => Buffer.of()),
  ),
  {
    what: "a damaged manifest",
    plant: (world) => world.plant(blobKey(image.root.digest), Buffer.alloc(rootBytes)),
    found: { content: { examined: 4, damaged: 1, "damaged bytes": rootBytes } },
    // Its tag stands for nothing then, and would keep an upstream that is away from being noticed.
    repair: {
      content: { examined: 4, damaged: 1, "damaged bytes": rootBytes, quarantined: 1 },
      tags: { examined: 1, dangling: 1, removed: 1 },
    },
    after: {
      quarantine: { examined: 1 },
      links: { examined: 4, "without content": 1 },
      orphans: { examined: 3 },
      content: { examined: 3 },
      tags: {},
    },
    problems: 1,
  },
  {
    what: "a torn link",
    plant: (world) => world.plant(linkKey(id, world.layer), '{"mediaType":"applica'),
    found: { links: { examined: 4, torn: 1 }, orphans: { examined: 4, orphans: 1, "orphan bytes": layerBytes() } },
    repair: {
      links: { examined: 4, torn: 1, removed: 1 },
      orphans: { examined: 4, orphans: 1, "orphan bytes": layerBytes(), removed: 1 },
      content: { examined: 3 },
    },
    after: { links: { examined: 3 }, orphans: { examined: 3 }, content: { examined: 3 } },
    problems: 1,
  },
  {
    what: "a link with another size",
    plant: (world) => world.plant(linkKey(id, world.layer), '{"mediaType":"a/b","sizeBytes":7}'),
    found: { links: { examined: 4, "wrong size": 1 } },
    repair: { links: { examined: 4, "wrong size": 1, corrected: 1 } },
    problems: 1,
  },
  {
    what: "an empty tag record",
    plant: (world) => world.plant(tagKey(id, latest), ""),
    found: { tags: { examined: 1, torn: 1 } },
    repair: { tags: { examined: 1, torn: 1, removed: 1 } },
    after: { tags: {} },
    problems: 1,
  },
  {
    what: "a tag without a manifest",
    plant: (world) =>
      world.plant(
        tagKey(id, latest),
        JSON.stringify({ digest: digestOf(orphan), mediaType: mediaTypes.manifest, size: 8, checkedAt: 1 }),
      ),
    found: { tags: { examined: 1, dangling: 1 } },
    repair: { tags: { examined: 1, dangling: 1, removed: 1 } },
    after: { tags: {} },
    problems: 1,
  },
  {
    what: "a tag of a manifest that the repository does not contain",
    plant: async (world) => {
      await world.plant(blobKey(digestOf(orphan)), orphan);
      await world.content.addLink({ ...id, repository: "b" as never }, digestOf(orphan), {
        mediaType: mediaTypes.manifest,
        sizeBytes: orphan.length,
      });
      await world.plant(
        tagKey(id, latest),
        JSON.stringify({ digest: digestOf(orphan), mediaType: mediaTypes.manifest, size: 8, checkedAt: 1 }),
      );
    },
    found: {
      links: { examined: 5 },
      orphans: { examined: 5 },
      content: { examined: 5 },
      tags: { examined: 1, dangling: 1 },
    },
    repair: { tags: { examined: 1, dangling: 1, removed: 1 } },
    after: { links: { examined: 5 }, orphans: { examined: 5 }, content: { examined: 5 }, tags: {} },
    problems: 1,
  },
  {
    what: "content that nobody holds",
    plant: (world) => world.plant(blobKey(digestOf(orphan, "sha512")), orphan),
    found: {
      orphans: { examined: 5, orphans: 1, "orphan bytes": orphan.length },
      content: { examined: 5 },
    },
    repair: {
      orphans: { examined: 5, orphans: 1, "orphan bytes": orphan.length, removed: 1 },
      content: { examined: 4 },
    },
    problems: 0,
  },
  {
    what: "others' files",
    plant: async (world) => {
      await world.plant("blobs/sha256/README", "hello");
      await world.plant("blobs/sha256/ab/cd", "hello");
      await world.plant("repositories/docker.io/library/a/notes", "hello");
    },
    found: { links: { examined: 4, foreign: 1 }, content: { examined: 4, foreign: 2 } },
    repair: {},
    after: { links: { examined: 4, foreign: 1 }, content: { examined: 4, foreign: 2 } },
    problems: 0,
  },
  {
    what: "empty folders",
    plant: async (world) => {
      await mkdir(world.path("blobs/sha512/ab"), { recursive: true });
      await mkdir(world.path("repositories/ghcr.io/a/b/_tags"), { recursive: true });
    },
    found: { folders: { empty: 6 } },
    repair: { folders: { empty: 6, removed: 6 } },
    problems: 0,
  },
  {
    what: "an unfinished file",
    plant: async (world) => {
      await world.plant("tmp/old", "12345");
      await world.age("tmp/old", 2 * day);
      await world.plant("tmp/new", "123");
    },
    found: { leftovers: { "removed at the start": 0, leftovers: 1, "leftover bytes": 5 } },
    repair: { leftovers: { "removed at the start": 0, leftovers: 1, "leftover bytes": 5, removed: 1 } },
    problems: 0,
  },
];

test("a sound store has no problems, and nothing to repair", async () => {
  await using world = await openWorld();
  const before = await world.snapshot();
  const dry = await world.scrub(false);
  assert.equal(dry.state, "succeeded");
  assert.deepEqual(allCounts(dry), sound);
  assert.deepEqual(allCounts(await world.scrub(true)), plus(repaired));
  assert.deepEqual(await world.snapshot(), before);
  const { done, total, unit } = dry.steps.find(({ name }) => name === "content") ?? {};
  const bytes = [...image.blobs.values()].reduce((sum, blob) => sum + blob.length, rootBytes);
  assert.deepEqual({ done, total, unit }, { done: bytes, total: bytes, unit: "bytes" });
});

for (const { what, plant, found, repair, after = {}, problems } of damages) {
  test(`${what}: a dry run finds it, a repair puts it right`, async () => {
    await using world = await openWorld();
    await plant(world);
    const before = await world.snapshot();
    const dry = await world.scrub(false);
    assert.equal(dry.error, undefined);
    assert.deepEqual(allCounts(dry), plus(found));
    assert.equal(countProblems(dry), problems);
    assert.deepEqual(await world.snapshot(), before);

    const repairing = await world.scrub(true);
    assert.equal(repairing.error, undefined);
    assert.deepEqual(allCounts(repairing), plus({ ...repaired, ...found, ...addRemoved(found), ...repair }));

    const clean = await world.scrub(false);
    assert.deepEqual(allCounts(clean), plus(after));
    assert.equal(countProblems(clean), 0);
  });
}

/** Steps that count what they removed, also where that is nothing. */
function addRemoved(found: Damage["found"]): Record<string, StepCounts> {
  const counting = ["leftovers", "folders"].filter((name) => found[name] !== undefined);
  return Object.fromEntries(counting.map((name) => [name, { ...found[name], removed: 0 }]));
}

test("damaged content is kept aside, as it was found", async () => {
  await using world = await openWorld();
  await world.plant(blobKey(world.layer), "other bytes");
  await world.scrub(true);
  assert.equal(await world.content.statBlob(world.layer), undefined);
  assert.equal(await readFile(world.path(quarantineKey(world.layer)), "utf8"), "other bytes");
});

test("a size is corrected, and nothing else of the link", async () => {
  await using world = await openWorld();
  await world.plant(linkKey(id, world.layer), '{"mediaType":"a/b","sizeBytes":7}');
  await world.scrub(true);
  const sizeBytes = (await stat(world.path(blobKey(world.layer)))).size;
  assert.deepEqual(await world.content.link(id, world.layer), { mediaType: "a/b", sizeBytes });
});

test("a truncated blob does not correct its links", async () => {
  await using world = await openWorld();
  const before = await readFile(world.path(linkKey(id, world.layer)), "utf8");
  await change(world, (bytes) => bytes.subarray(1));
  await world.scrub(true);
  assert.equal(await readFile(world.path(linkKey(id, world.layer)), "utf8"), before);
});

test("what an earlier process left is told of", async () => {
  await using world = await openWorld();
  const files = { ...world.tools.files, swept: { count: 3, bytes: 10 } };
  const job = await world.scrub(false, {
    files: {
      swept: files.swept,
      removeLeftovers: (age, options) => world.store.removeLeftovers(age, options),
      removeEmptyFolders: (prefix, options) => world.store.removeEmptyFolders(prefix, options),
    },
  });
  assert.equal(countsOf(job, "leftovers")?.["removed at the start"], 3);
});

test("what was put aside long ago is removed", async () => {
  await using world = await openWorld();
  const old = quarantineKey(digestOf(orphan));
  const young = quarantineKey(digestOf(orphan, "sha512"));
  for (const [key, days] of [
    [old, 31],
    [young, 29],
  ] as const) {
    await world.plant(key, "x");
    await world.age(key, days * day);
  }
  assert.deepEqual(countsOf(await world.scrub(false), "quarantine"), { examined: 2, expired: 1 });
  assert.deepEqual(countsOf(await world.scrub(true), "quarantine"), { examined: 2, expired: 1, removed: 1 });
  assert.deepEqual(countsOf(await world.scrub(false), "quarantine"), { examined: 1 });
  assert.ok(await world.store.head(young));
});

test("what is put aside stays at least until the next run, however old it is", async () => {
  await using world = await openWorld();
  await world.plant(blobKey(world.layer), "other bytes");
  await world.age(blobKey(world.layer), 100 * day);
  const job = await world.scrub(true);
  assert.equal(countsOf(job, "content")?.["quarantined"], 1);
  assert.ok(await world.store.head(quarantineKey(world.layer)));
});
