/*
 * What is removed while others read and write it: whatever the order in which the store gets to it, nothing is left that
 * points at what is gone, and what is in memory is what is stored.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseNamespace, parseRepository, parseTag, type Tag } from "../../../src/oci/reference.ts";
import { linkKey, parseKey, repositoriesPrefix } from "../../../src/store/layout.ts";
import type { ManifestContent } from "../../../src/registry/registry.ts";

import { MemoryStore } from "../../../src/store/memory.ts";
import type { Key, ObjectStore } from "../../../src/store/object-store.ts";
import { Content } from "../../../src/registry/content.ts";
import { LedgerNotReady } from "../../../src/ledger/ledger.ts";
import { createBooks, openContent } from "../../support/books.ts";
import { manifestContent, mediaTypes } from "../../support/image.ts";
import { soaks } from "../../support/soak.ts";

const id = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/alpine") };
const tags = ["a", "b"].map(parseTag);
const manifests = ["1", "2"].map((name): ManifestContent => {
  const document = { schemaVersion: 2, manifests: [], annotations: { name } };
  return manifestContent(Buffer.from(JSON.stringify(document)), mediaTypes.index);
});

type Act = (content: Content) => Promise<unknown>;

const manifest = fc.constantFrom(...manifests);
const tag = fc.constantFrom(...tags);
const act: fc.Arbitrary<[string, Act]> = fc.oneof(
  manifest.map((each): [string, Act] => ["store", (content) => content.storeManifest(id, each, [])]),
  fc
    .tuple(manifest, tag, fc.nat(9))
    .map(([{ descriptor }, name, checkedAt]): [string, Act] => [
      `tag ${name}`,
      (content) => content.setTag(id, name, { ...descriptor, checkedAt }),
    ]),
  manifest.map(({ descriptor }): [string, Act] => [
    "remove link",
    (content) => content.removeLink(id, descriptor.digest),
  ]),
  manifest.map(({ descriptor }): [string, Act] => ["remove blob", (content) => content.removeBlob(descriptor.digest)]),
  tag.map((name): [string, Act] => ["remove tag", (content) => content.removeTag(id, name)]),
  tag.map((name): [string, Act] => ["read tag", (content) => content.tag(id, name)]),
  manifest.map(({ descriptor }): [string, Act] => ["read", (content) => content.manifest(id, descriptor.digest)]),
  manifest.map(({ descriptor }): [string, Act] => ["read link", (content) => content.link(id, descriptor.digest)]),
);

/** A store whose operations end in an order that the scheduler chooses. */
function delay(store: ObjectStore, scheduler: fc.Scheduler): ObjectStore {
  const late = async <T>(work: () => Promise<T>): Promise<T> => {
    await scheduler.schedule(Promise.resolve());
    const result = await work();
    await scheduler.schedule(Promise.resolve());
    return result;
  };
  return {
    head: (key) => late(() => store.head(key)),
    get: (key) => late(() => store.get(key)),
    put: (key, source, options) => late(() => store.put(key, source, options)),
    delete: (key) => late(() => store.delete(key)),
    list: (prefix) => store.list(prefix),
    close: () => store.close(),
  };
}

const shape = { minLength: 2, maxLength: 12 };

test("removals among reads and writes leave nothing that points at what is gone", async () => {
  await fc.assert(
    // Some wait for all that is before them: of what is always under way nothing is ever there to be removed.
    fc.asyncProperty(fc.scheduler(), fc.array(fc.tuple(act, fc.boolean()), shape), async (scheduler, acts) => {
      const memory = new MemoryStore();
      // So little memory that most is read from the store.
      const content = openContent(delay(memory, scheduler), { manifestCacheBytes: 1_000, recordCacheEntries: 1 });
      const running: Promise<unknown>[] = [];
      for (const [[name, run], waits] of acts) {
        const begin = waits ? Promise.all(running) : scheduler.schedule(Promise.resolve(name));
        running.push(begin.then(() => run(content)));
      }
      await scheduler.waitFor(Promise.all(running));

      const files = new Set<Key>();
      for await (const { key } of memory.list(repositoriesPrefix)) files.add(key);
      const fresh = openContent(memory);
      for (const key of files) {
        const place = parseKey(key);
        if (place?.kind !== "tag") continue;
        const record = await fresh.tag(id, place.tag);
        assert.ok(record !== undefined);
        assert.ok(files.has(linkKey(id, record.digest)), `${place.tag} points at a manifest that is gone`);
      }
      const seen = Promise.all([
        ...tags.map((each) => content.tag(id, each)),
        ...manifests.map(({ descriptor }) => content.link(id, descriptor.digest)),
      ]);
      await scheduler.waitFor(seen);
      const stored = await Promise.all([
        ...tags.map((each) => fresh.tag(id, each)),
        ...manifests.map(({ descriptor }) => fresh.link(id, descriptor.digest)),
      ]);
      assert.deepEqual(await seen, stored);
    }),
    { numRuns: soaks ? 5_000 : 400 },
  );
});

test("while it is not known which tags stand for a manifest, it stays with all of them", async () => {
  const store = new MemoryStore();
  const books = createBooks();
  const content = new Content(store, {
    ...books,
    holding: () => Promise.reject(new LedgerNotReady()),
  });
  const [manifest] = manifests as [ManifestContent];
  const [tag] = tags as [Tag];
  await content.storeManifest(id, manifest, []);
  await content.setTag(id, tag, { ...manifest.descriptor, checkedAt: 1 });
  await assert.rejects(content.removeLink(id, manifest.descriptor.digest), LedgerNotReady);
  for (const each of [content, openContent(store)]) {
    assert.equal((await each.tag(id, tag))?.digest, manifest.descriptor.digest);
    assert.deepEqual((await each.manifest(id, manifest.descriptor.digest))?.bytes, Buffer.from(manifest.bytes));
  }
});
