import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { parseRepository } from "../../../../src/oci/reference.ts";
import type { Credentials } from "../../../../src/upstream/credentials.ts";
import { createByPattern } from "../../../../src/upstream/credentials/by-pattern.ts";
import { NamePattern } from "../../../../src/oci/name-pattern.ts";
import { never } from "../scripted.ts";
import { fakeSource } from "./fake-source.ts";

describe("a pattern", () => {
  for (const [pattern, fitting, other] of [
    ["team/app", ["team/app"], ["team/apps", "team/app/web", "other/team/app", "team"]],
    ["team/*", ["team/app"], ["team", "team/app/web", "teams/app"]],
    ["team/**", ["team/app", "team/app/web"], ["team", "teams/app"]],
    ["**", ["a", "a/b/c"], []],
    ["*", ["a"], ["a/b"]],
    ["**/app", ["team/app", "a/b/app"], ["app", "team/apps"]],
    ["*/app*", ["team/app", "team/apps"], ["a/b/app", "team/app/web"]],
    ["te*/**/web", ["team/app/web", "te/a/b/web"], ["team/web", "tea/web/x"]],
    ["a.b/*", ["a.b/c"], ["axb/c"]],
    ["", [], ["a"]],
  ] as const) {
    test(`${pattern} fits ${fitting.join(", ")}; not ${other.join(", ")}`, () => {
      const parsed = new NamePattern(pattern);
      assert.deepEqual(
        [...fitting, ...other].filter((name) => parsed.matches(name)),
        fitting,
      );
    });
  }

  test("is read as the regular expression that it looks like", () => {
    const letters = fc.constantFrom("a", "b", "/");
    const patterns = fc.array(fc.oneof(letters, fc.constantFrom("*", "**")), { maxLength: 8 });
    const names = fc.array(letters, { maxLength: 8 });
    fc.assert(
      fc.property(patterns, names, (pieces, name) => {
        const text = pieces.join("");
        const expression = text.replaceAll(/\*+/g, (stars) => (stars.length === 1 ? "[^/]*" : ".*"));
        assert.equal(new NamePattern(text).matches(name.join("")), new RegExp(`^${expression}$`).test(name.join("")));
      }),
    );
  });

  test("takes no time that grows with its wildcards", { timeout: 5000 }, () => {
    assert.equal(new NamePattern("a*".repeat(100)).matches(`${"a".repeat(250)}b/`), false);
  });
});

const named = (name: string): Credentials => ({ username: name, password: "x" });

test("the most specific pattern decides, then the first, then what is for the rest", async () => {
  const { source: rest } = fakeSource(named("rest"));
  const entries = ["**", "team/**", "team/*", "team/a*", "team/app", "team/app"].map((match, index) => ({
    match: new NamePattern(match),
    source: fakeSource(named(`${match} ${index}`)).source,
  }));
  const source = createByPattern(entries, rest);
  const pick = async (name: string): Promise<string | undefined> =>
    (await source.get(parseRepository(name), never()))?.username;
  assert.equal(await pick("team/app"), "team/app 4");
  assert.equal(await pick("team/apt"), "team/a* 3");
  assert.equal(await pick("team/web"), "team/* 2");
  assert.equal(await pick("team/app/web"), "team/** 1");
  assert.equal(await pick("other"), "** 0");
  const few = createByPattern(entries.slice(1), rest);
  assert.equal((await few.get(parseRepository("other"), never()))?.username, "rest");
});

test("what no pattern fits is asked for anonymously", async () => {
  const { source: own, asked } = fakeSource(named("own"));
  const source = createByPattern([{ match: new NamePattern("team/*"), source: own }]);
  assert.equal(await source.get(parseRepository("other"), never()), undefined);
  assert.deepEqual(asked, []);
  await source.get(parseRepository("team/app"), never());
  assert.deepEqual(asked, ["team/app"]);
});

test("refusals and closing are passed on, once to a source that is there twice", () => {
  const own = fakeSource(named("own"));
  const rest = fakeSource(named("rest"));
  const source = createByPattern(
    [
      { match: new NamePattern("a/*"), source: own.source },
      { match: new NamePattern("b/*"), source: own.source },
    ],
    rest.source,
  );
  source.refused(named("own"));
  assert.deepEqual([own.refused, rest.refused], [[named("own")], [named("own")]]);
  source.close();
  assert.deepEqual([own.closed(), rest.closed()], [1, 1]);
});
