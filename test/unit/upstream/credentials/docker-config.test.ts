import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parseRepository } from "../../../../src/oci/reference.ts";
import { DockerConfigSource } from "../../../../src/upstream/credentials/docker-config.ts";
import type { CredentialSource } from "../../../../src/upstream/credentials/source.ts";
import { createTemporaryDirectory } from "../../../support/temporary.ts";
import { createClock, never } from "../scripted.ts";
import { writeHelper } from "./helper-program.ts";

const minute = 60_000;
const auth = (password: string): { auth: string } => ({ auth: Buffer.from(`user:${password}`).toString("base64") });
/** Answers with what is in the file `secret`, and writes down that it was asked; without the file it fails. */
const fromFile = `cat >>"$FOLDER/asked"; secret=$(cat "$FOLDER/secret") || exit 1
  echo '{"ServerURL":"","Username":"user","Secret":"'$secret'"}'`;

interface Setting {
  readonly source: CredentialSource;
  readonly clock: ReturnType<typeof createClock>;
  readonly problems: string[];
  readonly write: (config: unknown) => Promise<void>;
  readonly password: (repository: string) => Promise<string | undefined>;
}

function setUp(folder: string, host: string, env: NodeJS.ProcessEnv = {}): Setting {
  const clock = createClock();
  const problems: string[] = [];
  const path = join(folder, "config.json");
  const onProblem = (problem: Error): void => void problems.push(problem.message);
  const source = new DockerConfigSource({ path, host, clock, env, onProblem });
  return {
    source,
    clock,
    problems,
    write: (config) => writeFile(path, JSON.stringify(config)),
    password: async (repository) => (await source.get(parseRepository(repository), never()))?.password,
  };
}

test("an entry is found by repository, and found again when the file has changed", async () => {
  await using folder = await createTemporaryDirectory();
  const { clock, write, password, source } = setUp(folder.path, "a.example.com");
  await write({ auths: { "a.example.com": auth("all"), "a.example.com/team": auth("team") } });
  assert.equal(await password("app"), "all");
  assert.equal(await password("team/app"), "team");
  await write({ auths: { "a.example.com": auth("new") } });
  clock.time += 1000;
  assert.equal(await password("team/app"), "new");
  await write({ auths: {} });
  source.refused({ username: "user", password: "new" });
  assert.equal(await password("team/app"), undefined);
});

test("a file that breaks leaves what it said before; one that never was any good is an error", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "config.json");
  const { clock, write, password, problems } = setUp(folder.path, "a.example.com");
  await assert.rejects(password("app"), { message: `docker config ${path}: ENOENT` });
  await write([]);
  await assert.rejects(password("app"), { message: `docker config ${path}: the file: expected a mapping` });
  await write({ auths: { "a.example.com": auth("one") } });
  assert.equal(await password("app"), "one");
  await writeFile(path, '{"auths": {"a.exa');
  clock.time += 1000;
  assert.equal(await password("app"), "one");
  assert.deepEqual(problems, [`docker config ${path}: it is not valid JSON`]);
});

test("a helper is asked once, again when its answer is refused or older than a quarter of an hour", async () => {
  await using folder = await createTemporaryDirectory();
  const env = await writeHelper(folder.path, "fake", fromFile);
  const { clock, problems, write, password, source } = setUp(folder.path, "a.example.com", env);
  const asked = async (): Promise<number> =>
    (await readFile(join(folder.path, "asked"), "utf8")).split("\n").length - 1;
  await writeFile(join(folder.path, "secret"), "one");
  await write({ credHelpers: { "a.example.com": "fake" } });
  assert.deepEqual(await Promise.all([password("app"), password("team/app")]), ["one", "one"]);
  assert.equal(await asked(), 1);
  clock.time += 5 * minute - 1;
  assert.equal(await password("app"), "one");
  assert.equal(await asked(), 1);

  await writeFile(join(folder.path, "secret"), "two");
  source.refused({ username: "user", password: "one" });
  assert.equal(await password("app"), "two");
  assert.equal(await asked(), 2);

  clock.time += 15 * minute;
  await writeFile(join(folder.path, "secret"), "three");
  assert.equal(await password("app"), "three");
  assert.deepEqual(problems, []);
});

test("a part of the registry comes before the helper, the helper before the registry's own entry", async () => {
  await using folder = await createTemporaryDirectory();
  const env = await writeHelper(folder.path, "fake", fromFile);
  await writeFile(join(folder.path, "secret"), "helper");
  const { write, password } = setUp(folder.path, "a.example.com", env);
  await write({
    credsStore: "fake",
    auths: { "a.example.com": auth("all"), "a.example.com/team": auth("team") },
  });
  assert.equal(await password("team/app"), "team");
  assert.equal(await password("app"), "helper");
});

test("where the helper knows nothing, the registry's own entry counts", async () => {
  await using folder = await createTemporaryDirectory();
  const env = await writeHelper(folder.path, "none", "echo 'credentials not found in native keychain'; exit 1");
  const { clock, write, password } = setUp(folder.path, "a.example.com", env);
  await write({ credsStore: "none", auths: { "a.example.com": auth("all") } });
  assert.equal(await password("app"), "all");
  await write({ credsStore: "none" });
  clock.time += 1000;
  assert.equal(await password("app"), undefined);
});

test("a helper that the file does not name any longer is not asked", async () => {
  await using folder = await createTemporaryDirectory();
  const env = await writeHelper(folder.path, "fake", fromFile);
  await writeFile(join(folder.path, "secret"), "helper");
  const { clock, write, password } = setUp(folder.path, "registry-1.docker.io", env);
  await write({ credsStore: "fake" });
  assert.equal(await password("app"), "helper");
  assert.equal(await readFile(join(folder.path, "asked"), "utf8"), "https://index.docker.io/v1/\n");
  await write({ auths: { "https://index.docker.io/v1/": auth("file") } });
  clock.time += 1000;
  assert.equal(await password("app"), "file");
});

test("a helper that hangs is given up", { timeout: 20_000 }, async () => {
  await using folder = await createTemporaryDirectory();
  const env = await writeHelper(folder.path, "hang", 'mkfifo "$FOLDER/w"; exec cat "$FOLDER/w"');
  const path = join(folder.path, "config.json");
  await writeFile(path, JSON.stringify({ credsStore: "hang" }));
  const source = new DockerConfigSource({
    path,
    host: "a.example.com",
    clock: createClock(),
    env,
    helperTimeoutMs: 50,
  });
  await assert.rejects(source.get(parseRepository("app"), never()), {
    message: "credential helper docker-credential-hang: no answer within 0.05 s",
  });
});
