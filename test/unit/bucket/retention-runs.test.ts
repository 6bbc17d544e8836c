import assert from "node:assert/strict";
import { test } from "node:test";
import type { RetentionReport } from "../../../src/bucket/retention.ts";
import { RetentionRuns } from "../../../src/bucket/retention-runs.ts";
import { load, readUsage, Usage } from "../../../src/bucket/usage.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import { blobKey, linkKey, tagKey } from "../../../src/store/layout.ts";
import type { Key } from "../../../src/store/object-store.ts";
import { MemoryBucket } from "../../support/bucket.ts";
import { turn, until } from "../../support/event-loop.ts";

const minute = 60_000;
const id = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/a") };
const report: RetentionReport = { objects: 1, bytes: 2, condemned: 0, removed: 0, removedBytes: 0, isShort: false };
const [image, layer] = [digestOf(Buffer.from("image")), digestOf(Buffer.from("layer"))];

/** Runs on a clock that the test moves. */
class World {
  readonly store = new MemoryBucket();
  readonly told: string[] = [];
  readonly usage: Usage;
  readonly runs: RetentionRuns;
  outcome: (signal: AbortSignal) => Promise<RetentionReport | undefined> = async () => report;
  now = 100 * 24 * 60 * minute;
  #wake: (() => void) | undefined;

  constructor() {
    this.usage = new Usage({
      store: this.store,
      now: () => this.now,
      children: async (_id, digest) => (digest === image ? [layer] : []),
      onError: (error) => {
        throw error;
      },
    });
    this.runs = new RetentionRuns({
      usage: this.usage,
      retain: (signal) => {
        this.told.push("run");
        return this.outcome(signal);
      },
      clock: {
        now: () => this.now,
        monotonic: () => this.now,
        wait: (ms, signal) =>
          new Promise((resolve, reject) => {
            assert.equal(ms, 15 * minute);
            if (signal.aborted) reject(signal.reason as Error);
            this.#wake = resolve;
            signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
          }),
      },
      observer: {
        retained: ({ objects }) => void this.told.push(`${objects} objects`),
        unretained: (error) => void this.told.push(error.message),
      },
    });
  }

  /** Lets a quarter of an hour pass. */
  async pass(times = 1): Promise<void> {
    for (let count = 0; count < times; count++) {
      await this.step();
      await until(() => this.#wake !== undefined);
    }
  }

  /** The same, without waiting for what is done then. */
  async step(): Promise<void> {
    await until(() => this.#wake !== undefined);
    const wake = this.#wake;
    this.#wake = undefined;
    this.now += 15 * minute;
    wake?.();
  }

  async usageKeys(): Promise<Key[]> {
    const keys: Key[] = [];
    for await (const { key } of this.store.list("usage" as Key)) keys.push(key);
    return keys;
  }
}

test("what is used is written down every quarter of an hour, once for a day, with all that a manifest refers to", async () => {
  const world = new World();
  world.runs.start();
  await world.pass();
  assert.deepEqual(await world.usageKeys(), [], "nothing was used");
  world.usage.note(id, image, parseTag("1"));
  await world.pass();
  const [key = assert.fail()] = await world.usageKeys();
  const filter = (await load(world.store, key)) ?? assert.fail();
  const used = [tagKey(id, parseTag("1")), linkKey(id, image), blobKey(image), linkKey(id, layer), blobKey(layer)];
  for (const each of used) assert.ok(filter.has(each), each);
  const written = world.store.asked.length;
  world.usage.note(id, layer);
  await world.pass();
  assert.equal((await world.usageKeys()).length, 1);
  assert.ok(world.store.asked.length > written);
  await world.runs.close();
});

test("a run comes after an hour, and then every six", async () => {
  const world = new World();
  world.runs.start();
  await world.pass(3);
  assert.deepEqual(world.told, []);
  await world.pass();
  assert.deepEqual(world.told, ["run", "1 objects"]);
  await world.pass(23);
  assert.equal(world.told.length, 2);
  world.outcome = async () => undefined;
  await world.pass();
  assert.deepEqual(world.told.slice(2), ["run"], "another instance has made it");
  await world.runs.close();
});

test("what fails is told and tried again; at the end what was used is written down", async () => {
  const world = new World();
  world.runs.start();
  world.usage.note(id, image);
  world.store.failure = new Error("SlowDown");
  await world.pass();
  assert.deepEqual(world.told, ["SlowDown"]);
  world.store.failure = undefined;
  await world.pass();
  assert.equal((await world.usageKeys()).length, 1);
  world.now += 24 * 60 * minute;
  world.usage.note(id, image);
  await world.runs.close();
  assert.equal((await readUsage(world.store, 0)).size, 2, "each day has its own");
});

test("closing breaks a run off", async () => {
  const world = new World();
  world.outcome = (signal) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    });
  world.runs.start();
  await world.pass(3);
  await world.step();
  await until(() => world.told.includes("run"));
  await world.runs.close();
  await turn();
  assert.deepEqual(world.told, ["run"]);
});
