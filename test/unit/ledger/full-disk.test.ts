import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { open as openFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { promisify } from "node:util";
import { LedgerDatabase } from "../../../src/ledger/database.ts";
import type { Ledger, LedgerChange } from "../../../src/ledger/ledger.ts";
import { holdEventLoop, until } from "../../support/event-loop.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";
import { ask, digest, repository } from "./ledger-model.ts";
import { openIn } from "./opened-ledger.ts";

const run = promisify(execFile);
const id = repository("docker.io/library/alpine");
const everything = { usedBefore: Infinity, pins: [], limit: 100 };
const link = (number: number): LedgerChange => ({ kind: "link", id, digest: digest(number), at: number });
const unlink = (number: number): LedgerChange => ({ kind: "link-removed", id, digest: digest(number) });

/** Takes all that is left of a volume, to the last byte. */
async function fill(path: string): Promise<void> {
  const file = await openFile(path, "a");
  try {
    for (let bytes = 1024 * 1024; bytes >= 1; bytes /= 16) {
      const chunk = Buffer.alloc(bytes, 1);
      const isWritten = (written: number): boolean => written === bytes;
      while (
        isWritten(
          await file.write(chunk).then(
            ({ bytesWritten }) => bytesWritten,
            () => 0,
          ),
        )
      );
    }
  } finally {
    await file.close();
  }
}

async function oldest(ledger: Ledger): Promise<number | undefined> {
  return (await ledger.candidates(everything))[0]?.usedAt;
}

const isRoot = process.getuid?.() === 0;
test(
  "on a volume that is full to the last byte it answers, and removals count",
  { skip: !isRoot && "needs root to mount" },
  async () => {
    using _loop = holdEventLoop();
    await using folder = await createTemporaryDirectory();
    const { path } = folder;
    await run("mount", ["-t", "tmpfs", "-o", "size=48m", "tmpfs", path]);
    try {
      const ballast = join(path, "ledger.ballast");
      {
        await using opened = openIn(folder, { retryMs: 50 });
        const { ledger, said } = opened;
        await opened.known();
        await until(() => said.length === 2);
        await Promise.all(Array.from({ length: 40 }, (_, number) => ledger.tell(link(number + 1))));
        await fill(join(path, "foreign"));
        await ledger.tell(unlink(1));
        assert.equal(ledger.totals?.bytes, 39 * 4096);
        assert.equal(await oldest(ledger), 2);
        assert.ok(!existsSync(ballast), "it has given its room");
        assert.deepEqual(said, ["absent", "rebuilt 0"]);
        // Now there is not even that room.
        await fill(join(path, "foreign"));
        for (let number = 2; number <= 20; number++) {
          await ledger.tell(unlink(number));
          assert.equal(ledger.totals?.bytes, (40 - number) * 4096);
          assert.equal(await oldest(ledger), number + 1);
        }
        assert.equal((await ledger.holding(id, digest(20))).usedAt, undefined);
        assert.ok(said.length > 2);
        for (const each of said.slice(2)) assert.match(each, /^failed: database or disk is full/);
        await rm(join(path, "foreign"));
        await until(() => existsSync(ballast));
        assert.equal(ledger.totals?.bytes, 20 * 4096);
      }
      await using again = openIn(folder);
      assert.equal(await oldest(again.ledger), 21);
      assert.equal(again.ledger.totals?.bytes, 20 * 4096);
      assert.deepEqual(again.said, [], "nothing was lost, nothing is read");
    } finally {
      await run("umount", [path]);
    }
  },
);

test("what cannot be written is held: it is in all answers, and is written when there is room", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "ledger.sqlite");
  const database = new LedgerDatabase(path);
  database.endScan();
  database.apply([link(1), link(2), link(3)]);
  using other = new DatabaseSync(path, { readOnly: true });
  const written = (): unknown => other.prepare("SELECT bytes FROM meta").get()?.["bytes"];
  const times = (): number[] => ask(database, "candidates", everything).map(({ usedAt }) => usedAt);
  const full = new Error("the disk is full");
  database.hold(full);
  assert.ok(database.isHolding);
  assert.equal(database.apply([unlink(1)]).bytes, 2 * 4096);
  assert.equal(database.apply([link(4), unlink(2)]).bytes, 2 * 4096);
  assert.deepEqual(times(), [3, 4]);
  assert.throws(() => database.apply([link(5), { kind: "link", id, digest: undefined as never, at: 6 }]));
  assert.ok(database.isHolding);
  assert.deepEqual(times(), [3, 4], "what fails changes nothing else");
  assert.equal(database.totals?.bytes, 2 * 4096);
  assert.equal(written(), 3 * 4096, "nothing is written");
  for (const read of [() => database.beginScan(), () => database.applyScanned([link(7)]), () => database.endScan()]) {
    assert.throws(read, full, "all that is in the files is not held");
  }
  database.commit();
  assert.ok(!database.isHolding);
  assert.equal(written(), 2 * 4096);
  assert.equal(database.reason, undefined);
  database.close();
});

test(
  "very much is not held: then it is not known what is stored",
  { skip: !isRoot && "needs root to mount" },
  async () => {
    await using folder = await createTemporaryDirectory();
    const { path } = folder;
    await run("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", path]);
    try {
      const database = new LedgerDatabase(join(path, "ledger.sqlite"));
      database.endScan();
      await fill(join(path, "foreign"));
      database.hold(new Error("the disk is full"));
      const many = (start: number): LedgerChange[] =>
        Array.from({ length: 1_000 }, (_, number) => link(start + number));
      let told = 0;
      assert.throws(() => {
        for (; told < 100_000; told += 1_000) assert.equal(database.apply(many(told)).bytes, (told + 1_000) * 4096);
      }, /database or disk is full/);
      assert.ok(told > 1_000);
      database.doubt();
      assert.equal(database.totals, undefined);
      database.abandon();
    } finally {
      await run("umount", [path]);
    }
  },
);
