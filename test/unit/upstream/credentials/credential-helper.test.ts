import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { askCredentialHelper } from "../../../../src/upstream/credentials/credential-helper.ts";
import { createTemporaryDirectory } from "../../../support/temporary.ts";
import { never } from "../scripted.ts";
import { writeHelper } from "./helper-program.ts";

const answer = (username: string, secret: string): string =>
  `cat >"$FOLDER/asked"; echo "$@" >>"$FOLDER/asked"
  echo '${JSON.stringify({ ServerURL: "https://a.example.com", Username: username, Secret: secret })}'`;

test("the program is told the server on its input, with one argument", async () => {
  await using folder = await createTemporaryDirectory();
  const env = await writeHelper(folder.path, "ok", answer("user", "s3cret"));
  const got = await askCredentialHelper("ok", "https://index.docker.io/v1/", { env }, never());
  assert.deepEqual(got, { username: "user", password: "s3cret" });
  assert.equal(await readFile(join(folder.path, "asked"), "utf8"), "https://index.docker.io/v1/\nget\n");
});

test("a user <token> comes with an identity token", async () => {
  await using folder = await createTemporaryDirectory();
  const env = await writeHelper(folder.path, "ok", answer("<token>", "s3cret"));
  const got = await askCredentialHelper("ok", "a.example.com", { env }, never());
  assert.deepEqual(got, { username: "<token>", password: "s3cret" });
});

for (const [title, script] of [
  ["says so", "echo 'credentials not found in native keychain'; exit 1"],
  ["answers with empty ones", `echo '{"ServerURL":"","Username":"","Secret":""}'`],
] as const) {
  test(`none: a helper that knows nothing ${title}`, async () => {
    await using folder = await createTemporaryDirectory();
    const env = await writeHelper(folder.path, "none", script);
    assert.equal(await askCredentialHelper("none", "a.example.com", { env }, never()), undefined);
  });
}

for (const [title, script, message] of [
  ["fails", "echo 's3cret'; echo 's3cret' >&2; exit 3", "it ended with status 3"],
  ["is killed", "kill -9 $$", "it was killed"],
  ["prints no JSON", "echo 's3cret'", "its answer holds no credentials"],
  ["prints null", "echo null", "its answer holds no credentials"],
  ["prints something else", `echo '{"Username":"s3cret"}'`, "its answer holds no credentials"],
  ["prints nothing, reads nothing", "exec <&-", "its answer holds no credentials"],
] as const) {
  test(`a helper that ${title}`, async () => {
    await using folder = await createTemporaryDirectory();
    const env = await writeHelper(folder.path, "bad", script);
    await assert.rejects(askCredentialHelper("bad", "a.example.com", { env }, never()), {
      name: "CredentialError",
      message: `credential helper docker-credential-bad: ${message}`,
    });
  });
}

test("a helper that prints without end is stopped", { timeout: 20_000 }, async () => {
  await using folder = await createTemporaryDirectory();
  const env = await writeHelper(folder.path, "long", "exec yes s3cret");
  await assert.rejects(askCredentialHelper("long", "a.example.com", { env, maxOutputBytes: 1000 }, never()), {
    message: "credential helper docker-credential-long: its answer is larger than 1000 bytes",
  });
});

test("an abort kills the helper", { timeout: 20_000 }, async () => {
  await using folder = await createTemporaryDirectory();
  const env = await writeHelper(
    folder.path,
    "slow",
    // The process that is told of starts no other any more: that one would outlive it.
    'mkfifo "$FOLDER/w"; echo $$ >"$FOLDER/pid"; exec cat "$FOLDER/w"',
  );
  const leaver = new AbortController();
  const asked = askCredentialHelper("slow", "a.example.com", { env }, leaver.signal);
  const pid = await readPid(join(folder.path, "pid"));
  leaver.abort(new Error("gone"));
  await assert.rejects(asked, { message: "gone" });
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      break;
    }
    await new Promise(setImmediate);
  }
});

async function readPid(path: string): Promise<number> {
  for (;;) {
    const text = await readFile(path, "utf8").catch(() => "");
    if (text.endsWith("\n")) {
      return Number(text);
    }
  }
}

test("a program that is not there", async () => {
  await using folder = await createTemporaryDirectory();
  await assert.rejects(askCredentialHelper("missing", "a.example.com", { env: { PATH: folder.path } }, never()), {
    message: "credential helper docker-credential-missing: there is no such program on the PATH",
  });
});

for (const name of ["../evil", "a/b", "", "a b", "-x", ".x", "a;b", "a\nb", "x".repeat(65)]) {
  test(`${JSON.stringify(name)} is no helper's name`, async () => {
    await using folder = await createTemporaryDirectory();
    await assert.rejects(askCredentialHelper(name, "a.example.com", { env: { PATH: folder.path } }, never()), {
      message: "credential helper: its name is letters, digits, dots, underscores and dashes",
    });
  });
}
