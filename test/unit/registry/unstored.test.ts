/* What could not be written: what readers see of it, and what the books are told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import { Content } from "../../../src/registry/content.ts";
import { linkKey, tagKey } from "../../../src/store/layout.ts";
import type { ManifestContent } from "../../../src/registry/registry.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { type Key, type ObjectStore, StoreError } from "../../../src/store/object-store.ts";
import { createBooks, type SimpleBooks } from "../../support/books.ts";
import { turn } from "../../support/event-loop.ts";
import { manifestContent, mediaTypes } from "../../support/image.ts";
import { storeWith } from "../../support/object-stores.ts";

const id = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/alpine") };
const tag = parseTag("3");

function manifestOf(name: string): ManifestContent {
  const document = { schemaVersion: 2, manifests: [], annotations: { name } };
  return manifestContent(Buffer.from(JSON.stringify(document)), mediaTypes.index);
}

interface Subject {
  readonly content: Content;
  readonly memory: MemoryStore;
  readonly books: SimpleBooks;
  now: number;
  /** Which keys cannot be written. */
  refuses: (key: Key) => boolean;
}

function setUp(): Subject {
  const memory = new MemoryStore();
  const store: ObjectStore = storeWith(memory, {
    put: (key, source) =>
      subject.refuses(key) ? Promise.reject(new StoreError("full", undefined)) : memory.put(key, source),
  });
  const books = { ...createBooks(), now: () => subject.now, monotonic: () => subject.now };
  const subject: Subject = { memory, books, now: 0, refuses: () => false, content: new Content(store, books) };
  return subject;
}

test("a tag that could not be written is known in memory, and the books have the one that is stored", async () => {
  const subject = setUp();
  const { content, books } = subject;
  const [first, second] = [manifestOf("1"), manifestOf("2")];
  for (const manifest of [first, second]) await content.storeManifest(id, manifest, []);
  const key = tagKey(id, tag);
  subject.refuses = (each) => each === key;
  await assert.rejects(content.setTag(id, tag, { ...first.descriptor, checkedAt: 1 }), StoreError);
  assert.deepEqual(books.changes.at(-1), { kind: "tag-removed", id, tag });
  subject.refuses = () => false;
  await content.setTag(id, tag, { ...first.descriptor, checkedAt: 2 });
  subject.refuses = (each) => each === key;
  await assert.rejects(content.setTag(id, tag, { ...second.descriptor, checkedAt: 3 }), StoreError);
  const { digest } = first.descriptor;
  assert.deepEqual(books.changes.at(-1), { kind: "tag", id, tag, digest, at: 0 });
  assert.equal((await content.tag(id, tag))?.digest, second.descriptor.digest);
});

test("a link that could not be written is none, and the books have none", async () => {
  const subject = setUp();
  const { content, books } = subject;
  const digest = digestOf(Buffer.from("layer"));
  subject.refuses = () => true;
  await assert.rejects(content.addLink(id, digest, { mediaType: "a/b", sizeBytes: 5 }), StoreError);
  assert.equal(await content.link(id, digest), undefined);
  assert.deepEqual(books.changes.at(-1), { kind: "link-removed", id, digest });
});

test("a manifest that could not be stored is served from memory, and stored when there is room again", async () => {
  const subject = setUp();
  const { content, memory } = subject;
  const manifest = manifestOf("1");
  const { digest } = manifest.descriptor;
  for (const refused of ["blobs/", "repositories/"]) {
    subject.refuses = (key) => key.startsWith(refused);
    await assert.rejects(content.storeManifest(id, manifest, []), StoreError);
    await assert.rejects(content.setTag(id, tag, { ...manifest.descriptor, checkedAt: subject.now }), StoreError);
    assert.equal(await content.manifest(id, digest), manifest);
    subject.refuses = () => false;
    subject.now += 59_999;
    assert.equal(await content.manifest(id, digest), manifest);
    assert.equal(await memory.head(linkKey(id, digest)), undefined, "not at each use");
    subject.now += 1;
    assert.equal(await content.manifest(id, digest), manifest);
    for (let turns = 0; turns < 5; turns++) await turn();
    assert.notEqual(await memory.head(linkKey(id, digest)), undefined);
    await content.setTag(id, tag, { ...manifest.descriptor, checkedAt: subject.now });
    assert.notEqual(await memory.head(tagKey(id, tag)), undefined);
    await content.removeLink(id, digest);
    assert.equal(await content.manifest(id, digest), undefined);
  }
});
