import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import type { ReplicaId } from "../../../src/replicas/board.ts";
import { Leases, type Taken } from "../../../src/replicas/leases.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { type Key, PreconditionFailed, type PutOptions, type Version } from "../../../src/store/object-store.ts";
import { turn } from "../../support/event-loop.ts";

const [one, two, three] = ["one", "two", "three"] as ReplicaId[] as [ReplicaId, ReplicaId, ReplicaId];

function leasesOf(store: MemoryStore, self: ReplicaId, gone: readonly ReplicaId[] = []): Leases {
  return new Leases({ store, self, isGone: async (id) => gone.includes(id) });
}

/** A store whose versions are hashes of the bytes, as many servers' ETags are. */
class HashedStore extends MemoryStore {
  readonly #hashes = new Map<Key, Version>();

  override async put(key: Key, bytes: Uint8Array, options: PutOptions = {}): Promise<Version> {
    if ((this.#hashes.get(key) ?? "absent") !== (options.if ?? "absent")) throw new PreconditionFailed(key);
    await super.put(key, bytes);
    const version = createHash("sha256").update(bytes).digest("hex") as Version;
    this.#hashes.set(key, version);
    return version;
  }

  override async get(key: Key): ReturnType<MemoryStore["get"]> {
    const object = await super.get(key);
    return object && { ...object, version: this.#hashes.get(key) as Version };
  }

  override async delete(key: Key, options: { readonly if?: Version } = {}): Promise<void> {
    if (options.if !== undefined && this.#hashes.get(key) !== options.if) throw new PreconditionFailed(key);
    this.#hashes.delete(key);
    await super.delete(key);
  }
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

test("what is given back late is not what the same replica has taken since, where a version is a hash of the bytes", async () => {
  const store = new HashedStore();
  const leases = leasesOf(store, one);
  const first = await leases.take("a thing");
  await leases.take("a thing");
  await release(first);
  assert.deepEqual(await leasesOf(store, two).take("a thing"), { holder: one });
});

test("nothing is taken before others can find this replica", async () => {
  const store = new MemoryStore();
  const { promise: known, resolve } = Promise.withResolvers<void>();
  const taken = new Leases({ store, self: one, isGone: async () => false, known }).take("a thing");
  await turn(3);
  assert.deepEqual(await keysOf(store), []);
  resolve();
  assert.ok("lease" in (await taken));
});

test("what somebody holds for nothing is cleared, unless it is another's by then", async () => {
  const store = new MemoryStore();
  await leasesOf(store, one).take("a thing");
  await leasesOf(store, two).clear("a thing", three);
  assert.equal((await keysOf(store)).length, 1);
  await leasesOf(store, two).clear("a thing", one);
  assert.deepEqual(await keysOf(store), []);
  await leasesOf(store, two).clear("a thing", one);
});

test("what those have left behind who are gone is swept, and nothing that was taken meanwhile", async () => {
  const store = new MemoryStore();
  await leasesOf(store, one).take("of one that runs");
  const [running] = await keysOf(store);
  await leasesOf(store, two).take("of one that is gone");
  await leasesOf(store, three).take("its own");
  await store.put("leases/unreadable" as Key, Buffer.from("no lease"));
  const own = await leasesOf(store, three, [two]).take("its own");
  assert.ok("lease" in own);
  await leasesOf(store, three).sweep(async (id) => id === one);
  assert.equal((await keysOf(store)).length, 2);
  assert.ok((await keysOf(store)).includes(running as Key));
  // One that is gone, and whose lease another one takes while it is looked at.
  await leasesOf(store, two).take("a thing");
  await leasesOf(store, three).sweep(async (id) => {
    if (id === two) await leasesOf(store, one, [two]).take("a thing");
    return id !== two;
  });
  assert.deepEqual(await leasesOf(store, three).take("a thing"), { holder: one });
});

test("one that others take and give back all the time is of who has it at last", async () => {
  const store = new MemoryStore();
  const put = store.put.bind(store);
  let turns = 0;
  // Whenever this one writes, another one that does not answer has been quicker.
  store.put = async (key, bytes, options) => {
    await store.delete(key);
    await put(key, Buffer.from(JSON.stringify({ holder: `gone ${++turns}` })));
    return put(key, bytes, options);
  };
  const taken = await new Leases({ store, self: one, isGone: async () => true }).take("a thing");
  assert.deepEqual(taken, { holder: "gone 4" });
});
