import assert from "node:assert/strict";
import { copyFile, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test, type TestContext } from "node:test";
import { Worker } from "node:worker_threads";
import { formatPlace, type Place } from "../../../src/store/layout.ts";
import { type LedgerChange, LedgerNotReady, type Totals } from "../../../src/ledger/ledger.ts";
import type { LedgerRequest } from "../../../src/ledger/messages.ts";
import { holdEventLoop, until } from "../../support/event-loop.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary.ts";
import { digest, repository, tag } from "./ledger-model.ts";
import { openIn as open } from "./opened-ledger.ts";

const id = repository("docker.io/library/alpine");
const link = (number: number): LedgerChange => ({ kind: "link", id, digest: digest(number), at: 1 });
const everything = { usedBefore: Infinity, pins: [], limit: 100 };

async function store(folder: TemporaryDirectory, place: Place, bytes: string): Promise<void> {
  const path = join(folder.path, formatPlace(place));
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
}

/** Batches of changes that are sent to threads from now on. */
function watchBatches(context: TestContext): () => (readonly LedgerChange[])[] {
  const posted = context.mock.method(Worker.prototype, "postMessage");
  return () =>
    posted.mock.calls.flatMap(({ arguments: [message] }) => {
      const request = message as LedgerRequest;
      return request.kind === "changes" ? [request.changes] : [];
    });
}

test("an absent ledger is made from the files in the background; what is told meanwhile is in it", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  await store(folder, { kind: "content", digest: digest(1) }, "x".repeat(5_000));
  await store(folder, { kind: "link", id, digest: digest(1) }, JSON.stringify({ mediaType: "a/b", sizeBytes: 5_000 }));
  await using opened = open(folder);
  const { ledger, said } = opened;
  const totals = (): Totals | undefined => ledger.totals;
  assert.equal(totals(), undefined);
  await ledger.tell(link(2));
  await opened.known();
  assert.equal(totals()?.bytes, 8192 + 2 * 4096);
  assert.deepEqual([...(totals()?.namespaces ?? [])], [["docker.io", 8192 + 2 * 4096]]);
  await until(() => said.length === 2);
  assert.deepEqual(said, ["absent", "rebuilt 2"]);
  await ledger.tell({ kind: "link-removed", id, digest: digest(2) });
  assert.equal(totals()?.bytes, 8192 + 4096);
});

test("closed and opened again: what it knows is there at once, and nothing is read", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  {
    await using opened = open(folder);
    await opened.known();
    await opened.ledger.tell(link(1));
    opened.ledger.use(id, digest(1));
  }
  await using again = open(folder);
  assert.equal(
    (await again.ledger.holding(id, digest(1))).usedAt,
    1_000,
    "a use that was noted is told before closing",
  );
  assert.equal(again.ledger.totals?.bytes, 4096);
  assert.deepEqual(again.said, []);
});

test("not closed, it is right again once the files were read", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  await using copy = await createTemporaryDirectory();
  await using opened = open(folder);
  await opened.known();
  await opened.ledger.tell(link(1));
  for (const suffix of ["", "-wal"]) {
    await copyFile(join(folder.path, `ledger.sqlite${suffix}`), join(copy.path, `ledger.sqlite${suffix}`));
  }
  await store(
    copy,
    { kind: "tag", id, tag: tag("lts") },
    JSON.stringify({ digest: digest(1), mediaType: "", size: 1, checkedAt: 1 }),
  );
  await using again = open(copy);
  await until(() => again.said.length === 2);
  assert.deepEqual(again.said, ["not closed", "rebuilt 1"]);
  assert.deepEqual(await again.ledger.holding(id, digest(1)), { usedAt: undefined, tags: ["lts"], otherHolders: 0 });
  assert.equal(again.ledger.totals?.bytes, 4096);
});

test("a damaged file is made anew", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  await writeFile(join(folder.path, "ledger.sqlite"), "x".repeat(5_000));
  await using opened = open(folder);
  await until(() => opened.said.length === 2);
  assert.deepEqual(opened.said, ["damaged", "rebuilt 0"]);
});

test("changes wait for one another in one batch at a time, and each is in it when its promise resolves", async (context) => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  await using opened = open(folder);
  await opened.known();
  const sent = watchBatches(context);
  const told = Array.from({ length: 50 }, async (_, number) => {
    await opened.ledger.tell(link(number));
    assert.ok((opened.ledger.totals?.bytes ?? 0) >= 4096);
  });
  await Promise.all(told);
  assert.deepEqual(
    sent().map((changes) => changes.length),
    [1, 49],
  );
  assert.equal(opened.ledger.totals?.bytes, 50 * 4096);
});

test("a question sees all that was told and used before it", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  let now = 5_000;
  await using opened = open(folder, { now: () => now });
  const { ledger } = opened;
  await opened.known();
  const told = [ledger.tell(link(1)), ledger.tell(link(2))];
  ledger.use(id, digest(1));
  ledger.use(id, digest(2));
  const before = ledger.holding(id, digest(1));
  assert.equal((await before).usedAt, 5_000);
  ledger.use(id, digest(1), tag("lts"));
  now = 6_000;
  ledger.use(id, digest(1));
  const [first] = await ledger.candidates(everything);
  assert.ok(first?.kind === "link" && first.digest === digest(2) && first.usedAt === 5_000, "also in one batch");
  assert.equal((await ledger.holding(id, digest(1))).usedAt, 6_000);
  await Promise.all(told);
});

test("a use is pending until the answer to a question that was asked after it", async (context) => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  context.mock.timers.enable({ apis: ["setTimeout"] });
  await using opened = open(folder);
  const { ledger } = opened;
  await ledger.tell(link(1));
  const sent = watchBatches(context);
  const early = ledger.holding(id, digest(1));
  ledger.use(id, digest(1));
  const late = ledger.holding(id, digest(1));
  assert.ok(ledger.isUsePending(id, digest(1)));
  assert.ok(!ledger.isUsePending(id, digest(2)));
  await early;
  assert.ok(ledger.isUsePending(id, digest(1)), "it was asked before");
  await late;
  assert.ok(!ledger.isUsePending(id, digest(1)));
  // Told by the timer alone.
  const count = sent().length;
  ledger.use(id, digest(1));
  assert.equal(sent().length, count);
  context.mock.timers.tick(1_000);
  assert.equal(sent().length, count + 1);
  assert.ok(ledger.isUsePending(id, digest(1)), "nobody has asked");
  context.mock.timers.reset();
  await ledger.holding(id, digest(1));
  assert.ok(!ledger.isUsePending(id, digest(1)));
});

test("very many uses are told before the timer, and count as pending for everything until somebody asks", async (context) => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  await using opened = open(folder, { useDelayMs: 3_600_000 });
  await opened.known();
  const sent = watchBatches(context);
  for (let number = 0; number < 16_000; number++) opened.ledger.use(repository(`docker.io/a${number}`), digest(1));
  assert.ok(sent().length >= 3);
  assert.ok(opened.ledger.isUsePending(id, digest(77)));
  await opened.ledger.holding(id, digest(1));
  assert.ok(!opened.ledger.isUsePending(id, digest(77)));
});

test("where it cannot be opened: said, told in vain, refused; and tried again", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "not", "yet", "ledger.sqlite");
  await using opened = open(folder, { path, retryMs: 5 });
  await opened.ledger.tell(link(1));
  assert.equal(opened.ledger.totals, undefined);
  assert.match(opened.said[0] ?? "", /^failed: unable to open/);
  await assert.rejects(opened.ledger.holding(id, digest(1)), /not available/);
  await mkdir(dirname(path), { recursive: true });
  await opened.known();
  // Perhaps it is being written still.
  assert.equal((await opened.ledger.holding(id, digest(1))).usedAt, 1);
});

test("when the thread dies another one goes on, with what was told to the first", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  const workers: Worker[] = [];
  const note = (worker: Worker): number => workers.push(worker);
  process.on("worker", note);
  try {
    await using opened = open(folder, { retryMs: 0 });
    await opened.known();
    await opened.ledger.tell(link(1));
    await workers[0]?.terminate();
    await opened.ledger.tell(link(2));
    await opened.known();
    await until(() => opened.said.filter((each) => each.startsWith("rebuilt")).length === 2);
    assert.deepEqual(opened.said, [
      "absent",
      "rebuilt 0",
      "failed: the ledger's thread ended",
      "not closed",
      "rebuilt 0",
    ]);
    // Told, and perhaps not written yet: no file is needed for it to be known.
    assert.equal(opened.ledger.totals?.bytes, 2 * 4096);
    assert.equal(workers.length, 2);
    const ended = workers[1]?.terminate();
    const told = opened.ledger.tell(link(3));
    await assert.rejects(opened.ledger.holding(id, digest(1)), /thread ended/);
    await ended;
    await told;
    await opened.known();
    assert.equal(opened.ledger.totals?.bytes, 3 * 4096);
  } finally {
    process.off("worker", note);
  }
});

test("a rebuild forgets all that the files and the last changes do not say", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  {
    await using first = open(folder);
    await first.known();
    await first.ledger.tell(link(1));
  }
  await using opened = open(folder);
  await opened.ledger.tell(link(2));
  assert.equal(opened.ledger.totals?.bytes, 2 * 4096);
  await opened.ledger.rebuild();
  assert.equal(opened.ledger.totals?.bytes, 4096);
  assert.deepEqual(opened.said, ["asked for", "rebuilt 0"]);
});

test("after closing nothing is told or asked, and closing twice is fine", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  const { ledger } = open(folder);
  const told = ledger.tell(link(1));
  await Promise.all([ledger.close(), ledger.close()]);
  await told;
  await ledger.tell(link(2));
  ledger.use(id, digest(1));
  await assert.rejects(ledger.namespaces(), /not available/);
  await assert.rejects(ledger.rebuild(), /not available/);
});

test("while it is built, nobody is told what might be removed", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  await using opened = open(folder);
  const early = [
    opened.ledger.candidates(everything),
    opened.ledger.purgePlan({ kind: "namespace", namespace: id.namespace }),
    opened.ledger.holding(id, digest(1)),
  ];
  for (const each of early) {
    await assert.rejects(each, (error: unknown) => error instanceof LedgerNotReady && /try again/.test(error.message));
  }
  await opened.known();
  assert.deepEqual(await opened.ledger.candidates(everything), []);
});

test("what cannot be looked up is counted, and all else is known", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  await store(folder, { kind: "content", digest: digest(1) }, "x");
  await store(folder, { kind: "content", digest: digest(2) }, "x");
  await store(folder, { kind: "link", id, digest: digest(1) }, JSON.stringify({ mediaType: "a/b", sizeBytes: 1 }));
  const loop = join(folder.path, formatPlace({ kind: "content", digest: digest(2) }));
  await rm(loop);
  await symlink(loop, loop);
  await using opened = open(folder);
  await until(() => opened.said.length === 2);
  assert.deepEqual(opened.said, ["absent", "rebuilt 2, not 1"]);
  assert.equal(opened.ledger.totals?.bytes, 2 * 4096);
});

test("a rebuild that cannot be done rejects, and is done when it can be", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  await using opened = open(folder, { retryMs: 5 });
  await opened.known();
  const blobs = join(folder.path, "blobs");
  await symlink(blobs, blobs);
  await assert.rejects(opened.ledger.rebuild(), /blobs could not be listed/);
  await rm(blobs);
  await opened.known();
});

test("a use that fails costs nothing else", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  await using opened = open(folder);
  await opened.known();
  await until(() => opened.said.length === 2);
  opened.ledger.use(id, undefined as never);
  await opened.ledger.tell(link(1));
  await opened.ledger.holding(id, digest(1));
  assert.equal(opened.ledger.totals?.bytes, 4096);
  assert.match(opened.said.slice(2).join(), /^failed: /);
});

test("what was told last of an object counts, also after a rebuild and with another thread", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  const workers: Worker[] = [];
  const note = (worker: Worker): number => workers.push(worker);
  process.on("worker", note);
  try {
    await using opened = open(folder, { retryMs: 0 });
    const { ledger } = opened;
    await opened.known();
    // The writes failed; the files have the tag as it was.
    const record = JSON.stringify({ digest: digest(1), mediaType: "", size: 1, checkedAt: 1 });
    await store(folder, { kind: "tag", id, tag: tag("lts") }, record);
    const tagged = (number: number): LedgerChange => ({
      kind: "tag",
      id,
      tag: tag("lts"),
      digest: digest(number),
      at: 1,
    });
    const correct = (): Promise<void>[] => [
      ledger.tell(link(2)),
      ledger.tell(tagged(2)),
      ledger.tell({ kind: "link-removed", id, digest: digest(2) }),
      ledger.tell(tagged(1)),
    ];
    const check = async (): Promise<void> => {
      assert.deepEqual((await ledger.holding(id, digest(1))).tags, ["lts"]);
      assert.deepEqual(await ledger.holding(id, digest(2)), { usedAt: undefined, tags: [], otherHolders: 0 });
      assert.equal(ledger.totals?.bytes, 4096);
    };
    await Promise.all(correct());
    await ledger.rebuild();
    await check();
    const ended = workers[0]?.terminate();
    const told = correct();
    await ended;
    await Promise.all(told);
    await opened.known();
    await check();
    assert.equal(workers.length, 2);
  } finally {
    process.off("worker", note);
  }
});
