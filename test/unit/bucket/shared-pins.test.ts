import assert from "node:assert/strict";
import { test } from "node:test";
import { readPins, SharedPins } from "../../../src/bucket/shared-pins.ts";
import type { Key } from "../../../src/store/object-store.ts";
import { MemoryBucket } from "../../support/bucket.ts";

const day = 24 * 3_600_000;
const [alpine, team] = ["docker.io/library/alpine:3", "quay.io/team/**"];

/** Instances whose pins the test sets. */
class World {
  now = 1_000 * day;
  readonly store = new MemoryBucket(() => this.now);

  instance(instance: string): { pins: SharedPins; patterns: readonly string[] | undefined } {
    const state: { pins: SharedPins; patterns: readonly string[] | undefined } = {
      patterns: [],
      pins: new SharedPins({ store: this.store, instance, patterns: () => state.patterns, monotonic: () => this.now }),
    };
    return state;
  }

  async read(): Promise<string[]> {
    return (await readPins(this.store, this.now)).map(({ pattern }) => pattern).toSorted();
  }
}

test("the pins of all instances count, each as long as it has them", async () => {
  const world = new World();
  const [one, two] = [world.instance("one"), world.instance("two")];
  one.patterns = [alpine];
  two.patterns = [alpine, team];
  await one.pins.tell();
  await two.pins.tell();
  assert.deepEqual(await world.read(), [alpine, team]);
  two.patterns = [alpine];
  await two.pins.tell();
  assert.deepEqual(await world.read(), [alpine]);
  one.patterns = two.patterns = [];
  await one.pins.tell();
  await two.pins.tell();
  assert.deepEqual(await world.read(), []);
});

test("they are written when they change, and once a day; what is not known whole is not written", async () => {
  const world = new World();
  const one = world.instance("one");
  one.patterns = undefined;
  await one.pins.tell();
  assert.deepEqual(world.store.asked, []);
  one.patterns = [alpine];
  await one.pins.tell();
  await one.pins.tell();
  assert.deepEqual(world.store.asked, ["put pins/one"]);
  world.now += day;
  await one.pins.tell();
  assert.equal(world.store.asked.length, 2);
  world.store.failure = new Error("SlowDown");
  one.patterns = [team];
  await assert.rejects(one.pins.tell(), /SlowDown/);
  world.store.failure = undefined;
  await one.pins.tell();
  assert.deepEqual(await world.read(), [team]);
});

test("a process with no pins takes back what the one before had, once", async () => {
  const world = new World();
  const before = world.instance("one");
  before.patterns = [alpine];
  await before.pins.tell();
  const one = world.instance("one");
  world.store.asked.length = 0;
  await one.pins.tell();
  world.now += day;
  await one.pins.tell();
  assert.deepEqual(world.store.asked, ["delete pins/one"]);
});

test("an instance that was silent for a week has no pins any more", async () => {
  const world = new World();
  const one = world.instance("one");
  one.patterns = [alpine];
  await one.pins.tell();
  world.now += 6 * day;
  assert.deepEqual(await world.read(), [alpine]);
  world.now += day;
  assert.deepEqual(await world.read(), []);
  assert.equal(await world.store.head("pins/one" as Key), undefined);
});

test("what cannot be read as pins means nothing, and keeps no others from counting", async () => {
  const world = new World();
  await world.store.plant("pins/torn" as Key, Buffer.from('{"patterns":'));
  await world.store.plant("pins/odd" as Key, Buffer.from('{"patterns":[1]}'));
  await world.store.plant("pins/new" as Key, Buffer.from(JSON.stringify({ patterns: ["what is this", alpine] })));
  assert.deepEqual(await world.read(), [alpine]);
  world.store.unreadable = "pins/new" as Key;
  await assert.rejects(world.read(), /unreadable/);
});
