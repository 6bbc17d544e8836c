import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { layoutBlobKey } from "../../../src/layout/image-layout.ts";
import { LayoutError, readIndexDocument } from "../../../src/layout/index-document.ts";
import { mergeIndex } from "../../../src/layout/index-merge.ts";
import { readLayoutPlace } from "../../../src/layout/place.ts";
import { contentOf, type WriteOptions, writeImage } from "../../../src/layout/write-image.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseReference, parseRepository, parseTag, type Tag } from "../../../src/oci/reference.ts";
import type { BucketStore } from "../../../src/store/bucket-store.ts";
import { type Key, StoreError } from "../../../src/store/object-store.ts";
import { MemoryBucket } from "../../support/bucket.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { never } from "../../support/event-loop.ts";
import { bytesOf, imageOf, indexOf } from "../../support/hosted.ts";
import { mediaTypes } from "../../support/image.ts";
import { addToLayout, type LayoutContent } from "../../support/layout-writer.ts";
import { filesOf, openLayouts } from "../../support/layout-world.ts";
import { all, readAll } from "../../support/s3-store.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const config = Buffer.from("{}");
const layer = pseudoRandomBytes(20_000, "layer");
const document = imageOf(config, [layer]);
const blobs: readonly LayoutContent[] = [config, layer].map((bytes) => ({ digest: digestOf(bytes), bytes }));
const manifest = { digest: digestOf(bytesOf(document)), bytes: bytesOf(document) };
const index = { digest: digestOf(bytesOf(indexOf([document]))), bytes: bytesOf(indexOf([document])) };
const refName = "org.opencontainers.image.ref.name";

/** A layout in a folder, with an index of one image. */
async function layoutIn(folder: string) {
  await addToLayout(folder, [{ ...index, mediaType: mediaTypes.index, tag: "local" }], [manifest, ...blobs]);
  const naming = { namespace: parseNamespace("example.com"), prefix: "image" };
  const place = (await readLayoutPlace(await filesOf(folder), "", "", naming)) ?? assert.fail();
  const image = place.images[0] ?? assert.fail();
  return { place, image, content: await contentOf(place, image) };
}

function optionsFor(store: BucketStore, tag: string, more: Partial<WriteOptions> = {}): WriteOptions {
  return {
    store,
    folder: "team/app",
    tag: parseTag(tag),
    atOnce: 4,
    needsLock: false,
    signal: never(),
    random: Math.random,
    onContent: () => undefined,
    ...more,
  };
}

async function tagsIn(store: BucketStore): Promise<(string | undefined)[]> {
  const bytes = (await readAll(store, "team/app/index.json" as Key)) ?? assert.fail();
  return readIndexDocument(bytes).entries.map(({ name }) => name?.tag);
}

describe("an index into which an entry is merged", () => {
  const descriptor = { mediaType: mediaTypes.manifest, digest: manifest.digest, size: manifest.bytes.length };
  const merged = (before: unknown, tag: string | undefined): Record<string, unknown>[] => {
    const bytes = mergeIndex(Buffer.from(JSON.stringify(before)), descriptor, tag as Tag | undefined);
    return (JSON.parse(bytes.toString()) as { manifests: Record<string, unknown>[] }).manifests;
  };
  const entry = (digest: string, tag?: string) => ({
    ...descriptor,
    digest,
    ...(tag !== undefined && { annotations: { [refName]: tag } }),
  });

  test("skopeo#762: another tag of one digest is added, a tag that moves takes the place of its own entry alone", () => {
    const before = { manifests: [entry(manifest.digest, "1"), entry(index.digest, "2")] };
    assert.deepEqual(merged(before, "3"), [...before.manifests, entry(manifest.digest, "3")]);
    assert.deepEqual(merged(before, "2"), [entry(manifest.digest, "1"), entry(manifest.digest, "2")]);
  });

  test("without a tag an entry is there once; others of that digest stay", () => {
    const before = { manifests: [entry(manifest.digest), entry(manifest.digest, "1")] };
    assert.deepEqual(merged(before, undefined), [entry(manifest.digest, "1"), entry(manifest.digest)]);
  });

  test("whatever else stands there is kept, broken or unknown as it may be", () => {
    const strange = [null, 1, { more: [1] }, { ...entry(index.digest, "x/y:1"), platform: { os: "" }, unknown: true }];
    const before = { schemaVersion: 2, manifests: strange, annotations: { a: "b" }, other: { c: 1 } };
    const bytes = mergeIndex(Buffer.from(JSON.stringify(before)), descriptor, parseTag("1"));
    const after = JSON.parse(bytes.toString()) as object;
    assert.deepEqual(after, {
      ...before,
      mediaType: mediaTypes.index,
      manifests: [...strange, entry(manifest.digest, "1")],
    });
  });

  test("what cannot be read is not replaced", () => {
    for (const text of ["", "{", "[]", '{"manifests":1}']) {
      assert.throws(() => mergeIndex(Buffer.from(text), descriptor, parseTag("1")), LayoutError, text);
    }
    assert.equal(merged({ manifests: null }, "1").length, 1);
  });
});

test("an image is written with all that it leads to, is served then, and nothing is sent twice", async () => {
  await using folder = await createTemporaryDirectory();
  const { place, image, content } = await layoutIn(folder.path);
  const store = new MemoryBucket();
  await writeImage(place, image, content, optionsFor(store, "1"));
  const sent: string[] = [];
  await writeImage(
    place,
    image,
    content,
    optionsFor(store, "2", { onContent: ({ isSent, digest }) => void (isSent && sent.push(digest)) }),
  );
  assert.deepEqual(sent, []);
  assert.deepEqual(await tagsIn(store), ["1", "2"]);
  await using world = openLayouts({ list: () => listed(store), get: (key) => store.get(key) });
  const registry = world.layouts.registry();
  const found = await registry.manifest(parseRepository("team/app"), parseReference("1"));
  assert.equal(found?.value.descriptor.digest, index.digest);
  assert.ok((await registry.manifest(parseRepository("team/app"), manifest.digest)) !== undefined);
  assert.equal((await registry.statBlob(parseRepository("team/app"), digestOf(layer)))?.value.sizeBytes, layer.length);
});

/** All of a bucket, whose listing needs a prefix. */
async function* listed(store: BucketStore) {
  yield* store.list("team" as Key);
}

for (const needsLock of [false, true]) {
  test(`two hundred pushes into one index at once: none is lost${needsLock ? ", where the server needs a lock" : ""}`, async () => {
    await using folder = await createTemporaryDirectory();
    const { place, image, content } = await layoutIn(folder.path);
    const store = new MemoryBucket();
    const tags = Array.from({ length: needsLock ? 10 : 200 }, (_, number) => `v${number}`);
    // Without waiting they meet each time.
    const random = (): number => 0;
    await Promise.all(
      tags.map((tag) => writeImage(place, image, content, optionsFor(store, tag, { needsLock, random }))),
    );
    assert.deepEqual((await tagsIn(store)).map(String).toSorted(), tags.toSorted());
  });
}

test("killed before any of its writes, the index is the old one or the new one, and a repeat ends it", async () => {
  await using folder = await createTemporaryDirectory();
  const { place, image, content } = await layoutIn(folder.path);
  for (let writes = 0, isDone = false; !isDone; writes++) {
    assert.ok(writes < 20);
    const store = new MemoryBucket();
    await writeImage(place, image, content, optionsFor(store, "old"));
    for (const { key } of await all(store.list("team/app/blobs" as Key))) await store.delete(key);
    let left = writes;
    store.onAsked = (what) => {
      if (/^(?:put|upload|delete)/.test(what) && left-- <= 0) throw new StoreError("it ended", undefined);
    };
    isDone = await writeImage(place, image, content, optionsFor(store, "new")).then(
      () => true,
      (error: unknown) => assert.ok(error instanceof StoreError) ?? false,
    );
    store.onAsked = undefined;
    assert.deepEqual(await tagsIn(store), isDone ? ["old", "new"] : ["old"]);
    await writeImage(place, image, content, optionsFor(store, "new"));
    assert.deepEqual(await tagsIn(store), ["old", "new"]);
    for (const { digest, bytes } of blobs)
      assert.deepEqual(await readAll(store, layoutBlobKey("team/app", digest)), bytes);
  }
});

test("nothing is stored that does not have its digest, and an image that is not whole is not begun with", async () => {
  await using folder = await createTemporaryDirectory();
  const { place, image, content } = await layoutIn(folder.path);
  const wrong = Buffer.from(layer);
  wrong[100] = (wrong[100] ?? 0) ^ 1;
  const path = join(folder.path, layoutBlobKey("", digestOf(layer)));
  await writeFile(path, wrong);
  const store = new MemoryBucket();
  await assert.rejects(writeImage(place, image, content, optionsFor(store, "1")), /does not have its digest/);
  assert.equal(await store.head(layoutBlobKey("team/app", digestOf(layer))), undefined);
  assert.equal(await store.head("team/app/index.json" as Key), undefined);
  await writeFile(join(folder.path, layoutBlobKey("", manifest.digest)), "short");
  await assert.rejects(contentOf(place, image), { name: "LayoutError", message: /has 5 bytes/ });
});

test("an index that cannot be read is left as it is", async () => {
  await using folder = await createTemporaryDirectory();
  const { place, image, content } = await layoutIn(folder.path);
  const store = new MemoryBucket();
  await store.put("team/app/index.json" as Key, Buffer.from("{ broken"));
  await assert.rejects(writeImage(place, image, content, optionsFor(store, "1")), LayoutError);
  assert.equal((await readAll(store, "team/app/index.json" as Key))?.toString(), "{ broken");
  store.unreadable = "team/app/index.json" as Key;
  await assert.rejects(writeImage(place, image, content, optionsFor(store, "1")), /unreadable/);
});
