/* When what is copied: whoever waits for a key, and a key that is added again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CopyQueue } from "../../../src/bucket/copy-queue.ts";
import { Background } from "../../../src/concurrency/background.ts";
import type { Key } from "../../../src/store/object-store.ts";
import { TestClock } from "../../support/clock.ts";
import { turn } from "../../support/event-loop.ts";

const [a, b] = ["a", "b"] as Key[] as [Key, Key];

/** A queue whose copies end as a test says. */
class World {
  readonly clock = new TestClock();
  readonly copying: { readonly key: Key; end(error?: Error): void }[] = [];
  readonly stopping = new AbortController();
  readonly queue = new CopyQueue({
    copy: (key) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      this.copying.push({ key, end: (error) => (error === undefined ? resolve() : reject(error)) });
      return promise;
    },
    running: new Background((error) => {
      throw error;
    }),
    clock: this.clock,
    observer: { copied: () => undefined, failed: () => undefined },
    signal: this.stopping.signal,
  });
  readonly settled: Key[] = [];

  wait(key: Key): void {
    void this.queue.settled(key).then(() => this.settled.push(key));
  }

  async end(error?: Error): Promise<void> {
    this.copying.shift()?.end(error);
    await turn(3);
  }
}

test("a key is settled when it has been copied, from the tick on in which it was added; others at once", async () => {
  const world = new World();
  world.queue.add(a);
  world.wait(a);
  world.wait(b);
  await turn(3);
  assert.deepEqual(world.settled, [b]);
  await world.end();
  assert.deepEqual(world.settled, [b, a]);
});

test("one that failed is not before it was copied, or is left out", async () => {
  const world = new World();
  world.queue.add(a);
  await turn();
  world.wait(a);
  await world.end(new Error("the bucket is away"));
  assert.deepEqual(world.settled, []);
  await world.clock.pass(1_000);
  assert.deepEqual(world.settled, []);
  await world.end();
  assert.deepEqual(world.settled, [a]);
});

test("one that is added again while it is copied is copied again, takes no other's turn, and is settled after that", async () => {
  const world = new World();
  world.queue.add(a);
  await turn();
  world.queue.add(a);
  assert.equal(world.queue.length, 2);
  world.wait(a);
  for (const key of ["c", "d", "e"] as Key[]) world.queue.add(key);
  await turn(3);
  assert.deepEqual(
    world.copying.map(({ key }) => key),
    ["a", "c", "d", "e"],
  );
  await world.end();
  assert.deepEqual(world.settled, []);
  assert.equal(world.copying.at(-1)?.key, a);
  world.copying.pop()?.end();
  await turn(3);
  assert.deepEqual(world.settled, [a]);
});

test("what changes while others copy it is copied again when they have done", async () => {
  const world = new World();
  const { promise, resolve } = Promise.withResolvers<void>();
  void world.queue.once(a, () => promise);
  world.queue.add(a);
  await turn(3);
  assert.equal(world.copying.length, 0);
  resolve();
  await turn(3);
  assert.equal(world.copying.length, 1);
});

test("what is copied on its way counts, too; and at the end nobody waits", async () => {
  const world = new World();
  const { promise, resolve } = Promise.withResolvers<void>();
  void world.queue.once(a, () => promise);
  world.wait(a);
  await turn(3);
  assert.deepEqual(world.settled, []);
  resolve();
  await turn(3);
  assert.deepEqual(world.settled, [a]);
  world.queue.add(b);
  world.wait(b);
  await turn();
  world.stopping.abort(new Error("the process is stopping"));
  await world.end();
  assert.deepEqual(world.settled, [a, b]);
});
