import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { LedgerChange } from "../../../src/ledger/ledger.ts";
import { parsePin } from "../../../src/oci/pin.ts";
import { anyChange, ask, digest, everything, Model, openMemory, repository, sum, tag } from "./ledger-model.ts";

const patterns = [
  "ghcr.io/a",
  "ghcr.io/**",
  "localhost:5000/*:lts",
  "ghcr.io/*:1",
  "ghcr.io/b/c:*",
  `*/a@${digest(1)}`,
  `ghcr.io/**@${digest(0)}`,
];

/** The links that pins hold, by the plainest way. */
function pinnedLinks(model: Model, pins: readonly string[]): Set<string> {
  const parsed = pins.map(parsePin);
  const pinned = new Set<string>();
  for (const [key, link] of model.links) {
    const whole = parsed.some((pin) => pin.of === "repository" && pin.matches(link.id));
    const roots = [...model.tags.values()]
      .filter(({ id }) => id.namespace === link.id.namespace && id.repository === link.id.repository)
      .filter((each) => parsed.some((pin) => pin.of === "tags" && pin.matches({ ...each.id, tag: each.tag })))
      .map((each) => each.digest);
    for (let number = 0; number <= 6; number++) {
      const named = { ...link.id, digest: digest(number) };
      if (parsed.some((pin) => pin.of === "digest" && pin.matches(named))) roots.push(named.digest);
    }
    if (whole || model.reach(link.id, roots).has(link.digest)) pinned.add(key);
  }
  return pinned;
}

test("candidates are what no pin holds, whatever was changed since pins were last looked at", () => {
  // Where the pins are others all is looked at anew: mostly they stay, so that it matters what is.
  const others = fc.option(fc.subarray(patterns, { maxLength: 3 }), { freq: 3 });
  const step = fc.tuple(fc.array(anyChange, { maxLength: 4 }), others);
  const first = fc.tuple(fc.constantFrom([], everything), fc.subarray(patterns, { minLength: 1, maxLength: 3 }));
  fc.assert(
    fc.property(first, fc.array(step, { maxLength: 12 }), ([held, some], steps) => {
      const database = openMemory();
      const model = new Model();
      let pins: readonly string[] = some;
      for (const [changes, next] of [[held, some] as const, ...steps]) {
        pins = next ?? pins;
        database.apply(changes);
        for (const change of changes) model.apply(change);
        const pinned = pinnedLinks(model, pins);
        const candidates = ask(database, "candidates", { usedBefore: Infinity, pins, limit: 1_000 });
        assert.equal(candidates.filter(({ kind }) => kind === "link").length, model.links.size - pinned.size);
        for (const each of candidates) {
          if (each.kind === "page")
            assert.ok(!pins.map(parsePin).some((pin) => pin.of === "repository" && pin.matches(each.id)));
        }
        const contents = new Set([...pinned].map((key) => model.links.get(key)?.digest));
        const bytes = sum([...contents].map((each) => (each && model.contents.get(each)) ?? 0));
        assert.equal(ask(database, "pinnedBytes", pins), bytes);
      }
      database.close();
    }),
    { numRuns: 300 },
  );
});

test("a pinned tag keeps what it stands for now", () => {
  const id = repository("docker.io/library/alpine");
  const database = openMemory(
    { kind: "link", id, digest: digest(1), at: 1 },
    { kind: "link", id, digest: digest(2), at: 2 },
    { kind: "tag", id, tag: tag("lts"), digest: digest(1), at: 1 },
  );
  const candidates = (): unknown[] =>
    ask(database, "candidates", { usedBefore: 9, pins: ["docker.io/library/*:lts"], limit: 9 }).map((each) =>
      each.kind === "link" ? each.digest : each,
    );
  assert.deepEqual(candidates(), [digest(2)]);
  const moved: LedgerChange = { kind: "tag", id, tag: tag("lts"), digest: digest(2), at: 3 };
  database.apply([moved]);
  assert.deepEqual(candidates(), [digest(1)]);
  database.apply([{ kind: "tag-removed", id, tag: tag("lts") }]);
  assert.deepEqual(candidates(), [digest(1), digest(2)]);
  assert.throws(() => ask(database, "pinnedBytes", ["nothing"]), /begins with a registry's name/);
  database.close();
});

test("what a pinned manifest refers to is kept from when that is known until the manifest is gone", () => {
  const id = repository("quay.io/a");
  for (const removal of [
    { kind: "content-removed", digest: digest(1) },
    { kind: "link-removed", id, digest: digest(1) },
  ] as const) {
    const database = openMemory(
      { kind: "content", digest: digest(1), sizeBytes: 1, at: 1 },
      { kind: "content", digest: digest(2), sizeBytes: 1, at: 1 },
      { kind: "link", id, digest: digest(1), at: 1 },
      { kind: "link", id, digest: digest(2), at: 1 },
    );
    const isKept = (): boolean =>
      ask(database, "candidates", { usedBefore: 9, pins: [`quay.io/a@${digest(1)}`], limit: 9 }).every(
        (each) => each.kind !== "link" || each.digest !== digest(2),
      );
    assert.equal(isKept(), false);
    database.apply([{ kind: "children", digest: digest(1), children: [digest(2)] }]);
    assert.equal(isKept(), true);
    database.apply([removal]);
    assert.equal(isKept(), false, removal.kind);
    database.close();
  }
});
