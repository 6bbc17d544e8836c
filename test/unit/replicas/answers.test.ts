/* What others are told of an upstream's answers, and for how long. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Answers, type Told } from "../../../src/replicas/answers.ts";
import { turn } from "../../support/event-loop.ts";

const second = 1_000;

test("an answer is told while it comes and for 30 s after; one that fails to nobody later", async () => {
  let now = 1;
  const answers = new Answers(() => now);
  const { promise, resolve } = Promise.withResolvers<Told>();
  answers.tell("a", promise);
  const early = answers.find("a");
  now += 60 * second;
  const another = answers.find("a");
  resolve({ checkedAt: 1 });
  assert.deepEqual([await early, await another], [{ checkedAt: 1 }, { checkedAt: 1 }]);
  await turn();
  now += 29 * second;
  assert.deepEqual(await answers.find("a"), { checkedAt: 1 });
  now += 2 * second;
  assert.equal(await answers.find("a"), undefined);
  const failing = Promise.reject(new Error("it is away"));
  answers.tell("b", failing);
  await assert.rejects(answers.find("b"), /it is away/);
  await turn();
  assert.equal(await answers.find("b"), undefined);
});

test("the last question of a name counts, also where one before it is answered later, or all were forgotten meanwhile", async () => {
  const answers = new Answers(() => 1);
  const first = Promise.withResolvers<Told>();
  const failing = Promise.withResolvers<Told>();
  answers.tell("a", first.promise);
  answers.tell("a", failing.promise);
  answers.tell("a", Promise.resolve({ checkedAt: 2 }));
  first.resolve({ checkedAt: 1 });
  failing.reject(new Error("it is away"));
  await turn();
  assert.deepEqual(await answers.find("a"), { checkedAt: 2 });
  const late = Promise.withResolvers<Told>();
  answers.tell("b", late.promise);
  answers.clear();
  late.resolve({ checkedAt: 3 });
  await turn();
  assert.equal(await answers.find("a"), undefined);
  assert.equal(await answers.find("b"), undefined, "it was asked before something was removed");
});

test("answers take 16 MiB at most, and there are 4,096 of them", async () => {
  const answers = new Answers(() => 1);
  const bytes = "x".repeat(1024 * 1024);
  for (let count = 0; count < 20; count++) answers.tell(`large ${count}`, Promise.resolve({ checkedAt: 1, bytes }));
  await turn();
  const found = await Promise.all(Array.from({ length: 20 }, (_, count) => answers.find(`large ${count}`)));
  assert.equal(found.filter((each) => each !== undefined).length, 15);
  for (let count = 0; count < 5_000; count++) answers.tell(`small ${count}`, Promise.resolve({ checkedAt: 1 }));
  await turn();
  assert.equal(await answers.find("small 0"), undefined);
  assert.deepEqual(await answers.find("small 4999"), { checkedAt: 1 });
});
