import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { appendFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { type Algorithm, digestOf } from "../../../src/oci/digest.ts";
import { HashPool } from "../../../src/store/hashing.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { holdEventLoop, turn } from "../../support/event-loop.ts";
import { openFilesBelow } from "../../support/open-files.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";
import { hashIn } from "../../support/hashing.ts";

const mib = 1024 * 1024;

/** The worker threads that start from now on. */
function watchWorkers(): { readonly started: Worker[] } & Disposable {
  const started: Worker[] = [];
  const note = (worker: Worker): void => {
    started.push(worker);
  };
  process.on("worker", note);
  return { started, [Symbol.dispose]: () => process.off("worker", note) };
}

test("a growing file, then bytes: the digest of all of them in order", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  const pool = new HashPool(1);
  const content = pseudoRandomBytes(3 * mib + 77, "hash");
  for (const algorithm of ["sha256", "sha512"] satisfies Algorithm[]) {
    const path = join(folder.path, algorithm);
    const hash = pool.start(algorithm);
    await writeFile(path, content.subarray(0, mib + 5));
    hash.file(path, 1);
    hash.file(path, mib + 5);
    await appendFile(path, content.subarray(mib + 5, 2 * mib));
    hash.file(path, 2 * mib);
    const taken = [
      hash.bytes(content.subarray(2 * mib, 2 * mib + 1)),
      hash.bytes(new Uint8Array(0)),
      hash.bytes(content.subarray(2 * mib + 1)),
    ];
    assert.equal(await hash.digest(), digestOf(content, algorithm));
    await Promise.all(taken);
  }
  assert.deepEqual(openFilesBelow(folder.path), []);
  await pool.close();
});

test("only the part of a file that is said to be there is hashed", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "object");
  await writeFile(path, "0123456789");
  const pool = new HashPool(1);
  const hash = pool.start("sha256");
  hash.file(path, 4);
  assert.equal(await hash.digest(), digestOf(Buffer.from("0123")));
  await pool.close();
});

test("nothing, and what is in memory", async () => {
  using _loop = holdEventLoop();
  const pool = new HashPool(1);
  assert.equal(await pool.start("sha256").digest(), digestOf(Buffer.alloc(0)));
  assert.equal(await hashIn(pool, Buffer.from("abc"), "sha512"), digestOf(Buffer.from("abc"), "sha512"));
  await pool.close();
});

test("bytes are copied when they are given, so that the sender may use its buffer again", async () => {
  using _loop = holdEventLoop();
  const pool = new HashPool(1);
  const buffer = Buffer.from("first");
  const hash = pool.start("sha256");
  const taken = hash.bytes(buffer);
  buffer.fill(0);
  await taken;
  assert.equal(await hash.digest(), digestOf(Buffer.from("first")));
  await pool.close();
});

test("many hashes at once on few threads do not mix", async () => {
  using _loop = holdEventLoop();
  using workers = watchWorkers();
  await using folder = await createTemporaryDirectory();
  const pool = new HashPool(2);
  await Promise.all(
    Array.from({ length: 60 }, async (_, index) => {
      const content = pseudoRandomBytes(1_000 + index * 4_000, `hash ${index}`);
      const path = join(folder.path, `${index}`);
      const hash = pool.start("sha256");
      await writeFile(path, content.subarray(0, 500));
      hash.file(path, 500);
      await hash.bytes(content.subarray(500));
      assert.equal(await hash.digest(), digestOf(content));
    }),
  );
  assert.equal(workers.started.length, 2);
  assert.deepEqual(openFilesBelow(folder.path), []);
  await pool.close();
});

test("a file that cannot be read, or is shorter than was said, rejects", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  const pool = new HashPool(1);
  const missing = pool.start("sha256");
  missing.file(join(folder.path, "missing"), 10);
  await assert.rejects(missing.digest(), /ENOENT/);
  const path = join(folder.path, "short");
  await writeFile(path, "0123456789");
  await truncate(path, 5);
  const short = pool.start("sha256");
  short.file(path, 10);
  await assert.rejects(short.digest(), /ends at 5, before 10/);
  await short.bytes(Buffer.from("too late"));
  assert.equal(await hashIn(pool, Buffer.from("abc"), "sha256"), digestOf(Buffer.from("abc")), "the thread goes on");
  assert.deepEqual(openFilesBelow(folder.path), []);
  await pool.close();
});

test("a dropped hash gives no digest, closes its file and lets go of who waits", async () => {
  using _loop = holdEventLoop();
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "object");
  await writeFile(path, Buffer.alloc(2 * mib));
  const pool = new HashPool(1);
  const hash = pool.start("sha256");
  hash.file(path, 2 * mib);
  const waiting = hash.bytes(Buffer.from("more"));
  hash.drop();
  await waiting;
  await assert.rejects(hash.digest(), /dropped/);
  hash.drop();
  // The one thread takes messages in order, so that the drop is done when this is.
  await hashIn(pool, Buffer.from("abc"), "sha256");
  assert.deepEqual(openFilesBelow(folder.path), []);
  await pool.close();
});

test("when a thread dies its hashes are rejected, and the next get another one", async () => {
  using _loop = holdEventLoop();
  using workers = watchWorkers();
  const pool = new HashPool(1);
  const hash = pool.start("sha256");
  await hash.bytes(Buffer.from("abc"));
  const other = pool.start("sha256");
  const waiting = other.bytes(Buffer.from("never hashed"));
  await workers.started[0]?.terminate();
  await waiting;
  await assert.rejects(hash.digest(), /the hash worker ended/);
  await assert.rejects(other.digest(), /the hash worker ended/);
  assert.equal(await hashIn(pool, Buffer.from("abc"), "sha256"), digestOf(Buffer.from("abc")));
  assert.equal(workers.started.length, 2);
  await pool.close();
});

test("a closed pool rejects what runs and starts nothing", async () => {
  using _loop = holdEventLoop();
  const pool = new HashPool(2);
  const hash = pool.start("sha256");
  const digest = hash.digest();
  const closing = pool.close();
  // The thread may have answered before it was ended.
  await digest.catch((error: unknown) => assert.match(String(error), /the hash worker ended/));
  await closing;
  assert.throws(() => pool.start("sha256"), /closed/);
});

test("threads start with the first hash", async () => {
  using workers = watchWorkers();
  const pool = new HashPool(4);
  await pool.close();
  assert.equal(workers.started.length, 0);
});

test("bytes that are part of a larger buffer are sent without the rest of it", async (context) => {
  using _loop = holdEventLoop();
  const posted = context.mock.method(Worker.prototype, "postMessage");
  const pool = new HashPool(1);
  const large = pseudoRandomBytes(mib, "large");
  const part = large.subarray(1_000, 1_300);
  assert.equal(await hashIn(pool, part, "sha256"), digestOf(part));
  const sent = posted.mock.calls.flatMap(({ arguments: [message, transfer] }) =>
    (message as { kind: string }).kind === "bytes" ? [{ message: message as { bytes: Uint8Array }, transfer }] : [],
  );
  assert.equal(sent.length, 1);
  // It was transferred, and so is gone from here; the caller's buffer is not.
  assert.equal(sent[0]?.message.bytes.buffer.byteLength, 0);
  assert.equal(large.buffer.byteLength >= mib, true);
  assert.equal(sent[0]?.transfer?.length, 1);
  await pool.close();
});

test("a thread that has nothing to do is used before another one starts", async () => {
  using _loop = holdEventLoop();
  using workers = watchWorkers();
  const pool = new HashPool(3);
  for (let count = 0; count < 3; count++) await hashIn(pool, Buffer.from("one after the other"), "sha256");
  assert.equal(workers.started.length, 1);
  const running = [1, 2, 3, 4].map(() => pool.start("sha256"));
  // It is told in the next tick.
  await turn();
  assert.equal(workers.started.length, 3);
  for (const hash of running) hash.drop();
  pool.start("sha256").drop();
  await turn();
  assert.equal(workers.started.length, 3);
  await pool.close();
});

test("where all threads are busy, a hash goes to one that has fewest", async (context) => {
  using _loop = holdEventLoop();
  const posted = context.mock.method(Worker.prototype, "postMessage");
  const pool = new HashPool(2);
  const running = Array.from({ length: 6 }, () => pool.start("sha256"));
  const started = Map.groupBy(posted.mock.calls, (call) => call.this);
  assert.deepEqual(
    [...started.values()].map((calls) => calls.length),
    [3, 3],
  );
  for (const hash of running) hash.drop();
  await pool.close();
});

test("a pool that nobody waits for keeps no process alive", async () => {
  await using folder = await createTemporaryDirectory();
  const program = join(folder.path, "program.mjs");
  const pool = new URL("../../../src/store/hashing.ts", import.meta.url).href;
  await writeFile(
    program,
    `import { HashPool } from ${JSON.stringify(pool)};
    const hold = setInterval(() => undefined, 1_000);
    const hash = new HashPool(1).start("sha256");
    await hash.bytes(Buffer.from("bytes"));
    await hash.digest();
    console.log("hashed");
    clearInterval(hold);`,
  );
  const { status, stdout } = spawnSync(process.execPath, [program], { timeout: 20_000 });
  assert.equal(stdout.toString(), "hashed\n");
  assert.equal(status, 0);
});
