import assert from "node:assert/strict";
import { test } from "node:test";
import { Background } from "../../../src/concurrency/background.ts";

test("idle waits for all work, also for what work starts", async () => {
  const background = new Background((error) => {
    throw error;
  });
  const first = Promise.withResolvers<void>();
  const second = Promise.withResolvers<void>();
  const done: string[] = [];
  background.run(async () => {
    await first.promise;
    background.run(async () => {
      await second.promise;
      done.push("second");
    });
    done.push("first");
  });
  const idle = background.idle().then(() => done.push("idle"));
  first.resolve();
  await first.promise;
  assert.ok(!done.includes("idle"));
  second.resolve();
  await idle;
  assert.deepEqual(done, ["first", "second", "idle"]);
});

test("a failure is told once, and holds nothing up", async () => {
  const told: unknown[] = [];
  const background = new Background((error) => told.push(error));
  const error = new Error("not cached");
  background.run(() => Promise.reject(error));
  background.run(async () => undefined);
  await background.idle();
  assert.deepEqual(told, [error]);
});
