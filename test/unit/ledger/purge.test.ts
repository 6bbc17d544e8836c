import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Digest } from "../../../src/oci/digest.ts";
import { formatPlace } from "../../../src/store/layout.ts";
import type { LedgerChange, PurgePlan, PurgeTarget } from "../../../src/ledger/ledger.ts";
import { anyChange, ask, digest, Model, openMemory, repository, tag } from "./ledger-model.ts";

const id = repository("docker.io/a");
const other = repository("docker.io/b/c");
const [index, manifest, sibling, shared, layer, loner] = [0, 1, 2, 3, 4, 5].map(digest) as [
  Digest,
  Digest,
  Digest,
  Digest,
  Digest,
  Digest,
];

/** `index` → `manifest`, `sibling`; `manifest` → `shared`, `layer`; `sibling` → `shared`; `loner`: a blob. */
function image(...more: LedgerChange[]): ReturnType<typeof openMemory> {
  const all = [index, manifest, sibling, shared, layer, loner];
  return openMemory(
    ...all.map((each): LedgerChange => ({ kind: "content", digest: each, sizeBytes: 10_000, at: 1 })),
    ...all.toReversed().map((each): LedgerChange => ({ kind: "link", id, digest: each, at: 1 })),
    { kind: "children", digest: index, children: [manifest, sibling] },
    { kind: "children", digest: manifest, children: [shared, layer] },
    { kind: "children", digest: sibling, children: [shared] },
    { kind: "tag", id, tag: tag("lts"), digest: index, at: 1 },
    ...more,
  );
}

function planOf(target: PurgeTarget, ...more: LedgerChange[]): PurgePlan {
  const database = image(...more);
  const plan = ask(database, "purgePlan", target);
  database.close();
  return plan;
}

function linksOf(plan: PurgePlan): Digest[] {
  return plan.links.map((link) => link.digest);
}

const lts = { kind: "tag", id, tag: tag("lts") } as const;

test("a tag with all that it reaches, parents first", () => {
  const plan = planOf(lts);
  assert.deepEqual(plan.tags, [{ id, tag: "lts", digest: index }]);
  const links = linksOf(plan);
  assert.deepEqual(links.toSorted(), [index, manifest, sibling, shared, layer].toSorted());
  assert.equal(links[0], index);
  assert.deepEqual(links.slice(1, 3).toSorted(), [manifest, sibling].toSorted());
  assert.deepEqual(plan.contents.toSorted(), links.toSorted());
  assert.deepEqual(plan.pages, []);
  assert.equal(plan.freesBytes, 6 * 4096 + 5 * 12_288);
});

test("what another tag reaches stays, but for the tag", () => {
  assert.deepEqual(linksOf(planOf(lts, { kind: "tag", id, tag: tag("2"), digest: index, at: 1 })), []);
  const plan = planOf(lts, { kind: "tag", id, tag: tag("2"), digest: manifest, at: 1 });
  assert.deepEqual(linksOf(plan), [index, sibling]);
  assert.equal(plan.tags.length, 1);
});

test("what an untagged manifest besides reaches stays", () => {
  const untagged = digest(7);
  const plan = planOf(
    lts,
    { kind: "content", digest: untagged, sizeBytes: 1, at: 1 },
    { kind: "link", id, digest: untagged, at: 1 },
    { kind: "children", digest: untagged, children: [layer] },
  );
  assert.deepEqual(linksOf(plan).toSorted(), [index, manifest, sibling, shared].toSorted());
});

test("what another repository holds stays in the store", () => {
  const plan = planOf(lts, { kind: "link", id: other, digest: layer, at: 1 });
  assert.ok(linksOf(plan).includes(layer));
  assert.ok(!plan.contents.includes(layer));
  assert.equal(plan.freesBytes, 6 * 4096 + 4 * 12_288);
});

test("a manifest goes with its tags, though an index refers to it, and with what only it reaches", () => {
  const more: LedgerChange = { kind: "tag", id, tag: tag("amd64"), digest: manifest, at: 1 };
  const plan = planOf({ kind: "digest", id, digest: manifest }, more);
  assert.deepEqual(plan.tags, [{ id, tag: "amd64", digest: manifest }]);
  assert.deepEqual(linksOf(plan), [manifest, layer]);
});

test("a blob goes alone, and what is not there comes to nothing", () => {
  const plan = planOf({ kind: "digest", id, digest: loner });
  assert.deepEqual(plan, {
    tags: [],
    links: [{ id, digest: loner }],
    pages: [],
    contents: [loner],
    freesBytes: 16_384,
    more: false,
  });
  const nothing = { tags: [], links: [], pages: [], contents: [], freesBytes: 0, more: false };
  assert.deepEqual(planOf({ kind: "digest", id: other, digest: loner }), nothing);
  assert.deepEqual(planOf({ kind: "digest", id, digest: digest(9) }), nothing);
  assert.deepEqual(planOf({ kind: "content", digest: digest(9) }), nothing);
  assert.deepEqual(planOf({ kind: "tag", id, tag: tag("none") }), nothing);
  assert.deepEqual(planOf({ kind: "repository", id: other }), nothing);
  assert.deepEqual(planOf({ kind: "namespace", namespace: repository("quay.io/a").namespace }), nothing);
});

test("content goes from all repositories, and where none holds it", () => {
  const more: LedgerChange[] = [
    { kind: "link", id: other, digest: manifest, at: 1 },
    { kind: "link", id: other, digest: layer, at: 1 },
  ];
  const plan = planOf({ kind: "content", digest: manifest }, ...more);
  assert.deepEqual(
    plan.links.map((link) => `${link.id.repository} ${[manifest, layer].indexOf(link.digest)}`).toSorted(),
    ["a 0", "a 1", "b/c 0", "b/c 1"],
  );
  assert.deepEqual(plan.contents.toSorted(), [manifest, layer].toSorted());
  const loose = planOf(
    { kind: "content", digest: digest(8) },
    { kind: "content", digest: digest(8), sizeBytes: 1, at: 1 },
  );
  assert.deepEqual(loose, { tags: [], links: [], pages: [], contents: [digest(8)], freesBytes: 4096, more: false });
});

test("done in its order, a plan frees what it says, leaves no tag without its manifest, and takes nothing else", () => {
  const repositories = ["docker.io/a", "docker.io/b/c", "localhost:5000/a"].map(repository);
  const target: fc.Arbitrary<PurgeTarget> = fc.oneof(
    fc.constantFrom(...repositories).map((each) => ({ kind: "namespace" as const, namespace: each.namespace })),
    fc.constantFrom(...repositories).map((each) => ({ kind: "repository" as const, id: each })),
    fc.record({
      kind: fc.constant("tag" as const),
      id: fc.constantFrom(...repositories),
      tag: fc.constantFrom(tag("1"), tag("lts")),
    }),
    fc.record({
      kind: fc.constant("digest" as const),
      id: fc.constantFrom(...repositories),
      digest: fc.nat({ max: 5 }).map(digest),
    }),
    fc.record({ kind: fc.constant("content" as const), digest: fc.nat({ max: 5 }).map(digest) }),
  );
  fc.assert(
    fc.property(fc.array(anyChange, { maxLength: 60 }), target, (changes, wanted) => {
      const model = new Model();
      for (const change of changes) model.apply(change);
      const database = openMemory(...changes);
      const before = database.totals?.bytes ?? 0;
      const plan = ask(database, "purgePlan", wanted);
      const removals: LedgerChange[] = [
        ...plan.tags.map((each): LedgerChange => ({ kind: "tag-removed", id: each.id, tag: each.tag })),
        ...plan.links.map((each): LedgerChange => ({ kind: "link-removed", ...each })),
        ...plan.pages.map((each): LedgerChange => ({ kind: "page-removed", ...each })),
        ...plan.contents.map((each): LedgerChange => ({ kind: "content-removed", digest: each })),
      ];
      assert.equal(before - database.apply(removals).bytes, plan.freesBytes);
      const stays = (place: Parameters<typeof formatPlace>[0]): boolean =>
        !plan.links.some((link) => formatPlace({ kind: "link", ...link }) === formatPlace(place));
      for (const [key, link] of model.tags) {
        if (plan.tags.some((each) => formatPlace({ kind: "tag", ...each }) === key)) continue;
        // What the remaining tags reach is still there, but for what was asked for by its digest.
        if (wanted.kind === "tag") {
          for (const each of model.reach(link.id, [link.digest]))
            assert.ok(stays({ kind: "link", id: link.id, digest: each }));
        }
        assert.ok(stays({ kind: "link", id: link.id, digest: link.digest }));
      }
      for (const each of plan.contents) assert.equal(ask(database, "holding", id, each).otherHolders, 0);
      database.close();
    }),
    { numRuns: 300 },
  );
});

test("what is very much is planned in parts, each of which leaves no tag without its manifest", () => {
  const many = Array.from({ length: 15_000 }, (_, number) => digest(number));
  const database = openMemory(
    ...many.flatMap((each, number): LedgerChange[] => [
      { kind: "link", id: number % 2 === 0 ? id : other, digest: each, at: 1 },
      { kind: "tag", id: number % 2 === 0 ? id : other, tag: tag(`t${number}`), digest: each, at: 1 },
    ]),
  );
  const target = { kind: "namespace", namespace: id.namespace } as const;
  const sizes: [number, number, boolean][] = [];
  for (let more = true; more;) {
    const plan = ask(database, "purgePlan", target);
    database.apply([
      ...plan.tags.map((each): LedgerChange => ({ kind: "tag-removed", id: each.id, tag: each.tag })),
      ...plan.links.map((each): LedgerChange => ({ kind: "link-removed", ...each })),
    ]);
    for (const link of plan.links.slice(0, 20)) {
      assert.deepEqual(ask(database, "holding", link.id, link.digest).tags, []);
    }
    more = plan.more === true;
    sizes.push([plan.tags.length, plan.links.length, more]);
  }
  assert.deepEqual(sizes, [
    [12_500, 7_500, true],
    [2_500, 7_500, false],
  ]);
  assert.equal(database.totals?.bytes, 0);
  database.close();
});
