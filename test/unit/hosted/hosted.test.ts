import assert from "node:assert/strict";
import { test } from "node:test";
import { Hosted } from "../../../src/hosted/hosted.ts";
import { Quotas } from "../../../src/hosted/quotas.ts";
import type { HostedRules } from "../../../src/hosted/rules.ts";
import { Uploads } from "../../../src/hosted/uploads.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { StoreError } from "../../../src/store/object-store.ts";
import { plainHosted } from "../../support/mirror.ts";
import { blobOf, imageOf, pushBlobs, pushOf, repositoryId } from "../../support/hosted-content.ts";
import { openHosted } from "../../support/hosted-world.ts";

const graceMs = 3_600_000;
const rules: HostedRules = { ...plainHosted, maxChunkBytes: Infinity, maxBlobBytes: Infinity, quotaBytes: Infinity };

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
  const { repositories, bytes } = world;
  const id = repositoryId("team/web");
  const config = blobOf("{}");
  const image = imageOf([config]);
  const { digest } = image.descriptor;
  await pushBlobs(world, id, [config]);
  await repositories.putManifest(id, pushOf(image, "1"));
  const hosted = new Hosted({
    repositories,
    bytes,
    uploads: new Uploads({ bytes, secret: async () => Buffer.alloc(32) }),
    quotas: new Quotas(repositories, () => now),
    redirects: false,
    onDamage: assert.fail,
  });
  const registry = hosted.registry(id.namespace, rules);
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
