import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Digest } from "../../../src/oci/digest.ts";
import { OciError } from "../../../src/oci/errors.ts";
import type { Tag } from "../../../src/oci/reference.ts";
import type { DatedStore } from "../../../src/store/object-store.ts";
import {
  app,
  arm,
  armConfig,
  CollectedWorld,
  config,
  graceMs,
  image,
  index,
  layer,
  other,
  run,
} from "../../support/collected-world.ts";
import { imageOf, pushBlobs, pushOf, referrerOf } from "../../support/hosted-content.ts";
import { assertSound, type HostedInstance, openHosted, readRepository } from "../../support/hosted-world.ts";
import { soaks } from "../../support/soak.ts";
import { SteppedStore } from "../../support/stepped-store.ts";

/** A store whose requests are done in an order that the scheduler chooses. */
function scheduled(store: DatedStore, scheduler: fc.Scheduler, onRequest: () => void): DatedStore {
  const before = async (): Promise<void> => {
    await scheduler.schedule(Promise.resolve());
    onRequest();
  };
  return new SteppedStore(store, { before });
}

describe("who collects while others push", () => {
  const oneBlob = imageOf([layer]);
  const signature = referrerOf(image, layer);
  /** What a client does that relies on what nothing reaches any more. */
  const clients: {
    readonly does: string;
    /** Whether it relies on the image itself, so that its signature stays as well. */
    readonly reliesOnImage: boolean;
    readonly work: (instance: HostedInstance) => Promise<unknown>;
  }[] = [
    {
      does: "has a blob by HEAD, then pushes what refers to it",
      reliesOnImage: false,
      work: async ({ repositories }) => {
        if ((await repositories.rely(app, layer.digest)) === undefined) return;
        await repositories.putManifest(app, pushOf(oneBlob, "client"));
      },
    },
    {
      does: "mounts a blob",
      reliesOnImage: false,
      work: async ({ repositories }) => {
        if (!(await repositories.mountBlob(other, layer.digest))) return;
        await repositories.putManifest(other, pushOf(oneBlob, "client"));
      },
    },
    {
      does: "pushes an index of old children",
      reliesOnImage: true,
      work: ({ repositories }) => repositories.putManifest(app, pushOf(index, "client")),
    },
    {
      does: "has an index by HEAD, then tags it",
      reliesOnImage: true,
      work: async ({ repositories }) => {
        if ((await repositories.rely(app, index.descriptor.digest)) === undefined) return;
        await repositories.putManifest(app, pushOf(index, "client"));
      },
    },
    {
      does: "pushes everything anew",
      reliesOnImage: false,
      work: async (instance) => {
        await pushBlobs(instance, app, [config, layer, armConfig]);
        for (const each of [image, arm]) await instance.repositories.putManifest(app, pushOf(each));
        await instance.repositories.putManifest(app, pushOf(index, "client"));
      },
    },
    {
      does: "signs an old image that it has by HEAD, and tags it",
      reliesOnImage: true,
      work: async ({ repositories }) => {
        if ((await repositories.rely(app, image.descriptor.digest)) === undefined) return;
        await repositories.putManifest(app, pushOf(referrerOf(image, config)));
        await repositories.putManifest(app, pushOf(image, "client"));
      },
    },
    {
      does: "moves a tag from one to the other",
      reliesOnImage: false,
      work: async ({ repositories }) => {
        await repositories.putManifest(app, pushOf(image, "client"));
        await repositories.putManifest(app, pushOf(arm, "client"));
        await repositories.putManifest(app, pushOf(image, "first"));
        await repositories.removeTag(app, "client" as Tag, () => undefined);
      },
    },
  ];
  for (const { does, reliesOnImage, work } of clients) {
    test(`loses nothing that was promised to a client who ${does}`, async () => {
      let promised = 0;
      let refused = 0;
      await fc.assert(
        fc.asyncProperty(fc.scheduler(), fc.boolean(), fc.nat(80), async (scheduler, isShared, beginsAt) => {
          const world = new CollectedWorld();
          await world.pushIndex();
          await world.push(app, signature, [layer]);
          world.now += graceMs;
          // The client begins when so much of the collection is done.
          const begin = Promise.withResolvers<void>();
          let requests = 0;
          const store = scheduled(world.memory, scheduler, () => void (requests++ >= beginsAt && begin.resolve()));
          const collector = openHosted(store, { graceMs, isShared });
          const client = isShared ? openHosted(store, { graceMs, isShared }) : collector;
          const collection = run(world.collection({ store, ...collector })).finally(begin.resolve);
          const pushed = begin.promise
            .then(() => work(client))
            .then(
              () => true,
              (error: unknown) => {
                assert.ok(error instanceof OciError && error.code === "MANIFEST_BLOB_UNKNOWN", String(error));
                return false;
              },
            );
          await scheduler.waitFor(Promise.all([pushed, collection]));
          const fresh = openHosted(world.memory);
          for (const id of [app, other]) {
            const { links, tags } = await readRepository(fresh, id);
            for (const root of tags.values()) assertWhole(links, root);
            for (const digest of links.keys())
              assert.ok((await fresh.bytes.stat(digest)) !== undefined, `${digest} is gone`);
            if (id === app && reliesOnImage && tags.size > 0) {
              assert.ok(links.has(signature.descriptor.digest), "the signature is gone, and its subject is not");
            }
          }
          const isTagged =
            [...(await readRepository(fresh, app)).tags, ...(await readRepository(fresh, other)).tags].length > 0;
          if (await pushed) promised += Number(isTagged);
          refused += Number(!isTagged);
          world.now += 2 * graceMs;
          await world.collect();
          for (const id of [app, other]) await assertSound(openHosted(world.memory), id);
        }),
        { numRuns: soaks ? 3_000 : 60 },
      );
      assert.ok(promised > 0, "it was always refused");
      if (!does.includes("anew")) assert.ok(refused > 0, "it was never refused");
    });
  }
});

/** Fails where something is missing of what a manifest reaches. */
function assertWhole(links: ReadonlyMap<Digest, { readonly children?: readonly Digest[] }>, root: Digest): void {
  const link = links.get(root);
  assert.ok(link !== undefined, `${root} is gone`);
  for (const child of link.children ?? []) assertWhole(links, child);
}
