/* In which order the content store tells the ledger of what it writes, and which of two writes counts. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import { Content, newBlobLink, type TagRecord } from "../../../src/registry/content.ts";
import { blobKey, linkKey, type RepositoryId, tagKey } from "../../../src/store/layout.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { type ObjectStore, StoreError } from "../../../src/store/object-store.ts";
import { turn } from "../../support/event-loop.ts";
import { createBarrier } from "../../support/barrier.ts";
import { createBooks, openContent } from "../../support/books.ts";
import { manifestContent, mediaTypes } from "../../support/image.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";
import { stagedFile, storeWith } from "../../support/object-stores.ts";

const id: RepositoryId = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/a") };
const latest = parseTag("latest");
const index = manifestContent(Buffer.from('{"schemaVersion":2,"manifests":[]}'), mediaTypes.index);

/** A store whose writes are noted, each after `before`. */
function watchPuts(memory: ObjectStore, before: (key: string) => Promise<void>): ObjectStore {
  return storeWith(memory, {
    async put(key, source, options) {
      await before(key);
      return memory.put(key, source, options);
    },
  });
}

/** A content store over `store` whose books note in `order` what they are told, and what room is set aside and ends. */
function openOrdered(store: ObjectStore, order: string[]): Content {
  const books = createBooks();
  return new Content(store, {
    ...books,
    admit: async (namespace, change, sizeBytes) => {
      order.push(`tell ${change.kind}`);
      await books.admit(namespace, change, sizeBytes);
    },
    reserve: async () => {
      order.push("reserve");
      return {
        bytes: 4_096,
        grow: () => true,
        noteWritten: () => undefined,
        release: () => void order.push("release"),
      };
    },
    note: async (change) => {
      order.push(`tell ${change.kind}`);
      await books.note(change);
    },
  });
}

test("what is committed has its link told before its content, which is when its room ends, and written after it", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "staged");
  await writeFile(path, "blob");
  const digest = digestOf(Buffer.from("blob"));
  const commits = [
    {
      of: digest,
      commit: async (content: Content) => content.commitBlob(id, digest, await stagedFile(path), undefined),
    },
    { of: index.descriptor.digest, commit: (content: Content) => content.storeManifest(id, index, []) },
  ];
  for (const { of, commit } of commits) {
    const order: string[] = [];
    const store = watchPuts(new MemoryStore(), async (key) => void order.push(`put ${key}`));
    await commit(openOrdered(store, order));
    assert.deepEqual(order.slice(0, 6), [
      "reserve",
      "tell link",
      "tell content",
      "release",
      `put ${blobKey(of)}`,
      `put ${linkKey(id, of)}`,
    ]);
    assert.equal(order.filter((what) => what === "reserve").length, 1);
  }
});

test("content that cannot be stored leaves no link that it did not have, and the ledger knows", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "staged");
  await writeFile(path, "blob");
  const digest = digestOf(Buffer.from("blob"));
  for (const has of [false, true]) {
    const order: string[] = [];
    const memory = new MemoryStore();
    const content = openOrdered(
      watchPuts(memory, async (key) => {
        if (key === blobKey(digest)) throw new Error("the disk is full");
      }),
      order,
    );
    if (has) await content.addLink(id, digest, { ...newBlobLink, sizeBytes: 3 });
    await assert.rejects(content.commitBlob(id, digest, await stagedFile(path), undefined), /full/);
    assert.equal((await content.link(id, digest))?.sizeBytes, has ? 3 : undefined);
    assert.equal(order.includes("tell link-removed"), !has);
    assert.ok(!content.isBusy(digest));
  }
});

test("an earlier check of a tag is not seen for a moment, also while the later one is being stored", async () => {
  const memory = new MemoryStore();
  const barrier = createBarrier();
  const content = openContent(
    watchPuts(memory, async (key) => (key === tagKey(id, latest) ? barrier.wait() : undefined)),
  );
  await content.storeManifest(id, index, []);
  const record = (checkedAt: number): TagRecord => ({ ...index.descriptor, checkedAt });
  const later = content.setTag(id, latest, record(5));
  await barrier.reached;
  const earlier = content.setTag(id, latest, record(3));
  assert.equal((await content.tag(id, latest))?.checkedAt, 5);
  barrier.release();
  await Promise.all([later, earlier]);
  assert.equal((await content.tag(id, latest))?.checkedAt, 5);
  assert.equal((await openContent(memory).tag(id, latest))?.checkedAt, 5);
});

test("the links of a manifest's children are written a few at a time; of a digest that is listed twice, the first counts", async () => {
  const memory = new MemoryStore();
  let most = 0;
  let writing = 0;
  const store = watchPuts(memory, async (key) => {
    if (!key.includes("/_links/")) return;
    most = Math.max(most, ++writing);
    await turn(2);
    writing--;
  });
  const content = openContent(store);
  const children = Array.from({ length: 30 }, (_, count) => ({
    mediaType: mediaTypes.layer,
    digest: digestOf(Buffer.from(`${count}`)),
    size: count,
  }));
  const [first] = children;
  assert.ok(first !== undefined);
  await content.storeManifest(id, index, [first, { ...first, size: 1_000 }, ...children.slice(1)]);
  assert.equal(most, 8);
  const reopened = openContent(memory);
  for (const { digest, size } of children) assert.equal((await reopened.link(id, digest))?.sizeBytes, size);
});

test("when a child's link cannot be written, no other is being written any more when that is told", async () => {
  const memory = new MemoryStore();
  const error = new StoreError("it is full", undefined);
  let links = 0;
  let writing = 0;
  const store = watchPuts(memory, async (key) => {
    if (!key.includes("/_links/") || key === linkKey(id, index.descriptor.digest)) return;
    if (++links === 1) throw error;
    writing++;
    await turn(2);
    writing--;
  });
  const children = Array.from({ length: 30 }, (_, count) => ({
    mediaType: mediaTypes.layer,
    digest: digestOf(Buffer.from(`${count}`)),
    size: count,
  }));
  await assert.rejects(openContent(store).storeManifest(id, index, children), error);
  assert.equal(writing, 0);
  assert.equal(links, 8);
});
