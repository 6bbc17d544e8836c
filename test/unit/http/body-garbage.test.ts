import assert from "node:assert/strict";
import { constants, PerformanceObserver } from "node:perf_hooks";
import { test } from "node:test";
import { BodyGarbage, collectYoung } from "../../../src/http/body-garbage.ts";

test("garbage is collected after each 4 MiB of bodies", () => {
  let collections = 0;
  const garbage = new BodyGarbage(() => (collections += 1));
  const mebibyte = 1024 * 1024;
  const seen = [3, 1, 3, 1, 65, 3].map((received) => {
    garbage.note(received * mebibyte);
    return collections;
  });
  assert.deepEqual(seen, [0, 1, 1, 2, 3, 3]);
});

test("it is that of the young generation alone", async () => {
  const { promise, resolve } = Promise.withResolvers<readonly number[]>();
  const kindOf = (entry: PerformanceEntry): number =>
    (entry as PerformanceEntry & { detail: { kind: number } }).detail.kind;
  const observer = new PerformanceObserver((list) => resolve(list.getEntries().map(kindOf)));
  observer.observe({ entryTypes: ["gc"] });
  collectYoung();
  const kinds = await promise;
  observer.disconnect();
  assert.ok(kinds.includes(constants.NODE_PERFORMANCE_GC_MINOR), String(kinds));
});
