import assert from "node:assert/strict";
import { test } from "node:test";
import type { LedgerChange } from "../../../src/ledger/ledger.ts";
import { ask, digest, openMemory, repository, tag } from "./ledger-model.ts";

const id = repository("docker.io/library/app");
const [index, manifest, layer, untagged] = [0, 1, 3, 4].map(digest);

function filled(): ReturnType<typeof openMemory> {
  if (index === undefined || manifest === undefined || layer === undefined || untagged === undefined) throw new Error();
  const all = [index, manifest, layer, untagged];
  return openMemory(
    ...all.map((each): LedgerChange => ({ kind: "content", digest: each, sizeBytes: 4096, at: 1 })),
    ...all.map((each): LedgerChange => ({ kind: "link", id, digest: each, at: 1 })),
    { kind: "children", digest: index, children: [manifest] },
    { kind: "children", digest: manifest, children: [layer] },
    { kind: "children", digest: untagged, children: [] },
    ...["3", "1", "2"].map((name): LedgerChange => ({ kind: "tag", id, tag: tag(name), digest: index, at: 2 })),
    { kind: "tag", id, tag: tag("gone"), digest: digest(6), at: 2 },
    { kind: "use", id, digest: index, tag: tag("1"), at: 50 },
    { kind: "link", id: repository("docker.io/a"), digest: layer, at: 3 },
    { kind: "link", id: repository("localhost:5000/a"), digest: layer, at: 4 },
  );
}

/** All parts of a list, each asked for where the last one ended. */
function allParts<T>(ask: (after: string | undefined) => { items: readonly T[]; next: string | undefined }): T[][] {
  const parts: T[][] = [];
  let after: string | undefined;
  do {
    const { items, next } = ask(after);
    parts.push([...items]);
    after = next;
  } while (after !== undefined);
  return parts;
}

test("namespaces", () => {
  const database = filled();
  assert.deepEqual(
    ask(database, "namespaces").map((each) => ({ ...each })),
    [
      { namespace: "docker.io", bytes: (4 + 4 + 4 + 1) * 4096, repositories: 2, usedAt: 50 },
      { namespace: "localhost:5000", bytes: 2 * 4096, repositories: 1, usedAt: 4 },
    ],
  );
  database.close();
});

test("repositories, in parts and of one namespace", () => {
  const database = filled();
  const [docker, local] = [id.namespace, repository("localhost:5000/a").namespace];
  const inParts = (limit: number, namespace?: typeof docker): string[][] =>
    allParts((after) =>
      ask(database, "repositories", {
        limit,
        ...(after !== undefined && { after }),
        ...(namespace !== undefined && { namespace }),
      }),
    ).map((part) =>
      part.map((each) => `${each.namespace}/${each.repository} ${each.tags} ${each.bytes / 4096} ${each.usedAt}`),
    );
  const [a, app, other] = ["docker.io/a 0 2 3", "docker.io/library/app 4 12 50", "localhost:5000/a 0 2 4"];
  assert.deepEqual(inParts(10), [[a, app, other]]);
  assert.deepEqual(inParts(3), [[a, app, other]]);
  assert.deepEqual(inParts(2), [[a, app], [other]]);
  assert.deepEqual(inParts(1), [[a], [app], [other]]);
  assert.deepEqual(inParts(1, docker), [[a], [app]]);
  assert.deepEqual(inParts(1, local), [[other]]);
  database.close();
});

test("manifests without a tag, in parts by digest", () => {
  const all = [10, 12, 13, 15].map(digest);
  const database = openMemory(
    ...all.flatMap((each): LedgerChange[] => [
      { kind: "content", digest: each, sizeBytes: 1, at: 1 },
      { kind: "link", id, digest: each, at: 1 },
      { kind: "children", digest: each, children: [] },
    ]),
  );
  const parts = allParts((after) =>
    ask(database, "tags", { ...id, pins: [], limit: 3, ...(after !== undefined && { after }) }),
  );
  assert.deepEqual(
    parts.map((part) => part.map((each) => each.digest)),
    [all.toSorted().slice(0, 3), all.toSorted().slice(3)],
  );
  database.close();
});

test("tags, then manifests without one that no index refers to, in parts", () => {
  const database = filled();
  const query = { ...id, pins: ["docker.io/library/*:1", `docker.io/**@${untagged}`] };
  const expected = [
    ["1", index, 3, 50, true],
    ["2", index, 3, 2, true],
    ["3", index, 3, 2, true],
    ["gone", digest(6), 0, 2, false],
    [undefined, untagged, 1, 1, true],
  ];
  for (const limit of [1, 2, 3, 4, 5, 9]) {
    const parts = allParts((after) =>
      ask(database, "tags", { ...query, limit, ...(after !== undefined && { after }) }),
    );
    assert.ok(parts.every((part) => part.length <= limit && part.length > 0));
    const items = parts.flat().map((each) => [each.tag, each.digest, each.bytes / 4096, each.usedAt, each.pinned]);
    assert.deepEqual(items, expected);
  }
  const none = repository("docker.io/none");
  assert.deepEqual(ask(database, "tags", { ...none, pins: [], limit: 1 }), { items: [], next: undefined });
  database.close();
});

test("a repository and a tag say when they were used last, by what they hold", () => {
  const other = repository("docker.io/library/other");
  const database = openMemory(
    { kind: "link", id, digest: digest(1), at: 1 },
    { kind: "link", id: other, digest: digest(2), at: 1 },
    { kind: "tag", id, tag: tag("3"), digest: digest(1), at: 1 },
    { kind: "tag", id, tag: tag("lts"), digest: digest(1), at: 1 },
  );
  database.apply([
    { kind: "use", id, digest: digest(1), tag: tag("lts"), at: 5 },
    { kind: "use", id, digest: digest(1), at: 7 },
    // It does not hold that.
    { kind: "use", id: other, digest: digest(1), at: 9 },
  ]);
  const { items: repositories } = ask(database, "repositories", { limit: 9 });
  assert.deepEqual(
    repositories.map(({ usedAt }) => usedAt),
    [7, 1],
  );
  const { items: tags } = ask(database, "tags", { ...id, limit: 9, pins: [] });
  assert.deepEqual(
    tags.map(({ tag: name, usedAt }) => [name, usedAt]),
    [
      ["3", 1],
      ["lts", 5],
    ],
  );
  database.close();
});

test("a pinned tag is said to be pinned, also where its manifest is not there", () => {
  const database = filled();
  const { items } = ask(database, "tags", { ...id, limit: 9, pins: ["docker.io/library/app:gone"] });
  const pinned = items.filter((each) => each.pinned);
  assert.deepEqual(
    pinned.map(({ tag: name }) => name),
    ["gone"],
  );
  database.close();
});

test("what a repository has of a digest: its own tags, and how many others hold it", () => {
  const database = filled();
  const other = repository("docker.io/a");
  if (index === undefined || layer === undefined) throw new Error();
  database.apply([
    { kind: "link", id: other, digest: index, at: 5 },
    { kind: "tag", id: other, tag: tag("theirs"), digest: index, at: 5 },
  ]);
  const own = ask(database, "holding", id, index);
  assert.deepEqual({ ...own, tags: own.tags }, { usedAt: 50, tags: ["1", "2", "3"].map(tag), otherHolders: 1 });
  assert.deepEqual(ask(database, "holding", other, index).tags, [tag("theirs")]);
  assert.equal(ask(database, "holding", other, index).otherHolders, 1);
  assert.equal(ask(database, "holding", id, layer).otherHolders, 2);
  assert.equal(ask(database, "holding", repository("docker.io/none"), layer).otherHolders, 3);
  database.close();
});
