import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { NewManifest } from "../../../src/hosted/repositories.ts";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { OciError } from "../../../src/oci/errors.ts";
import type { Tag } from "../../../src/oci/reference.ts";
import { hostedBlobKey, hostedLinkKey, hostedReferrersPrefix, hostedTagKey } from "../../../src/store/hosted-layout.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { type DatedStore, StoreError } from "../../../src/store/object-store.ts";
import { blobOf, imageOf, indexOf, pushBlobs, pushOf, referrerOf, repositoryId } from "../../support/hosted-content.ts";
import { assertSound, type HostedInstance, openHosted, readRepository } from "../../support/hosted-world.ts";
import { all } from "../../support/s3-store.ts";
import { soaks } from "../../support/soak.ts";
import { type StoreCall, SteppedStore } from "../../support/stepped-store.ts";

const app = repositoryId("team/app");
const other = repositoryId("team/other");
const config = blobOf("{}");
const layer = blobOf("layer");
const image = imageOf([config, layer]);
const arm = imageOf([blobOf('{"architecture":"arm64"}'), layer]);
const graceMs = 3_600_000;
const latest = "latest" as Tag;

/** Pushes an image and its blobs. */
async function push(instance: HostedInstance, manifest: NewManifest): Promise<void> {
  await pushBlobs(instance, app, [config, layer]);
  await instance.repositories.putManifest(app, manifest);
}

/** A store whose requests end in an order that the scheduler chooses. */
function scheduled(store: DatedStore, scheduler: fc.Scheduler): DatedStore {
  const wait = async (): Promise<void> => scheduler.schedule(Promise.resolve());
  return new SteppedStore(store, { before: wait, after: wait });
}

/** Two instances on one store, or one that is asked twice. */
const instances = fc.boolean();
function open(store: DatedStore, isShared: boolean): readonly [HostedInstance, HostedInstance] {
  const first = openHosted(store, { isShared, graceMs });
  return [first, isShared ? openHosted(store, { isShared, graceMs }) : first];
}

describe("what is pushed", () => {
  test("is there, by tag and digest, with all that it refers to, for who comes later as well", async () => {
    const store = new MemoryStore();
    const instance = openHosted(store);
    assert.equal(await instance.repositories.exists(app), false);
    await push(instance, pushOf(image, "latest", "v1"));
    for (const { repositories } of [instance, openHosted(store)]) {
      assert.equal((await repositories.tag(app, latest))?.digest, image.descriptor.digest);
      assert.equal((await repositories.link(app, image.descriptor.digest))?.role, "manifest");
      assert.equal((await repositories.link(app, layer.digest))?.role, "blob");
      assert.equal(await repositories.exists(app), true);
      assert.deepEqual(await all(repositories.listTags(app)), ["latest", "v1"]);
      assert.deepEqual(await all(repositories.listTags(app, "latest")), ["v1"]);
      assert.deepEqual(await all(repositories.list(app.namespace)), [app]);
      assert.deepEqual(await all(repositories.list(app.namespace, app.repository)), []);
    }
  });

  test("is refused where the repository does not have what it refers to, or something else", async () => {
    const instance = openHosted(new MemoryStore());
    const { repositories } = instance;
    const unknown = { code: "MANIFEST_BLOB_UNKNOWN", message: new RegExp(layer.digest) };
    await pushBlobs(instance, app, [config]);
    await pushBlobs(instance, other, [layer]);
    await assert.rejects(repositories.putManifest(app, pushOf(image, "latest")), unknown);
    await assert.rejects(repositories.putManifest(app, pushOf(indexOf([image]))), { code: "MANIFEST_BLOB_UNKNOWN" });
    assert.equal(await repositories.mountBlob(app, layer.digest), true);
    const liar = imageOf([config, { ...layer, bytes: Buffer.from("longer than it is") }]);
    await assert.rejects(repositories.putManifest(app, pushOf(liar)), { code: "MANIFEST_INVALID" });
    await repositories.putManifest(app, pushOf(image, "latest"));
    const asBlob = imageOf([config, { digest: image.descriptor.digest, bytes: image.bytes }]);
    await assert.rejects(repositories.putManifest(app, pushOf(asBlob)), { code: "MANIFEST_BLOB_UNKNOWN" });
    await repositories.putManifest(app, pushOf(indexOf([image]), "index"));
    const sparse = indexOf([image, arm]);
    await assert.rejects(repositories.putManifest(app, pushOf(sparse)), { code: "MANIFEST_BLOB_UNKNOWN" });
    await repositories.putManifest(app, { ...pushOf(sparse), isSparse: true });
    assert.equal(await repositories.link(app, arm.descriptor.digest), undefined, "no child is invented");
    await assert.rejects(
      repositories.putManifest(
        app,
        pushOf({ ...image, descriptor: { ...image.descriptor, mediaType: "application/other+json" } }),
      ),
      { code: "MANIFEST_INVALID" },
    );
  });

  test("is a manifest and a blob where it was pushed as both, and each can go", async () => {
    const instance = openHosted(new MemoryStore());
    const { digest } = image.descriptor;
    await push(instance, pushOf(image, "latest"));
    const { repositories } = instance;
    await pushBlobs(instance, app, [{ digest, bytes: image.bytes }]);
    assert.equal((await repositories.link(app, digest))?.role, "both");
    assert.equal(await repositories.removeBlob(app, digest), true);
    assert.equal((await repositories.link(app, digest))?.role, "manifest");
    assert.equal(await repositories.removeBlob(app, digest), false);
    await pushBlobs(instance, app, [{ digest, bytes: image.bytes }]);
    assert.equal(await repositories.removeManifest(app, digest, () => undefined), true);
    assert.equal((await repositories.link(app, digest))?.role, "blob");
    assert.equal(await repositories.tag(app, latest), undefined);
    assert.equal(await repositories.removeManifest(app, digest, () => undefined), false);
    await repositories.putManifest(app, pushOf(image));
    assert.equal((await repositories.link(app, digest))?.role, "both");
  });

  test("tells how much more, and less, a namespace holds", async () => {
    const instance = openHosted(new MemoryStore());
    let bytes = 0;
    instance.repositories.onChange((_, change) => (bytes += change));
    await push(instance, pushOf(image, "latest"));
    await push(instance, pushOf(image, "latest"));
    assert.equal(bytes, config.bytes.length + layer.bytes.length + image.bytes.length);
    await instance.repositories.removeManifest(app, image.descriptor.digest, () => undefined);
    for (const { digest } of [config, layer, layer]) await instance.repositories.removeBlob(app, digest);
    assert.equal(bytes, 0);
  });

  test("a tag that may not go keeps its manifest, and nothing has gone", async () => {
    const instance = openHosted(new MemoryStore());
    await push(instance, pushOf(image, "latest", "v1"));
    const before = await readRepository(instance, app);
    const admit = (tag: Tag): void => {
      if (tag === "v1") throw new OciError("CONFLICT");
    };
    await assert.rejects(instance.repositories.removeManifest(app, image.descriptor.digest, admit), {
      code: "CONFLICT",
    });
    assert.deepEqual(await readRepository(instance, app), before);
  });

  test("a tag remembers when it was set to what it stands for, whoever pushes that again", async () => {
    let now = 1_000;
    const instance = openHosted(new MemoryStore(() => now));
    await pushBlobs(instance, app, [config, layer, blobOf('{"architecture":"arm64"}')]);
    const pushedAt: (number | undefined)[] = [];
    for (const content of [image, image, arm]) {
      now += 1_000;
      await instance.repositories.putManifest(app, pushOf(content, "latest"));
      pushedAt.push((await instance.repositories.tag(app, latest))?.pushedAt);
    }
    assert.deepEqual(pushedAt, [2_000, 2_000, 4_000]);
  });
});

describe("two at a time", () => {
  const runs = { numRuns: soaks ? 3_000 : 60 };
  const isEither = (error: unknown): void => assert.ok(error instanceof OciError, String(error));

  test("referrers that are attached at the same moment are all listed", async () => {
    const subject = image;
    const referrers = ["signature", "sbom", "provenance"].map((kind) =>
      referrerOf(subject, config, { artifactType: `application/${kind}` }),
    );
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), instances, async (scheduler, isShared) => {
        const memory = new MemoryStore();
        await pushBlobs(openHosted(memory), app, [config]);
        const both = open(scheduled(memory, scheduler), isShared);
        const pushes = referrers.map(async (each, index) =>
          both[index % 2]?.repositories.putManifest(app, pushOf(each)),
        );
        await scheduler.waitFor(Promise.all(pushes));
        const listed = await all(openHosted(memory).repositories.listReferrers(app, subject.descriptor.digest));
        const types = new Set(listed.map(({ artifactType }) => artifactType));
        assert.deepEqual(types, new Set(["application/provenance", "application/sbom", "application/signature"]));
      }),
      runs,
    );
  });

  test("of those that would move a tag from where it is one does, and the others are told", async () => {
    const contents = [1, 2, 3, 4].map((number) => imageOf([config], { annotations: { number: String(number) } }));
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), instances, async (scheduler, isShared) => {
        const memory = new MemoryStore();
        const setUp = openHosted(memory);
        await pushBlobs(setUp, app, [config]);
        await setUp.repositories.putManifest(app, pushOf(contents[0] ?? image, "latest"));
        const expected = contents[0]?.descriptor.digest;
        const both = open(scheduled(memory, scheduler), isShared);
        const moves = contents.slice(1).map(async (content, index): Promise<Digest | undefined> => {
          const admitTag = (_: Tag, current: Digest | undefined): void => {
            if (current !== expected) throw new OciError("PRECONDITION_FAILED");
          };
          try {
            await both[index % 2]?.repositories.putManifest(app, { ...pushOf(content, "latest"), admitTag });
            return content.descriptor.digest;
          } catch (error) {
            isEither(error);
            return undefined;
          }
        });
        await scheduler.waitFor(Promise.all(moves));
        const won = (await Promise.all(moves)).filter((digest) => digest !== undefined);
        assert.deepEqual(won, [(await openHosted(memory).repositories.tag(app, latest))?.digest]);
      }),
      runs,
    );
  });

  test("a manifest that is pushed while it is removed is there whole, or not at all", async () => {
    const attached = referrerOf(imageOf([config]), layer);
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        instances,
        fc.array(fc.constantFrom("push", "remove", "untag"), { minLength: 2, maxLength: 4 }),
        fc.boolean(),
        async (scheduler, isShared, acts, isThere) => {
          const memory = new MemoryStore();
          const setUp = openHosted(memory);
          await pushBlobs(setUp, app, [config, layer]);
          if (isThere) await setUp.repositories.putManifest(app, pushOf(attached, "latest"));
          const both = open(scheduled(memory, scheduler), isShared);
          const { digest } = attached.descriptor;
          const running = acts.map(async (act, index) => {
            const { repositories } = both[index % 2] ?? assert.fail();
            if (act === "push") await repositories.putManifest(app, pushOf(attached, "latest"));
            else if (act === "remove") await repositories.removeManifest(app, digest, () => undefined);
            else await repositories.removeTag(app, latest, () => undefined);
          });
          await scheduler.waitFor(Promise.all(running));
          const fresh = openHosted(memory);
          const { tags, links } = await assertSound(fresh, app);
          const listed = await all(fresh.repositories.listReferrers(app, attached.parsed.subject?.digest ?? digest));
          assert.equal(listed.length, links.has(digest) ? 1 : 0);
          const isRemoved = acts.includes("remove");
          if (!isRemoved && (isThere || acts.includes("push"))) assert.ok(links.has(digest));
          if (acts.every((act) => act === "push")) assert.equal(tags.get("latest"), digest);
          if (!acts.includes("push") && isRemoved) assert.deepEqual([links.has(digest), tags.size], [false, 0]);
          // What both instances believe is what is there.
          for (const { repositories } of both) {
            const seen = repositories.tag(app, latest);
            await scheduler.waitFor(seen);
            assert.equal((await seen)?.digest, tags.get("latest"));
          }
        },
      ),
      { numRuns: soaks ? 10_000 : 300 },
    );
  });

  test("a removal that finds a tag at its end leaves it to who pushes the same again", async () => {
    const memory = new MemoryStore();
    const isShared = true;
    const pusher = openHosted(memory, { isShared });
    await push(pusher, pushOf(image));
    const { descriptor } = image;
    const { mediaType, digest, size } = descriptor;
    const pending = [
      // Who began to push before the removal sets its tag when that looks for none any more.
      {
        key: hostedLinkKey(app, digest),
        work: () =>
          pusher.repositories.tags.change(hostedTagKey(app, latest), () => ({
            set: { digest, mediaType, size, pushedAt: 0 },
          })),
      },
      { key: hostedTagKey(app, latest), work: () => push(pusher, pushOf(image, "latest")) },
    ];
    const before = async ({ verb, key }: StoreCall): Promise<void> => {
      if (verb === "delete" && key === pending[0]?.key) await pending.shift()?.work();
    };
    const remover = openHosted(new SteppedStore(memory, { before }), { isShared });
    assert.equal(await remover.repositories.removeManifest(app, digest, () => undefined), true);
    assert.deepEqual(pending, []);
    assert.equal((await assertSound(openHosted(memory), app)).tags.get("latest"), digest);
  });

  test("blobs that are removed while they are pushed, mounted and referred to leave nothing without its content", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        instances,
        fc.array(fc.constantFrom("push", "mount", "remove", "manifest"), { minLength: 2, maxLength: 5 }),
        async (scheduler, isShared, acts) => {
          const memory = new MemoryStore();
          await pushBlobs(openHosted(memory), other, [config, layer]);
          const both = open(scheduled(memory, scheduler), isShared);
          const running = acts.map(async (act, index) => {
            const instance = both[index % 2] ?? assert.fail();
            const { repositories } = instance;
            if (act === "push") return pushBlobs(instance, app, [layer]);
            if (act === "mount") return repositories.mountBlob(app, config.digest);
            if (act === "remove") return repositories.removeBlob(app, layer.digest);
            return repositories.putManifest(app, pushOf(image)).catch(isEither);
          });
          await scheduler.waitFor(Promise.all(running));
          await assertSound(openHosted(memory), app, new Set([layer.digest]));
        },
      ),
      runs,
    );
  });
});

describe("a process that ends between any two writes", () => {
  const signed = referrerOf(image, blobOf("signature"));
  const setUp = async (store: DatedStore): Promise<void> => {
    const instance = openHosted(store);
    await push(instance, pushOf(image, "latest", "v1"));
    await pushBlobs(instance, app, [blobOf("signature"), blobOf('{"architecture":"arm64"}')]);
    await instance.repositories.putManifest(app, pushOf(signed));
  };
  const works: Record<string, (instance: HostedInstance) => Promise<unknown>> = {
    "a first push": async (instance) => {
      const id = repositoryId("team/new");
      await pushBlobs(instance, id, [config, layer]);
      await instance.repositories.putManifest(id, pushOf(image, "latest"));
    },
    "a tag that moves": ({ repositories }) => repositories.putManifest(app, pushOf(arm, "latest", "v2")),
    "a referrer": ({ repositories }) => repositories.putManifest(app, pushOf(referrerOf(image, layer), "signed")),
    "a mount": ({ repositories }) => repositories.mountBlob(other, layer.digest),
    "a removal by digest": ({ repositories }) =>
      repositories.removeManifest(app, image.descriptor.digest, () => undefined),
    "a referrer's removal": ({ repositories }) =>
      repositories.removeManifest(app, signed.descriptor.digest, () => undefined),
    "a tag's removal": ({ repositories }) => repositories.removeTag(app, latest, () => undefined),
  };
  for (const [name, work] of Object.entries(works)) {
    test(`leaves everything sound, and its client can repeat it: ${name}`, async () => {
      for (const isDone of [false, true]) {
        for (let writes = 0; ; writes++) {
          const memory = new MemoryStore();
          await setUp(memory);
          let left = writes;
          let hasEnded = false;
          const step = ({ verb }: StoreCall): void => {
            if (verb !== "put" && verb !== "delete") return;
            if (left-- > 0) return;
            hasEnded = true;
            throw new StoreError("the process has ended", undefined);
          };
          // Once it has ended it writes nothing any more, whatever it was about to do.
          const store = new SteppedStore(
            memory,
            isDone
              ? {
                  before: () => {
                    if (hasEnded) throw new StoreError("the process has ended", undefined);
                  },
                  after: step,
                }
              : { before: step },
          );
          const failed = await work(openHosted(store)).then(
            () => false,
            () => true,
          );
          const next = openHosted(memory);
          for (const id of [app, other, repositoryId("team/new")]) await assertSound(next, id);
          await work(next);
          for (const id of [app, other, repositoryId("team/new")]) await assertSound(openHosted(memory), id);
          if (!failed) break;
          assert.ok(writes < 100);
        }
      }
    });
  }
});

describe("who relies on what is there", () => {
  test("has it for half the grace from then on, and writes nothing where it is younger", async () => {
    let now = 1_000;
    const memory = new MemoryStore(() => now);
    const writes: string[] = [];
    const instance = openHosted(
      new SteppedStore(memory, { before: ({ verb, key }) => void (verb === "put" && writes.push(key)) }),
      { graceMs },
    );
    await push(instance, pushOf(image));
    const { repositories } = instance;
    const ageOf = async (digest: Digest): Promise<number> =>
      now - ((await repositories.links.get(hostedLinkKey(app, digest)))?.writtenAt ?? NaN);
    writes.length = 0;
    now += graceMs / 2 - 1;
    await repositories.rely(app, layer.digest);
    assert.deepEqual(writes, []);
    now += 1;
    assert.equal((await repositories.rely(app, layer.digest))?.sizeBytes, layer.bytes.length);
    assert.deepEqual([await ageOf(layer.digest), await ageOf(config.digest)], [0, graceMs / 2]);
    now += graceMs;
    await repositories.putManifest(app, pushOf(imageOf([layer, config])));
    assert.deepEqual([await ageOf(layer.digest), await ageOf(config.digest)], [0, 0]);
    now += graceMs;
    await repositories.mountBlob(other, layer.digest);
    assert.equal(now - ((await instance.bytes.stat(layer.digest))?.writtenAt ?? NaN), 0);
  });

  test("also on what it need not have: layers that are kept elsewhere, and children of a sparse index", async () => {
    let now = 1_000;
    const instance = openHosted(new MemoryStore(() => now), { graceMs });
    const foreign = {
      mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar",
      digest: layer.digest,
      size: layer.bytes.length,
      urls: ["https://example.com/layer"],
    };
    const { repositories } = instance;
    await push(instance, pushOf(image));
    now += graceMs;
    await repositories.putManifest(app, pushOf(imageOf([config], { layers: [foreign] })));
    await repositories.putManifest(app, { ...pushOf(indexOf([image, arm])), isSparse: true });
    for (const digest of [layer.digest, image.descriptor.digest]) {
      assert.equal((await repositories.links.get(hostedLinkKey(app, digest)))?.writtenAt, now);
    }
  });

  test("is told of content that is gone as of none, and can push it again", async () => {
    const memory = new MemoryStore();
    const instance = openHosted(memory);
    await push(instance, pushOf(image));
    await memory.delete(hostedBlobKey(layer.digest));
    const { repositories } = instance;
    assert.equal(await repositories.rely(app, layer.digest), undefined);
    assert.equal(await repositories.mountBlob(other, layer.digest), false);
    await assert.rejects(repositories.putManifest(app, pushOf(image)), { code: "MANIFEST_BLOB_UNKNOWN" });
    await push(instance, pushOf(image));
    assert.equal(await repositories.mountBlob(other, layer.digest), true);
  });

  test("does it again where it took so long that what it relied upon may have been collected", async () => {
    let now = 1_000;
    const memory = new MemoryStore(() => now);
    let onLink: (() => Promise<void>) | undefined;
    const slow = new SteppedStore(memory, {
      before: async ({ verb, key }) => {
        if (verb !== "put" || !key.includes("/_links/")) return;
        const work = onLink;
        onLink = undefined;
        await work?.();
      },
    });
    const instance = openHosted(slow, { graceMs });
    const { repositories } = instance;
    const collect = async (...digests: readonly Digest[]): Promise<void> => {
      now += graceMs;
      for (const digest of digests) {
        await memory.delete(hostedLinkKey(app, digest));
        await memory.delete(hostedBlobKey(digest));
      }
    };
    await pushBlobs(instance, other, [layer]);
    onLink = () => collect(layer.digest);
    assert.equal(await repositories.mountBlob(app, layer.digest), false);
    assert.equal(await repositories.link(app, layer.digest), undefined, "no link without content is left");
    await pushBlobs(openHosted(memory), app, [config, layer]);
    onLink = () => collect(layer.digest);
    const failed = openHosted(slow, { graceMs, isShared: true }).repositories.putManifest(app, pushOf(image, "latest"));
    await assert.rejects(failed, { code: "MANIFEST_BLOB_UNKNOWN" });
    const { tags, referrers } = await readRepository(openHosted(memory), app);
    assert.deepEqual([tags.size, referrers.size], [0, 0]);
    onLink = () => collect();
    await pushBlobs(openHosted(memory), app, [config, layer]);
    await openHosted(slow, { graceMs, isShared: true }).repositories.putManifest(app, pushOf(image, "latest"));
    for (const { digest } of [config, layer]) {
      const link = await openHosted(memory).repositories.links.get(hostedLinkKey(app, digest));
      assert.equal(link?.writtenAt, now, "it was relied upon anew");
    }
  });

  test("a referrer is listed while its manifest is there, and no longer", async () => {
    const memory = new MemoryStore();
    const instance = openHosted(memory);
    await push(instance, pushOf(image));
    const signature = referrerOf(image, layer);
    await instance.repositories.putManifest(app, pushOf(signature));
    const list = () => all(openHosted(memory).repositories.listReferrers(app, image.descriptor.digest));
    assert.deepEqual(
      (await list()).map(({ digest }) => digest),
      [signature.descriptor.digest],
    );
    // As a process leaves it that ends between both.
    await memory.delete(hostedLinkKey(app, signature.descriptor.digest));
    assert.deepEqual(await list(), []);
    assert.equal((await all(memory.list(hostedReferrersPrefix(app)))).length, 1);
    await pushBlobs(openHosted(memory), app, [{ digest: digestOf(signature.bytes), bytes: signature.bytes }]);
    assert.deepEqual(await list(), [], "as a blob it refers to nothing");
  });
});
