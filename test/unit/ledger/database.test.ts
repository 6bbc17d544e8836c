import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatPlace, type RepositoryId } from "../../../src/store/layout.ts";
import type { LedgerChange } from "../../../src/ledger/ledger.ts";
import { anyChange, ask, digest, Model, openMemory, plainTotals, repository, sum, tag } from "./ledger-model.ts";

const everything = { usedBefore: Infinity, pins: [], limit: 1_000 };

/** All that the database knows of, by walking over it. */
function keysOf(database: ReturnType<typeof openMemory>, limit: number): string[] {
  return [...database.places(limit)].flat().map(formatPlace).toSorted();
}

test("whatever happens in whatever order: sums and lists are those of a recount", () => {
  fc.assert(
    fc.property(fc.array(fc.array(anyChange, { minLength: 1, maxLength: 4 }), { maxLength: 25 }), (batches) => {
      const database = openMemory();
      const model = new Model();
      for (const batch of batches) {
        for (const change of batch) model.apply(change);
        assert.equal(database.apply(batch).bytes, model.totals().bytes);
        assert.deepEqual(plainTotals(database.totals), model.totals());
      }
      const keys: string[] = [...model.links.keys(), ...model.tags.keys(), ...model.pages.keys()];
      for (const each of model.contents.keys()) keys.push(formatPlace({ kind: "content", digest: each }));
      assert.deepEqual(keysOf(database, 2), keys.toSorted());
      const repositories = ask(database, "repositories", { limit: 100 }).items;
      assert.equal(database.totals?.foldersBytes, foldersOf(model, repositories));
      assert.deepEqual(
        repositories.map(({ namespace, repository: name, bytes, tags }) => ({ namespace, name, bytes, tags })),
        repositoriesOf(model),
      );
      for (const change of removeAll(model)) database.apply([change]);
      assert.deepEqual(plainTotals(database.totals), { bytes: 0, namespaces: [] });
      assert.equal(database.totals?.foldersBytes, empty);
      database.close();
    }),
    { numRuns: 300 },
  );
});

/** A block for each of the folders that are always there; a name takes a block at least. */
const empty = 10 * 4096 + 4096;

/** What the folders take: a name has 160 bytes in its own. */
function foldersOf({ links, tags, pages, contents }: Model, repositories: readonly RepositoryId[]): number {
  const files = links.size + tags.size + pages.size + contents.size;
  const folders = repositories.map((each) => 7 + each.repository.split("/").length);
  return (10 + contents.size + sum(folders)) * 4096 + Math.max(1, Math.ceil((files * 160) / 4096)) * 4096;
}

function repositoriesOf(model: Model): object[] {
  const all = [...model.links.values(), ...model.tags.values(), ...model.pages.values()];
  const names = [...new Set(all.map(({ id }) => `${id.namespace}/${id.repository}`))].toSorted();
  return names.map((name) => {
    const of = <T extends { id: { namespace: string; repository: string } }>(map: Map<string, T>): T[] =>
      [...map.values()].filter(({ id }) => `${id.namespace}/${id.repository}` === name);
    const links = of(model.links);
    const tags = of(model.tags);
    const bytes =
      sum(links.map((link) => 4096 + (model.contents.get(link.digest) ?? 0))) +
      tags.length * 4096 +
      sum(of(model.pages).map((page) => page.bytes));
    const id = repository(name);
    return { namespace: id.namespace, name: id.repository, bytes, tags: tags.length };
  });
}

function removeAll(model: Model): LedgerChange[] {
  return [
    ...[...model.tags.values()].map(({ id, tag: name }): LedgerChange => ({ kind: "tag-removed", id, tag: tag(name) })),
    ...[...model.links.values()].map(({ id, digest: of }): LedgerChange => ({ kind: "link-removed", id, digest: of })),
    ...[...model.pages.keys()].map((key): LedgerChange => {
      const [, namespace = "", ...rest] = key.replaceAll("+", ":").split("/");
      const mark = rest.indexOf("_pages");
      const page = rest[mark + 1] === "tags" ? "tags" : "referrers";
      const id = repository([namespace, ...rest.slice(0, mark)].join("/"));
      return { kind: "page-removed", id, page, name: rest[mark + 2] ?? "" };
    }),
    ...[...model.contents.keys()].map((of): LedgerChange => ({ kind: "content-removed", digest: of })),
  ];
}

test("candidates are all that is there, oldest first, parents before what they refer to, with what they free", () => {
  fc.assert(
    fc.property(fc.array(anyChange, { maxLength: 60 }), fc.nat({ max: 60 }), (changes, split) => {
      const database = openMemory();
      const model = new Model();
      database.apply(changes.slice(0, split));
      database.apply(changes.slice(split));
      for (const change of changes) model.apply(change);
      const candidates = ask(database, "candidates", everything);
      const times = candidates.map(({ usedAt }) => usedAt);
      assert.deepEqual(
        times,
        times.toSorted((one, other) => one - other),
      );
      const places: string[] = candidates.map((each) => formatPlace(each));
      const loose = [...model.contents.keys()].filter((each) => model.holders(each) === 0);
      const expected: string[] = [...model.links.keys(), ...model.pages.keys()];
      for (const each of loose) expected.push(formatPlace({ kind: "content", digest: each }));
      assert.deepEqual(places.toSorted(), expected.toSorted());
      for (const [key, { id, digest: parent }] of model.links) {
        for (const child of model.children.get(parent) ?? []) {
          const link = formatPlace({ kind: "link", id, digest: child });
          if (!model.links.has(link)) continue;
          assert.ok(places.indexOf(key) < places.indexOf(link), "a child comes before its parent");
        }
      }
      for (const candidate of candidates) {
        if (candidate.kind !== "link") continue;
        const content = model.holders(candidate.digest) === 1 ? (model.contents.get(candidate.digest) ?? 0) : 0;
        assert.equal(candidate.freesBytes, 4096 + content);
      }
      database.close();
    }),
    { numRuns: 300 },
  );
});

test("who uses a manifest keeps young what it refers to, in that repository only", () => {
  const [one, other] = [repository("docker.io/one"), repository("docker.io/other")];
  const [index, manifest, layer, alone] = [digest(0), digest(1), digest(2), digest(3)];
  const database = openMemory(
    ...[index, manifest, layer, alone].map((each): LedgerChange => ({
      kind: "content",
      digest: each,
      sizeBytes: 1,
      at: 1,
    })),
    ...[index, manifest, layer, alone].flatMap((each): LedgerChange[] => [
      { kind: "link", id: one, digest: each, at: 1 },
      { kind: "link", id: other, digest: each, at: 2 },
    ]),
    { kind: "children", digest: index, children: [manifest] },
    { kind: "children", digest: manifest, children: [layer] },
    { kind: "use", id: one, digest: index, at: 10 },
  );
  const order = (): string[] =>
    ask(database, "candidates", everything).map((each) =>
      each.kind === "link"
        ? `${each.id.repository} ${[index, manifest, layer, alone].indexOf(each.digest)} ${each.usedAt}`
        : "",
    );
  const others = ["other 0 2", "other 1 2", "other 2 2"];
  assert.deepEqual(order().slice(0, 1), ["one 3 1"]);
  assert.deepEqual(order().slice(1, 5).toSorted(), [...others, "other 3 2"]);
  assert.deepEqual(order().slice(5), ["one 0 10", "one 1 10", "one 2 10"]);
  database.apply([{ kind: "use", id: other, digest: layer, at: 20 }]);
  assert.deepEqual(order().at(-1), "other 2 20");
  database.apply([{ kind: "use", id: other, digest: manifest, at: 20 }]);
  assert.deepEqual(order().slice(-2), ["other 1 20", "other 2 20"]);
  database.apply([{ kind: "use", id: other, digest: manifest, at: 5 }]);
  assert.deepEqual(order().slice(-2), ["other 1 20", "other 2 20"], "time does not go back");
  // Linked after all that refers to it: as young as what does.
  database.apply([
    { kind: "link-removed", id: one, digest: layer },
    { kind: "link", id: one, digest: layer, at: 3 },
  ]);
  assert.ok(order().includes("one 2 10"));
  database.close();
});

test("whatever comes last, a parent is older than its children, also used in the same moment", () => {
  const id = repository("docker.io/a");
  const [blob, manifest] = [digest(1), digest(0)];
  const stored = [blob, manifest].map((each): LedgerChange => ({ kind: "content", digest: each, sizeBytes: 1, at: 1 }));
  const linked: LedgerChange[] = [
    { kind: "link", id, digest: blob, at: 5 },
    { kind: "link", id, digest: manifest, at: 5 },
  ];
  const children: LedgerChange = { kind: "children", digest: manifest, children: [blob] };
  const used: LedgerChange = { kind: "use", id, digest: manifest, at: 9 };
  const orders: LedgerChange[][] = [
    [...stored, children, ...linked],
    [...stored, children, ...linked.toReversed()],
    [...stored, ...linked, children],
    [...stored, ...linked, children, used],
    [...stored, ...linked, used, children],
    [...stored, ...linked.toReversed(), children, { kind: "use", id, digest: blob, at: 9 }, used],
  ];
  for (const changes of orders) {
    const database = openMemory(...changes);
    const candidates = ask(database, "candidates", everything);
    assert.deepEqual(
      candidates.map((each) => each.kind === "link" && each.digest),
      [manifest, blob],
    );
    database.close();
  }
});

test("content that very many manifests refer to gets its time from those of its repository", () => {
  const id = repository("docker.io/a");
  const shared = digest(1000);
  const database = openMemory(
    ...Array.from({ length: 100 }, (_, index) => index).flatMap((index): LedgerChange[] => [
      { kind: "content", digest: digest(index), sizeBytes: 1, at: 1 },
      { kind: "link", id: index === 0 ? id : repository(`docker.io/x${index}`), digest: digest(index), at: 10 + index },
      { kind: "children", digest: digest(index), children: [shared] },
    ]),
    { kind: "link", id, digest: shared, at: 1 },
  );
  assert.equal(ask(database, "holding", id, shared).usedAt, 10);
  database.close();
});

test("candidates only of, not of, before, and from a time on", () => {
  const names = ["docker.io/a", "quay.io/a", "ghcr.io/a"].map(repository);
  const database = openMemory(
    { kind: "content", digest: digest(1), sizeBytes: 4096, at: 1 },
    { kind: "content", digest: digest(2), sizeBytes: 4096, at: 1 },
    ...names.map((id, index): LedgerChange => ({ kind: "link", id, digest: digest(1), at: index + 1 })),
  );
  const found = (query: object): string[] =>
    ask(database, "candidates", { ...everything, ...query }).map((each) =>
      each.kind === "content" ? "content" : `${each.id.namespace} ${each.freesBytes}`,
    );
  const [docker, quay, ghcr] = names.map(({ namespace }) => namespace);
  assert.deepEqual(found({}), ["docker.io 4096", "content", "quay.io 4096", "ghcr.io 4096"]);
  assert.deepEqual(found({ limit: 2 }), ["docker.io 4096", "content"]);
  assert.deepEqual(found({ only: [quay, ghcr] }), ["quay.io 4096", "ghcr.io 4096"]);
  assert.deepEqual(found({ except: [docker] }), ["content", "quay.io 4096", "ghcr.io 4096"]);
  assert.deepEqual(found({ only: [docker, quay], except: [docker] }), ["quay.io 4096"]);
  assert.deepEqual(found({ usedBefore: 2 }), ["docker.io 4096", "content"]);
  assert.deepEqual(found({ usedBefore: 1 }), []);
  assert.deepEqual(found({ usedFrom: 1, usedBefore: 2 }), ["docker.io 4096", "content"]);
  assert.deepEqual(found({ usedFrom: 2 }), ["quay.io 4096", "ghcr.io 4096"]);
  assert.deepEqual(found({ usedFrom: 2, except: [quay], limit: 1 }), ["ghcr.io 4096"]);
  assert.deepEqual(found({ usedFrom: 4 }), []);
  database.apply([{ kind: "link-removed", id: names[0] ?? repository("x/x"), digest: digest(1) }]);
  database.apply([{ kind: "link-removed", id: names[1] ?? repository("x/x"), digest: digest(1) }]);
  assert.deepEqual(found({ only: [ghcr] }), ["ghcr.io 8192"], "who holds it alone frees it");
  database.apply([{ kind: "link-removed", id: names[2] ?? repository("x/x"), digest: digest(1) }]);
  const [, loose] = ask(database, "candidates", everything);
  assert.deepEqual(
    loose,
    { kind: "content", digest: digest(1), usedAt: 3, freesBytes: 4096 },
    "as old as its last link",
  );
  database.close();
});

test("what holds a digest", () => {
  const [one, other] = [repository("docker.io/one"), repository("docker.io/other")];
  const database = openMemory(
    { kind: "link", id: one, digest: digest(1), at: 7 },
    { kind: "link", id: other, digest: digest(1), at: 8 },
    { kind: "tag", id: one, tag: tag("b"), digest: digest(1), at: 7 },
    { kind: "tag", id: one, tag: tag("a"), digest: digest(1), at: 7 },
    { kind: "tag", id: other, tag: tag("c"), digest: digest(1), at: 7 },
    { kind: "link", id: other, digest: digest(3), at: 8 },
  );
  assert.deepEqual(ask(database, "holding", one, digest(1)), { usedAt: 7, tags: ["a", "b"], otherHolders: 1 });
  const nowhere = repository("docker.io/none");
  assert.deepEqual(ask(database, "holding", nowhere, digest(1)), { usedAt: undefined, tags: [], otherHolders: 2 });
  assert.deepEqual(ask(database, "holding", one, digest(2)), { usedAt: undefined, tags: [], otherHolders: 0 });
  assert.deepEqual(ask(database, "holders", digest(1)), [one, other]);
  assert.deepEqual(ask(database, "holders", digest(2)), []);
  database.close();
});
