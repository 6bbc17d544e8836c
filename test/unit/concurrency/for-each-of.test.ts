import assert from "node:assert/strict";
import { test } from "node:test";
import { forEachOf } from "../../../src/concurrency/for-each-of.ts";
import { turn } from "../../support/event-loop.ts";

/** Items, before each of which it takes a turn, and whether their reader is done with them. */
function listing(count: number, turns = 1) {
  const state = { taken: 0, isClosed: false };
  async function* items(): AsyncGenerator<number> {
    try {
      for (; state.taken < count; state.taken++) {
        await turn(turns);
        yield state.taken;
      }
    } finally {
      state.isClosed = true;
    }
  }
  return { state, items: items() };
}

test("each item has its turn, so many at a time, and all are done in the end", async () => {
  for (const items of [listing(10).items, Array.from({ length: 10 }, (_, index) => index)]) {
    const done: number[] = [];
    let running = 0;
    let most = 0;
    await forEachOf<number>(items, 3, async (item) => {
      most = Math.max(most, ++running);
      await turn(1 + (item % 5) * 3);
      running--;
      done.push(item);
    });
    assert.deepEqual([done.toSorted((a, b) => a - b), running, most], [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0, 3]);
  }
});

test("one that fails while the next is waited for ends all, when the others are done", async () => {
  const { state, items } = listing(10, 5);
  const done: number[] = [];
  const work = async (item: number): Promise<void> => {
    await turn();
    if (item === 1) throw new Error("it fails");
    await turn(20);
    done.push(item);
  };
  await assert.rejects(forEachOf(items, 4, work), /it fails/);
  assert.deepEqual([done, state.isClosed, state.taken], [[0], true, 2]);
});

test("one that fails last is told, and so is a listing, when what was begun is done", async () => {
  await assert.rejects(
    forEachOf([1], 4, async () => {
      throw new Error("the last one");
    }),
    /the last one/,
  );
  let isDone = false;
  const broken = async function* () {
    yield 1;
    throw new Error("the listing");
  };
  await assert.rejects(
    forEachOf(broken(), 4, async () => {
      await turn(5);
      isDone = true;
    }),
    /the listing/,
  );
  assert.equal(isDone, true);
});
