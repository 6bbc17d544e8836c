/*
 * A thousand clients that push at once, of which many find by HEAD what nothing has reached for long, while the collection
 * runs all the time: whoever was told 201 finds the whole of it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Collection } from "../../src/hosted/collect.ts";
import { OciError } from "../../src/oci/errors.ts";
import type { Namespace, Tag } from "../../src/oci/reference.ts";
import type { ManifestContent } from "../../src/registry/registry.ts";
import type { DatedStore } from "../../src/store/object-store.ts";
import { never, turn } from "../support/event-loop.ts";
import {
  type Blob,
  blobOf,
  imageOf,
  indexOf,
  pushBlobs,
  pushOf,
  referrerOf,
  repositoryId,
} from "../support/hosted-content.ts";
import { bucketPlace, folderPlace, type HostedPlace, memoryPlace } from "../support/hosted-stores.ts";
import { assertSound, type HostedInstance, openHosted } from "../support/hosted-world.ts";
import { chooseSeed, createRandom } from "../support/random.ts";
import { soaks } from "../support/soak.ts";
import { SteppedStore } from "../support/stepped-store.ts";

/** The least that the configuration takes. */
const graceMs = 10 * 60_000;
const repositories = Array.from({ length: 8 }, (_, index) => repositoryId(`team/${index}`));
/** By when all clients have begun, in requests of those who collect. */
const collectedRequests = { inMemory: 60_000, inFolder: 10_000 };
const crowdAt = 1_500;
/** What all images share, and what nothing reaches when the clients begin. */
const layers = Array.from({ length: 40 }, (_, index) => blobOf(`shared layer ${index}`));
const bases = layers.map((layer, index) => imageOf([blobOf(`base ${index}`), layer]));

interface Place {
  readonly open: () => Promise<HostedPlace>;
  readonly clients: number;
  /** Whether time is the test's, also while others work. */
  readonly hasTime: boolean;
}

const places: Record<string, Place> = {
  "in memory": { open: () => memoryPlace(false), clients: 1_000, hasTime: true },
  "in a bucket": { open: bucketPlace, clients: 1_000, hasTime: true },
  "in a folder": { open: folderPlace, clients: soaks ? 1_000 : 100, hasTime: false },
};
for (const [where, { open, clients, hasTime }] of Object.entries(places)) {
  test(
    `of ${clients} pushes ${where} collections lose nothing that go on all the time`,
    { timeout: 300_000 },
    async (context) => {
      const random = createRandom(chooseSeed(context));
      await using place = await open();
      const { store, bytes, isShared } = place;
      const openOn = (on: DatedStore): HostedInstance => openHosted(on, { isShared, graceMs, bytes });
      for (const id of repositories) await pushBases(openOn(store), id);
      await place.pass(graceMs + 1_000);

      const lastAt = hasTime ? collectedRequests.inMemory : collectedRequests.inFolder;
      // A half of the clients begins at once, in the midst of the first collection, the others when so much is done.
      const waiting = Array.from({ length: clients }, (_, number) => {
        return {
          at: number % 2 === 0 ? crowdAt : Math.floor(random() * lastAt),
          begin: Promise.withResolvers<void>(),
        };
      }).toSorted((one, other) => one.at - other.at);
      const clock = [...waiting];
      let requests = 0;
      const counted = new SteppedStore(store, {
        before: async () => {
          requests++;
          while (clock[0] !== undefined && clock[0].at <= requests) clock.shift()?.begin.resolve();
          if (hasTime) await place.pass(1);
          if (random() < 0.1) await turn();
        },
      });
      const slow = new SteppedStore(store, { before: () => (hasTime && random() < 0.3 ? turn() : undefined) });
      const one = openOn(slow);
      const two = isShared ? openOn(slow) : one;
      let left = clients;
      const tally = { passes: 0, removed: 0, found: 0, repeated: 0 };
      const collecting = (async () => {
        for (; left > 0; tally.passes++) {
          await collect(isShared ? openOn(counted) : one, counted, (removed) => (tally.removed += removed));
        }
      })();
      const pushing = waiting.map(async ({ begin }, number) => {
        await begin.promise;
        await push(number % 2 === 0 ? one : two, number, random, tally);
        left--;
      });
      await Promise.all([...pushing, collecting]);
      await place.pass(2 * graceMs);
      await collect(openOn(store), store, () => undefined);

      let tags = 0;
      for (const id of repositories) {
        const state = await assertSound(openOn(store), id);
        tags += state.tags.size;
        for (const [tag, digest] of state.tags) {
          const { images, signature } = whatOf(Number(tag.slice("push-".length)));
          assert.equal(digest, indexOf(images).descriptor.digest);
          for (const { descriptor } of [...images, signature])
            assert.ok(state.links.has(descriptor.digest), `${tag} is not whole`);
        }
      }
      assert.equal(tags, clients);
      context.diagnostic(JSON.stringify(tally));
      assert.ok(tally.removed > 0 && tally.found > 0 && tally.passes > 1, "nothing was at stake");
      assert.equal(tally.repeated, 0, "what HEAD has found was gone a moment later");
    },
  );
}

/** What a client pushes: an index of an image of its own and of an old one, and a signature of the first. */
function whatOf(number: number): {
  readonly own: Blob;
  readonly images: readonly ManifestContent[];
  readonly signature: ManifestContent;
} {
  const own = blobOf(`own layer ${number}`);
  const image = imageOf([own, layerAt(number), layerAt(number * 7 + 1)]);
  const base = bases[(number * 3) % bases.length] ?? assert.fail();
  return { own, images: [image, base], signature: referrerOf(image, layerAt(number + 2)) };
}

function layerAt(place: number): Blob {
  return layers[place % layers.length] ?? assert.fail();
}

async function pushBases(instance: HostedInstance, id: (typeof repositories)[number]): Promise<void> {
  for (const [index, base] of bases.entries()) {
    await pushBlobs(instance, id, [blobOf(`base ${index}`), layerAt(index)]);
    await instance.repositories.putManifest(id, pushOf(base));
  }
}

/** Pushes as clients do: what HEAD tells to be there is not sent; all of it again where that was wrong. */
async function push(
  instance: HostedInstance,
  number: number,
  random: () => number,
  tally: { found: number; repeated: number },
): Promise<void> {
  const id = repositories[number % repositories.length] ?? assert.fail();
  const hosted = instance.repositories;
  const { own, images, signature } = whatOf(number);
  const has = async (digest: Blob["digest"]): Promise<boolean> => {
    const isThere = (await hosted.rely(id, digest)) !== undefined;
    if (isThere) tally.found++;
    return isThere;
  };
  for (;;) {
    try {
      const [image, base] = images;
      if (image === undefined || base === undefined) return;
      for (const blob of [own, layerAt(number), layerAt(number * 7 + 1), layerAt(number + 2)]) {
        if (await has(blob.digest)) continue;
        const from = repositories[Math.floor(random() * repositories.length)] ?? id;
        const isMounted =
          (await hosted.rely(from, blob.digest)) !== undefined && (await hosted.mountBlob(id, blob.digest));
        if (!isMounted) await pushBlobs(instance, id, [blob]);
      }
      if (!(await has(image.descriptor.digest))) await hosted.putManifest(id, pushOf(image));
      if (!(await has(base.descriptor.digest))) {
        const place = bases.indexOf(base);
        await pushBlobs(instance, id, [blobOf(`base ${place}`), layerAt(place)]);
        await hosted.putManifest(id, pushOf(base));
      }
      await hosted.putManifest(id, pushOf(signature));
      await hosted.putManifest(id, pushOf(indexOf(images), `push-${number}`));
      // Half of them leave a tag that is removed again.
      if (random() < 0.5) return;
      await hosted.putManifest(id, pushOf(image, `passing-${number}`));
      await hosted.removeTag(id, `passing-${number}` as Tag, () => undefined);
      return;
    } catch (error) {
      if (!(error instanceof OciError) || error.code !== "MANIFEST_BLOB_UNKNOWN") throw error;
      tally.repeated++;
    }
  }
}

async function collect(
  { repositories: hosted, bytes }: HostedInstance,
  store: DatedStore,
  onRemoved: (count: number) => void,
): Promise<void> {
  const namespaces = [{ namespace: "apps" as Namespace, retention: [], immutableTags: [], expiryMs: graceMs }];
  const options = { store, bytes, repositories: hosted, namespaces, graceMs, isPinned: () => false };
  const collection = new Collection({ ...options, acquire: undefined, monotonic: () => 0 }, { dryRun: false });
  const count = (what: string, by = 1): void => void (what === "removed" && onRemoved(by));
  for (const step of ["tags", "links", "content", "uploads"] as const) {
    await collection[step]({ count, note: () => undefined }, never());
  }
}
