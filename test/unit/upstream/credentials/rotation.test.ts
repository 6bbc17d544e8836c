import assert from "node:assert/strict";
import { test } from "node:test";
import { type Credentials, fingerprint } from "../../../../src/upstream/credentials.ts";
import { Rotation } from "../../../../src/upstream/credentials/rotation.ts";
import { CredentialError, type CredentialSource } from "../../../../src/upstream/credentials/source.ts";
import { createClock, never, repository } from "../scripted.ts";
import { type FakeSource, fakeSource } from "./fake-source.ts";

const named = (name: string): Credentials => ({ username: name, password: "x" });

function rotate(...names: string[]): {
  readonly source: CredentialSource;
  readonly accounts: FakeSource[];
  readonly clock: ReturnType<typeof createClock>;
  readonly problems: string[];
  /** By account's name: what it has left. */
  readonly left: Map<string, number>;
  readonly pick: () => Promise<string | undefined>;
} {
  const left = new Map<string, number>();
  const clock = createClock();
  const problems: string[] = [];
  const accounts = names.map((name) => fakeSource(named(name)));
  const byFingerprint = new Map(names.map((name) => [fingerprint(named(name)), name]));
  const budget = { remaining: (key: string) => left.get(byFingerprint.get(key) ?? key) };
  const source = new Rotation(
    accounts.map((account) => account.source),
    budget,
    clock,
    (problem) => problems.push(problem.message),
  );
  return {
    source,
    accounts,
    clock,
    problems,
    left,
    pick: async () => (await source.get(repository, never()))?.username,
  };
}

test("the account in use is kept while it has at least half of what the best has", async () => {
  const { left, pick } = rotate("a", "b");
  left.set("a", 100).set("b", 100);
  assert.equal(await pick(), "a");
  left.set("a", 50);
  assert.equal(await pick(), "a");
  left.set("a", 49);
  assert.equal(await pick(), "b");
  left.set("b", 25);
  assert.equal(await pick(), "b");
  left.set("b", 24);
  assert.equal(await pick(), "a");
});

test("the one with the most comes first", async () => {
  const { left, pick } = rotate("a", "b", "c");
  left.set("a", 10).set("b", 30).set("c", 20);
  assert.equal(await pick(), "b");
});

test("an account of which nothing is known counts as full", async () => {
  const { left, pick } = rotate("a", "b");
  assert.equal(await pick(), "a");
  left.set("a", 199);
  assert.equal(await pick(), "b");
  left.set("b", 198);
  assert.equal(await pick(), "b");
});

test("where nothing is known of any, it stays with one", async () => {
  const { pick } = rotate("a", "b");
  assert.deepEqual([await pick(), await pick(), await pick()], ["a", "a", "a"]);
});

test("where none has anything left, one is used all the same", async () => {
  const { left, pick } = rotate("a", "b");
  left.set("a", 0).set("b", 0);
  assert.equal(await pick(), "a");
});

test("a refused account comes after all others, for a minute", async () => {
  const { accounts, source, clock, left, pick } = rotate("a", "b");
  left.set("b", 1);
  assert.equal(await pick(), "a");
  source.refused(named("a"));
  assert.deepEqual(
    accounts.map((account) => account.refused),
    [[named("a")], [named("a")]],
  );
  assert.equal(await pick(), "b");
  clock.time += 59_999;
  assert.equal(await pick(), "b");
  source.refused(named("b"));
  assert.equal(await pick(), "a", "when all are refused, it is as if none were");
  clock.time += 60_000;
  assert.equal(await pick(), "a");
});

test("an account that fails is left out, and told of once; all failing is a failure", async () => {
  const { accounts, problems, pick } = rotate("a", "b");
  accounts[0]?.give(new CredentialError("file a", "ENOENT"));
  assert.deepEqual([await pick(), await pick()], ["b", "b"]);
  assert.deepEqual(problems, ["file a: ENOENT"]);
  accounts[0]?.give(named("a"));
  await pick();
  accounts[0]?.give(new CredentialError("file a", "ENOENT"));
  await pick();
  assert.equal(problems.length, 2, "a problem that came back is a new one");
  accounts[1]?.give(new CredentialError("file b", "ENOENT"));
  await assert.rejects(pick(), { name: "CredentialError", message: "file a: ENOENT" });
});

test("going anonymous can be one of the accounts", async () => {
  const { accounts, left, pick } = rotate("a", "b");
  accounts[1]?.give(undefined);
  left.set("a", 10).set("anonymous", 100);
  assert.equal(await pick(), undefined);
  left.set("anonymous", 1);
  assert.equal(await pick(), "a");
});

test("who has left gets the reason; closing closes all", async () => {
  const { accounts, source, problems } = rotate("a", "b");
  await assert.rejects(source.get(repository, AbortSignal.abort(new Error("gone"))), { message: "gone" });
  assert.deepEqual(problems, []);
  source.close();
  assert.deepEqual(
    accounts.map((account) => account.closed()),
    [1, 1],
  );
});
