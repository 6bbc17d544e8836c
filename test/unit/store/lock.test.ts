import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { acquireLock } from "../../../src/store/lock.ts";
import { openFilesBelow } from "../../support/open-files.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const lockModule = new URL("../../../src/store/lock.ts", import.meta.url).href;

interface Holder extends AsyncDisposable {
  readonly said: string;
  /** Ends it by SIGKILL. */
  kill(): Promise<void>;
}

/** Another process, which tries to take the lock, says how that went, and stays until it is killed. */
async function startHolder(path: string): Promise<Holder> {
  const script = `
    const { acquireLock } = await import(${JSON.stringify(lockModule)});
    globalThis.lock = acquireLock(${JSON.stringify(path)});
    console.log(globalThis.lock === undefined ? "refused" : "held");
    setInterval(() => undefined, 60_000);
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const kill = async (): Promise<void> => {
    child.kill("SIGKILL");
    await exited;
  };
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  return { said: line.toString().trim(), kill, [Symbol.asyncDispose]: kill };
}

test("the lock goes to one at a time, and back with release", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "lock");
  const lock = acquireLock(path);
  assert.ok(lock !== undefined);
  assert.equal(acquireLock(path), undefined);
  assert.equal(acquireLock(path), undefined, "a refused attempt does not free it");
  lock.release();
  const next = acquireLock(path);
  assert.ok(next !== undefined);
  next.release();
});

test("another process is refused, and a killed one leaves nothing behind", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "lock");
  await using first = await startHolder(path);
  assert.equal(first.said, "held");
  assert.equal(acquireLock(path), undefined);
  await first.kill();
  const lock = acquireLock(path);
  assert.ok(lock !== undefined);
  await using second = await startHolder(path);
  assert.equal(second.said, "refused");
  lock.release();
});

test("a lock that cannot be made is an error, not somebody else's", async () => {
  await using folder = await createTemporaryDirectory();
  assert.throws(() => acquireLock(join(folder.path, "missing", "lock")));
});

test("a lock whose file is no lock is an error, and who does not get one leaves no file open", async () => {
  await using folder = await createTemporaryDirectory();
  await writeFile(join(folder.path, "broken"), "x".repeat(5_000));
  assert.throws(() => acquireLock(join(folder.path, "broken")), /not a database/);
  assert.deepEqual(openFilesBelow(folder.path), []);
  const path = join(folder.path, "lock");
  const lock = acquireLock(path);
  assert.equal(acquireLock(path), undefined);
  // SQLite keeps a file open whose lock the process has.
  lock?.release();
  assert.deepEqual(openFilesBelow(folder.path), []);
});
