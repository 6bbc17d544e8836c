import assert from "node:assert/strict";
import { test } from "node:test";
import { Lease } from "../../../src/store/lease.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import type { Key, ObjectStore } from "../../../src/store/object-store.ts";
import { storeWith } from "../../support/object-stores.ts";

const key = "retention/lease" as Key;
const ttlMs = 1_000;

test("one has it until it ends, and may renew it", async () => {
  const store = new MemoryStore();
  let time = 0;
  const now = (): number => time;
  const [first, second] = [new Lease({ store, key, ttlMs, now }), new Lease({ store, key, ttlMs, now })];
  assert.equal(await first.acquire(), true);
  assert.equal(await second.acquire(), false);
  time = 900;
  assert.equal(await first.acquire(), true);
  time = 1_899;
  assert.equal(await second.acquire(), false, "it was renewed");
  time = 1_900;
  assert.equal(await second.acquire(), true);
  assert.equal(await first.acquire(), false, "who lost it hears of that");
});

test("of many at once one gets it", async () => {
  const store = new MemoryStore();
  const all = Array.from({ length: 20 }, () => new Lease({ store, key, ttlMs, now: () => 0 }));
  const won = await Promise.all(all.map((lease) => lease.acquire()));
  assert.equal(won.filter(Boolean).length, 1);
});

test("where a server lets several win at once, the last one has it", async () => {
  const memory = new MemoryStore();
  let puts = 0;
  const written = Promise.withResolvers<void>();
  const lax: ObjectStore = storeWith(memory, {
    async put(at, source) {
      const version = await memory.put(at, source);
      if (++puts === 3) written.resolve();
      await written.promise;
      return version;
    },
  });
  const all = Array.from({ length: 3 }, () => new Lease({ store: lax, key, ttlMs, now: () => 0 }));
  const won = await Promise.all(all.map((lease) => lease.acquire()));
  assert.equal(won.filter(Boolean).length, 1);
});

test("a lease that cannot be read is nobody's", async () => {
  const store = new MemoryStore();
  await store.put(key, Buffer.from("{torn"));
  assert.equal(await new Lease({ store, key, ttlMs, now: () => 0 }).acquire(), true);
});
