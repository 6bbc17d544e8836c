import assert from "node:assert/strict";
import { test } from "node:test";
import { Budget, type BudgetEntries, type BudgetState, type RateLimit } from "../../../src/upstream/budget.ts";
import { createClock } from "./scripted.ts";

const hour = 3_600_000;

function setUp(reserve: number): {
  readonly clock: ReturnType<typeof createClock>;
  readonly told: BudgetState[];
  readonly turned: BudgetState[];
  readonly budget: Budget;
} {
  const clock = createClock();
  const told: BudgetState[] = [];
  const turned: BudgetState[] = [];
  const onTold = (state: BudgetState, turns: boolean): void => {
    told.push(state);
    if (turns) turned.push(state);
  };
  return { clock, told, turned, budget: new Budget(clock, { reserve, onTold }) };
}

function left(remaining: number): RateLimit {
  return { limit: 100, remaining, windowSeconds: 21_600 };
}

test("tags stay fresh for a whole window while less than the reserve is left", () => {
  const { clock, told, turned, budget } = setUp(0.1);
  assert.equal(budget.stretch(600_000), 600_000);
  budget.note("anonymous", left(10));
  assert.equal(budget.stretch(600_000), 600_000);
  budget.note("anonymous", left(9));
  assert.equal(budget.stretch(600_000), 6 * hour);
  assert.equal(budget.stretch(24 * hour), 24 * hour);
  budget.note("anonymous", left(8));
  assert.deepEqual([told.length, turned.length], [3, 1], "that it begins to bite is told once");
  clock.time += 6 * hour;
  assert.equal(budget.stretch(600_000), 600_000, "what was said is of a window that is over");
  budget.note("anonymous", left(100));
  assert.deepEqual(
    turned.map(({ low }) => low),
    [true, false],
  );
});

test("of several accounts the one with most left counts", () => {
  const { budget } = setUp(0.1);
  budget.note("one", left(1));
  assert.equal(budget.state?.low, true);
  budget.note("two", left(60));
  assert.deepEqual(budget.state, { limit: 100, remaining: 60, windowSeconds: 21_600, low: false });
});

test("what says nothing of use changes nothing", () => {
  const { budget } = setUp(0.1);
  for (const useless of [
    { limit: undefined, remaining: 5 },
    { limit: 100, remaining: undefined },
    { limit: 0, remaining: 0 },
  ]) {
    budget.note("anonymous", { ...useless, windowSeconds: 60 });
  }
  assert.equal(budget.state, undefined);
});

test("the number of accounts it remembers is bounded", () => {
  const budget = new Budget(createClock(), { remembered: 64 });
  budget.note("first", left(100));
  for (let account = 0; account < 64; account++) budget.note(`account ${account}`, left(1));
  assert.equal(budget.state?.remaining, 1);
});

test("a hold is for one host and one identity, and ends by itself; the longer one counts", () => {
  const clock = createClock();
  const budget = new Budget(clock);
  budget.hold("a.example.com", "alice", 10);
  budget.hold("a.example.com", "alice", 5);
  assert.equal(budget.heldSeconds("a.example.com", "alice"), 10);
  assert.equal(budget.heldSeconds("a.example.com", "bob"), 0);
  assert.equal(budget.heldSeconds("b.example.com", "alice"), 0);
  clock.time += 9500;
  assert.equal(budget.heldSeconds("a.example.com", "alice"), 1);
  clock.time += 500;
  assert.equal(budget.heldSeconds("a.example.com", "alice"), 0);
});

test("the number of holds it remembers is bounded", () => {
  const clock = createClock();
  const budget = new Budget(clock);
  budget.hold("a.example.com", "alice", 10);
  for (let number = 0; number < 1024; number++) {
    budget.hold(`${number}.example.com`, "alice", 10);
  }
  assert.equal(budget.heldSeconds("a.example.com", "alice"), 0);
});

test("what is left: unknown, as told, nothing while refused, and unknown again after the window", () => {
  const clock = createClock();
  const budget = new Budget(clock);
  assert.equal(budget.remaining("alice"), undefined);
  budget.note("alice", { ...left(7), windowSeconds: 60 });
  assert.equal(budget.remaining("alice"), 7);
  assert.equal(budget.remaining("bob"), undefined);
  budget.hold("a.example.com", "alice", 10);
  assert.equal(budget.remaining("alice"), 0);
  clock.time += 10_000;
  assert.equal(budget.remaining("alice"), 7);
  budget.exhaust("alice");
  assert.equal(budget.remaining("alice"), 0);
  clock.time += 60_000;
  assert.equal(budget.remaining("alice"), undefined);
});

test("what one process was told another one learns, as long as it counts, and does not tell on", () => {
  const here = setUp(0.1);
  const there = setUp(0.1);
  here.budget.note("one", left(5));
  here.budget.hold("registry.example.com", "one", 120);
  here.budget.exhaust("two");
  here.clock.time += 10_000;
  const entries = JSON.parse(JSON.stringify(here.budget.entries)) as BudgetEntries;
  there.budget.learn(entries);
  assert.equal(there.budget.isLow, true);
  assert.equal(there.budget.remaining("one"), 0, "it is held off");
  assert.equal(there.budget.heldSeconds("registry.example.com", "one"), 110);
  assert.equal(there.budget.remaining("two"), 0);
  assert.deepEqual(there.budget.entries, { told: [], exhausted: [], held: [] });
  there.clock.time += 110_000;
  assert.equal(there.budget.heldSeconds("registry.example.com", "one"), 0);
  assert.equal(there.budget.remaining("one"), 5);
  there.clock.time += 6 * hour - 121_000;
  assert.equal(there.budget.remaining("one"), 5);
  there.clock.time += 2_000;
  assert.equal(there.budget.remaining("one"), undefined, "its window is over when it is where it was told");
});

test("what is known, and newer, stays", () => {
  const here = setUp(0.1);
  const there = setUp(0.1);
  here.budget.note("one", left(90));
  there.budget.note("one", left(40));
  here.clock.time += 5_000;
  there.clock.time += 4_000;
  there.budget.learn(here.budget.entries);
  assert.equal(there.budget.remaining("one"), 40);
  here.budget.note("one", left(30));
  there.budget.learn(here.budget.entries);
  assert.equal(there.budget.remaining("one"), 30);
});

test("nobody makes another one rest for more than an hour", () => {
  const { budget } = setUp(0);
  const week = 7 * 24 * hour;
  budget.learn({ told: [], exhausted: [["one", week]], held: [["registry.example.com one", week]] });
  assert.equal(budget.heldSeconds("registry.example.com", "one"), 3_600);
});
