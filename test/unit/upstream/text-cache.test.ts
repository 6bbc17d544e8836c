import assert from "node:assert/strict";
import { test } from "node:test";
import { TextCache, type FetchText, type PassingText } from "../../../src/upstream/text-cache.ts";
import { createClock, never } from "./scripted.ts";

function fetching(): {
  fetch: FetchText;
  calls: AbortSignal[];
  settle: PromiseWithResolvers<PassingText | undefined>[];
} {
  const calls: AbortSignal[] = [];
  const settle: PromiseWithResolvers<PassingText | undefined>[] = [];
  const fetch: FetchText = (signal) => {
    calls.push(signal);
    const deferred = Promise.withResolvers<PassingText | undefined>();
    signal.addEventListener("abort", () => deferred.reject(signal.reason));
    settle.push(deferred);
    return deferred.promise;
  };
  return { fetch, calls, settle };
}

const give =
  (value: string, lifetimeSeconds = 100): FetchText =>
  () =>
    Promise.resolve({ value, lifetimeSeconds });

test("a text is good for nine tenths of its lifetime", async () => {
  const clock = createClock();
  const cache = new TextCache(clock, 10);
  assert.equal(cache.peek("a"), undefined);
  assert.equal(await cache.get("a", give("one"), never()), "one");
  clock.time += 89_999;
  assert.equal(cache.peek("a"), "one");
  assert.equal(await cache.get("a", give("two"), never()), "one");
  clock.time += 1;
  assert.equal(cache.peek("a"), undefined);
  assert.equal(await cache.get("a", give("two"), never()), "two");
});

test("who asks at the same time shares a fetch; who asks for something else does not", async () => {
  const cache = new TextCache(createClock(), 10);
  const { fetch, calls, settle } = fetching();
  const both = Promise.all([cache.get("a", fetch, never()), cache.get("a", fetch, never())]);
  const other = cache.get("b", fetch, never());
  await Promise.resolve();
  assert.equal(calls.length, 2);
  settle[0]?.resolve({ value: "one", lifetimeSeconds: 60 });
  settle[1]?.resolve({ value: "two", lifetimeSeconds: 60 });
  assert.deepEqual([await both, await other], [["one", "one"], "two"]);
});

test("one who leaves does not hurt the others; the last one to leave ends the fetch", async () => {
  const cache = new TextCache(createClock(), 10);
  const { fetch, calls, settle } = fetching();
  const leaver = new AbortController();
  const left = cache.get("a", fetch, leaver.signal);
  const stayed = cache.get("a", fetch, never());
  await Promise.resolve();
  leaver.abort(new Error("gone"));
  await assert.rejects(left, { message: "gone" });
  assert.equal(calls[0]?.aborted, false);
  settle[0]?.resolve({ value: "one", lifetimeSeconds: 60 });
  assert.equal(await stayed, "one");

  const last = new AbortController();
  const alone = cache.get("b", fetch, last.signal);
  await Promise.resolve();
  last.abort(new Error("gone"));
  await assert.rejects(alone, { message: "gone" });
  assert.equal(calls[1]?.aborted, true);
  assert.equal(await cache.get("b", give("new"), never()), "new", "a later one starts anew");
});

test("neither a failure nor a denial is remembered", async () => {
  const cache = new TextCache(createClock(), 10);
  const failed = new Error("down");
  await assert.rejects(
    cache.get("a", () => Promise.reject(failed), never()),
    (error) => error === failed,
  );
  assert.equal(await cache.get("a", () => Promise.resolve(undefined), never()), undefined);
  assert.equal(await cache.get("a", give("one"), never()), "one");
});

test("a refused text is dropped, but not the one that took its place", async () => {
  const cache = new TextCache(createClock(), 10);
  await cache.get("a", give("one"), never());
  cache.drop("a", "zero");
  assert.equal(cache.peek("a"), "one");
  cache.drop("a", "one");
  assert.equal(cache.peek("a"), undefined);
});

test("the number of texts is bounded", async () => {
  const cache = new TextCache(createClock(), 2);
  for (const key of ["a", "b", "c"]) {
    await cache.get(key, give(key), never());
  }
  assert.deepEqual(
    ["a", "b", "c"].map((key) => cache.peek(key)),
    [undefined, "b", "c"],
  );
});

test("their length is bounded together; one that is too long is given, and not remembered", async () => {
  const cache = new TextCache(createClock(), 4);
  assert.equal((await cache.get("huge", give("x".repeat(20_000)), never()))?.length, 20_000);
  assert.equal(cache.peek("huge"), undefined);
  for (const key of ["a", "b", "c"]) {
    await cache.get(key, give(key.repeat(6_000)), never());
  }
  assert.deepEqual(
    ["a", "b", "c"].map((key) => cache.peek(key)?.length),
    [undefined, 6_000, 6_000],
  );
});
