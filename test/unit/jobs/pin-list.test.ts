import assert from "node:assert/strict";
import { test } from "node:test";
import { PinList } from "../../../src/jobs/pin-list.ts";
import { createBarrier } from "../../support/barrier.ts";

test("pins that could not be loaded are not written over: they are loaded first", async () => {
  const failure = new Error("the disk is gone");
  let isBroken = true;
  const errors: unknown[] = [];
  const saved: (readonly string[])[] = [];
  const pins = await PinList.open({
    configured: ["a.io/c"],
    parse: (pattern) => pattern,
    load: async () => {
      if (isBroken) throw failure;
      return ["a.io/old"];
    },
    save: async (patterns) => void saved.push(patterns),
    onError: (error) => errors.push(error),
  });
  assert.deepEqual(errors, [failure]);
  assert.deepEqual(pins.all, ["a.io/c"]);
  assert.equal(pins.isWhole, false);
  const unavailable = { code: "UNAVAILABLE", status: 503 };
  await assert.rejects(pins.add("a.io/new"), unavailable);
  await assert.rejects(pins.remove("a.io/old"), unavailable);
  await assert.rejects(pins.report(), unavailable);
  assert.deepEqual(saved, []);
  isBroken = false;
  await pins.add("a.io/new");
  assert.equal(pins.isWhole, true);
  assert.deepEqual(saved, [["a.io/old", "a.io/new"]]);
  assert.deepEqual(await pins.report(), { configured: ["a.io/c"], added: ["a.io/old", "a.io/new"] });
});

test("a pin counts when it is saved, and one that cannot be saved never does", async () => {
  const failure = new Error("the disk is full");
  const barrier = createBarrier();
  let isFull = true;
  const pins = await PinList.open({
    configured: ["a.io/c"],
    parse: (pattern) => pattern,
    load: async () => [],
    save: async () => {
      await barrier.wait();
      if (isFull) throw failure;
    },
    onError: () => undefined,
  });
  const adding = pins.add("a.io/new");
  await barrier.reached;
  assert.deepEqual(pins.all, ["a.io/c"]);
  barrier.release();
  await assert.rejects(adding, failure);
  assert.deepEqual(await pins.report(), { configured: ["a.io/c"], added: [] });
  isFull = false;
  await pins.add("a.io/new");
  assert.deepEqual(pins.all, ["a.io/c", "a.io/new"]);
});
