/* What one replica tells all: obeyed once by each of the others, whenever they find it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Notices, noticesPrefix } from "../../../src/replicas/notices.ts";
import { SharedSecret } from "../../../src/replicas/shared-secret.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { type Key, StoreError } from "../../../src/store/object-store.ts";

const secret = new SharedSecret(["an example of a secret that replicas share"]);
const stranger = new SharedSecret(["a secret that somebody else has thought up"]);
const day = 24 * 3_600_000;
const start = Date.UTC(2026, 0, 1);

/** A replica that obeys, and remembers what it has obeyed when it is started again. */
class Replica {
  readonly obeyed: string[] = [];
  readonly errors: string[] = [];
  readonly store: MemoryStore;
  now = start;
  remembered: ReadonlySet<string> = new Set();
  obey: (text: string) => Promise<void> = async () => undefined;
  notices: Notices;
  readonly #secret: SharedSecret;

  constructor(store: MemoryStore, signedBy = secret) {
    this.store = store;
    this.#secret = signedBy;
    this.notices = this.#open();
  }

  restart(): void {
    this.notices = this.#open();
  }

  async look(): Promise<void> {
    const keys = new Set<Key>();
    for await (const { key } of this.store.list(noticesPrefix)) keys.add(key);
    await this.notices.look(keys);
  }

  #open(): Notices {
    return new Notices({
      store: this.store,
      secret: this.#secret,
      obeyed: {
        load: async () => this.remembered,
        save: async (names) => void (this.remembered = new Set(names)),
      },
      obey: async (text) => {
        await this.obey(text);
        this.obeyed.push(text);
      },
      now: () => this.now,
      onError: ({ message }) => this.errors.push(message),
    });
  }
}

test("each of the others obeys once, also when it is started again, and who told it does not", async () => {
  const store = new MemoryStore();
  const [one, two] = [new Replica(store), new Replica(store)];
  await one.notices.tell("purge a");
  await one.notices.tell("purge b");
  for (let times = 0; times < 2; times++) for (const each of [one, two]) await each.look();
  two.restart();
  await two.look();
  assert.deepEqual([one.obeyed, two.obeyed.toSorted()], [[], ["purge a", "purge b"]]);
});

test("one that is told while it is looked is not obeyed by who tells it", async () => {
  const store = new MemoryStore();
  const one = new Replica(store);
  const put = store.put.bind(store);
  store.put = async (...what) => {
    // The listing is from before.
    await one.notices.look(new Set());
    return put(...what);
  };
  await one.notices.tell("purge a");
  await one.look();
  assert.deepEqual(one.obeyed, []);
});

test("what could not be obeyed is tried again at the next look, and does not keep others from it", async () => {
  const store = new MemoryStore();
  const [one, two] = [new Replica(store), new Replica(store)];
  await one.notices.tell("purge a");
  await one.notices.tell("purge b");
  two.obey = async (text) => {
    if (text === "purge a") throw new Error("the disk is full");
  };
  await two.look();
  assert.deepEqual([two.obeyed, two.errors], [["purge b"], ["the disk is full"]]);
  two.obey = async () => undefined;
  await two.look();
  assert.deepEqual(two.obeyed, ["purge b", "purge a"]);
});

test("one that is back within a week obeys what was told meanwhile; after that it is removed, and forgotten", async () => {
  const store = new MemoryStore();
  const [one, two, three] = [new Replica(store), new Replica(store), new Replica(store)];
  await one.notices.tell("purge a");
  two.now = start + 7 * day;
  await two.look();
  assert.deepEqual(two.obeyed, ["purge a"]);
  three.now = two.now = start + 7 * day + 1;
  await three.look();
  assert.deepEqual(three.obeyed, []);
  await two.look();
  assert.deepEqual([...two.remembered], []);
  for await (const { key } of store.list(noticesPrefix)) assert.fail(key);
  // A clock that is days behind is no reason to forget it.
  await one.notices.tell("purge b");
  two.now = start - 2 * day;
  await two.look();
  assert.deepEqual(two.obeyed, ["purge a", "purge b"]);
});

test("what no replica has written is told of once, and not obeyed", async () => {
  const store = new MemoryStore();
  const [one, two, other] = [new Replica(store), new Replica(store), new Replica(store, stranger)];
  await other.notices.tell("purge everything");
  await one.notices.tell("purge a");
  // What was signed stands for the name that it was signed with.
  for await (const { key } of store.list(noticesPrefix)) {
    const object = await store.get(key);
    for await (const bytes of object?.read({ start: 0, end: object.sizeBytes }) ?? []) {
      await store.put(`${key}x` as Key, bytes);
    }
  }
  await store.put(`${noticesPrefix}/no-time` as Key, Buffer.from("{}"));
  await store.put(`${noticesPrefix}/${start}-no-notice` as Key, Buffer.from("{"));
  for (let times = 0; times < 2; times++) await two.look();
  assert.deepEqual(two.obeyed, ["purge a"]);
  assert.equal(two.errors.length, 3);
  assert.equal(await store.head(`${noticesPrefix}/no-time` as Key), undefined);
});

test("a bucket that fails is an error for who tells, and for who looks: then all is looked at again", async () => {
  const store = new MemoryStore();
  const [one, two] = [new Replica(store), new Replica(store)];
  await one.notices.tell("purge a");
  const get = store.get.bind(store);
  store.get = async () => {
    throw new StoreError("it is away", undefined);
  };
  await assert.rejects(two.look(), /it is away/);
  store.get = get;
  await two.look();
  assert.deepEqual(two.obeyed, ["purge a"]);
  store.put = async () => {
    throw new StoreError("it is away", undefined);
  };
  await assert.rejects(one.notices.tell("purge b"), /it is away/);
});
