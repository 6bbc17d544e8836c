import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import fc from "fast-check";
import type { Digest } from "../../../src/oci/digest.ts";
import { LedgerDatabase } from "../../../src/ledger/database.ts";
import type { LedgerChange } from "../../../src/ledger/ledger.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";
import { anyChange, ask, digest, openMemory, repository } from "./ledger-model.ts";

const id = repository("docker.io/a");
const everything = { usedBefore: Infinity, pins: [], limit: 1_000 };
const stored = (of: Digest): LedgerChange => ({ kind: "content", digest: of, sizeBytes: 1, at: 1 });
const linked = (of: Digest): LedgerChange => ({ kind: "link", id, digest: of, at: 1 });

/** How many of these were used at a time. */
function countUsed(database: LedgerDatabase, digests: readonly Digest[], at: number): number {
  return digests.filter((each) => ask(database, "holding", id, each).usedAt === at).length;
}

test("a use goes down to so many children, and no more", () => {
  const root = digest(0);
  const indexes = [1, 2, 3].map(digest);
  const leaves = Array.from({ length: 12_000 }, (_, number) => digest(number + 10));
  const database = openMemory(
    ...[root, ...indexes].flatMap((each) => [stored(each), linked(each)]),
    ...leaves.map(linked),
    { kind: "children", digest: root, children: indexes },
    ...indexes.map((each, number): LedgerChange => ({
      kind: "children",
      digest: each,
      children: leaves.slice(number * 4_000, number * 4_000 + 4_000),
    })),
  );
  database.apply([{ kind: "use", id, digest: root, at: 50 }]);
  assert.equal(countUsed(database, indexes, 50), 3);
  assert.equal(countUsed(database, leaves, 50), 10_000 - 3);
  database.close();
});

test("a chain of manifests is followed for a few steps, however long it is", () => {
  const chain = Array.from({ length: 6_000 }, (_, number) => digest(number));
  const database = openMemory();
  database.apply(chain.flatMap((each) => [stored(each), linked(each)]));
  database.apply(
    chain.slice(1).map((child, number): LedgerChange => ({
      kind: "children",
      digest: chain[number] ?? child,
      children: [child],
    })),
  );
  database.apply([{ kind: "use", id, digest: digest(0), at: 50 }]);
  assert.equal(countUsed(database, chain.slice(0, 100), 50), 4);
  database.close();
});

test("a time that lies ahead becomes the present, parents first still", () => {
  let now = 100_000_000;
  const [index, manifest, blob, other] = [0, 1, 2, 3].map(digest) as [Digest, Digest, Digest, Digest];
  const database = new LedgerDatabase(":memory:", () => now);
  database.apply([
    ...[index, manifest, blob].flatMap((each) => [stored(each), linked(each)]),
    linked(other),
    { kind: "children", digest: index, children: [manifest] },
    { kind: "children", digest: manifest, children: [blob] },
    { kind: "use", id, digest: index, at: 900_000_000 },
    { kind: "page", id, page: "tags", name: "x", sizeBytes: 1, at: 900_000_000 },
  ]);
  database.endScan();
  const order = (): unknown[] =>
    ask(database, "candidates", everything).map((each) => [
      each.kind === "link" ? each.digest : each.kind,
      each.usedAt,
    ]);
  assert.deepEqual(order(), [
    [other, 1],
    [index, now],
    ["page", now],
    [manifest, now],
    [blob, now],
  ]);
  // What is used now is younger than what was used when the clock was wrong.
  now += 1_000;
  database.apply([{ kind: "use", id, digest: other, at: now }]);
  assert.deepEqual(order().at(-1), [other, now]);
  // A little ahead is no harm.
  database.apply([{ kind: "use", id, digest: other, at: now + 60_000 }]);
  assert.deepEqual(order().at(-1), [other, now + 60_000]);
  database.beginScan();
  database.applyScanned([{ kind: "link", id, digest: digest(4), at: 900_000_000 }]);
  assert.equal(ask(database, "holding", id, digest(4)).usedAt, now);
  database.close();
});

test("without some namespaces, and up to a limit: the first of what is left", () => {
  const names = ["docker.io", "localhost:5000"].map((name) => repository(`${name}/a`).namespace);
  fc.assert(
    fc.property(
      fc.array(anyChange, { maxLength: 60 }),
      fc.subarray(names),
      fc.constantFrom(1, 3, 300),
      (changes, except, limit) => {
        const database = openMemory(...changes);
        const all = ask(database, "candidates", everything);
        const left = all.filter((each) => each.kind === "content" || !except.includes(each.id.namespace));
        const found = ask(database, "candidates", { ...everything, except, limit });
        assert.deepEqual(
          found.map(({ usedAt }) => usedAt),
          left.slice(0, limit).map(({ usedAt }) => usedAt),
        );
        const isLeft = new Set(left.map((each) => JSON.stringify(each)));
        for (const each of found) assert.ok(isLeft.has(JSON.stringify(each)));
        assert.equal(new Set(found.map((each) => JSON.stringify(each))).size, found.length);
        database.close();
      },
    ),
    { numRuns: 200 },
  );
});

test("how many namespaces there are does not matter to who asks for candidates", (context) => {
  const ids = Array.from({ length: 3_000 }, (_, number) => repository(`r${number}.example.com/a`));
  const database = openMemory(
    ...ids.map((each, number): LedgerChange => ({ kind: "link", id: each, digest: digest(1), at: number + 1 })),
  );
  const query = { ...everything, limit: 5 };
  ask(database, "candidates", query);
  const prepared = context.mock.method(DatabaseSync.prototype, "prepare");
  const times = (more: object): number[] =>
    ask(database, "candidates", { ...query, ...more }).map(({ usedAt }) => usedAt);
  assert.deepEqual(times({}), [1, 2, 3, 4, 5]);
  assert.ok(prepared.mock.callCount() <= 5, `${prepared.mock.callCount()} statements`);
  assert.deepEqual(times({ except: ids.slice(0, 2).map(({ namespace }) => namespace) }), [3, 4, 5, 6, 7]);
  assert.ok(prepared.mock.callCount() <= 20, `${prepared.mock.callCount()} statements`);
  database.close();
});

test("content of no link is no candidate while its link may be in the files only", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "ledger.sqlite");
  const killed = new LedgerDatabase(path);
  killed.endScan();
  killed.apply([stored(digest(1))]);
  assert.equal(ask(killed, "candidates", everything).length, 1);
  killed.abandon();
  const database = new LedgerDatabase(path);
  assert.deepEqual(ask(database, "candidates", everything), []);
  database.beginScan();
  database.endScan();
  assert.equal(ask(database, "candidates", everything).length, 1);
  database.close();
});

test("pinned listings of one namespace do not hide what another one has", () => {
  const [excluded, pinned, other] = ["a.io/a", "b.io/a", "c.io/a"].map(repository);
  assert.ok(excluded && pinned && other);
  const page = { kind: "page", page: "tags", name: "x", sizeBytes: 1 } as const;
  const database = openMemory(
    { ...page, id: excluded, at: 1 },
    { ...page, id: pinned, at: 2 },
    { ...page, id: other, at: 3 },
  );
  const query = { usedBefore: Infinity, pins: ["b.io/a"], except: [excluded.namespace], limit: 1 };
  assert.deepEqual(
    ask(database, "candidates", query).map(({ usedAt }) => usedAt),
    [3],
  );
  database.close();
});
