import assert from "node:assert/strict";
import { test } from "node:test";
import type { ReplicaId } from "../../../src/replicas/board.ts";
import { Leases, type Taken } from "../../../src/replicas/leases.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import type { Key } from "../../../src/store/object-store.ts";

const [one, two, three] = ["one", "two", "three"] as ReplicaId[] as [ReplicaId, ReplicaId, ReplicaId];

function leasesOf(store: MemoryStore, self: ReplicaId, gone: readonly ReplicaId[] = []): Leases {
  return new Leases({ store, self, isGone: async (id) => gone.includes(id) });
}

async function keysOf(store: MemoryStore): Promise<Key[]> {
  const keys: Key[] = [];
  for await (const { key } of store.list("leases" as Key)) keys.push(key);
  return keys;
}

function release(taken: Taken): Promise<void> {
  assert.ok("lease" in taken);
  return taken.lease.release();
}

test("of all who ask at once one has it, and the others know who", async () => {
  const store = new MemoryStore();
  const all = [one, two, three].map((self) => leasesOf(store, self));
  const taken = await Promise.all(all.map((leases) => leases.take("a thing")));
  const held = taken.filter((each) => "lease" in each);
  assert.equal(held.length, 1);
  const winner = [one, two, three][taken.findIndex((each) => "lease" in each)];
  for (const each of taken) if ("holder" in each) assert.equal(each.holder, winner);
  assert.ok("lease" in (await leasesOf(store, two).take("another thing")));
  assert.equal((await keysOf(store)).length, 2);
  await release(held[0] as Taken);
  assert.ok("lease" in (await leasesOf(store, three).take("a thing")));
});

test("what a replica holds that is gone another one takes; and what it gives back then is not the other's", async () => {
  const store = new MemoryStore();
  const first = await leasesOf(store, one).take("a thing");
  assert.deepEqual(await leasesOf(store, two).take("a thing"), { holder: one });
  const [second, third] = await Promise.all([two, three].map((self) => leasesOf(store, self, [one]).take("a thing")));
  assert.equal([second, third].filter((each) => each !== undefined && "lease" in each).length, 1);
  const winner = second !== undefined && "lease" in second ? two : three;
  await release(first);
  assert.deepEqual(await leasesOf(store, one).take("a thing"), { holder: winner });
});

test("its own, of which it does not know any more, it takes again; and what is not to be read is nobody's", async () => {
  const store = new MemoryStore();
  await leasesOf(store, one).take("a thing");
  assert.ok("lease" in (await leasesOf(store, one).take("a thing")));
  const [key] = await keysOf(store);
  await store.put(key as Key, Buffer.from("no lease"));
  assert.ok("lease" in (await leasesOf(store, two).take("a thing")));
});

test("what goes away while it is read is tried again, and a bucket that cannot tell is an error", async () => {
  const store = new MemoryStore();
  const first = await leasesOf(store, one).take("a thing");
  const get = store.get.bind(store);
  let reads = 0;
  store.get = async (key) => {
    if (reads++ === 0) await release(first);
    return get(key);
  };
  assert.ok("lease" in (await leasesOf(store, two).take("a thing")));
  store.put = () => Promise.reject(new Error("it is away"));
  await assert.rejects(leasesOf(store, three).take("another thing"), /it is away/);
});
