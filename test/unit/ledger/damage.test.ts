import assert from "node:assert/strict";
import { mkdir, open as openFile, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, test } from "node:test";
import { formatPlace, pageName, type Place } from "../../../src/store/layout.ts";
import { LedgerDatabase } from "../../../src/ledger/database.ts";
import { type Ledger, type LedgerChange, LedgerNotReady } from "../../../src/ledger/ledger.ts";
import { Keeper } from "../../../src/ledger/keeper.ts";
import type { LedgerReply, LedgerRequest, Query, TotalsPart } from "../../../src/ledger/messages.ts";
import { ThreadReader } from "../../../src/store/thread-reader.ts";
import { holdEventLoop, until } from "../../support/event-loop.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary.ts";
import { digest, repository, tag } from "./ledger-model.ts";
import { openIn } from "./opened-ledger.ts";

const id = repository("docker.io/library/alpine");
const pageBytes = 4096;
const blobs = 8;
const stored: readonly Place[] = [
  ...Array.from({ length: blobs }, (_, number) => ({ kind: "content", digest: digest(number) }) as const),
  ...Array.from({ length: blobs }, (_, number) => ({ kind: "link", id, digest: digest(number) }) as const),
  { kind: "tag", id, tag: tag("lts") },
  { kind: "page", id, page: "tags", name: pageName("") },
];
/** A link that is told while the ledger is damaged, and of which there is no file yet. */
const late: LedgerChange = { kind: "link", id, digest: digest(blobs), at: 1_000 };
const bytesInAll = (stored.length + 1) * pageBytes;
let folder: TemporaryDirectory;
let path: string;
let sound: Buffer;

/** A folder that holds things, and its ledger as it is closed. */
before(async () => {
  folder = await createTemporaryDirectory();
  path = join(folder.path, "ledger.sqlite");
  const link = JSON.stringify({ mediaType: "a/b", sizeBytes: 1 });
  const record = JSON.stringify({ digest: digest(1), mediaType: "a/b", size: 1, checkedAt: 1 });
  for (const place of stored) {
    const file = join(folder.path, formatPlace(place));
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, place.kind === "tag" ? record : link);
  }
  const opened = openIn(folder);
  await until(() => opened.said.length === 2);
  await opened.ledger.close();
  sound = await readFile(path);
});
after(() => folder[Symbol.asyncDispose]());

async function damagePage(number: number): Promise<void> {
  const file = await openFile(path, "r+");
  await file.write(Buffer.alloc(pageBytes, 0x5a), 0, pageBytes, number * pageBytes);
  await file.close();
}

function alter(sql: string): void {
  const database = new DatabaseSync(path);
  database.exec(sql);
  database.close();
}

const everything = { usedBefore: Infinity, pins: [], limit: 100 };
const purged = { kind: "namespace", namespace: id.namespace } as const;
const questions: readonly Query[] = [
  { name: "candidates", parameters: [everything] },
  { name: "candidates", parameters: [{ ...everything, only: [id.namespace] }] },
  { name: "holding", parameters: [id, digest(1)] },
  { name: "holders", parameters: [digest(1)] },
  { name: "pinnedBytes", parameters: [["docker.io/library/*"]] },
  { name: "namespaces", parameters: [] },
  { name: "repositories", parameters: [{ limit: 10 }] },
  { name: "tags", parameters: [{ ...id, limit: 10, pins: [] }] },
  { name: "purgePlan", parameters: [purged] },
];

/** The ledger without its thread, and all that it says. */
class KeptLedger {
  readonly replies: LedgerReply[] = [];
  readonly #keeper: Keeper;
  #totals: TotalsPart | undefined;

  constructor(retryMs: number = 3_600_000) {
    this.#keeper = new Keeper({
      path,
      reader: new ThreadReader(folder.path),
      retryMs,
      now: 1_000,
      reply: (reply) => this.#receive(reply),
    });
  }

  /** What it knows to be stored. */
  get bytes(): number | undefined {
    return this.#totals?.bytes;
  }

  handle(request: LedgerRequest): void {
    this.#keeper.handle({ ...request, now: 1_000 });
  }

  /** Asks everything there is to ask. */
  askAll(): void {
    for (const [index, query] of questions.entries()) this.handle({ kind: "query", id: 100 + index, query });
  }

  /** Everything is known, and all questions have their answers: without an hour's waiting. */
  async expectSound(): Promise<void> {
    await until(() => this.bytes === bytesInAll);
    this.askAll();
    assert.ok(this.replies.slice(-questions.length).every(({ kind }) => kind === "answer"));
  }

  #receive(reply: LedgerReply): void {
    this.replies.push(reply);
    if (reply.kind === "totals") this.#totals = reply.totals;
    if (reply.kind === "done" && this.#totals !== undefined) this.#totals = reply.changed;
    assert.notEqual(reply.kind, "refused");
    if (reply.kind === "rebuilding") queueMicrotask(() => this.handle({ kind: "scan", recent: [late] }));
  }
}

/** The same of a thread; what is found to be damaged on the way is being made anew then. */
async function askAll(ledger: Ledger): Promise<void> {
  for (const { name, parameters } of questions) {
    const ask = ledger[name] as (...parameters: readonly unknown[]) => Promise<unknown>;
    await ask.apply(ledger, parameters).catch((error: unknown) => {
      assert.ok(error instanceof LedgerNotReady, String(error));
    });
  }
}

async function expectSound(ledger: Ledger): Promise<void> {
  await until(() => ledger.totals?.bytes === bytesInAll);
  const plan = await ledger.purgePlan(purged);
  assert.deepEqual([plan.tags.length, plan.links.length, plan.pages.length], [1, blobs + 1, 1]);
  assert.deepEqual((await ledger.holding(id, digest(1))).tags, ["lts"]);
}

test("whichever page is damaged, the ledger is made anew when that is found: at the start, or later", async () => {
  const pages = sound.length / pageBytes;
  assert.ok(pages > 20, "each table and each index has a page");
  let remade = 0;
  for (let page = 1; page < pages; page++) {
    for (const isOpen of [false, true]) {
      await writeFile(path, sound);
      if (!isOpen) await damagePage(page);
      const kept = new KeptLedger();
      if (isOpen) await damagePage(page);
      kept.askAll();
      kept.handle({ kind: "changes", id: 1, changes: [late] });
      kept.askAll();
      await kept.expectSound();
      const failures = kept.replies.filter(({ kind }) => kind === "failed").length;
      assert.ok(failures <= 1, `page ${page}: ${failures}`);
      if (kept.replies.some((reply) => reply.kind === "rebuilding")) remade++;
      kept.handle({ kind: "close" });
    }
  }
  assert.ok(remade > pages, `${remade} of ${2 * (pages - 1)}`);
});

const tables = "meta namespaces repositories contents children links tags pages told".split(" ");
const alterations: [string, string][] = [
  ...tables.map((table): [string, string] => [`its table ${table} is missing`, `DROP TABLE ${table}`]),
  ...["links_by_age", "tags_by_content", "pages_by_age"].map((index): [string, string] => [
    `its index ${index} is missing`,
    `DROP INDEX ${index}`,
  ]),
  ["a column is missing", "DROP INDEX pages_by_age; DROP INDEX pages_by_use; ALTER TABLE pages DROP COLUMN used"],
  ["a table is another program's", "DROP TABLE tags; CREATE TABLE tags (id INTEGER PRIMARY KEY, name TEXT)"],
  ["its sums are none", "UPDATE meta SET bytes = -1"],
  ["its sums are no numbers", "UPDATE meta SET bytes = 1e300"],
  ["it has no sums", "DELETE FROM meta"],
  ["a number is too large", "UPDATE repositories SET used = 0x7fffffffffffffff"],
  ["a digest is none", "UPDATE contents SET digest = x'00' WHERE id = 1"],
];
for (const [what, sql] of alterations) {
  for (const isOpen of [false, true]) {
    test(`where ${what}, the ledger is made anew: ${isOpen ? "while it runs" : "at the start"}`, async () => {
      await writeFile(path, sound);
      if (!isOpen) alter(sql);
      const kept = new KeptLedger();
      if (isOpen) alter(sql);
      kept.askAll();
      kept.handle({ kind: "changes", id: 1, changes: [late] });
      kept.askAll();
      await kept.expectSound();
      const damaged = kept.replies.filter((reply) => reply.kind === "rebuilding" && reply.reason === "damaged");
      assert.ok(damaged.length <= 1 && (isOpen || damaged.length === 1), JSON.stringify(damaged));
      kept.handle({ kind: "close" });
      const database = new LedgerDatabase(path);
      // What no question has come upon is found by the next start.
      assert.equal(database.reason, damaged.length === 0 && isOpen ? database.reason : undefined);
      database.close();
    });
  }
}

test("what is told to the thread in the batch that finds the damage is not lost", async () => {
  using _loop = holdEventLoop();
  await writeFile(path, sound);
  await using opened = openIn(folder);
  await opened.known();
  alter("DROP TABLE links");
  await Promise.all([
    opened.ledger.tell(late),
    opened.ledger.tell({ kind: "children", digest: digest(1), children: [] }),
  ]);
  await expectSound(opened.ledger);
  assert.deepEqual(opened.said, ["failed: no such table: links", "damaged", `rebuilt ${stored.length}`]);
});

test("a directory in the place of the ledger gives way", async () => {
  using _loop = holdEventLoop();
  await rm(path, { force: true });
  await mkdir(join(path, "in", "it"), { recursive: true });
  await using opened = openIn(folder);
  await opened.ledger.tell(late);
  await expectSound(opened.ledger);
  assert.deepEqual(opened.said.slice(0, 1), ["damaged"]);
});

test("what is damaged again at once is left alone for a while", async () => {
  using _loop = holdEventLoop();
  await writeFile(path, sound);
  alter("UPDATE contents SET digest = x'00' WHERE id = 1");
  await using opened = openIn(folder, { retryMs: 3_600_000 });
  await askAll(opened.ledger);
  await until(() => opened.said.some((each) => each.startsWith("rebuilt")));
  // A disk that damages what is written to it.
  alter("DROP TABLE contents");
  await opened.ledger.tell(late);
  assert.equal(opened.ledger.totals, undefined);
  await assert.rejects(opened.ledger.namespaces(), LedgerNotReady);
  assert.equal(opened.said.filter((each) => each === "damaged").length, 1);
  assert.match(opened.said.at(-1) ?? "", /^failed: no such table/);
});

test("somebody else's lock is no damage: what is told meanwhile is found in the files when the lock is gone", async () => {
  await writeFile(path, sound);
  const kept = new KeptLedger(5);
  const other = new DatabaseSync(path);
  other.exec("BEGIN IMMEDIATE");
  kept.handle({ kind: "changes", id: 1, changes: [late] });
  assert.equal(kept.bytes, undefined, "there may be more than was known");
  kept.handle({ kind: "query", id: 2, query: { name: "namespaces", parameters: [] } });
  assert.deepEqual(
    kept.replies.map(({ kind }) => kind),
    ["totals", "totals", "failed", "done", "not ready"],
  );
  other.exec("ROLLBACK");
  other.close();
  await kept.expectSound();
  const reasons = kept.replies.flatMap((reply) => (reply.kind === "rebuilding" ? [reply.reason] : []));
  assert.deepEqual(reasons, ["not complete"]);
  kept.handle({ kind: "close" });
  const database = new LedgerDatabase(path);
  assert.equal(database.reason, undefined, "nothing was lost");
  database.close();
});
