import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { readAdminToken } from "../../../src/app/admin-token.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const first = "0123456789abcdef";
const second = "fedcba9876543210";

test("a file is read once a second, and what cannot be read is UNAVAILABLE until it can", async () => {
  await using folder = await createTemporaryDirectory();
  const adminTokenFile = join(folder.path, "token");
  await writeFile(adminTokenFile, `${first}\n`);
  let now = 0;
  const ask = (await readAdminToken({ adminToken: undefined, adminTokenFile }, () => now)) ?? assert.fail();
  assert.equal(await ask(), first);
  await writeFile(adminTokenFile, second);
  now += 999;
  assert.equal(await ask(), first);
  now += 1;
  assert.equal(await ask(), second);
  const unavailable = { code: "UNAVAILABLE", message: "the administration's token cannot be read" };
  await writeFile(adminTokenFile, "");
  now += 1_000;
  await assert.rejects(ask(), unavailable);
  await rm(adminTokenFile);
  now += 1_000;
  await assert.rejects(ask(), unavailable);
  execFileSync("mkfifo", [adminTokenFile]);
  now += 1_000;
  await assert.rejects(ask(), unavailable);
  await rm(adminTokenFile);
  await writeFile(adminTokenFile, second);
  now += 1_000;
  assert.equal(await ask(), second);
});

test("what is no regular file, not there or no token is refused at the start", async () => {
  await using folder = await createTemporaryDirectory();
  const pipe = join(folder.path, "pipe");
  execFileSync("mkfifo", [pipe]);
  const short = join(folder.path, "short");
  await writeFile(short, "short");
  const foreign = join(folder.path, "foreign");
  await writeFile(foreign, Buffer.from("0123456789abcdef\n\xe9", "latin1"));
  for (const [adminTokenFile, reason] of [
    [pipe, /pipe is no regular file$/],
    [folder.path, /is no regular file$/],
    [join(folder.path, "none"), /cannot be read: there is no such file$/],
    [foreign, /foreign cannot be read: it is not UTF-8: byte 18, in line 2$/],
    [short, /holds no token: it must be at least 16/],
  ] as const) {
    await assert.rejects(readAdminToken({ adminToken: undefined, adminTokenFile }), {
      name: "ConfigError",
      message: reason,
    });
  }
});
