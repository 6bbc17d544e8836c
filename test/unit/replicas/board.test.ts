/* Who is there, as replicas see it in the bucket. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Board, type ReplicaId, type Tells } from "../../../src/replicas/board.ts";
import { SharedSecret } from "../../../src/replicas/shared-secret.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import type { Key, ObjectStore } from "../../../src/store/object-store.ts";
import { TestClock } from "../../support/clock.ts";

const secret = new SharedSecret(["an example of a secret that replicas share"]);
const stranger = new SharedSecret(["a secret that somebody else has thought up"]);
const second = 1_000;
const minute = 60 * second;

/** A replica's board, with what it was told. */
class Member implements AsyncDisposable {
  readonly events: string[] = [];
  readonly told: Tells[] = [];
  readonly notices: string[][] = [];
  tells: Tells = { fetching: [], budgets: {}, failing: [] };
  sweeps = 0;
  obey: () => Promise<void> = async () => undefined;
  readonly board: Board;

  constructor(store: ObjectStore, clock: TestClock, signedBy = secret) {
    this.board = new Board({
      store,
      secret: signedBy,
      tells: () => this.tells,
      onTold: (tells) => this.told.push(tells),
      onNotices: async (keys) => {
        this.notices.push([...keys]);
        await this.obey();
      },
      sweep: async () => void this.sweeps++,
      clock,
      observer: {
        joined: ({ address }) => this.events.push(`joined ${address}`),
        left: ({ address }) => this.events.push(`left ${address}`),
        strange: () => this.events.push("strange"),
        failed: (error) => this.events.push(`failed: ${error.message}`),
        recovered: () => this.events.push("recovered"),
      },
    });
  }

  get seen(): string[] {
    return this.board.others.map(({ address }) => address);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.board.close();
  }
}

function keyOf(id: ReplicaId): Key {
  return `replicas/members/${id}` as Key;
}

test("replicas see each other, what each tells, and who goes", async () => {
  const store = new MemoryStore();
  const clock = new TestClock();
  await using one = new Member(store, clock);
  await using two = new Member(store, clock);
  one.board.start("http://one");
  await one.board.posted;
  two.board.start("http://two");
  await clock.pass(5 * second);
  assert.deepEqual([one.seen, two.seen], [["http://two"], ["http://one"]]);
  assert.equal(await one.board.addressOf(two.board.self), "http://two");
  two.tells = { fetching: ["a thing"], budgets: {}, failing: ["docker.io"] };
  await clock.pass(10 * second);
  assert.deepEqual(one.told.at(-1), two.tells);
  await two.board.close();
  await clock.pass(5 * second);
  assert.deepEqual(one.seen, []);
  assert.deepEqual(one.events, ["joined http://two", "left http://two"]);
  assert.equal(await one.board.addressOf(two.board.self), undefined);
});

test("one that came since the last look is found all the same", async () => {
  const store = new MemoryStore();
  const clock = new TestClock();
  await using one = new Member(store, clock);
  await using two = new Member(store, clock);
  one.board.start("http://one");
  await clock.pass(second);
  two.board.start("http://two");
  await two.board.posted;
  assert.equal(await one.board.addressOf(two.board.self), "http://two");
});

test("one that writes nothing for 35 s is gone, whatever its clock says, and its object is removed in the end", async () => {
  const store = new MemoryStore();
  const clock = new TestClock();
  const frozen = new TestClock();
  await using one = new Member(store, clock);
  await using two = new Member(store, frozen);
  two.board.start("http://two");
  await two.board.posted;
  one.board.start("http://one");
  await clock.pass(34 * second);
  assert.deepEqual(one.seen, ["http://two"]);
  await clock.pass(5 * second);
  assert.deepEqual(one.seen, []);
  assert.equal(await one.board.addressOf(two.board.self), undefined);
  await clock.pass(9 * minute);
  assert.ok((await store.head(keyOf(two.board.self))) !== undefined);
  await clock.pass(2 * minute);
  assert.equal(await store.head(keyOf(two.board.self)), undefined);
  // It wakes up.
  await frozen.pass(10 * second);
  await clock.pass(5 * second);
  assert.deepEqual(one.seen, ["http://two"]);
});

test("one that could not look takes nobody for gone before it has looked again", async () => {
  const store = new MemoryStore();
  const list = store.list.bind(store);
  const clock = new TestClock();
  await using one = new Member(store, clock);
  await using two = new Member(store, clock);
  one.board.start("http://one");
  two.board.start("http://two");
  await clock.pass(5 * second);
  // As by a process that was stopped for a while, too.
  store.list = () => {
    throw new Error("the bucket is away");
  };
  await clock.pass(minute);
  assert.equal(await one.board.addressOf(two.board.self), "http://two");
  assert.deepEqual(one.seen, ["http://two"]);
  store.list = list;
  await clock.pass(5 * second);
  assert.deepEqual(one.seen, ["http://two"]);
  assert.deepEqual(one.events, ["joined http://two", "failed: the bucket is away", "recovered"]);
});

test("what takes long to obey does not keep a replica from saying that it is there", async () => {
  const store = new MemoryStore();
  const clock = new TestClock();
  await using one = new Member(store, clock);
  await using two = new Member(store, clock);
  const { promise, resolve } = Promise.withResolvers<void>();
  two.obey = () => promise;
  one.board.start("http://one");
  two.board.start("http://two");
  await clock.pass(2 * minute);
  assert.deepEqual(one.seen, ["http://two"]);
  resolve();
});

test("what no replica has signed is nobody, whosoever name it has", async () => {
  const store = new MemoryStore();
  const clock = new TestClock();
  await using one = new Member(store, clock);
  await using two = new Member(store, clock);
  await using other = new Member(store, clock, stranger);
  one.board.start("http://one");
  two.board.start("http://two");
  other.board.start("http://other");
  await clock.pass(5 * second);
  assert.deepEqual(one.seen, ["http://two"]);
  assert.equal(await one.board.addressOf(other.board.self), undefined);
  // What a replica has signed stands for that one alone.
  const object = await store.get(keyOf(two.board.self));
  const chunks: Uint8Array[] = [];
  for await (const chunk of object?.read({ start: 0, end: object.sizeBytes }) ?? []) chunks.push(chunk);
  await store.put(keyOf("forged" as ReplicaId), Buffer.concat(chunks));
  await store.put(keyOf("nonsense" as ReplicaId), Buffer.from("{"));
  await clock.pass(20 * second);
  assert.deepEqual(one.seen, ["http://two"]);
  assert.equal(await one.board.addressOf("forged" as ReplicaId), undefined);
  assert.deepEqual(one.events.toSorted(), ["joined http://two", "strange", "strange", "strange"]);
});

test("of a replica of another version its address counts, and nothing that it tells", async () => {
  const store = new MemoryStore();
  const clock = new TestClock();
  await using one = new Member(store, clock);
  const id = "newer" as ReplicaId;
  const text = JSON.stringify({ address: "http://newer", form: 2, tells: "something else", beat: 1 });
  await store.put(keyOf(id), Buffer.from(JSON.stringify({ text, signature: secret.sign("replica", id, text) })));
  one.board.start("http://one");
  await clock.pass(second);
  assert.deepEqual(one.seen, ["http://newer"]);
  assert.deepEqual(one.told, [{ fetching: [], budgets: {}, failing: [] }]);
});

test("it is swept once an hour, notices are told of at each look, and a failure once", async () => {
  const store = new MemoryStore();
  const clock = new TestClock();
  await using one = new Member(store, clock);
  await store.put("replicas/notices/a" as Key, Buffer.from("{}"));
  one.board.start("http://one");
  await clock.pass(59 * minute);
  assert.equal(one.sweeps, 0);
  assert.deepEqual(one.notices.at(-1), ["replicas/notices/a"]);
  await clock.pass(2 * minute);
  assert.equal(one.sweeps, 1);
  await clock.pass(60 * minute);
  assert.equal(one.sweeps, 2);
});

test("what does not change is written every ten seconds, what changes at the next look", async () => {
  const store = new MemoryStore();
  let puts = 0;
  const put = store.put.bind(store);
  store.put = async (...what) => {
    puts++;
    return put(...what);
  };
  const clock = new TestClock();
  await using one = new Member(store, clock);
  one.board.start("http://one");
  await clock.pass(51 * second);
  assert.equal(puts, 6);
  one.tells = { ...one.tells, fetching: ["a thing"] };
  await clock.pass(5 * second);
  assert.equal(puts, 7);
});
