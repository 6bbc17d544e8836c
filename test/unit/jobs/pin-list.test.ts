import assert from "node:assert/strict";
import { test } from "node:test";
import { PinList } from "../../../src/jobs/pin-list.ts";

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
  const unavailable = { code: "UNAVAILABLE", status: 503 };
  await assert.rejects(pins.add("a.io/new"), unavailable);
  await assert.rejects(pins.remove("a.io/old"), unavailable);
  await assert.rejects(pins.report(), unavailable);
  assert.deepEqual(saved, []);
  isBroken = false;
  await pins.add("a.io/new");
  assert.deepEqual(saved, [["a.io/old", "a.io/new"]]);
  assert.deepEqual(await pins.report(), { configured: ["a.io/c"], added: ["a.io/old", "a.io/new"] });
});
