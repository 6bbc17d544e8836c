/*
 * A mirror with little room, driven at random: whatever is pulled, removed, pinned, lost and started again in whatever
 * order, the files are below the limit, nothing points at what is gone, what is pinned stays, what was used least
 * recently goes first, and what is served is right.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../support/network.ts";
import { type CacheFolder, danglingTags, linkName } from "../support/cache-folder.ts";
import { chooseSeed } from "../support/random.ts";
import { soaks } from "../support/soak.ts";
import { createSpaceContent, reachOf } from "../support/space-content.ts";
import { type SpaceSettings, SpaceWorld } from "../support/space-world.ts";

/** SPACE_MODEL_RUNS asks for more; the same runs again with TEST_SEED. */
const runs = Number(process.env["SPACE_MODEL_RUNS"] ?? (soaks ? 500 : 6));
const stepMs = 1_000;
const imageCount = 12;

const image = fc.nat(imageCount - 1);
const blob = fc.nat(5);
const by = fc.constantFrom("tag" as const, "digest" as const);
const namespace = fc.constantFrom("docker.io", "quay.io");
const simple = fc.oneof(
  { weight: 10, arbitrary: fc.record({ kind: fc.constant("pull" as const), image, by }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("head" as const), image, blob }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("range" as const), image, blob }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("evict" as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("purge" as const),
      image,
      what: fc.constantFrom("tag", "digest", "content", "repository", "namespace"),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("crash" as const) }) },
);
const action = fc.oneof(
  { weight: 20, arbitrary: simple },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("during" as const), image, blob, inner: simple }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 90_000 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("pin" as const), image }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("unpin" as const), image }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("down" as const), namespace }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("up" as const), namespace }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("restart" as const), withoutLedger: fc.boolean() }) },
);
type Simple = typeof simple extends fc.Arbitrary<infer Value> ? Value : never;
type Action = typeof action extends fc.Arbitrary<infer Value> ? Value : never;
const settings: fc.Arbitrary<SpaceSettings> = fc.record({
  maxBytes: fc.constantFrom(1_100_000, 1_500_000, 2_300_000),
  quayBytes: fc.constantFrom(undefined, 250_000),
  lowWatermark: fc.constantFrom(0.4, 0.8),
  idleMs: fc.constantFrom(Infinity, 60_000),
});

/** What always has to go: everything is pulled, twice, into the smallest of the stores. */
const crowd: [SpaceSettings, Action[]] = [
  { maxBytes: 1_100_000, quayBytes: 250_000, lowWatermark: 0.4, idleMs: Infinity },
  Array.from({ length: 2 * imageCount }, (_, index) => ({ kind: "pull", image: index % imageCount, by: "tag" })),
];

test("a small store under random use stays in order", { timeout: 60_000 + runs * 30_000 }, async (context) => {
  const seed = chooseSeed(context);
  await using content = await createSpaceContent();
  const tally: Record<string, number> = { runs: 0, evicted: 0 };
  await fc.assert(
    fc.asyncProperty(settings, fc.array(action, { minLength: 8, maxLength: 30 }), async (limits, actions) => {
      await using world = await SpaceWorld.start(content, limits);
      tally["runs"] = (tally["runs"] ?? 0) + 1;
      for (const [index, each] of actions.entries()) {
        tally[each.kind] = (tally[each.kind] ?? 0) + 1;
        world.now += stepMs;
        world.touched.clear();
        const before = world.folder;
        try {
          await act(world, before, each);
          await world.settle();
          tally["evicted"] = (tally["evicted"] ?? 0) + (await expectOrder(world, before, each));
        } catch (error) {
          throw new Error(`after action ${index}, ${JSON.stringify(each)}`, { cause: error });
        }
      }
    }),
    { seed, numRuns: runs, examples: [crowd], endOnFailure: process.env["SPACE_MODEL_SHRINK"] === undefined },
  );
  context.diagnostic(JSON.stringify(tally));
  assert.ok((tally["evicted"] ?? 0) > (tally["runs"] ?? 0), "hardly anything was evicted");
});

async function act(world: SpaceWorld, before: CacheFolder, each: Action | Simple): Promise<void> {
  const { images } = world.content;
  const wanted = "image" in each ? images[each.image] : images[0];
  assert.ok(wanted !== undefined && images.length === imageCount);
  const { full, namespace: of } = wanted.repository;
  switch (each.kind) {
    case "pull": {
      const isComplete = world.isComplete(before, wanted, each.by);
      const whole = await world.pull(wanted, each.by);
      assert.ok(whole || (world.down.has(of) && !isComplete), `${full}:${wanted.tag} was cached, but not served whole`);
      break;
    }
    case "head":
      await world.head(wanted, each.blob);
      break;
    case "range":
      await world.range(wanted, each.blob);
      break;
    case "evict":
      await world.admin.evict({ dryRun: false });
      break;
    case "purge": {
      const targets: Record<string, string> = {
        tag: `${full}:${wanted.tag}`,
        digest: `${full}@${wanted.digest}`,
        content: wanted.blobs[0] ?? "",
        repository: full,
        namespace: `${of}/`,
      };
      await world.admin.purge(targets[each.what] ?? "");
      break;
    }
    case "crash":
      await world.crash();
      break;
    case "during":
      // A crash cuts the reader; that is the other test's.
      await world.during(wanted, each.blob, () =>
        each.inner.kind === "crash" ? Promise.resolve() : act(world, before, each.inner),
      );
      break;
    case "pass":
      world.now += each.ms;
      break;
    case "pin":
      await world.admin.pin(`${full}:${wanted.tag}`);
      world.pins.add(`${full}:${wanted.tag}`);
      break;
    case "unpin":
      if (world.pins.delete(`${full}:${wanted.tag}`)) await world.admin.unpin(`${full}:${wanted.tag}`);
      break;
    case "down":
      await world.setDown(each.namespace, true);
      break;
    case "up":
      await world.setDown(each.namespace, false);
      break;
    case "restart":
      await world.restart(each);
      break;
  }
}

/** What must hold when nothing is under way; returns how many links were evicted. */
async function expectOrder(world: SpaceWorld, before: CacheFolder, each: Action): Promise<number> {
  const after = world.folder;
  const { maxBytes, quayBytes = Infinity } = world.settings;
  assert.ok(after.chargedBytes <= maxBytes, `${after.chargedBytes} of ${maxBytes} bytes are stored`);
  assert.equal(after.temporaryBytes, 0);
  assert.deepEqual(danglingTags(after), []);
  const { bytes, exact, reservedBytes, namespaces } = await world.admin.usage();
  assert.deepEqual({ bytes, exact, reservedBytes }, { bytes: after.chargedBytes, exact: true, reservedBytes: 0 });
  const held = Object.fromEntries(namespaces.map((usage) => [usage.namespace, usage.bytes]));
  assert.deepEqual(held, heldBytes(after));
  // What others have brought in can be linked beyond the limit; it goes with the next eviction.
  const shared = sharedDigests(world);
  const own = heldBytes(after, (digest) => !shared.has(digest))["quay.io"] ?? 0;
  assert.ok(own <= quayBytes, `quay.io holds ${own} bytes of its own`);
  passOn(world, after);
  const isPurge = each.kind === "purge" || (each.kind === "during" && each.inner.kind === "purge");
  if (isPurge) return 0;
  const pinned = pinnedLinks(world, before);
  for (const name of pinned) assert.ok(after.links.has(name), `${name} is pinned, and gone`);
  return expectLeastRecent(world, before, after, pinned);
}

/** What images of both namespaces refer to. */
function sharedDigests({ content }: SpaceWorld): ReadonlySet<string> {
  const of = (name: string): Set<string> =>
    new Set(
      content.images
        .filter(({ repository }) => repository.namespace === name)
        .flatMap(({ digest }) => reachOf(content.children, digest)),
    );
  return of("docker.io").intersection(of("quay.io"));
}

/** What each namespace holds, as the ledger says it: shared content counts fully in each. */
function heldBytes(
  { links, tags, blobs }: CacheFolder,
  counts: (digest: string) => boolean = () => true,
): Record<string, number> {
  const block = 4096;
  const held = new Map<string, { records: number; contents: Set<string> }>();
  const of = (repository: string): { records: number; contents: Set<string> } => {
    const name = repository.slice(0, repository.indexOf("/"));
    const entry = held.get(name) ?? { records: 0, contents: new Set() };
    held.set(name, entry);
    entry.records++;
    return entry;
  };
  for (const { repository, digest } of links.values()) of(repository).contents.add(digest);
  for (const { repository } of tags) of(repository);
  const sizes = new Map<string, number>(blobs);
  return Object.fromEntries(
    [...held].map(([name, { records, contents }]) => {
      const blocks = [...contents].filter(counts).map((digest) => Math.ceil((sizes.get(digest) ?? 0) / block));
      return [name, (records + blocks.reduce((sum, count) => sum + count, 0)) * block];
    }),
  );
}

/** A manifest's use is one of all that it refers to in its repository. */
function passOn(world: SpaceWorld, { links, blobs }: CacheFolder): void {
  const manifests = [...links.values()].filter(({ digest }) => world.content.children.has(digest) && blobs.has(digest));
  const isIndex = (digest: (typeof manifests)[number]["digest"]): boolean =>
    (world.content.children.get(digest) ?? []).some((child) => world.content.children.has(child));
  for (const { repository, digest } of manifests.toSorted(
    (a, b) => Number(isIndex(b.digest)) - Number(isIndex(a.digest)),
  )) {
    const parent = world.uses.get(linkName(repository, digest));
    if (parent === undefined) continue;
    for (const child of world.content.children.get(digest) ?? []) {
      const name = linkName(repository, child);
      if (!links.has(name)) continue;
      const used = world.uses.get(name) ?? { low: 0, high: 0 };
      world.uses.set(name, { low: Math.max(used.low, parent.low), high: Math.max(used.high, parent.high) });
    }
  }
}

/** What pins reached in a folder. */
function pinnedLinks(world: SpaceWorld, { tags, links }: CacheFolder): Set<string> {
  const pinned = tags.filter(({ repository, tag }) => world.pins.has(`${repository}:${tag}`));
  return new Set(
    pinned.flatMap(({ repository, digest }) =>
      reachOf(world.content.children, digest)
        .map((each) => linkName(repository, each))
        .filter((name) => links.has(name)),
    ),
  );
}

/** Nothing is evicted while something of equal standing, that was surely used before it, is kept. */
function expectLeastRecent(world: SpaceWorld, before: CacheFolder, after: CacheFolder, pinned: Set<string>): number {
  const { quayBytes } = world.settings;
  const isQuay = (name: string): boolean => name.startsWith("quay.io/");
  const evicted = [...before.links.keys()].filter((name) => !after.links.has(name));
  const kept = [...before.links].filter(
    ([name, { repository, digest }]) =>
      after.links.has(name) &&
      !pinned.has(name) &&
      !world.touched.has(digest) &&
      !world.down.has(repository.slice(0, repository.indexOf("/"))),
  );
  for (const name of evicted) {
    const { low } = world.uses.get(name) ?? { low: 0 };
    for (const [other] of kept) {
      // A namespace's own limit concerns only what it holds.
      if (quayBytes !== undefined && isQuay(name) && !isQuay(other)) continue;
      const high = world.uses.get(other)?.high ?? Infinity;
      assert.ok(high >= low, `${name}, used at ${low}, was evicted, and ${other}, used at ${high}, was not`);
    }
    world.uses.delete(name);
  }
  return evicted.length;
}
