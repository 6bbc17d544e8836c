import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { createPasswordFile } from "../../../../src/upstream/credentials/password-file.ts";
import type { CredentialSource } from "../../../../src/upstream/credentials/source.ts";
import { createTemporaryDirectory } from "../../../support/temporary.ts";
import { createClock, never, repository } from "../scripted.ts";

function watch(path: string): {
  readonly source: CredentialSource;
  readonly clock: ReturnType<typeof createClock>;
  readonly problems: string[];
  readonly password: () => Promise<string | undefined>;
} {
  const clock = createClock();
  const problems: string[] = [];
  const onProblem = (problem: Error): void => void problems.push(problem.message);
  const source = createPasswordFile({ username: "user", path, clock, onProblem });
  return {
    source,
    clock,
    problems,
    password: async () => (await source.get(repository, never()))?.password,
  };
}

for (const [content, password] of [
  ["s3cret", "s3cret"],
  ["s3cret\n", "s3cret"],
  ["s3cret\r\n", "s3cret"],
  ["s3cret \n\n", "s3cret \n"],
  ['{\n  "type": "service_account"\n}\n', '{\n  "type": "service_account"\n}'],
  ["pässwörd", "pässwörd"],
] as const) {
  test(`the file ${JSON.stringify(content)} holds ${JSON.stringify(password)}`, async () => {
    await using folder = await createTemporaryDirectory();
    const path = join(folder.path, "password");
    await writeFile(path, content);
    const { source } = watch(path);
    assert.deepEqual(await source.get(repository, never()), { username: "user", password });
  });
}

test("a change is seen within a second, even one that leaves the size and the times", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "password");
  await writeFile(path, "one");
  const { clock, password } = watch(path);
  assert.equal(await password(), "one");
  await writeFile(path, "two");
  clock.time += 999;
  assert.equal(await password(), "one");
  clock.time += 1;
  assert.equal(await password(), "two");
});

test("a secret that is mounted changes by a link that is pointed elsewhere", async () => {
  await using folder = await createTemporaryDirectory();
  const at = (name: string): string => join(folder.path, name);
  await writeFile(at("first"), "one");
  await writeFile(at("second"), "two");
  await symlink("first", at("data"));
  await symlink("data", at("password"));
  const { clock, password } = watch(at("password"));
  assert.equal(await password(), "one");
  await symlink("second", at("data.new"));
  await rename(at("data.new"), at("data"));
  clock.time += 1000;
  assert.equal(await password(), "two");
});

test("after a refusal the file is looked at without delay", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "password");
  await writeFile(path, "one");
  const { source, password } = watch(path);
  assert.equal(await password(), "one");
  await writeFile(path, "two");
  source.refused({ username: "user", password: "one" });
  assert.equal(await password(), "two");
});

test("the last good password stays while the file is gone, empty or broken; each problem is told once", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "password");
  await writeFile(path, "one");
  const { clock, problems, password } = watch(path);
  const later = async (): Promise<string | undefined> => {
    clock.time += 1000;
    return password();
  };
  assert.equal(await password(), "one");
  await rm(path);
  assert.equal(await later(), "one");
  assert.equal(await later(), "one");
  await writeFile(path, "\n");
  assert.equal(await later(), "one");
  await writeFile(path, Buffer.from([0xff, 0xfe]));
  assert.equal(await later(), "one");
  await writeFile(path, "x".repeat(64 * 1024 + 1));
  assert.equal(await later(), "one");
  assert.deepEqual(problems, [
    `password file ${path}: ENOENT`,
    `password file ${path}: it is empty`,
    `password file ${path}: it is not UTF-8 text`,
    `password file ${path}: it is larger than 65536 bytes`,
  ]);
  await writeFile(path, "two");
  assert.equal(await later(), "two");
  await writeFile(path, "x".repeat(64 * 1024 + 1));
  assert.equal(await later(), "two");
  assert.equal(problems.length, 5, "after it was well, a problem is a new one");
});

test("without a password there never was one, and it is asked for again each time", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "password");
  const { password, problems } = watch(path);
  await assert.rejects(password(), { name: "CredentialError", message: `password file ${path}: ENOENT` });
  assert.deepEqual(problems, []);
  await writeFile(path, "one");
  assert.equal(await password(), "one");
});

test("a pipe or a folder is no password file, and nothing waits for it", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "pipe");
  execFileSync("mkfifo", [path]);
  await assert.rejects(watch(path).password(), { message: `password file ${path}: it is not a regular file` });
  await assert.rejects(watch(folder.path).password(), /it is not a regular file$/);
});

test("who has left gets the reason", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "password");
  await writeFile(path, "one");
  const { source } = watch(path);
  await assert.rejects(source.get(repository, AbortSignal.abort(new Error("gone"))), { message: "gone" });
});
