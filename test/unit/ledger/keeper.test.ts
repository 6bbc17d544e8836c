/* What the ledger's thread does where the database is not to be had for a while. */
import assert from "node:assert/strict";
import fs from "node:fs";
import { mkdir, rename } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test, type TestContext } from "node:test";
import { setImmediate } from "node:timers/promises";
import { LedgerDatabase } from "../../../src/ledger/database.ts";
import { Keeper } from "../../../src/ledger/keeper.ts";
import type { LedgerChange } from "../../../src/ledger/ledger.ts";
import type { LedgerReply } from "../../../src/ledger/messages.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";
import { digest, repository } from "./ledger-model.ts";

const id = repository("docker.io/library/alpine");
const link: LedgerChange = { kind: "link", id, digest: digest(1), at: 1 };
const retryMs = 60_000;

interface Subject {
  readonly keeper: Keeper;
  /** What it has replied since this was called last. */
  readonly replies: () => LedgerReply[];
  readonly retry: () => void;
}

function keep(context: TestContext, path: string): Subject {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const replies: LedgerReply[] = [];
  const keeper = new Keeper({
    path,
    reader: new MemoryStore(),
    retryMs,
    now: 1_000,
    reply: (reply) => replies.push(reply),
  });
  context.after(() => keeper.handle({ kind: "close", now: 1_000 }));
  return { keeper, replies: () => replies.splice(0), retry: () => context.mock.timers.tick(retryMs) };
}

/** A ledger that was closed in peace, in a folder that is not there. */
async function closedLedger(
  folder: string,
): Promise<{ readonly path: string; readonly bringBack: () => Promise<void> }> {
  const there = join(folder, "there");
  const away = join(folder, "away");
  await mkdir(there);
  const database = new LedgerDatabase(join(there, "ledger.sqlite"));
  database.endScan();
  database.close();
  await rename(there, away);
  return { path: join(there, "ledger.sqlite"), bringBack: () => rename(away, there) };
}

test("a ledger that comes late is not believed, as it does not have what was told meanwhile", async (context) => {
  await using folder = await createTemporaryDirectory();
  const { path, bringBack } = await closedLedger(folder.path);
  const { keeper, replies, retry } = keep(context, path);
  assert.deepEqual(
    replies().map(({ kind }) => kind),
    ["failed", "totals"],
  );
  keeper.handle({ kind: "changes", id: 7, changes: [link], now: 1_000 });
  assert.deepEqual(replies(), [{ kind: "done", id: 7 }], "nobody waits for what is lost");
  await bringBack();
  retry();
  assert.deepEqual(replies(), [
    { kind: "totals", totals: undefined },
    { kind: "rebuilding", reason: "not complete" },
  ]);
});

test("a rebuild that is asked for ends where there is no ledger to be had", async (context) => {
  await using folder = await createTemporaryDirectory();
  const { path } = await closedLedger(folder.path);
  const { keeper, replies } = keep(context, path);
  replies();
  keeper.handle({ kind: "rebuild", id: 7, now: 1_000 });
  const [failed, totals, refused, ...more] = replies();
  assert.deepEqual([failed?.kind, totals, more], ["failed", { kind: "totals", totals: undefined }, []]);
  assert.ok(refused?.kind === "refused" && refused.id === 7);
});

/** Makes the disk one on which no more can be written, until it is given back; `freeBytes` is what it says is left. */
function fillDisk(context: TestContext, freeBytes: number): () => void {
  const room = context.mock.method(fs, "statfsSync", () => ({ bavail: freeBytes / 4_096, bsize: 4_096 }));
  syncBuiltinESMExports();
  const exec: (this: DatabaseSync, sql: string) => void = Reflect.get(DatabaseSync.prototype, "exec");
  const writing = context.mock.method(DatabaseSync.prototype, "exec", function (this: DatabaseSync, sql: string) {
    if (sql === "COMMIT") throw Object.assign(new Error("database or disk is full"), { errcode: 13 });
    exec.call(this, sql);
  });
  return () => {
    writing.mock.restore();
    room.mock.restore();
    syncBuiltinESMExports();
  };
}

/** How many links are written, for whoever reads the database. */
function writtenLinks(path: string): unknown {
  using other = new DatabaseSync(path, { readOnly: true });
  return other.prepare("SELECT count(*) AS count FROM links").get()?.["count"];
}

test("what could not be written is written when the while is over, without anything else's being told", async (context) => {
  await using folder = await createTemporaryDirectory();
  const { path, bringBack } = await closedLedger(folder.path);
  await bringBack();
  const { keeper, replies, retry } = keep(context, path);
  replies();
  const giveBack = fillDisk(context, 0);
  context.after(giveBack);
  keeper.handle({ kind: "query", id: 6, query: { name: "holders", parameters: [digest(1)] }, now: 1_000 });
  assert.deepEqual(
    replies().map(({ kind }) => kind),
    ["failed", "answer"],
  );
  keeper.handle({ kind: "changes", id: 7, changes: [link], now: 1_000 });
  const [done, ...more] = replies();
  assert.ok(done?.kind === "done" && more.length === 0);
  assert.deepEqual([done.id, done.changed?.bytes, done.changed?.namespaces], [7, 4_096, [["docker.io", 4_096]]]);
  keeper.handle({ kind: "changes", id: 8, changes: [link], now: 1_000 });
  assert.deepEqual(
    replies().map(({ kind }) => kind),
    ["done"],
    "it was told once",
  );
  keeper.handle({ kind: "query", id: 9, query: { name: "holders", parameters: [digest(1)] }, now: 1_000 });
  assert.deepEqual(replies(), [{ kind: "answer", id: 9, value: [id] }]);
  retry();
  assert.equal(writtenLinks(path), 0);
  giveBack();
  retry();
  assert.equal(writtenLinks(path), 1);
  assert.deepEqual(replies(), [], "it was known all the time");
});

test("where what is held is lost, nothing is known, and the files are read when it can be written again", async (context) => {
  await using folder = await createTemporaryDirectory();
  const { path, bringBack } = await closedLedger(folder.path);
  await bringBack();
  const { keeper, replies, retry } = keep(context, path);
  const giveBack = fillDisk(context, 64 * 1024 * 1024);
  context.after(giveBack);
  keeper.handle({ kind: "changes", id: 7, changes: [link], now: 1_000 });
  replies();
  retry();
  const [totals, failed, ...more] = replies();
  assert.deepEqual([totals, failed?.kind, more], [{ kind: "totals", totals: undefined }, "failed", []]);
  keeper.handle({ kind: "query", id: 8, query: { name: "holders", parameters: [digest(1)] }, now: 1_000 });
  assert.deepEqual(replies(), [{ kind: "not ready", id: 8 }]);
  keeper.handle({ kind: "changes", id: 9, changes: [link], now: 1_000 });
  assert.deepEqual(
    replies().map(({ kind }) => kind),
    ["done"],
    "that the disk is full was told with what was lost",
  );
  giveBack();
  retry();
  assert.deepEqual(replies(), [{ kind: "rebuilding", reason: "not complete" }]);
});

test("a removal that is lost before the files were read for the first time is found out", async (context) => {
  await using folder = await createTemporaryDirectory();
  const { keeper, replies, retry } = keep(context, join(folder.path, "ledger.sqlite"));
  assert.deepEqual(replies().at(-1), { kind: "rebuilding", reason: "absent" });
  keeper.handle({ kind: "changes", id: 7, changes: [link], now: 1_000 });
  const giveBack = fillDisk(context, 64 * 1024 * 1024);
  context.after(giveBack);
  const removal: LedgerChange = { kind: "link-removed", id, digest: digest(1) };
  keeper.handle({ kind: "changes", id: 8, changes: [removal], now: 1_000 });
  retry();
  giveBack();
  retry();
  assert.equal(replies().at(-1)?.kind, "rebuilding");
  keeper.handle({ kind: "scan", recent: [], now: 1_000 });
  await setImmediate();
  assert.equal(replies().at(-1)?.kind, "rebuilt");
  keeper.handle({ kind: "query", id: 9, query: { name: "holders", parameters: [digest(1)] }, now: 1_000 });
  assert.deepEqual(replies(), [{ kind: "answer", id: 9, value: [] }]);
});

test("a reading that is ended for another one says nothing more", async (context) => {
  await using folder = await createTemporaryDirectory();
  const { keeper, replies } = keep(context, join(folder.path, "ledger.sqlite"));
  assert.deepEqual(replies().at(-1), { kind: "rebuilding", reason: "absent" });
  keeper.handle({ kind: "scan", recent: [], now: 1_000 });
  keeper.handle({ kind: "rebuild", id: 7, now: 1_000 });
  await setImmediate();
  assert.deepEqual(replies(), [
    { kind: "totals", totals: undefined },
    { kind: "rebuilding", reason: "asked for" },
  ]);
  keeper.handle({ kind: "scan", recent: [], now: 1_000 });
  await setImmediate();
  assert.deepEqual(
    replies().map(({ kind }) => kind),
    ["totals", "rebuilt", "done"],
  );
});

test("ballast for which there is no room is made when there is", async (context) => {
  await using folder = await createTemporaryDirectory();
  const full = context.mock.method(fs, "statfsSync", () => ({ bavail: 0, bsize: 4_096 }));
  syncBuiltinESMExports();
  const { retry } = keep(context, join(folder.path, "ledger.sqlite"));
  const ballast = join(folder.path, "ledger.ballast");
  retry();
  assert.equal(fs.existsSync(ballast), false);
  full.mock.restore();
  syncBuiltinESMExports();
  retry();
  assert.equal(fs.statSync(ballast).size, 8 * 1024 * 1024);
});

test("ballast that was given up for what is told is made again later", async (context) => {
  await using folder = await createTemporaryDirectory();
  const { path, bringBack } = await closedLedger(folder.path);
  await bringBack();
  const { keeper, replies, retry } = keep(context, path);
  const ballast = path.replace(/sqlite$/, "ballast");
  assert.ok(fs.existsSync(ballast));
  const other = new DatabaseSync(path);
  other.exec("BEGIN IMMEDIATE");
  const { rmSync } = fs;
  const removing = context.mock.method(fs, "rmSync", (removed: string) => {
    rmSync(removed);
    other.close();
  });
  syncBuiltinESMExports();
  replies();
  keeper.handle({ kind: "changes", id: 7, changes: [link], now: 1_000 });
  removing.mock.restore();
  syncBuiltinESMExports();
  assert.deepEqual(
    replies().map(({ kind }) => kind),
    ["done"],
  );
  assert.equal(fs.existsSync(ballast), false);
  retry();
  assert.ok(fs.existsSync(ballast));
});
