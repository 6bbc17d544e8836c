import assert from "node:assert/strict";
import { test } from "node:test";
import { linkKey } from "../../../src/store/layout.ts";
import { Records, type RecordsOptions, type RecordWrite, unaccounted } from "../../../src/registry/records.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository } from "../../../src/oci/reference.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { type Key, type ObjectStore, StoreError } from "../../../src/store/object-store.ts";
import { createBarrier } from "../../support/barrier.ts";
import { turn } from "../../support/event-loop.ts";
import { storeWith } from "../../support/object-stores.ts";

interface Numbered {
  readonly number: number;
}

const key = linkKey({ namespace: parseNamespace("a.io"), repository: parseRepository("b") }, digestOf(Buffer.from("")));

function isNumbered(value: unknown): value is Numbered {
  return typeof value === "object" && value !== null && "number" in value;
}

interface Subject {
  readonly records: Records<Numbered>;
  readonly memory: MemoryStore;
  /** Called before each operation of the store. */
  before: (operation: "get" | "put" | "delete") => Promise<void> | undefined;
}

function setUp(options: Partial<RecordsOptions<Numbered>> = {}): Subject {
  const memory = new MemoryStore();
  const store: ObjectStore = storeWith(memory, {
    get: async (at) => {
      const object = await memory.get(at);
      await subject.before("get");
      return object;
    },
    put: async (at, source) => {
      await subject.before("put");
      return memory.put(at, source);
    },
    delete: async (at) => {
      await subject.before("delete");
      await memory.delete(at);
    },
  });
  const subject: Subject = {
    memory,
    before: () => undefined,
    records: new Records(store, { isRecord: isNumbered, maxInMemory: 10, ...options }),
  };
  return subject;
}

async function stored(memory: MemoryStore, at: Key): Promise<Numbered | undefined> {
  return new Records(memory, { isRecord: isNumbered, maxInMemory: 0 }).get(at);
}

test("what is removed while it is read does not come back into the memory", async () => {
  const subject = setUp();
  const { records, memory } = subject;
  await memory.put(key, Buffer.from('{"number":1}'));
  const barrier = createBarrier();
  subject.before = (operation) => (operation === "get" ? barrier.wait() : undefined);
  const reading = records.get(key);
  await barrier.reached;
  const removing = records.remove(key, (erase) => erase());
  assert.equal(await records.get(key), undefined, "it is absent at once");
  barrier.release();
  await reading;
  await removing;
  assert.equal(records.peek(key), undefined);
  assert.equal(await records.get(key), undefined);
});

test("writes and removals of one key come one after the other, as they were asked for", async () => {
  const subject = setUp();
  const { records, memory } = subject;
  const barrier = createBarrier();
  let puts = 0;
  subject.before = (operation) => (operation === "put" && ++puts === 1 ? barrier.wait() : undefined);
  const set = (number: number): Promise<void> => records.set(key, { number }, true, unaccounted);
  const first = set(1);
  await barrier.reached;
  const others = [records.remove(key, (erase) => erase()), set(2), set(3)];
  await turn(5);
  assert.equal(await stored(memory, key), undefined);
  assert.deepEqual(await records.get(key), { number: 3 });
  barrier.release();
  await Promise.all([first, ...others]);
  assert.deepEqual(await stored(memory, key), { number: 3 });
});

test("what cannot be written is not believed, and its account is corrected by what is stored", async () => {
  const failure = new StoreError("the disk is full", undefined);
  for (const believesUnstored of [false, true]) {
    const subject = setUp({ believesUnstored });
    const { records } = subject;
    const corrected: (Numbered | undefined)[] = [];
    const books: RecordWrite<Numbered> = {
      admit: async () => true,
      correct: async (left) => void corrected.push(left),
    };
    await records.set(key, { number: 1 }, true, books);
    subject.before = (operation) => (operation === "put" ? Promise.reject(failure) : undefined);
    await assert.rejects(records.set(key, { number: 2 }, true, books), failure);
    assert.deepEqual(await records.get(key), { number: believesUnstored ? 2 : 1 });
    assert.deepEqual(corrected, [{ number: 1 }]);
    // Where it cannot be told what is stored, nothing is said of it.
    subject.before = () => Promise.reject(failure);
    await assert.rejects(records.set(key, { number: 3 }, true, books), failure);
    assert.equal(corrected.length, 1);
  }
});

test("what is not admitted any more is not written, and forgotten", async () => {
  const { records, memory } = setUp();
  await records.set(key, { number: 1 }, true, { admit: async () => false, correct: () => assert.fail("it is not") });
  assert.equal(await records.get(key), undefined);
  assert.equal(await stored(memory, key), undefined);
});
