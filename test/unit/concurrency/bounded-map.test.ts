import assert from "node:assert/strict";
import { test } from "node:test";
import { boundedMap } from "../../../src/concurrency/bounded-map.ts";

test("a bounded map forgets what was not used for longest, and nothing else", () => {
  const forgotten: number[] = [];
  const map = boundedMap<string, number>(3, (value) => void forgotten.push(value));
  for (const [index, key] of ["a", "b", "c"].entries()) map.set(key, index);
  assert.equal(map.get("a"), 0);
  map.set("a", 10);
  map.set("d", 3);
  assert.deepEqual(new Set(map.keys()), new Set(["a", "c", "d"]));
  map.delete("c");
  map.set("e", 4);
  assert.deepEqual(new Map(map.entries()), new Map(Object.entries({ a: 10, d: 3, e: 4 })));
  assert.deepEqual(forgotten, [1]);
});

test("it is as cheap as what is in it", () => {
  const before = process.memoryUsage();
  const maps = Array.from({ length: 200 }, () => boundedMap<string, number>(100_000));
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  assert.equal(maps.length, 200);
  assert.ok(heapUsed + arrayBuffers - before.heapUsed - before.arrayBuffers < 20 * 1024 * 1024);
});
