import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Catalog, type CatalogOptions } from "../../../src/hosted/catalog.ts";
import { isObject } from "../../../src/oci/document.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { type DatedStore, type Key, StoreError } from "../../../src/store/object-store.ts";
import { createBarrier } from "../../support/barrier.ts";
import { all } from "../../support/s3-store.ts";
import { soaks } from "../../support/soak.ts";
import { type StoreCall, SteppedStore } from "../../support/stepped-store.ts";

interface Count {
  readonly count: number;
}

const key = "hosted/test/key" as Key;
const hourMs = 3_600_000;

function isCount(value: unknown): value is Count {
  return isObject(value) && typeof value["count"] === "number";
}

function catalog(store: DatedStore, options: Partial<CatalogOptions<Count>> = {}): Catalog<Count> {
  return new Catalog({
    store,
    isRecord: isCount,
    maxInMemory: 100,
    maxAgeMs: Infinity,
    monotonic: () => 0,
    ...options,
  });
}

function counted(found: { readonly record: Count } | undefined): { readonly set: Count } {
  return { set: { count: (found?.record.count ?? 0) + 1 } };
}

/** A store whose operations end in an order that the scheduler chooses. */
function scheduled(store: DatedStore, scheduler: fc.Scheduler): DatedStore {
  const wait = async (): Promise<void> => scheduler.schedule(Promise.resolve());
  return new SteppedStore(store, { before: wait, after: wait });
}

describe("a catalog", () => {
  test("has what was set, until it is removed, also when it is opened again", async () => {
    const store = new MemoryStore();
    const first = catalog(store);
    assert.equal(await first.get(key), undefined);
    const written = await first.change(key, () => ({ set: { count: 7 } }));
    assert.deepEqual((await first.get(key))?.record, { count: 7 });
    const second = catalog(store);
    assert.deepEqual((await second.get(key))?.version, written?.version);
    assert.equal((await second.change(key, () => "keep"))?.record.count, 7);
    assert.equal(await second.change(key, () => "remove"), undefined);
    assert.equal(await second.get(key), undefined);
    assert.equal(await second.change(key, () => "remove"), undefined, "and what is not there can be removed");
    assert.equal(await second.renew(key, hourMs), undefined);
  });

  test("makes another version of an equal record, in bytes too", async () => {
    const store = new MemoryStore();
    const versions = new Set<string>();
    for (let turn = 0; turn < 3; turn++) {
      await catalog(store).change(key, () => ({ set: { count: 1 } }));
      const object = (await store.get(key)) ?? assert.fail("nothing is stored");
      for await (const chunk of object.read({ start: 0, end: object.sizeBytes })) versions.add(String(chunk));
    }
    assert.equal(versions.size, 3);
  });

  test("leaves what decides that it may not be changed as it is", async () => {
    const store = new MemoryStore();
    const records = catalog(store);
    await records.change(key, counted);
    const refuse = (): never => {
      throw new Error("no");
    };
    await assert.rejects(records.change(key, refuse), /no/);
    assert.equal((await records.get(key))?.record.count, 1);
    assert.equal((await records.change(key, counted))?.record.count, 2, "and goes on");
  });

  test("replaces what does not read as a record, and leaves it out of a listing", async () => {
    const store = new MemoryStore();
    const records = catalog(store);
    await store.put(key, Buffer.from("{"));
    await store.put(`${key}-b` as Key, Buffer.from('{"at":1,"record":{}}'));
    await records.change(`${key}-a` as Key, counted);
    assert.equal(await records.get(key), undefined);
    const unreadable: Key[] = [];
    const listed = records.list("hosted/test" as Key, { onUnreadable: (each) => void unreadable.push(each) });
    assert.deepEqual(
      (await all(listed)).map((each) => each.key),
      [`${key}-a`],
    );
    assert.deepEqual(unreadable, [key, `${key}-b`]);
    assert.equal((await records.change(key, counted))?.record.count, 1);
    assert.equal(await records.change(`${key}-b` as Key, () => "remove"), undefined);
    assert.equal(await store.head(`${key}-b` as Key), undefined);
  });

  test("loses no change of several instances, in whatever order their requests end", async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.array(fc.nat(1), { minLength: 2, maxLength: 8 }), async (scheduler, by) => {
        const memory = new MemoryStore();
        const store = scheduled(memory, scheduler);
        const instances = [catalog(store, { maxAgeMs: 0 }), catalog(store, { maxAgeMs: 0 })];
        await scheduler.waitFor(Promise.all(by.map(async (index) => instances[index]?.change(key, counted))));
        assert.equal((await catalog(memory).get(key))?.record.count, by.length);
      }),
      { numRuns: soaks ? 5_000 : 300 },
    );
  });

  test("remembers no record that was replaced while it was being read", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.array(fc.constantFrom("get", "list", "set", "remove"), { minLength: 2, maxLength: 10 }),
        async (scheduler, acts) => {
          const memory = new MemoryStore();
          await catalog(memory).change(key, counted);
          const records = catalog(scheduled(memory, scheduler));
          const running = acts.map(async (act): Promise<unknown> => {
            if (act === "get") return records.get(key);
            if (act === "list") return all(records.list("hosted/test" as Key));
            return records.change(key, act === "set" ? counted : () => "remove");
          });
          await scheduler.waitFor(Promise.all(running));
          const seen = records.get(key);
          await scheduler.waitFor(seen);
          assert.deepEqual((await seen)?.record, (await catalog(memory).get(key))?.record);
        },
      ),
      { numRuns: soaks ? 5_000 : 500 },
    );
  });

  test("either removes a record as it was seen, or has it renewed: never both", async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.boolean(), async (scheduler, isShared) => {
        let now = 0;
        const memory = new MemoryStore(() => now);
        const setUp = catalog(memory);
        const seen = (await setUp.change(key, counted)) ?? assert.fail("nothing was set");
        now = hourMs;
        const store = scheduled(memory, scheduler);
        const collector = catalog(store, { maxAgeMs: 0 });
        const other = isShared ? catalog(store, { maxAgeMs: 0 }) : collector;
        const both = Promise.all([collector.changeSeen(seen, "remove"), other.renew(key, hourMs)]);
        await scheduler.waitFor(both);
        const [isRemoved, renewed] = await both;
        assert.equal(renewed === undefined, isRemoved);
        assert.equal((await memory.head(key)) === undefined, isRemoved);
        assert.ok(isRemoved || renewed?.writtenAt === hourMs);
      }),
      { numRuns: soaks ? 5_000 : 300 },
    );
  });

  test("renews what is old, and writes nothing where it is young", async () => {
    let now = 1_000;
    const writes: Key[] = [];
    const store = new SteppedStore(new MemoryStore(() => now), {
      before: ({ verb, key: written }) => void (verb === "put" && writes.push(written)),
    });
    const records = catalog(store);
    const first = await records.change(key, counted);
    now += hourMs - 1;
    assert.deepEqual((await records.renew(key, hourMs))?.version, first?.version);
    assert.equal(writes.length, 1);
    now += 1;
    const renewed = await records.renew(key, hourMs);
    assert.notEqual(renewed?.version, first?.version);
    assert.deepEqual([renewed?.record, renewed?.writtenAt], [{ count: 1 }, now]);
    assert.equal(await records.changeSeen(first ?? assert.fail("nothing was set"), "remove"), false);
    assert.equal(writes.length, 2);
  });

  test("lists in order, from a key on, and reads only what is not in memory as it is", async () => {
    const memory = new MemoryStore();
    const reads: Key[] = [];
    const keys = Array.from({ length: 60 }, (_, index) => `hosted/test/${String(index).padStart(3, "0")}` as Key);
    const records = catalog(
      new SteppedStore(memory, { before: ({ verb, key: read }) => void (verb === "get" && reads.push(read)) }),
    );
    for (const each of keys) await records.change(each, counted);
    reads.length = 0;
    const prefix = "hosted/test" as Key;
    assert.deepEqual(
      (await all(records.list(prefix))).map((each) => each.key),
      keys,
    );
    assert.deepEqual(reads, []);
    await catalog(memory).change(keys[7] as Key, () => ({ set: { count: 70 } }));
    const listed = await all(records.list(prefix, { after: keys[4] }));
    assert.deepEqual(
      listed.map((each) => each.key),
      keys.slice(5),
    );
    assert.deepEqual(reads, [keys[7]]);
    assert.equal(listed[2]?.record.count, 70);
    assert.deepEqual(
      (await all(catalog(memory).list(prefix))).map((each) => each.key),
      keys,
    );
  });

  test("a listing that cannot be read fails, and one that is left has ended", async () => {
    const memory = new MemoryStore();
    for (let index = 0; index < 40; index++) await catalog(memory).change(`hosted/test/${index}` as Key, counted);
    const failing = new SteppedStore(memory, {
      before: ({ verb, key: read }: StoreCall) => {
        if (verb === "get" && read.endsWith("/7")) throw new StoreError("unreadable", undefined);
      },
    });
    await assert.rejects(all(catalog(failing).list("hosted/test" as Key)), /unreadable/);
    for await (const entry of catalog(failing).list("hosted/test" as Key)) {
      assert.equal(entry.record.count, 1);
      break;
    }
  });

  test("forgets what it could not write, as that may have been done all the same", async () => {
    for (const isDone of [false, true]) {
      const memory = new MemoryStore();
      let fails = false;
      const step = ({ verb }: StoreCall): void => {
        if (fails && verb === "put") throw new StoreError("no answer", undefined);
      };
      const records = catalog(new SteppedStore(memory, isDone ? { after: step } : { before: step }));
      await records.change(key, counted);
      fails = true;
      await assert.rejects(records.change(key, counted), /no answer/);
      assert.equal((await records.get(key))?.record.count, isDone ? 2 : 1);
    }
  });

  test("looks again when what is in memory is too old", async () => {
    let monotonic = 0;
    const memory = new MemoryStore();
    const records = catalog(memory, { maxAgeMs: 1_000, monotonic: () => monotonic });
    await records.change(key, counted);
    await catalog(memory).change(key, counted);
    monotonic = 999;
    assert.equal((await records.get(key))?.record.count, 1);
    monotonic = 1_000;
    assert.equal((await records.get(key))?.record.count, 2);
  });

  test("changes of one key here wait for each other, and those of others do not", async () => {
    const barrier = createBarrier();
    const store = new SteppedStore(new MemoryStore(), {
      before: ({ verb, key: written }) => (verb === "put" && written === key ? barrier.wait() : undefined),
    });
    const records = catalog(store);
    const slow = records.change(key, counted);
    await barrier.reached;
    const next = records.change(key, (found) => ({ set: { count: (found?.record.count ?? 0) * 10 } }));
    assert.equal((await records.change(`${key}-b` as Key, counted))?.record.count, 1);
    barrier.release();
    assert.equal((await slow)?.record.count, 1);
    assert.equal((await next)?.record.count, 10);
  });
});
