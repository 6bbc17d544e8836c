import assert from "node:assert/strict";
import { test } from "node:test";
import { Hosted } from "../../../src/hosted/hosted.ts";
import { Quotas } from "../../../src/hosted/quotas.ts";
import type { HostedRules } from "../../../src/hosted/rules.ts";
import { Uploads } from "../../../src/hosted/uploads.ts";
import { OciError } from "../../../src/oci/errors.ts";
import type { Namespace } from "../../../src/oci/reference.ts";
import type { BlobContent, Registry } from "../../../src/registry/registry.ts";
import type { Page } from "../../../src/store/content-records.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { StoreError } from "../../../src/store/object-store.ts";
import { plainHosted } from "../../support/mirror.ts";
import { blobOf, imageOf, pushBlobs, pushOf, referrerOf, repositoryId } from "../../support/hosted-content.ts";
import { type HostedInstance, openHosted } from "../../support/hosted-world.ts";
import { all } from "../../support/s3-store.ts";

const graceMs = 3_600_000;
const rules: HostedRules = { ...plainHosted, maxChunkBytes: Infinity, maxBlobBytes: Infinity, quotaBytes: Infinity };

function registryOf({ repositories, bytes }: HostedInstance, more: Partial<HostedRules> = {}) {
  const hosted = new Hosted({
    repositories,
    bytes,
    uploads: new Uploads({ bytes, secret: async () => Buffer.alloc(32) }),
    quotas: new Quotas(repositories, () => 0),
    redirects: false,
    onDamage: assert.fail,
  });
  return hosted.registry("apps" as Namespace, { ...rules, ...more });
}

test("what is old is pulled and told of where nothing can be written, and writes nothing when it is pulled", async () => {
  let now = 0;
  let puts = 0;
  let isFull = false;
  class FullStore extends MemoryStore {
    override async put(...object: Parameters<MemoryStore["put"]>): ReturnType<MemoryStore["put"]> {
      if (isFull) throw new StoreError("full", undefined);
      puts++;
      return super.put(...object);
    }
  }
  const world = openHosted(new FullStore(() => now), { graceMs });
  const { repositories } = world;
  const id = repositoryId("team/web");
  const config = blobOf("{}");
  const image = imageOf([config]);
  const { digest } = image.descriptor;
  await pushBlobs(world, id, [config]);
  await repositories.putManifest(id, pushOf(image, "1"));
  const registry = registryOf(world);
  now += 10 * graceMs;
  const pull = async (): Promise<void> => {
    for (const reference of ["1", digest] as Parameters<typeof registry.manifest>[1][]) {
      assert.equal((await registry.manifest(id.repository, reference))?.value.descriptor.digest, digest);
    }
    const blob = await registry.openBlob(id.repository, config.digest);
    assert.equal(blob?.value.sizeBytes, 2);
    await blob.value.close();
  };
  const before = puts;
  await pull();
  assert.equal(puts, before);
  isFull = true;
  await pull();
  assert.equal((await registry.resolve(id.repository, digest))?.value.digest, digest);
  assert.equal((await registry.statBlob(id.repository, config.digest))?.value.sizeBytes, 2);
  isFull = false;
  // Who asks by HEAD pushes what refers to it.
  await registry.resolve(id.repository, digest);
  await registry.statBlob(id.repository, config.digest);
  assert.equal(puts, before + 2);
});

test("a page of referrers is as large as it may be in bytes, whatever they are written in", async () => {
  const world = openHosted(new MemoryStore(() => 0));
  const id = repositoryId("team/web");
  const [config, signature] = [blobOf("{}"), blobOf("signature")];
  const image = imageOf([config]);
  await pushBlobs(world, id, [config, signature]);
  await world.repositories.putManifest(id, pushOf(image));
  for (let count = 0; count < 4; count++) {
    const annotations = { count: String(count), name: "\u00e4".repeat(500_000) };
    await world.repositories.putManifest(id, pushOf(referrerOf(image, signature, { annotations })));
  }
  const registry = registryOf(world);
  let found = 0;
  for (let query: string | undefined = ""; query !== undefined;) {
    const answer = await registry.referrers(id.repository, image.descriptor.digest, query);
    const page: Page = answer?.value ?? assert.fail();
    const { manifests } = page.document as { readonly manifests: readonly object[] };
    assert.ok(Buffer.byteLength(JSON.stringify(manifests)) < 3 * 1024 * 1024);
    found += manifests.length;
    query = page.nextQuery;
  }
  assert.equal(found, 4);
});

test("what a mirror has in its cache is mounted whole, and where it is refused or cannot be read it is uploaded", async () => {
  const world = openHosted(new MemoryStore(() => 0));
  const id = repositoryId("team/web");
  const registry = registryOf(world, { maxChunkBytes: 2 });
  const layer = blobOf("layer");
  let content: Buffer | Error = new StoreError("it cannot be read", undefined);
  let opened = 0;
  let refusal: Error | undefined = new OciError("DENIED", "the mirror's policy does not allow it");
  const cachedBlob = async (): Promise<BlobContent> => {
    if (refusal !== undefined) throw refusal;
    opened++;
    return {
      sizeBytes: layer.bytes.length,
      async *read() {
        if (content instanceof Error) throw content;
        yield content;
      },
      close: async () => void opened--,
    };
  };
  const from = { ...repositoryId("library/node"), registry: { cachedBlob } as unknown as Registry };
  const mount = (): Promise<boolean> => registry.push.mountBlob(id.repository, layer.digest, from);
  assert.equal(await mount(), false);
  refusal = undefined;
  assert.equal(await mount(), false);
  content = Buffer.from("LAYER");
  assert.equal(await mount(), false);
  assert.deepEqual(await all(world.bytes.uploads()), []);
  content = layer.bytes;
  assert.equal(await mount(), true);
  assert.equal((await registry.statBlob(id.repository, layer.digest))?.value.sizeBytes, layer.bytes.length);
  assert.equal(opened, 0);
});
