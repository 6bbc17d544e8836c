import assert from "node:assert/strict";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { Ballast } from "../../../src/ledger/ballast.ts";
import { OwnFiles } from "../../../src/ledger/own-files.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const sizeBytes = 8 * 1024 * 1024;

/** Replaces a function of the file system for the rest of the test. */
function intercept(context: TestContext, name: "statfsSync" | "writeSync", replace: () => unknown): void {
  const mocked = context.mock.method(fs, name, replace as (typeof fs)[typeof name]);
  syncBuiltinESMExports();
  context.after(() => {
    mocked.mock.restore();
    syncBuiltinESMExports();
  });
}

test("it takes room also where zeros take none, and gives it up once", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "ballast");
  const ballast = new Ballast(path);
  assert.equal(ballast.drop(), false);
  assert.equal(ballast.keep(), true);
  const bytes = fs.readFileSync(path);
  assert.equal(bytes.length, sizeBytes);
  for (let at = 0; at < sizeBytes; at += 4_096) assert.ok(bytes.subarray(at, at + 4_096).some((byte) => byte !== 0));
  const { ino } = fs.statSync(path);
  assert.equal(ballast.keep(), true);
  assert.equal(fs.statSync(path).ino, ino, "it is there");
  assert.equal(ballast.drop(), true);
  assert.equal(ballast.drop(), false);
});

test("it fills no small volume", async (context) => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "ballast");
  let freeBytes = 4 * sizeBytes - 4_096;
  intercept(context, "statfsSync", () => ({ bsize: 4_096, bavail: freeBytes / 4_096 }));
  for (const isKept of [false, true]) {
    assert.equal(new Ballast(path).keep(), isKept);
    assert.equal(fs.existsSync(path), isKept);
    freeBytes += 4_096;
  }
});

test("what cannot be written whole takes no room", async (context) => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "ballast");
  intercept(context, "writeSync", () => {
    throw Object.assign(new Error("no space left"), { code: "ENOSPC" });
  });
  assert.equal(new Ballast(path).keep(), false);
  assert.equal(fs.existsSync(path), false);
});

test("it counts among what the ledger's files take", async () => {
  await using folder = await createTemporaryDirectory();
  const files = new OwnFiles(join(folder.path, "ledger.sqlite"));
  assert.equal(files.measure(), 0);
  assert.equal(files.keepBallast(), true);
  assert.equal(files.measure(), sizeBytes);
  assert.equal(files.dropBallast(), true);
  assert.equal(files.measure(), 0);
});

test("a store that has become small gives back what it has", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "ledger.sqlite");
  assert.equal(new OwnFiles(path).keepBallast(), true);
  const small = new OwnFiles(path, 128 * 1024 * 1024);
  assert.equal(small.measure(), sizeBytes);
  assert.equal(small.keepBallast(), true, "there is to be none");
  assert.equal(small.measure(), 0);
});
