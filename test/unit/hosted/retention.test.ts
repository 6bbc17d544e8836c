import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { planRetention, type RetentionRule } from "../../../src/hosted/retention.ts";
import { NamePattern } from "../../../src/oci/name-pattern.ts";
import type { Repository, Tag } from "../../../src/oci/reference.ts";

const now = 100 * 86_400_000;
const dayMs = 86_400_000;
const repository = "team/web" as Repository;
const unprotected = (): undefined => undefined;

function rule(more: Partial<RetentionRule>): RetentionRule {
  return { repositories: undefined, tags: undefined, keepLast: undefined, keepWithinMs: undefined, ...more };
}

function patterns(...texts: readonly string[]): NamePattern[] {
  return texts.map((text) => new NamePattern(text));
}

/** Tags by name, and how many days ago they were pushed. */
function tags(days: Readonly<Record<string, number>>): { tag: Tag; pushedAt: number }[] {
  return Object.entries(days).map(([tag, ago]) => ({ tag: tag as Tag, pushedAt: now - ago * dayMs }));
}

function going(
  days: Readonly<Record<string, number>>,
  rules: readonly RetentionRule[],
  protection: (tag: Tag) => string | undefined = unprotected,
): string[] {
  const verdicts = planRetention(repository, tags(days), rules, { now, protection });
  return verdicts.filter(({ goes }) => goes).map(({ tag }) => tag);
}

describe("retention", () => {
  const days = { "1.0": 40, "1.1": 30, "1.2": 20, main: 10, "pr-1": 9, "pr-2": 8, "pr-3": 1 };

  test("without a rule nothing goes", () => {
    assert.deepEqual(going(days, []), []);
    assert.deepEqual(going(days, [rule({ repositories: patterns("team/*/x"), keepLast: 1 })]), []);
    assert.deepEqual(going(days, [rule({ tags: patterns("nothing-*"), keepLast: 1 })]), []);
  });

  test("the last that a rule is for stay, counted among those that it is for", () => {
    assert.deepEqual(going(days, [rule({ tags: patterns("1.*"), keepLast: 2 })]), ["1.0"]);
    assert.deepEqual(going(days, [rule({ repositories: patterns("team/*"), keepLast: 6 })]), ["1.0"]);
    assert.deepEqual(going(days, [rule({ keepLast: 7 })]), []);
  });

  test("those of an equal moment count by their names", () => {
    assert.deepEqual(going({ b: 3, a: 3, d: 3, c: 3 }, [rule({ keepLast: 2 })]), ["c", "d"]);
  });

  test("the young ones stay, for exactly as long as is said", () => {
    assert.deepEqual(going(days, [rule({ tags: patterns("pr-*"), keepWithinMs: 9 * dayMs })]), ["pr-1"]);
    assert.deepEqual(going(days, [rule({ tags: patterns("pr-*"), keepWithinMs: 9 * dayMs + 1 })]), []);
  });

  test("what one of the rules keeps stays", () => {
    const rules = [
      rule({ keepWithinMs: 5 * dayMs }),
      rule({ tags: patterns("1.*"), keepLast: 1 }),
      rule({ tags: patterns("main"), keepLast: 1 }),
    ];
    assert.deepEqual(going(days, rules), ["pr-2", "pr-1", "1.1", "1.0"]);
    assert.deepEqual(going(days, rules.toReversed()), ["pr-2", "pr-1", "1.1", "1.0"]);
    assert.deepEqual(going(days, [rule({ keepLast: 1, keepWithinMs: 9 * dayMs })]), [
      "pr-1",
      "main",
      "1.2",
      "1.1",
      "1.0",
    ]);
  });

  test("what is protected stays, and counts", () => {
    const protection = (tag: Tag): string | undefined => (tag === "1.0" ? "immutable" : undefined);
    assert.deepEqual(going(days, [rule({ tags: patterns("1.*"), keepLast: 1 })], protection), ["1.1"]);
  });

  test("each tag that a rule is for is told with the reason", () => {
    const protection = (tag: Tag): string | undefined => (tag === "1.1" ? "pinned" : undefined);
    const rules = [
      rule({ tags: patterns("1.*"), keepLast: 1 }),
      rule({ tags: patterns("pr-*"), keepWithinMs: 2 * dayMs }),
    ];
    const told = planRetention(repository, tags(days), rules, { now, protection });
    assert.deepEqual(
      told.map(({ tag, goes, reason }) => [tag, goes, reason]),
      [
        ["pr-3", false, "young enough"],
        ["pr-2", true, "pushed 1970-04-03T00:00:00.000Z, and no rule keeps it"],
        ["pr-1", true, "pushed 1970-04-02T00:00:00.000Z, and no rule keeps it"],
        ["1.2", false, "one of the last 1"],
        ["1.1", false, "pinned"],
        ["1.0", true, "pushed 1970-03-02T00:00:00.000Z, and no rule keeps it"],
      ],
    );
  });

  test("whatever the rules, what goes is older than what they keep, and a second pass removes nothing", () => {
    const anyRule = fc
      .record({
        tags: fc.constantFrom(undefined, patterns("a*"), patterns("b*", "a1")),
        keepLast: fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined }),
        keepWithinMs: fc.option(fc.nat(20 * dayMs), { nil: undefined }),
      })
      .map(rule);
    const anyDays = fc.dictionary(fc.constantFrom("a1", "a2", "a3", "b1", "b2", "b3", "c1"), fc.nat(30));
    fc.assert(
      fc.property(anyDays, fc.array(anyRule, { maxLength: 3 }), (pushed, rules) => {
        const first = going(pushed, rules);
        const left = Object.fromEntries(Object.entries(pushed).filter(([tag]) => !first.includes(tag)));
        assert.deepEqual(going(left, rules), []);
        assert.ok(!first.includes("c1") || rules.some((each) => each.tags === undefined));
        for (const { keepLast, keepWithinMs = 0, tags: meant } of rules) {
          const kept = Object.keys(left).filter((tag) => meant?.some((pattern) => pattern.matches(tag)) ?? true);
          const all = Object.keys(pushed).filter((tag) => meant?.some((pattern) => pattern.matches(tag)) ?? true);
          assert.ok(kept.length >= Math.min(keepLast ?? 0, all.length));
          for (const tag of first) assert.ok(!all.includes(tag) || (pushed[tag] ?? 0) * dayMs >= keepWithinMs);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});
