import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { describe, test } from "node:test";
import { openOffline } from "../../../src/app/app.ts";
import { runCommandLine } from "../../../src/cli/program.ts";
import type { Person } from "../../../src/cli/terminal.ts";
import type { JobState } from "../../../src/jobs/job.ts";
import { addEarlierImage, type EarlierCache, writeEarlierFolder } from "../../support/earlier-cache.ts";
import { buildImage } from "../../support/image.ts";
import { inspectStorage } from "../../support/storage.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const image = buildImage();

interface Outcome {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

interface World extends AsyncDisposable {
  readonly from: string;
  readonly root: string;
  run(args: readonly string[], person?: Partial<Person>): Promise<Outcome>;
}

/** A folder of the earlier system with one image, and an empty place for a storage. */
async function openWorld(): Promise<World> {
  const folder = await createTemporaryDirectory();
  const from = `${folder.path}/earlier`;
  const root = `${folder.path}/root`;
  const cache: EarlierCache = new Map();
  addEarlierImage(cache, image, "docker.io/library/a", "1", Date.now() - 60_000);
  await writeEarlierFolder(from, cache);
  return {
    from,
    root,
    async run(args, person) {
      let out = "";
      let err = "";
      const terminal = {
        env: {},
        readFile: (): never => assert.fail("no file is read"),
        out: (text: string) => void (out += text),
        err: (text: string) => void (err += text),
      };
      const actions = {
        serve: () => assert.fail("nothing is served here"),
        stopSignal: () => assert.fail("nothing stays here"),
        openStore: (config: Parameters<typeof openOffline>[0], version: string) => openOffline(config, { version }),
      };
      const nobody: Person = { screen: undefined, ask: undefined, onInterrupt: () => () => undefined };
      const line = ["adopt", from, "--root", root, ...args];
      const exitCode = await runCommandLine(line, terminal, "1.2.3", actions, { ...nobody, ...person });
      return { exitCode, out, err };
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

const table = [
  "           ADOPTED  ALREADY THERE  LEFT  WHY",
  "tags             1              0     0",
  "manifests        1              0     0",
  "blobs            3              0     0",
].join("\n");

describe("adopt", () => {
  test("shows the plan, asks, and obeys", async () => {
    for (const [answer, exitCode, blobs] of [
      ["y", 0, 4],
      ["", 1, 0],
      [undefined, 130, 0],
    ] as const) {
      await using world = await openWorld();
      const outcome = await world.run([], { ask: async () => answer });
      assert.equal(outcome.exitCode, exitCode);
      assert.ok(outcome.out.includes(table), outcome.out);
      assert.match(outcome.out, /^adopt \(nothing was changed\) succeeded after /m);
      assert.equal(/^adopt succeeded after /m.test(outcome.out), exitCode === 0);
      assert.equal(outcome.err, exitCode === 0 ? "" : "entrepot: nothing was adopted\n");
      assert.equal((await inspectStorage(world.root)).blobs.length, blobs);
    }
  });

  test("--yes does not ask, --dry-run only shows, also with --yes", async () => {
    await using world = await openWorld();
    const ask = (): Promise<string> => assert.fail("asked");
    const dry = await world.run(["-n", "-y"], { ask });
    assert.equal(dry.exitCode, 0);
    assert.doesNotMatch(dry.out, /^adopt succeeded/m);
    assert.deepEqual((await inspectStorage(world.root)).blobs, []);
    const done = await world.run(["--yes"], { ask });
    assert.equal(done.exitCode, 0);
    // The tag's copy came first.
    assert.ok(
      done.out.includes(table.replace("1              0     0\nblobs", "0              1     0\nblobs")),
      done.out,
    );
    assert.match(done.out, /^Adopt blobs: done in .* \(bytes adopted: .* KiB, blobs adopted: 3\)$/m);
    assert.doesNotMatch(done.out, /nothing was changed/);
    assert.match((await world.run(["--yes"])).out, /^blobs +0 +3 +0$/m);
  });

  test("where nobody can be asked it wants --yes or --dry-run, and touches nothing", async () => {
    await using world = await openWorld();
    for (const [args, person] of [
      [[], {}],
      [["--json"], { ask: async () => "y" }],
    ] as const) {
      const { exitCode, err } = await world.run(args, person);
      assert.equal(exitCode, 2);
      assert.match(err, /nobody can be asked here: use --yes, or --dry-run/);
    }
    await assert.rejects(readdir(world.root), { code: "ENOENT" });
  });

  test("a source that is none is an error, and no storage is made", async () => {
    await using world = await openWorld();
    const { exitCode, out, err } = await world.run(["--yes", "--root", `${world.from}/inner`]);
    assert.deepEqual([exitCode, out], [2, ""]);
    assert.match(err, /^entrepot: .* cannot be adopted into .*: one is in the other/);
    assert.deepEqual((await readdir(world.from)).toSorted(), ["blobs", "manifests"]);
  });

  test("what finds no room makes exit code 1, and says so", async () => {
    await using world = await openWorld();
    const { exitCode, out } = await world.run(["--yes", "--max-size", "40KiB", "--log-level", "error"]);
    assert.equal(exitCode, 1);
    assert.match(out, /^tags +0 +0 +1 +1 no room$/m);
    assert.match(out, /^2 objects left for want of room, or unreadable: run it again when that is put right$/m);
  });

  test("--json writes states, a line each, and nothing else", async () => {
    await using world = await openWorld();
    const { exitCode, out } = await world.run(["--json", "--yes"]);
    assert.equal(exitCode, 0);
    const states = out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as JobState);
    assert.deepEqual([states.at(-1)?.kind, states.at(-1)?.state], ["adopt", "succeeded"]);
  });

  test("Ctrl-C stops it", async () => {
    await using world = await openWorld();
    const onInterrupt = (listener: () => void): (() => void) => {
      queueMicrotask(listener);
      return () => undefined;
    };
    const { exitCode, out } = await world.run(["--yes"], { onInterrupt });
    assert.equal(exitCode, 130);
    assert.match(out, /^adopt cancelled after /m);
  });

  test("its help has the settings that it depends on, and no others", async () => {
    await using world = await openWorld();
    const { exitCode, out } = await world.run(["--help"]);
    assert.equal(exitCode, 0);
    assert.match(out, /^Usage: entrepot adopt \[options\] FOLDER \| s3:\/\/BUCKET\[\/PREFIX\]$/m);
    for (const flag of ["--root", "--max-size", "--upstream-config-file", "--config", "--host", "--access-key"])
      assert.ok(out.includes(flag), flag);
    assert.doesNotMatch(out, /--server|--listen|--check-cache-digest|--bucket|--prefix/);
  });
});
