import assert from "node:assert/strict";
import { test } from "node:test";
import { watchStorage } from "../../src/http/storage-state.ts";
import { StoreError } from "../../src/store/object-store.ts";
import { turn } from "../support/event-loop.ts";

test("it says whether the storage can be written, and why not", async () => {
  assert.deepEqual(await watchStorage(async () => undefined)(), { writable: true });
  const full = new StoreError("/data cannot be written", Object.assign(new Error("no space"), { code: "ENOSPC" }));
  const state = watchStorage(() => Promise.reject(full));
  assert.deepEqual(await state(), { writable: false, reason: "/data cannot be written (ENOSPC)" });
  const odd = watchStorage(() => Promise.reject(new Error("odd")));
  assert.deepEqual(await odd(), { writable: false, reason: "Error: odd" });
});

test("a storage that hangs is tried by one at a time, and nobody waits for it for long", async () => {
  let tries = 0;
  let hanging = Promise.withResolvers<void>();
  const state = watchStorage(() => {
    tries++;
    return hanging.promise;
  }, 5);
  const late = { writable: false, reason: "it did not answer in 5 ms" };
  assert.deepEqual(await Promise.all([state(), state()]), [late, late]);
  assert.deepEqual(await state(), late);
  assert.equal(tries, 1);
  hanging.resolve();
  await turn();
  hanging = Promise.withResolvers<void>();
  hanging.resolve();
  assert.deepEqual(await state(), { writable: true });
  assert.equal(tries, 2);
});

test("a question that was answered leaves no timer behind", async () => {
  const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
  const before = timers();
  const state = watchStorage(async () => undefined, 60_000);
  assert.deepEqual(await state(), { writable: true });
  assert.equal(timers(), before);
});
