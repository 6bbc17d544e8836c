/* A scrub beside pulls: what happens while it runs, and where the storage or the ledger has its own view. */
import assert from "node:assert/strict";
import { readFile, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { verifySteps } from "../../../src/jobs/verify.ts";
import type { VerifyTools } from "../../../src/jobs/verify-scrub.ts";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { parseTag } from "../../../src/oci/reference.ts";
import { Content } from "../../../src/registry/content.ts";
import { blobKey, blobsPrefix, linkKey, repositoriesPrefix, tagKey } from "../../../src/store/layout.ts";
import { chargedBytes, LedgerNotReady } from "../../../src/ledger/ledger.ts";
import type { FileReader } from "../../../src/store/local-upkeep.ts";
import type { Key, OpenObject } from "../../../src/store/object-store.ts";
import { StoreError } from "../../../src/store/object-store.ts";
import { stagedFile, storeWith } from "../../support/object-stores.ts";
import { createBarrier } from "../../support/barrier.ts";
import { until } from "../../support/event-loop.ts";
import { manifestContent, mediaTypes } from "../../support/image.ts";
import { countsOf, id, latest, openWorld, type ScrubWorld } from "./scrub-world.ts";
import { countProblems } from "../../support/problems.ts";

const bytes = Buffer.from("a blob of its own");
const digest = digestOf(bytes);
const link = { mediaType: mediaTypes.layer, sizeBytes: bytes.length };

/** The objects of a store, but for some of its methods. */
function readerWith(store: FileReader, changed: Partial<FileReader>): FileReader {
  return {
    head: (key) => store.head(key),
    get: (key) => store.get(key),
    list: (prefix, options) => store.list(prefix, options),
    ...changed,
  };
}

/** A store in which something happens once, before anything below `prefix` is listed. */
function beforeListing(store: FileReader, prefix: Key, happen: () => Promise<void>): FileReader {
  let happened = false;
  return readerWith(store, {
    async *list(listed) {
      if (listed === prefix && !happened) {
        happened = true;
        await happen();
      }
      yield* store.list(listed);
    },
  });
}

type Ledger = NonNullable<VerifyTools["ledger"]>;

/** A ledger that knows of the links that the books were told of, also of those that are gone. */
function ledgerOf(world: ScrubWorld, totals?: Ledger["totals"]): Ledger & { readonly rebuilds: () => number } {
  let rebuilds = 0;
  return {
    totals,
    rebuilds: () => rebuilds,
    holders: async (held) =>
      world.books.changes.flatMap((change) => (change.kind === "link" && change.digest === held ? [change.id] : [])),
    async rebuild() {
      rebuilds++;
    },
  };
}

async function commit(world: ScrubWorld, as: Digest = digest, content: Uint8Array = bytes): Promise<void> {
  const path = join(world.store.temporaryPath, "spool");
  await writeFile(path, content);
  await world.content.commitBlob(id, as, await stagedFile(path), undefined);
}

test("a fill that commits while the scrub runs, and has its link, is no orphan", async () => {
  await using world = await openWorld();
  const store = beforeListing(world.store, blobsPrefix, async () => {
    await commit(world);
    await world.content.addLink(id, digest, link);
  });
  const job = await world.scrub(true, { reader: store, ledger: ledgerOf(world) });
  assert.deepEqual(countsOf(job, "orphans"), { examined: 5 });
  assert.ok(await world.content.statBlob(digest));
});

test("a fill that commits while the scrub runs, and has no link yet, is no orphan", async () => {
  await using world = await openWorld();
  const store = beforeListing(world.store, blobsPrefix, async () => {
    await commit(world);
  });
  const job = await world.scrub(true, { reader: store, ledger: ledgerOf(world), now: Date.now });
  assert.deepEqual(countsOf(job, "orphans"), { examined: 5, "in use": 1 });
  assert.ok(await world.content.statBlob(digest));
});

test("an orphan that somebody reads stays; who read it was not disturbed, and the next scrub removes it", async () => {
  await using world = await openWorld();
  await commit(world);
  await world.content.removeLink(id, digest);
  const reader = await world.content.openBlob(digest);
  assert.deepEqual(countsOf(await world.scrub(true), "orphans"), { examined: 5, "in use": 1 });
  await reader?.close();
  assert.equal(countsOf(await world.scrub(true), "orphans")?.["removed"], 1);
  assert.equal(await world.content.statBlob(digest), undefined);
});

test("a link that only the ledger knows keeps no orphan", async () => {
  await using world = await openWorld();
  await commit(world);
  await world.content.addLink(id, digest, link);
  await world.content.removeLink(id, digest);
  const job = await world.scrub(true, { ledger: ledgerOf(world) });
  assert.equal(countsOf(job, "orphans")?.["removed"], 1);
});

test("a tag that is recorded while the scrub runs stays, with its manifest", async () => {
  await using world = await openWorld();
  const { digest: manifest, mediaType, bytes: document } = world.image.root;
  // The manifest is lost, and comes back while the tags are looked at.
  await world.store.delete(blobKey(manifest));
  let listings = 0;
  const store = readerWith(world.store, {
    async *list(prefix) {
      for await (const object of world.store.list(prefix)) {
        if (prefix === repositoriesPrefix && object.key === tagKey(id, latest) && ++listings === 2) {
          const content = manifestContent(document, mediaType);
          await world.content.storeManifest(id, content, []);
          await world.content.setTag(id, latest, { ...content.descriptor, checkedAt: 2 });
        }
        yield object;
      }
    },
  });
  assert.equal(countsOf(await world.scrub(true, { reader: store }), "tags")?.["dangling"], undefined);
  assert.equal((await world.content.tag(id, latest))?.checkedAt, 2);
});

test("a tag that goes with its manifest while it is looked at was not dangling", async () => {
  await using world = await openWorld();
  const { digest: manifest } = world.image.root;
  let reads = 0;
  const reader = readerWith(world.store, {
    async get(key) {
      // First it is read among the links, then for its tag.
      if (key === linkKey(id, manifest) && ++reads === 2) {
        await world.content.removeTag(id, latest);
        await world.content.removeLink(id, manifest);
      }
      return world.store.get(key);
    },
  });
  assert.deepEqual(countsOf(await world.scrub(false, { reader }), "tags"), { examined: 1 });
  assert.equal(reads, 2);
});

test("a tag that goes before it is read is not torn", async () => {
  await using world = await openWorld();
  const reader = readerWith(world.store, {
    async get(key) {
      if (key === tagKey(id, latest)) await world.content.removeTag(id, latest);
      return world.store.get(key);
    },
  });
  assert.deepEqual(countsOf(await world.scrub(true, { reader }), "tags"), { examined: 1 });
});

test("a tag that goes with its manifest while it is looked at, and is back with it, is not dangling, and stays", async () => {
  await using world = await openWorld();
  const { digest: manifest, mediaType, bytes: document } = world.image.root;
  let linkReads = 0;
  let tagReads = 0;
  const reader = readerWith(world.store, {
    async get(key) {
      if (key === linkKey(id, manifest) && ++linkReads === 2) {
        await world.content.removeTag(id, latest);
        await world.content.removeLink(id, manifest);
      }
      if (key === tagKey(id, latest) && ++tagReads === 2) {
        const content = manifestContent(document, mediaType);
        await world.content.storeManifest(id, content, []);
        await world.content.setTag(id, latest, { ...content.descriptor, checkedAt: 2 });
      }
      return world.store.get(key);
    },
  });
  assert.deepEqual(countsOf(await world.scrub(true, { reader }), "tags"), { examined: 1 });
  assert.deepEqual([linkReads, tagReads], [2, 2]);
  assert.equal((await world.content.tag(id, latest))?.checkedAt, 2);
});

test("a tag that stands for something else since it was read stays", async () => {
  await using world = await openWorld();
  const record = await world.content.tag(id, latest);
  const old = "state/old" as Key;
  await world.plant(old, JSON.stringify({ ...record, digest }));
  const store = readerWith(world.store, { get: (key) => world.store.get(key === tagKey(id, latest) ? old : key) });
  assert.deepEqual(countsOf(await world.scrub(true, { reader: store }), "tags"), { examined: 1, dangling: 1 });
  assert.deepEqual(await world.content.tag(id, latest), record);
});

test("a record that comes while it is looked for is not torn", async () => {
  await using world = await openWorld();
  let reads = 0;
  const store = readerWith(world.store, {
    get: async (key) => (key === tagKey(id, latest) && ++reads === 1 ? undefined : world.store.get(key)),
  });
  assert.deepEqual(countsOf(await world.scrub(true, { reader: store }), "tags"), { examined: 1 });
  assert.equal(reads, 2);
});

test("a tag whose manifest is being stored stays", async () => {
  await using world = await openWorld();
  const { digest: manifest, mediaType, bytes: document } = world.image.root;
  await world.store.delete(blobKey(manifest));
  const barrier = createBarrier();
  const store = storeWith(world.store, {
    async put(key, source, options) {
      if (key === blobKey(manifest)) await barrier.wait();
      return world.store.put(key, source, options);
    },
  });
  const content = new Content(store, world.books);
  const stored = content.storeManifest(id, manifestContent(document, mediaType), []);
  await barrier.reached;
  assert.deepEqual(countsOf(await world.scrub(true, { content }), "tags"), { examined: 1 });
  barrier.release();
  await stored;
  assert.equal((await content.tag(id, latest))?.digest, manifest);
});

test("a tag whose manifest is stored, and its link not yet, stays", async () => {
  await using world = await openWorld();
  const { digest: manifest, mediaType, bytes: document } = world.image.root;
  // A power failure may take it: only content and new tags are flushed.
  await world.store.delete(linkKey(id, manifest));
  const barrier = createBarrier();
  const store = storeWith(world.store, {
    async put(key, source, options) {
      if (key === linkKey(id, manifest)) await barrier.wait();
      return world.store.put(key, source, options);
    },
  });
  const content = new Content(store, world.books);
  const stored = content.storeManifest(id, manifestContent(document, mediaType), []);
  await barrier.reached;
  assert.deepEqual(countsOf(await world.scrub(true, { content }), "tags"), { examined: 1 });
  barrier.release();
  await stored;
  assert.equal((await content.tag(id, latest))?.digest, manifest);
});

test("who reads a blob that is found damaged reads it to the end", async () => {
  await using world = await openWorld();
  const damaged = Buffer.alloc(3_000_000, 1);
  await world.plant(blobKey(world.layer), damaged);
  const reader = await world.content.openBlob(world.layer);
  assert.ok(reader !== undefined);
  const read: Buffer[] = [];
  let job;
  for await (const chunk of reader.read({ start: 0, end: reader.sizeBytes })) {
    read.push(Buffer.from(chunk));
    job ??= await world.scrub(true);
  }
  await reader.close();
  assert.ok(job !== undefined && read.length > 1);
  assert.equal(countsOf(job, "content")?.["quarantined"], 1);
  assert.ok(Buffer.concat(read).equals(damaged));
  assert.equal(await world.content.openBlob(world.layer), undefined);
});

test("content that is replaced while it is read, or that was read wrongly once, is not thrown away", async () => {
  await using world = await openWorld();
  let reads = 0;
  const wrong = (object: OpenObject): OpenObject => ({
    ...object,
    async *read(span) {
      for await (const chunk of object.read(span)) yield chunk.map((byte) => byte ^ 1);
    },
  });
  const store = readerWith(world.store, {
    async get(key) {
      const object = await world.store.get(key);
      return object !== undefined && key === blobKey(world.layer) && ++reads === 1 ? wrong(object) : object;
    },
  });
  const job = await world.scrub(true, { reader: store });
  assert.equal(reads, 2);
  assert.equal(countProblems(job), 0);
  assert.ok(await world.content.statBlob(world.layer));
});

test("the sound copy that has taken the place of a damaged one is not put aside", async () => {
  await using world = await openWorld();
  const key = blobKey(world.layer);
  const sound = await readFile(world.path(key));
  await world.plant(
    key,
    sound.map((byte) => byte ^ 1),
  );
  let reads = 0;
  const store = readerWith(world.store, {
    async get(wanted) {
      const object = await world.store.get(wanted);
      if (object === undefined || wanted !== key) return object;
      const close = async (): Promise<void> => {
        await object.close();
        // It has been found damaged twice.
        if (++reads === 2) await commit(world, world.layer, sound);
      };
      return { ...object, close };
    },
  });
  const job = await world.scrub(true, { reader: store });
  assert.equal(reads, 2);
  assert.equal(countsOf(job, "content")?.["quarantined"], undefined);
  assert.equal((await world.content.statBlob(world.layer))?.sizeBytes, sound.length);
});

test("nothing looks used for having been scrubbed", async () => {
  await using world = await openWorld();
  const used = async (): Promise<Map<Key, number>> => {
    const found = new Map<Key, number>();
    for (const prefix of [blobsPrefix, repositoriesPrefix]) {
      for await (const { key, usedAt } of world.store.list(prefix)) found.set(key, usedAt);
    }
    return found;
  };
  const day = 24 * 3_600_000;
  // Times that any system renews on a read, if it renews one at all.
  for (const key of (await used()).keys()) {
    await utimes(world.path(key), (Date.now() - 2 * day) / 1_000, (Date.now() - 3 * day) / 1_000);
  }
  const before = await used();
  for (const repair of [false, true]) await world.scrub(repair);
  assert.deepEqual(await used(), before);
});

test("what cannot be read is counted, holds its content, and keeps nothing else from being looked at", async () => {
  await using world = await openWorld();
  const failing: readonly Key[] = [blobKey(world.image.root.digest), linkKey(id, world.layer), tagKey(id, latest)];
  const store = readerWith(world.store, {
    async get(key) {
      if (failing.includes(key)) throw new StoreError(`${key} could not be opened`, undefined);
      return world.store.get(key);
    },
  });
  const before = await world.snapshot();
  const job = await world.scrub(true, { reader: store });
  assert.equal(job.state, "succeeded");
  assert.deepEqual(countsOf(job, "links"), { examined: 4, failed: 1 });
  assert.deepEqual(countsOf(job, "orphans"), { examined: 4 });
  assert.deepEqual(countsOf(job, "content"), { examined: 4, failed: 1 });
  assert.deepEqual(countsOf(job, "tags"), { examined: 1, failed: 1 });
  assert.equal(countProblems(job), 3);
  assert.deepEqual(await world.snapshot(), before);
});

test("a scrub that is cancelled while it reads ends soon, and leaves all in order", async () => {
  await using world = await openWorld();
  await world.plant(blobKey(digest), "damaged");
  await world.plant(tagKey(id, parseTag("gone")), "");
  const barrier = createBarrier();
  let open = 0;
  const store = readerWith(world.store, {
    async get(key) {
      const object = await world.store.get(key);
      if (object === undefined || !key.startsWith("blobs/")) return object;
      open++;
      return {
        ...object,
        async *read(span) {
          await barrier.wait();
          yield* object.read(span);
        },
        close: () => object.close().finally(() => open--),
      };
    },
  });
  const before = await world.snapshot();
  const running = world.jobs.start(
    "verify",
    { dryRun: false },
    verifySteps({ ...world.tools, reader: store, now: Date.now }, { repair: true, bytesPerSecond: undefined }),
  );
  await barrier.reached;
  world.jobs.cancel(running.id);
  barrier.release();
  const job = await running.ended;
  assert.equal(job.state, "cancelled");
  assert.deepEqual(job.steps.map(({ name, state }) => `${name} ${state}`).slice(-3), [
    "content cancelled",
    "tags skipped",
    "folders skipped",
  ]);
  assert.equal(open, 0);
  assert.deepEqual(await world.snapshot(), before);
  const next = await world.scrub(true);
  assert.equal(next.state, "succeeded");
  assert.equal(countsOf(next, "tags")?.["removed"], 1);
});

test("a scrub that waits for its rate can be cancelled", async () => {
  await using world = await openWorld();
  const running = world.jobs.start(
    "verify",
    { dryRun: false },
    verifySteps(world.tools, { repair: true, bytesPerSecond: 1 }),
  );
  await until(() => countsOf(running.state, "links")?.["examined"] === 1);
  world.jobs.cancel(running.id);
  assert.equal((await running.ended).state, "cancelled");
  assert.equal(countsOf(running.state, "links")?.["examined"], 1);
});

test("a scrub that waits for the ledger to be made anew can be cancelled", async () => {
  await using world = await openWorld();
  const barrier = createBarrier();
  const ledger = { ...ledgerOf(world, { bytes: 0, namespaces: new Map() }), rebuild: () => barrier.wait() };
  const steps = verifySteps({ ...world.tools, ledger }, { repair: true, bytesPerSecond: undefined });
  const running = world.jobs.start("verify", { dryRun: false }, steps);
  await barrier.reached;
  world.jobs.cancel(running.id);
  assert.equal((await running.ended).state, "cancelled");
});

test("what one step cannot do keeps no other from its turn", async () => {
  await using world = await openWorld();
  await world.plant(blobKey(digest), bytes);
  const failure = new StoreError("it cannot be removed", undefined);
  const failing = (): Promise<never> => Promise.reject(failure);
  const ledger = {
    ...ledgerOf(world, { bytes: 0, namespaces: new Map() }),
    holders: () => Promise.reject(new LedgerNotReady()),
    rebuild: failing,
  };
  const files = { swept: { count: 0, bytes: 0 }, removeLeftovers: failing, removeEmptyFolders: async () => 0 };
  const job = await world.scrub(true, { ledger, files });
  assert.equal(job.state, "succeeded");
  assert.equal(countsOf(job, "leftovers")?.["failed"], 1);
  assert.deepEqual(countsOf(job, "orphans"), { examined: 5 }, "nobody knows whether it is one");
  assert.equal(countsOf(job, "ledger")?.["failed"], 1);
  assert.equal(countsOf(job, "content")?.["examined"], 5);
  assert.equal(countsOf(job, "tags")?.["examined"], 1);
});

/** What the ledger would count. */
async function charge(world: ScrubWorld): Promise<number> {
  let sum = 0;
  for (const prefix of [blobsPrefix, repositoriesPrefix]) {
    for await (const { sizeBytes } of world.store.list(prefix)) sum += chargedBytes(sizeBytes);
  }
  return sum;
}

test("a ledger that counts what is stored is left alone, also where the scrub removes something", async () => {
  await using world = await openWorld();
  const stored = await charge(world);
  await world.plant(blobKey(digest), bytes);
  const ledger = ledgerOf(world, { bytes: stored, namespaces: new Map() });
  const job = await world.scrub(true, { ledger });
  assert.equal(countsOf(job, "orphans")?.["removed"], 1);
  assert.deepEqual(countsOf(job, "ledger"), { "bytes that differ": 0 });
  assert.equal(ledger.rebuilds(), 0);
});

test("a torn link that was removed does not count", async () => {
  await using world = await openWorld();
  const stored = await charge(world);
  await world.plant(linkKey(id, digest), "");
  const ledger = ledgerOf(world, { bytes: stored, namespaces: new Map() });
  const job = await world.scrub(true, { ledger });
  assert.equal(countsOf(job, "links")?.["removed"], 1);
  assert.deepEqual(countsOf(job, "ledger"), { "bytes that differ": 0 });
});

test("a torn link stays while it is not known which tags stand for it, and all else is looked at", async () => {
  await using world = await openWorld();
  await world.plant(linkKey(id, digest), "");
  const books = { ...world.books, holding: () => Promise.reject(new LedgerNotReady()) };
  const content = new Content(world.store, books, undefined, undefined, world.store);
  const job = await world.scrub(true, { content });
  assert.equal(job.state, "succeeded", String(job.error));
  assert.deepEqual(countsOf(job, "links"), { examined: 5, torn: 1, failed: 1 });
  assert.ok((await world.snapshot()).has(linkKey(id, digest)));
});

test("a ledger that counts something else is built anew, but not by a dry run, nor while it is being built", async () => {
  await using world = await openWorld();
  const stored = await charge(world);
  const ledger = ledgerOf(world, { bytes: 2 * stored, namespaces: new Map() });
  assert.deepEqual(countsOf(await world.scrub(false, { ledger }), "ledger"), { "bytes that differ": stored });
  assert.equal(ledger.rebuilds(), 0);
  const job = await world.scrub(true, { ledger });
  assert.deepEqual(countsOf(job, "ledger"), { "bytes that differ": stored, rebuilt: 1 });
  assert.equal(ledger.rebuilds(), 1);
  const building = ledgerOf(world);
  const beside = await world.scrub(true, { ledger: building });
  assert.equal(beside.state, "succeeded");
  assert.deepEqual(countsOf(beside, "ledger"), {});
  assert.equal(building.rebuilds(), 0);
});
