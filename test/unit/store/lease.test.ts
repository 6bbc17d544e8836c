import assert from "node:assert/strict";
import { test } from "node:test";
import { Lease } from "../../../src/store/lease.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import type { Key, ObjectStore } from "../../../src/store/object-store.ts";
import { readAll } from "../../support/s3-store.ts";
import { storeWith } from "../../support/object-stores.ts";

const key = "retention/lease" as Key;
const ttlMs = 1_000;

test("one has it until it gives it back, and may renew it", async () => {
  const store = new MemoryStore();
  let time = 0;
  const monotonic = (): number => time;
  const [first, second] = [new Lease({ store, key, ttlMs, monotonic }), new Lease({ store, key, ttlMs, monotonic })];
  assert.equal(await first.acquire(), true);
  for (time = 0; time < 5_000; time += 500) {
    assert.equal(await second.acquire(), false);
    assert.equal(await first.acquire(), true, "it renews it in time");
  }
  await second.release();
  assert.equal(await second.acquire(), false, "only who has it gives it back");
  await first.release();
  assert.equal(await second.acquire(), true);
  assert.equal(await first.acquire(), false);
});

test("that of a process that was killed has ended when another one saw it twice, so long apart", async () => {
  const store = new MemoryStore();
  await new Lease({ store, key, ttlMs, monotonic: () => 1e9 }).acquire();
  let time = 0;
  const lease = new Lease({ store, key, ttlMs, monotonic: () => time });
  assert.equal(await lease.acquire(), false);
  time = 999;
  assert.equal(await lease.acquire(), false);
  time = 1_000;
  assert.equal(await lease.acquire(), true);
});

test("each renewal makes another object of it, also where a version tells the bytes", async () => {
  const store = new MemoryStore();
  const lease = new Lease({ store, key, ttlMs, monotonic: () => 0 });
  const seen = new Set<string>();
  for (let turn = 0; turn < 3; turn++) {
    await lease.acquire();
    seen.add(String(await readAll(store, key)));
  }
  assert.equal(seen.size, 3);
});

test("who stood still for too long hears that it has lost it", async () => {
  const store = new MemoryStore();
  let time = 0;
  const monotonic = (): number => time;
  const [first, second] = [new Lease({ store, key, ttlMs, monotonic }), new Lease({ store, key, ttlMs, monotonic })];
  await first.acquire();
  await second.acquire();
  time = 1_000;
  assert.equal(await second.acquire(), true);
  assert.equal(await first.acquire(), false);
  await first.release();
  assert.equal(await second.acquire(), true, "it does not give back what it has lost");
});

test("of many at once one gets it", async () => {
  const store = new MemoryStore();
  const all = Array.from({ length: 20 }, () => new Lease({ store, key, ttlMs, monotonic: () => 0 }));
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
  const all = Array.from({ length: 3 }, () => new Lease({ store: lax, key, ttlMs, monotonic: () => 0 }));
  const won = await Promise.all(all.map((lease) => lease.acquire()));
  assert.equal(won.filter(Boolean).length, 1);
});

test("a lease that cannot be read is nobody's", async () => {
  const store = new MemoryStore();
  await store.put(key, Buffer.from("{torn"));
  assert.equal(await new Lease({ store, key, ttlMs, monotonic: () => 0 }).acquire(), true);
});
