import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf, parseDigest } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import type { ContentLimits, TagRecord } from "../../../src/registry/content.ts";
import { blobKey, linkKey, pageKey, type RepositoryId, tagKey } from "../../../src/store/layout.ts";
import type { ManifestContent } from "../../../src/registry/registry.ts";
import type { Page } from "../../../src/store/content-records.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { type Key, type ObjectStore, StoreError, type Version } from "../../../src/store/object-store.ts";
import { openContent } from "../../support/books.ts";
import { createBarrier } from "../../support/barrier.ts";
import { turn } from "../../support/event-loop.ts";
import { manifestContent, mediaTypes } from "../../support/image.ts";
import { storeWith } from "../../support/object-stores.ts";

const id: RepositoryId = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/a") };
const other: RepositoryId = { ...id, repository: parseRepository("library/b") };
const latest = parseTag("latest");
const dockerType = "application/vnd.docker.distribution.manifest.v2+json";

/** A manifest whose document names no media type of its own, so that its `Content-Type` decides. */
function manifestOf(seed: string, mediaType: string = mediaTypes.manifest): ManifestContent {
  const config = { mediaType: mediaTypes.config, digest: digestOf(Buffer.from(`config ${seed}`)), size: 10 };
  return manifestContent(Buffer.from(JSON.stringify({ schemaVersion: 2, config, layers: [] })), mediaType);
}

function recordOf(manifest: ManifestContent, checkedAt = 1): TagRecord {
  return { ...manifest.descriptor, checkedAt };
}

/** A store that notes what is read from it. */
function countReads(store: ObjectStore): { readonly store: ObjectStore; readonly reads: Key[] } {
  const reads: Key[] = [];
  return {
    reads,
    store: storeWith(store, {
      get: (key) => {
        reads.push(key);
        return store.get(key);
      },
    }),
  };
}

const page: Page = { document: { tags: ["a"] }, nextQuery: "last=a", filtersApplied: undefined };

test("what is stored is there for the next process", async () => {
  const store = new MemoryStore();
  const content = openContent(store);
  const manifest = manifestOf("1");
  await content.storeManifest(id, manifest, []);
  await content.setTag(id, latest, recordOf(manifest));
  await content.addLink(id, digestOf(Buffer.from("blob")), { mediaType: "a/b", sizeBytes: 4 });
  await content.pages.set(id, "tags", "n=1", page);
  const next = openContent(store);
  assert.deepEqual(await next.manifest(id, manifest.descriptor.digest), manifest);
  assert.deepEqual(await next.tag(id, latest), recordOf(manifest));
  assert.deepEqual(await next.link(id, digestOf(Buffer.from("blob"))), { mediaType: "a/b", sizeBytes: 4 });
  const { document, nextQuery } = (await next.pages.get(id, "tags", "n=1")) ?? {};
  assert.deepEqual({ document, nextQuery }, { document: page.document, nextQuery: page.nextQuery });
  assert.equal(await next.pages.get(id, "tags", "n=2"), undefined);
  assert.equal(await next.pages.get(id, "referrers", "n=1"), undefined);
});

test("pages of requests that clients make up take a bounded number of places, and none another's", async () => {
  const store = new MemoryStore();
  const content = openContent(store);
  const nth = (index: number): Page => ({ ...page, document: { tags: [String(index)] } });
  await content.pages.set(id, "tags", "", page);
  for (let index = 0; index < 2_000; index++) await content.pages.set(id, "tags", `x=${index}`, nth(index));
  let places = 0;
  for await (const { key } of store.list("repositories" as Key)) places += key.includes("/_pages/") ? 1 : 0;
  assert.ok(places > 100 && places <= 257, String(places));
  assert.deepEqual((await content.pages.get(id, "tags", ""))?.document, page.document);
  assert.deepEqual((await content.pages.get(id, "tags", "x=1999"))?.document, nth(1_999).document);
  for (let index = 0; index < 2_000; index++) {
    const stored = await content.pages.get(id, "tags", `x=${index}`);
    if (stored !== undefined) assert.deepEqual(stored.document, nth(index).document);
  }
});

test("a repository has what it has a link to, whatever is stored", async () => {
  const content = openContent(new MemoryStore());
  const manifest = manifestOf("1");
  await content.storeManifest(id, manifest, [
    { mediaType: mediaTypes.config, digest: digestOf(Buffer.from("c")), size: 1 },
  ]);
  assert.equal(await content.manifest(other, manifest.descriptor.digest), undefined);
  assert.equal(await content.tag(other, latest), undefined);
  assert.equal(await content.link(other, manifest.descriptor.digest), undefined);
  assert.deepEqual(await content.link(id, digestOf(Buffer.from("c"))), {
    mediaType: mediaTypes.config,
    sizeBytes: 1,
    role: "blob",
  });
  assert.equal(await content.link(other, digestOf(Buffer.from("c"))), undefined);
  const sameName: RepositoryId = { ...id, namespace: parseNamespace("ghcr.io") };
  assert.equal(await content.manifest(sameName, manifest.descriptor.digest), undefined);
});

test("torn records are as good as absent", async () => {
  const store = new MemoryStore();
  const manifest = manifestOf("1");
  const { digest } = manifest.descriptor;
  const whole = JSON.stringify(recordOf(manifest));
  const torn = ["", whole.slice(0, -1), whole.slice(0, 20), "null", "[]", "1", '"x"', "{}", "\u0000\u0000\u0000\u0000"];
  const wrong = [
    { ...recordOf(manifest), digest: "sha256:short" },
    { ...recordOf(manifest), digest: undefined },
    { ...recordOf(manifest), checkedAt: "1" },
    { ...recordOf(manifest), size: null },
    { ...recordOf(manifest), mediaType: 5 },
  ].map((record) => JSON.stringify(record));
  for (const text of [...torn, ...wrong]) {
    const content = openContent(store);
    await store.put(tagKey(id, latest), Buffer.from(text));
    assert.equal(await content.tag(id, latest), undefined, text);
  }
  const links = ['{"mediaType":"a/b"}', '{"sizeBytes":1}', '{"mediaType":1,"sizeBytes":1}'];
  for (const text of [...torn.filter((record) => record !== whole), ...links]) {
    const content = openContent(store);
    await store.put(linkKey(id, digest), Buffer.from(text));
    assert.equal(await content.link(id, digest), undefined, text);
    await store.put(pageKey(id, "tags", ""), Buffer.from(text));
    assert.equal(await content.pages.get(id, "tags", ""), undefined, text);
  }
  const content = openContent(store);
  await content.storeManifest(id, manifest, []);
  await content.setTag(id, latest, recordOf(manifest));
  assert.deepEqual(await openContent(store).tag(id, latest), recordOf(manifest), "and can be written again");
});

test("a manifest whose stored bytes are damaged is removed, and absent from then on", async () => {
  const store = new MemoryStore();
  const manifest = manifestOf("1");
  const { digest } = manifest.descriptor;
  for (const damaged of [Buffer.alloc(0), manifest.bytes.subarray(1), Buffer.from(manifest.bytes).fill(0, 3, 4)]) {
    await openContent(store).storeManifest(id, manifest, []);
    await store.put(blobKey(digest), damaged);
    const content = openContent(store);
    assert.equal(await content.manifest(id, digest), undefined);
    assert.equal(await store.head(blobKey(digest)), undefined);
    await content.storeManifest(id, manifest, []);
    assert.deepEqual(await openContent(store).manifest(id, digest), manifest);
  }
});

test("content that cannot be read as the manifest its link speaks of is no manifest (CVE-2021-41190)", async () => {
  const store = new MemoryStore();
  const content = openContent(store);
  const bytes = Buffer.from('{"schemaVersion":2,"manifests":[],"layers":[]}');
  const digest = digestOf(bytes);
  await store.put(blobKey(digest), bytes);
  for (const mediaType of [mediaTypes.index, mediaTypes.manifest]) {
    await content.addLink(id, digest, { mediaType, sizeBytes: bytes.length });
    assert.equal(await content.manifest(id, digest), undefined);
  }
  const image = manifestOf("1");
  await store.put(blobKey(image.descriptor.digest), image.bytes);
  await content.addLink(id, image.descriptor.digest, { mediaType: mediaTypes.index, sizeBytes: image.bytes.length });
  assert.equal(await content.manifest(id, image.descriptor.digest), undefined);
  assert.notEqual(await store.head(blobKey(image.descriptor.digest)), undefined, "the bytes are right, and stay");
});

test("what is larger than a manifest may be is not read as one", async () => {
  const store = new MemoryStore();
  const content = openContent(store);
  const bytes = Buffer.alloc(4 * 1024 * 1024 + 1);
  const digest = digestOf(bytes);
  await store.put(blobKey(digest), bytes);
  await content.addLink(id, digest, { mediaType: mediaTypes.manifest, sizeBytes: bytes.length });
  assert.equal(await content.manifest(id, digest), undefined);
  assert.notEqual(await store.head(blobKey(digest)), undefined);
  const unread = openContent({
    ...countReads(store).store,
    get: async (key) =>
      key === blobKey(digest)
        ? {
            sizeBytes: bytes.length,
            version: "1" as Version,
            read: () => assert.fail("it was read"),
            close: async () => undefined,
          }
        : store.get(key),
  });
  assert.equal(await unread.manifest(id, digest), undefined);
});

test("the media type that a digest was served with first stays", async () => {
  const store = new MemoryStore();
  const content = openContent(store);
  const first = manifestOf("1");
  await content.storeManifest(id, first, []);
  await content.storeManifest(id, manifestOf("1", dockerType), []);
  const { digest } = first.descriptor;
  assert.equal((await content.manifest(id, digest))?.descriptor.mediaType, mediaTypes.manifest);
  assert.equal((await content.link(id, digest))?.mediaType, mediaTypes.manifest);
  assert.equal((await openContent(store).manifest(id, digest))?.descriptor.mediaType, mediaTypes.manifest);
});

test("a manifest's link keeps its type when a parent lists it as another", async () => {
  const content = openContent(new MemoryStore());
  const child = manifestOf("child");
  const parent = manifestOf("parent");
  await content.storeManifest(id, child, []);
  await content.storeManifest(id, parent, [{ ...child.descriptor, mediaType: mediaTypes.index }]);
  assert.equal((await content.link(id, child.descriptor.digest))?.mediaType, mediaTypes.manifest);
});

test("what is being stored is seen at once, and the tag reaches the store after its manifest", async () => {
  const memory = new MemoryStore();
  const barrier = createBarrier();
  const order: Key[] = [];
  const store: ObjectStore = {
    ...countReads(memory).store,
    put: async (key, source, options) => {
      if (key.startsWith("blobs/")) await barrier.wait();
      const version = await memory.put(key, source);
      order.push(key);
      assert.equal(options?.durable ?? true, !key.includes("/_links/"), key);
      return version;
    },
  };
  const content = openContent(store);
  const manifest = manifestOf("1");
  const { digest } = manifest.descriptor;
  const storing = content.storeManifest(id, manifest, []);
  const tagging = content.setTag(id, latest, recordOf(manifest));
  assert.deepEqual(await content.manifest(id, digest), manifest);
  assert.deepEqual(await content.tag(id, latest), recordOf(manifest));
  assert.notEqual(await content.link(id, digest), undefined);
  await turn(5);
  assert.deepEqual(order, []);
  barrier.release();
  await Promise.all([storing, tagging]);
  assert.equal(order[0], blobKey(digest));
  assert.deepEqual(new Set(order), new Set([blobKey(digest), linkKey(id, digest), tagKey(id, latest)]));
});

test("a manifest is there while it is being stored, also where there is no memory for it", async () => {
  const memory = new MemoryStore();
  const barrier = createBarrier();
  const content = openContent(
    {
      ...countReads(memory).store,
      put: async (key, source) => {
        if (key.startsWith("blobs/")) await barrier.wait();
        return memory.put(key, source);
      },
    },
    { manifestCacheBytes: 1, recordCacheEntries: 1 },
  );
  const manifests = ["1", "2", "3"].map((seed) => manifestOf(seed));
  const storing = manifests.map((manifest) => content.storeManifest(id, manifest, []));
  await barrier.arrivals(manifests.length);
  for (const manifest of manifests) {
    assert.deepEqual(await content.manifest(id, manifest.descriptor.digest), manifest);
  }
  barrier.release();
  await Promise.all(storing);
  for (const manifest of manifests) {
    assert.deepEqual(await content.manifest(id, manifest.descriptor.digest), manifest);
  }
});

test("a tag whose manifest could not be stored is not stored either", async () => {
  const memory = new MemoryStore();
  const error = new StoreError("full", undefined);
  const store: ObjectStore = {
    ...countReads(memory).store,
    put: (key, source) => (key.startsWith("blobs/") ? Promise.reject(error) : memory.put(key, source)),
  };
  const content = openContent(store);
  const manifest = manifestOf("1");
  const storing = content.storeManifest(id, manifest, []);
  const tagging = content.setTag(id, latest, recordOf(manifest));
  await assert.rejects(storing, error);
  await assert.rejects(tagging, error);
  assert.equal(await memory.head(tagKey(id, latest)), undefined);
  assert.equal(await memory.head(linkKey(id, manifest.descriptor.digest)), undefined);
});

test("a new check of an unchanged tag need not outlive a power failure; a changed one must", async () => {
  const durable: unknown[] = [];
  const memory = new MemoryStore();
  const content = openContent({
    ...countReads(memory).store,
    put: (key, source, options) => {
      if (key === tagKey(id, latest)) durable.push(options?.durable);
      return memory.put(key, source);
    },
  });
  for (const name of ["1", "2"]) await content.storeManifest(id, manifestOf(name), []);
  await content.setTag(id, latest, recordOf(manifestOf("1"), 1));
  await content.setTag(id, latest, recordOf(manifestOf("1"), 2));
  await content.setTag(id, latest, recordOf(manifestOf("2"), 3));
  assert.deepEqual(durable, [true, false, true]);
});

test("of several records of one thing the newest is the one that is stored, whichever takes longest", async () => {
  const memory = new MemoryStore();
  const first = createBarrier();
  let count = 0;
  const content = openContent({
    ...countReads(memory).store,
    put: async (key, source) => {
      if (count++ === 0) await first.wait();
      return memory.put(key, source);
    },
  });
  const pages = ["1", "2", "3"].map((tag) => ({ ...page, document: { tags: [tag] } }));
  const writes = pages.map((each) => content.pages.set(id, "tags", "", each));
  await first.reached;
  await turn(5);
  first.release();
  await Promise.all(writes);
  assert.deepEqual((await openContent(memory).pages.get(id, "tags", ""))?.document, { tags: ["3"] });
});

test("a tag that is set again while its first manifest is still being stored stays what it was set to", async () => {
  const memory = new MemoryStore();
  const [slow, quick] = [manifestOf("slow"), manifestOf("quick")];
  const barrier = createBarrier();
  const content = openContent({
    ...countReads(memory).store,
    put: async (key, source) => {
      if (key === blobKey(slow.descriptor.digest)) await barrier.wait();
      return memory.put(key, source);
    },
  });
  const storing = [content.storeManifest(id, slow, []), content.storeManifest(id, quick, [])];
  const tagging = [content.setTag(id, latest, recordOf(slow, 1)), content.setTag(id, latest, recordOf(quick, 2))];
  await tagging[1];
  barrier.release();
  await Promise.all([...storing, ...tagging]);
  assert.deepEqual(await openContent(memory).tag(id, latest), recordOf(quick, 2));
});

test("a tag is seen all the while, also where its manifest is stored again when its turn has come", async () => {
  const memory = new MemoryStore();
  const barriers = [createBarrier(), createBarrier()];
  const manifest = manifestOf("1");
  const waits = barriers.values();
  const content = openContent({
    ...countReads(memory).store,
    put: async (key, source) => {
      if (key.startsWith("blobs/")) await waits.next().value?.wait();
      return memory.put(key, source);
    },
  });
  const storing = content.storeManifest(id, manifest, []);
  const tagging = content.setTag(id, latest, recordOf(manifest));
  const again = content.storeManifest(id, manifest, []);
  await barriers[0]?.reached;
  barriers[0]?.release();
  await storing;
  await barriers[1]?.reached;
  await turn(5);
  assert.deepEqual(await content.tag(id, latest), recordOf(manifest));
  barriers[1]?.release();
  await Promise.all([again, tagging]);
  assert.deepEqual(await openContent(memory).tag(id, latest), recordOf(manifest));
});

test("a write that failed does not hold up the next", async () => {
  const memory = new MemoryStore();
  const error = new StoreError("full", undefined);
  let count = 0;
  const content = openContent({
    ...countReads(memory).store,
    put: (key, source) => (count++ === 0 ? Promise.reject(error) : memory.put(key, source)),
  });
  const failing = content.pages.set(id, "tags", "", page);
  const next = content.pages.set(id, "tags", "", { ...page, document: { tags: ["b"] } });
  await assert.rejects(failing, error);
  await next;
  assert.deepEqual((await openContent(memory).pages.get(id, "tags", ""))?.document, { tags: ["b"] });
});

test("records and manifests that were read once are not read again", async () => {
  const memory = new MemoryStore();
  const manifest = manifestOf("1");
  const { digest } = manifest.descriptor;
  const before = openContent(memory);
  await before.storeManifest(id, manifest, []);
  await before.setTag(id, latest, recordOf(manifest));
  const { store, reads } = countReads(memory);
  const content = openContent(store);
  for (let round = 0; round < 3; round++) {
    await content.tag(id, latest);
    await content.link(id, digest);
    await content.manifest(id, digest);
  }
  assert.deepEqual(reads, [tagKey(id, latest), linkKey(id, digest), blobKey(digest)]);
});

test("what is kept in memory is bounded, by bytes and by entries", async () => {
  const memory = new MemoryStore();
  const limits: ContentLimits = { manifestCacheBytes: 4 * 1_024, recordCacheEntries: 5 };
  const before = openContent(memory, limits);
  const manifests = Array.from({ length: 20 }, (_, index) => manifestOf(`${index}`));
  for (const [index, manifest] of manifests.entries()) {
    await before.storeManifest(id, manifest, []);
    await before.setTag(id, parseTag(`v${index}`), recordOf(manifest));
  }
  const { store, reads } = countReads(memory);
  const content = openContent(store, limits);
  const pass = async (): Promise<void> => {
    for (const [index, manifest] of manifests.entries()) {
      assert.deepEqual(await content.tag(id, parseTag(`v${index}`)), recordOf(manifest));
      assert.deepEqual(await content.manifest(id, manifest.descriptor.digest), manifest);
    }
  };
  await pass();
  assert.equal(reads.length, 60);
  await pass();
  assert.equal(reads.length, 120, "nothing of a pass that is larger than the bounds is left for the next");
  await content.tag(id, parseTag("v19"));
  await content.manifest(id, manifests[19]?.descriptor.digest ?? parseDigest(""));
  assert.equal(reads.length, 120, "but the newest is");
});

test("a store that cannot tell is an error, not absence", async () => {
  const error = new StoreError("the disk failed", undefined);
  const content = openContent({ ...countReads(new MemoryStore()).store, get: () => Promise.reject(error) });
  const { digest } = manifestOf("1").descriptor;
  await assert.rejects(content.tag(id, latest), error);
  await assert.rejects(content.link(id, digest), error);
  await assert.rejects(content.manifest(id, digest), error);
  await assert.rejects(content.pages.get(id, "tags", ""), error);
  await assert.rejects(content.openBlob(digest), error);
});
