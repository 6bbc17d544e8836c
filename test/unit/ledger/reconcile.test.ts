import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Digest } from "../../../src/oci/digest.ts";
import { formatPlace, pageName, type Place } from "../../../src/store/layout.ts";
import type { LedgerDatabase } from "../../../src/ledger/database.ts";
import type { LedgerChange } from "../../../src/ledger/ledger.ts";
import { LedgerDatabase as Database } from "../../../src/ledger/database.ts";
import { reconcile } from "../../../src/ledger/reconcile.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { type Key, StoreError } from "../../../src/store/object-store.ts";
import type { FileReader } from "../../../src/store/local-upkeep.ts";
import { mediaTypes } from "../../support/image.ts";
import { ask, digest, openMemory, plainTotals, repository, tag } from "./ledger-model.ts";

const ids = ["docker.io/a", "localhost:5000/b/c"].map(repository);
/** 0 is an index of the manifest 1, which has the blobs 2 and 3. */
const contents = [0, 1, 2, 3, 4].map(digest);

function bytesOf(of: Digest): Buffer {
  const descriptor = (mediaType: string, number: number): object => ({ mediaType, digest: digest(number), size: 1 });
  switch (contents.indexOf(of)) {
    case 0:
      return Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [descriptor(mediaTypes.manifest, 1)] }));
    case 1:
      return Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          config: descriptor(mediaTypes.config, 2),
          layers: [descriptor(mediaTypes.layer, 3)],
        }),
      );
    default:
      return Buffer.alloc(contents.indexOf(of) * 3_000);
  }
}

function mediaTypeOf(of: Digest): string {
  return [mediaTypes.index, mediaTypes.manifest][contents.indexOf(of)] ?? mediaTypes.layer;
}

/** An object as it is stored. */
interface Thing {
  readonly place: Place;
  readonly change: LedgerChange;
  readonly bytes: Buffer;
}

const at = 5;
const anyThing: fc.Arbitrary<Thing> = fc.oneof(
  fc.constantFrom(...contents).map((each): Thing => {
    const bytes = bytesOf(each);
    const place = { kind: "content", digest: each } as const;
    return { place, bytes, change: { ...place, sizeBytes: bytes.length, at } };
  }),
  fc.tuple(fc.constantFrom(...ids), fc.constantFrom(...contents)).map(([id, each]): Thing => {
    const bytes = Buffer.from(JSON.stringify({ mediaType: mediaTypeOf(each), sizeBytes: 1 }));
    const place = { kind: "link", id, digest: each } as const;
    return { place, bytes, change: { ...place, at } };
  }),
  fc
    .tuple(fc.constantFrom(...ids), fc.constantFrom("1", "lts"), fc.constantFrom(...contents))
    .map(([id, name, each]): Thing => {
      const record = { digest: each, mediaType: mediaTypeOf(each), size: 1, checkedAt: 1 };
      const place = { kind: "tag", id, tag: tag(name) } as const;
      return { place, bytes: Buffer.from(JSON.stringify(record)), change: { ...place, digest: each, at } };
    }),
  fc.constantFrom(...ids).map((id): Thing => {
    const place = { kind: "page", id, page: "tags", name: pageName("") } as const;
    return { place, bytes: Buffer.alloc(5_000), change: { ...place, sizeBytes: 5_000, at } };
  }),
);

function removalOf(place: Place): LedgerChange {
  switch (place.kind) {
    case "content":
      return { ...place, kind: "content-removed" };
    case "link":
      return { ...place, kind: "link-removed" };
    case "tag":
      return { ...place, kind: "tag-removed" };
    case "page":
      return { ...place, kind: "page-removed" };
  }
}

/** One half of something that happens to the store. Of things with the same key one ends before the next begins. */
type Half = () => Promise<void>;
const anyDeed = fc.record({
  what: fc.constantFrom("add", "remove", "use"),
  thing: anyThing,
  early: fc.nat({ max: 3 }),
});

/** The owner of the store: tells the ledger, and changes the files, in the order that the contract asks for. */
class Owner {
  readonly store = new MemoryStore(() => 1);
  readonly recent = new Map<Key, LedgerChange>();
  readonly #open = new Map<Key, Half>();
  database: LedgerDatabase | undefined;

  async begin({ what, thing }: { what: string; thing: Thing }): Promise<void> {
    const key = formatPlace(thing.place);
    if (what === "use") {
      if (thing.place.kind === "link") this.database?.apply([{ ...thing.place, kind: "use", at: 9 }]);
      return;
    }
    await this.finish(key);
    if (what === "add") {
      this.recent.set(key, thing.change);
      this.database?.apply([thing.change]);
      this.#open.set(key, async () => {
        await this.store.put(key, thing.bytes);
        const { place } = thing;
        // Who links a manifest says what it refers to.
        const number = place.kind === "content" || place.kind === "link" ? contents.indexOf(place.digest) : -1;
        const children = [[digest(1)], [digest(2), digest(3)]][number];
        if (children !== undefined) {
          this.database?.apply([{ kind: "children", digest: digest(number), children }]);
        }
      });
    } else {
      await this.store.delete(key);
      this.#open.set(key, async () => {
        this.recent.delete(key);
        this.database?.apply([removalOf(thing.place)]);
      });
    }
  }

  async finish(key: Key | undefined): Promise<void> {
    const found = key ?? [...this.#open.keys()][0];
    const half = found && this.#open.get(found);
    if (found === undefined || half === undefined) return;
    await half();
    this.#open.delete(found);
  }

  async finishAll(): Promise<void> {
    while (this.#open.size > 0) await this.finish(undefined);
  }
}

/** A view of a store that lets something happen whenever it is asked for anything. */
function disturbed(store: MemoryStore, disturbance: () => Promise<void>): FileReader {
  return {
    head: async (key) => {
      await disturbance();
      const info = await store.head(key);
      await disturbance();
      return info;
    },
    get: async (key) => {
      await disturbance();
      const object = await store.get(key);
      await disturbance();
      return object;
    },
    async *list(prefix) {
      // What is listed may be long gone when it is told.
      const infos = [];
      for await (const info of store.list(prefix)) infos.push(info);
      for (const info of infos) {
        await disturbance();
        yield info;
      }
    },
  };
}

function describe(database: LedgerDatabase): object {
  const keys = [...database.places(3)].flat().map(formatPlace);
  const tags = ids.flatMap((id) =>
    ask(database, "tags", { ...id, limit: 100, pins: [] }).items.map((each) => ({ ...each, usedAt: 0 })),
  );
  return { keys: keys.toSorted(), totals: plainTotals(database.totals), tags };
}

async function run(
  database: LedgerDatabase,
  reader: FileReader,
  knewBefore: boolean,
  recent: LedgerChange[],
): Promise<void> {
  for await (const step of reconcile(database, reader, knewBefore, recent)) assert.ok(step.objects >= 0);
}

test("whatever happens while the store is read, the ledger is equal to the files in the end", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.boolean(),
      fc.array(anyThing, { maxLength: 20 }),
      fc.array(anyThing, { maxLength: 20 }),
      fc.array(anyDeed, { maxLength: 6 }),
      fc.array(anyDeed, { maxLength: 40 }),
      async (knewBefore, files, known, before, during) => {
        const owner = new Owner();
        for (const { place, bytes } of files) await owner.store.put(formatPlace(place), bytes);
        const database = knewBefore ? openMemory(...known.map(({ change }) => change)) : new Database(":memory:");
        // What is under way when it begins was told to a ledger that has forgotten it.
        for (const deed of before) await owner.begin(deed);
        const recent = [...owner.recent.values()];
        owner.database = database;
        const left = [...during];
        let last: Promise<void> = Promise.resolve();
        const disturb = async (): Promise<void> => {
          const deed = left.shift();
          if (deed === undefined) return;
          await owner.begin(deed);
          for (let count = 0; count < deed.early; count++) await owner.finish(undefined);
        };
        // The ledger may ask for several things at once; here one happens after the other.
        const disturbance = (): Promise<void> => (last = last.then(disturb));
        await run(database, disturbed(owner.store, disturbance), knewBefore, recent);
        await owner.finishAll();
        const quiet = new Database(":memory:");
        await run(quiet, owner.store, false, []);
        assert.deepEqual(describe(database), describe(quiet));
        assert.equal(database.reason, undefined);
        database.close();
        quiet.close();
      },
    ),
    { numRuns: 400 },
  );
});

test("a use that is told before the scan has come to its link is in the ledger in the end", async () => {
  const [id] = ids;
  assert.ok(id);
  const store = new MemoryStore(() => 1);
  const place = { kind: "link", id, digest: digest(4) } as const;
  const tagged = { kind: "tag", id, tag: tag("lts") } as const;
  await store.put(formatPlace(place), Buffer.from(JSON.stringify({ mediaType: "a/b", sizeBytes: 1 })));
  await store.put(
    formatPlace(tagged),
    Buffer.from(JSON.stringify({ digest: digest(4), mediaType: "a/b", size: 1, checkedAt: 1 })),
  );
  const database = new Database(":memory:");
  await run(database, store, false, [{ kind: "use", id, digest: digest(4), tag: tagged.tag, at: 70 }]);
  assert.equal(ask(database, "holding", id, digest(4)).usedAt, 70);
  assert.equal(ask(database, "tags", { ...id, limit: 1, pins: [] }).items[0]?.usedAt, 70);
  database.close();
});

test("damaged records, strangers and what cannot be read are left out, all else is found", async () => {
  const [id] = ids;
  assert.ok(id);
  const store = new MemoryStore(() => 7);
  const put = (place: Place, bytes: Buffer): Promise<unknown> => store.put(formatPlace(place), bytes);
  await put({ kind: "content", digest: digest(0) }, Buffer.from("{"));
  await put({ kind: "content", digest: digest(1) }, bytesOf(digest(1)));
  await put({ kind: "content", digest: digest(4) }, Buffer.alloc(5_000));
  await put(
    { kind: "link", id, digest: digest(0) },
    Buffer.from(JSON.stringify({ mediaType: mediaTypes.index, sizeBytes: 1 })),
  );
  await put({ kind: "link", id, digest: digest(1) }, Buffer.from("torn"));
  await put({ kind: "tag", id, tag: tag("torn") }, Buffer.alloc(0));
  await put({ kind: "tag", id, tag: tag("odd") }, Buffer.from('{"digest":"sha256:1"}'));
  await store.put("blobs/sha256/x" as Key, Buffer.from("stranger"));
  await store.put("repositories/docker.io/A/_tags/x" as Key, Buffer.from("{}"));
  const database = new Database(":memory:");
  const unreadable = formatPlace({ kind: "link", id, digest: digest(0) });
  const failing: FileReader = {
    head: (key) => store.head(key),
    list: (prefix) => store.list(prefix),
    get: (key) => (key === unreadable ? Promise.reject(new StoreError("EIO", undefined)) : store.get(key)),
  };
  await run(database, failing, false, []);
  assert.deepEqual(plainTotals(database.totals), {
    bytes: 4096 + 4096 + 8192 + 2 * 4096,
    namespaces: [["docker.io", 4 * 4096]],
  });
  assert.equal(database.wantsChildren(digest(0)), true);
  assert.equal(ask(database, "holding", id, digest(0)).usedAt, 7);
  database.close();
});

test("a ledger that was not read to the end is not complete", async () => {
  const database = new Database(":memory:");
  const [content] = contents;
  assert.ok(content);
  const store = new MemoryStore(() => 1);
  await store.put(formatPlace({ kind: "content", digest: content }), Buffer.alloc(1));
  for await (const step of reconcile(database, store, false, [])) {
    assert.equal(step.totals.bytes, 4096);
    assert.equal(database.totals, undefined);
    break;
  }
  assert.equal(database.totals, undefined);
  assert.equal(database.reason, "absent");
  database.close();
});

test("what cannot be looked up stays as it was known, and is counted", async () => {
  const known = [contents[1], contents[2]].map((each): LedgerChange => {
    assert.ok(each);
    return { kind: "content", digest: each, sizeBytes: 1, at };
  });
  const database = openMemory(...known);
  const store = new MemoryStore(() => 1);
  const failing: FileReader = {
    head: (key) =>
      key === formatPlace({ kind: "content", digest: digest(1) })
        ? Promise.reject(new StoreError("EIO", undefined))
        : store.head(key),
    list: (prefix) => store.list(prefix),
    get: (key) => store.get(key),
  };
  let unreadable = 0;
  for await (const step of reconcile(database, failing, true, [])) unreadable += step.unreadable;
  assert.equal(unreadable, 1);
  assert.equal(database.totals?.bytes, 4096);
  database.close();
});

test("what a tag stands for is as young as the tag, and a link as its content", async () => {
  let now = 1;
  const store = new MemoryStore(() => now);
  const [id] = ids;
  assert.ok(id !== undefined);
  const put = (thing: Place, bytes: Buffer): Promise<unknown> => store.put(formatPlace(thing), bytes);
  for (const [number, each] of contents.entries()) {
    await put(
      { kind: "link", id, digest: each },
      Buffer.from(JSON.stringify({ mediaType: mediaTypeOf(each), sizeBytes: 1 })),
    );
    if (number < 4) await put({ kind: "content", digest: each }, bytesOf(each));
  }
  now = 50;
  await put({ kind: "content", digest: digest(4) }, bytesOf(digest(4)));
  now = 100;
  const record = { digest: digest(1), mediaType: mediaTypes.manifest, size: 1, checkedAt: 1 };
  await put({ kind: "tag", id, tag: tag("lts") }, Buffer.from(JSON.stringify(record)));
  const database = new Database(":memory:");
  await run(database, store, false, []);
  assert.deepEqual(
    contents.map((each) => ask(database, "holding", id, each).usedAt),
    [1, 100, 100, 100, 50],
  );
  database.close();
});
