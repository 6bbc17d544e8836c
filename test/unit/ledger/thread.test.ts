/* The ledger's client and its thread: it keeps no process alive, and when it dies nobody waits in vain. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { Worker } from "node:worker_threads";
import type { LedgerOptions } from "../../../src/ledger/client.ts";
import type { LedgerChange } from "../../../src/ledger/ledger.ts";
import { holdEventLoop, turn, until } from "../../support/event-loop.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary.ts";
import { digest, repository } from "./ledger-model.ts";
import { openIn, type Opened } from "./opened-ledger.ts";

const id = repository("docker.io/library/alpine");
const link = (number: number): LedgerChange => ({ kind: "link", id, digest: digest(number), at: 1 });

/** Opens a ledger whose threads are known to the test, and that has read its store. */
async function open(
  context: TestContext,
  folder: TemporaryDirectory,
  options: Partial<LedgerOptions>,
): Promise<{ readonly opened: Opened; readonly threads: Worker[] }> {
  const threads: Worker[] = [];
  const note = (worker: Worker): number => threads.push(worker);
  process.on("worker", note);
  context.after(() => process.off("worker", note));
  const opened = openIn(folder, options);
  await opened.known();
  return { opened, threads };
}

/** Whether a promise settles in a time that is short for a person. */
async function settles(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const note = (): void => {
    settled = true;
  };
  promise.then(note, note);
  await until(() => settled).catch(() => undefined);
  return settled;
}

test("who waits for a thread that dies soon after its start is let go, and no other starts for a while", async (context) => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  const { opened, threads } = await open(context, folder, { retryMs: 3_600_000 });
  await using _closed = opened;
  const { ledger } = opened;
  const ended = threads[0]?.terminate();
  // Who asks has all that was told sent.
  const asked = ledger.holding(id, digest(1));
  asked.catch(() => undefined);
  // One is on its way, and one waits for that.
  const told = Promise.all([ledger.tell(link(1)), ledger.tell(link(2))]);
  await ended;
  assert.ok(await settles(told), "who has told a change waits for the next thread");
  await assert.rejects(asked, /thread ended/);
  assert.equal(ledger.totals, undefined);
  await ledger.tell(link(3));
  await turn(5);
  assert.equal(threads.length, 1);
  const failures = opened.said.filter((each) => each.startsWith("failed"));
  assert.deepEqual(failures, ["failed: the ledger's thread ended"]);
});

test("another thread starts when the while is over", async (context) => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  // By the clock it has just been started.
  context.mock.method(performance, "now", () => 1_000);
  const { opened, threads } = await open(context, folder, { retryMs: 5 });
  context.after(() => opened.ledger.close());
  await threads[0]?.terminate();
  context.mock.restoreAll();
  await until(() => threads.length === 2);
  await opened.known();
  await opened.ledger.tell(link(1));
  assert.equal(opened.ledger.totals?.bytes, 4096);
});

test("who waits for a thread that dies while it is closed is let go", async (context) => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  const { opened, threads } = await open(context, folder, {});
  const told = opened.ledger.tell(link(1));
  const closed = opened.ledger.close();
  await threads[0]?.terminate();
  assert.ok(await settles(closed), "closing waits for a thread that is gone");
  assert.ok(await settles(told), "who has told a change waits for a thread that is gone");
});

test("a ledger that nobody waits for keeps no process alive", async () => {
  await using folder = await createTemporaryDirectory();
  const script = `
    const { openIn } = await import(${JSON.stringify(new URL("./opened-ledger.ts", import.meta.url).href)});
    const { known, ledger } = openIn({ path: ${JSON.stringify(folder.path)} });
    await known();
    await ledger.namespaces();
    console.log("answered");
  `;
  const program = join(folder.path, "program.mjs");
  await writeFile(program, script);
  const { status, stdout } = spawnSync(process.execPath, [program], { timeout: 20_000 });
  assert.equal(stdout.toString(), "answered\n");
  assert.equal(status, 0);
});

test("no thread starts after closing", async (context) => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { opened, threads } = await open(context, folder, { retryMs: 3_600_000 });
  await threads[0]?.terminate();
  await opened.ledger.close();
  context.mock.timers.tick(3_600_000);
  await turn(5);
  assert.equal(threads.length, 1);
});
