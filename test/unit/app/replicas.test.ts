/* What makes an instance one of several: whence its secret comes, and how it ends. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { Writable } from "node:stream";
import { test } from "node:test";
import { createObservers } from "../../../src/app/observers.ts";
import { openReplicas, type Replicas, urlToAdvertise } from "../../../src/app/replicas.ts";
import type { Tier } from "../../../src/app/storage.ts";
import { ConfigError } from "../../../src/config/config-error.ts";
import type { ReplicasConfig } from "../../../src/config/replicas-schema.ts";
import { createLogger } from "../../../src/observe/log.ts";
import { createMetrics } from "../../../src/observe/metrics.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import type { ObjectStore } from "../../../src/store/object-store.ts";
import { TestClock } from "../../support/clock.ts";
import { turn } from "../../support/event-loop.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const [old, next] = ["a-secret-that-has-been-in-use-until-now", "a-secret-that-will-be-in-use-from-now-on"] as const;
const plain: ReplicasConfig = {
  listen: { kind: "tcp", host: "127.0.0.1", port: 0 },
  advertise: undefined,
  secret: undefined,
  secretFile: undefined,
  previousSecret: undefined,
};

async function openOn(store: ObjectStore, clock: TestClock, config: Partial<ReplicasConfig>): Promise<Replicas> {
  const log = await createLogger({
    level: "info",
    format: "json",
    destination: new Writable({ write: () => undefined }),
  });
  const metrics = createMetrics("0.0.0-test");
  const observers = createObservers({ metrics, log, monotonic: () => clock.monotonic(), namespaces: new Set() });
  const tier = { store, bucket: { isResting: false }, copies: { settled: async () => undefined } } as unknown as Tier;
  return openReplicas({ ...plain, ...config }, tier, {
    clock,
    observers,
    folder: new MemoryStore(),
    upstreams: () => new Map(),
    obey: async () => undefined,
  });
}

/** Whether two with these settings know each other. */
async function meet(one: Partial<ReplicasConfig>, other: Partial<ReplicasConfig>): Promise<[boolean, boolean]> {
  const store = new MemoryStore();
  const clock = new TestClock();
  const both = [await openOn(store, clock, one), await openOn(store, clock, other)] as const;
  for (const { board } of both) board.start("http://example.com");
  await clock.pass(6_000);
  const seen = both.map(({ board }) => board.others.length === 1);
  for (const replicas of both) await replicas.close();
  return [seen[0] === true, seen[1] === true];
}

test("a secret is changed while all run: each knows those who have only the old one, or the new one", async () => {
  await using folder = await createTemporaryDirectory();
  const secretFile = `${folder.path}/secret`;
  await writeFile(secretFile, `${next}\r\n\n  ${old}  \n`);
  for (const both of [{ secret: next, previousSecret: old }, { secretFile }]) {
    assert.deepEqual(await meet({ secret: next }, both), [true, true]);
    // The old one cannot read the new signature yet.
    assert.deepEqual(await meet({ secret: old }, both), [false, true]);
    assert.deepEqual(await meet({ secret: old, previousSecret: next }, both), [true, true]);
  }
  assert.deepEqual(await meet({ secret: old }, { secret: next }), [false, false]);
  await writeFile(secretFile, next);
  assert.deepEqual(await meet({ secretFile }, { secret: next }), [true, true]);
  assert.deepEqual(await meet({ secretFile, previousSecret: old }, { secret: old }), [true, false]);
});

test("a file without a secret that is good enough ends the start, and says which, and nothing of what is in it", async () => {
  await using folder = await createTemporaryDirectory();
  const secretFile = `${folder.path}/secret`;
  for (const text of ["", "\n\n", "too-short", `${next}\ntoo-short`, `${next} and more`, `${next}é`]) {
    await writeFile(secretFile, text);
    await assert.rejects(openOn(new MemoryStore(), new TestClock(), { secretFile }), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /replicas\.secret_file: .*secret must hold a secret of at least 32/);
      assert.ok(!error.message.includes("too-short") && !error.message.includes(next));
      return true;
    });
  }
  const absent = openOn(new MemoryStore(), new TestClock(), { secretFile: `${folder.path}/absent` });
  await assert.rejects(absent, /replicas\.secret_file: .*absent cannot be used/);
});

test("the end does not wait for a bucket that does not answer", async () => {
  const store = new MemoryStore();
  const clock = new TestClock();
  const replicas = await openOn(store, clock, { secret: next });
  replicas.board.start("http://example.com");
  await clock.pass(1_000);
  const hangs = new Promise<never>(() => undefined);
  store.delete = async () => hangs;
  store.put = async () => hangs;
  await clock.pass(10_000);
  let isClosed = false;
  void replicas.close().then(() => (isClosed = true));
  await clock.pass(1_999);
  assert.ok(!isClosed);
  await clock.pass(1);
  assert.ok(isClosed);
});

test("a command that works on the folder by itself is no replica, and waits for none", async () => {
  const store = new MemoryStore();
  const { sharing } = await openOn(store, new TestClock(), { secret: next });
  const form = { write: () => ({ checkedAt: 0 }), read: async () => undefined, freshMs: () => 0 };
  const signal = new AbortController().signal;
  assert.equal(await sharing.answer("a", async () => "it", form, signal), "it");
  await turn(2);
  for await (const { key } of store.list("leases" as never)) assert.fail(key);
});

test("what is advertised has the port that is listened at, where it has none of its own", () => {
  for (const [advertise, listening, url] of [
    [undefined, "http://10.0.0.7:5001", "http://10.0.0.7:5001"],
    ["10.0.0.7", "http://[::]:5001", "http://10.0.0.7:5001"],
    ["10.0.0.7", "http://[::]:80", "http://10.0.0.7"],
    ["[fd00::7]", "http://[::]:5001", "http://[fd00::7]:5001"],
    ["[fd00::7]:6001", "http://[::]:5001", "http://[fd00::7]:6001"],
    ["replica-1.example.com:6001", "http://0.0.0.0:5001", "http://replica-1.example.com:6001"],
  ] as const) {
    assert.equal(urlToAdvertise(advertise, listening), url);
  }
});
