import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Writable } from "node:stream";
import { describe, test } from "node:test";
import { createBars, createLines } from "../../../src/cli/progress.ts";
import { runCommandLine } from "../../../src/cli/program.ts";
import type { Person } from "../../../src/cli/terminal.ts";
import type { JobState, Step } from "../../../src/jobs/job.ts";
import { serveAdministration } from "../../support/admin-server.ts";
import { createAdministration, type FakeAdministration, manifestDigest } from "../../support/administration.ts";
import { createBarrier } from "../../support/barrier.ts";
import { until } from "../../support/event-loop.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

interface Outcome {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

interface Scene {
  readonly files?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly person?: Partial<Person>;
  /** The store that `--store` opens. */
  readonly store?: { readonly fake: FakeAdministration; readonly onClose: () => void };
}

/** A terminal's screen, and all that was written to it. */
function createScreen(): Writable & { readonly text: () => string } {
  let seen = "";
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      seen += chunk.toString();
      done();
    },
  });
  return Object.assign(stream, { isTTY: true, columns: 80, rows: 24, text: () => seen });
}

/** Runs a command line in this process. */
async function run(args: readonly string[], { files = {}, env = {}, person, store }: Scene = {}): Promise<Outcome> {
  let out = "";
  let err = "";
  const terminal = {
    env,
    readFile: (path: string): Buffer => {
      const content = files[path];
      if (content === undefined) throw Object.assign(new Error("none"), { code: "ENOENT" });
      return Buffer.from(content);
    },
    out: (text: string) => {
      out += text;
    },
    err: (text: string) => {
      err += text;
    },
  };
  const actions = {
    serve: () => assert.fail("nothing is served here"),
    stopSignal: () => assert.fail("nothing stays here"),
    openStore: async () => {
      if (store === undefined) throw new Error("the folder is in use");
      const { fake, onClose } = store;
      return {
        administration: fake.administration,
        close: async () => {
          await fake.jobs.close();
          onClose();
        },
      };
    },
  };
  const nobody: Person = { screen: undefined, ask: undefined, onInterrupt: () => () => undefined };
  const exitCode = await runCommandLine(args, terminal, "1.2.3", actions, { ...nobody, ...person });
  return { exitCode, out, err };
}

/** Runs a command against a mirror with one image. */
async function runAgainst(fake: FakeAdministration, args: readonly string[], scene: Scene = {}): Promise<Outcome> {
  await using server = await serveAdministration(fake);
  return await run([...args, "--server", server.address], scene);
}

describe("ls and du", () => {
  test("registries, repositories and tags as tables", async () => {
    const fake = await createAdministration();
    const lists = [
      [["ls"], /^NAMESPACE  REPOSITORIES      SIZE +LAST USE\ndocker\.io             1  12\.0 KiB  \d+ d ago\n$/],
      [
        ["ls", "docker.io"],
        /^REPOSITORY +TAGS +SIZE +LAST USE\ndocker\.io\/library\/alpine     1  12\.0 KiB  \d+ d ago\n$/,
      ],
      [["ls", "docker.io/"], /^REPOSITORY/],
      [
        ["ls", "docker.io/alpine"],
        /^TAG  DIGEST .*\n3    sha256:[0-9a-f]{64}  8\.0 KiB  \d+ d ago\n-    sha256:[0-9a-f]{64}  8\.0 KiB +-\n$/,
      ],
    ] as const;
    for (const [args, expected] of lists) {
      const { exitCode, out, err } = await runAgainst(fake, args);
      assert.deepEqual([exitCode, err], [0, ""]);
      assert.match(out, expected);
    }
  });

  test("--json is the server's answer", async () => {
    const fake = await createAdministration();
    const { out } = await runAgainst(fake, ["ls", "docker.io/library/alpine", "--json"]);
    assert.equal(JSON.parse(out).items[0].digest, manifestDigest);
    assert.equal(JSON.parse((await runAgainst(fake, ["du", "--json"])).out).bytes, 12_288);
  });

  test("a list of several parts is read whole", async () => {
    const { options } = await createAdministration();
    const item = { namespace: "docker.io", repository: "a", tags: 1, bytes: 1, usedAt: 1 } as never;
    const repositories = async ({ after = "docker.io/a" }) => {
      return { items: [item], next: after === "docker.io/aaa" ? undefined : `${after}a` };
    };
    const fake = await createAdministration({ overrides: { ledger: { ...options.ledger, repositories } } });
    assert.equal(JSON.parse((await runAgainst(fake, ["ls", "docker.io", "--json"])).out).items.length, 3);
  });

  test("du has the totals", async () => {
    const { exitCode, out } = await runAgainst(await createAdministration(), ["du"]);
    assert.equal(exitCode, 0);
    assert.match(out, /^docker\.io             1  12\.0 KiB  976\.6 KiB$/m);
    assert.match(out, /^used: 12\.0 KiB$/m);
    assert.match(
      out,
      /^ledger: 4\.0 KiB\nfolders: 8\.0 KiB\nquarantine: 0 B\nother files: 1\.0 KiB\nhosted: 0 B\nkept back: 512 B$/m,
    );
    assert.match(out, /^pinned: 8\.0 KiB$/m);
    assert.match(out, /^limit: none$/m);
    assert.match(out, /^free on the volume: 488\.3 KiB$/m);
  });

  test("du says what was found in the bucket last, where there is one", async () => {
    assert.doesNotMatch((await runAgainst(await createAdministration(), ["du"])).out, /bucket/);
    const last = { by: "one", at: Date.now() - 7_200_000, objects: 9, bytes: 4_096, condemned: 1, isShort: false };
    const overrides = { retention: { last: { ...last, removed: 2, removedBytes: 1_024 } } };
    const { out } = await runAgainst(await createAdministration({ overrides }), ["du"]);
    assert.match(out, /^bucket: 3\.0 KiB \(2 objects removed, 1 object to go; by one, 2 h ago\)$/m);
  });

  test("what is not there is an error", async () => {
    const { exitCode, out, err } = await runAgainst(await createAdministration(), ["ls", "quay.io"]);
    assert.deepEqual([exitCode, out, err], [1, "", "entrepot: nothing of quay.io/ is cached\n"]);
  });
});

describe("purge", () => {
  const plan = "docker.io/library/alpine:3: 1 tag, 2 manifests and blobs, 1 listing; 12.0 KiB would be freed\n";
  const done = "docker.io/library/alpine:3: 1 tag, 2 manifests and blobs, 1 listing removed; 12.0 KiB freed\n";

  test("shows the plan, asks, and obeys", async () => {
    for (const [answer, exitCode, out] of [
      ["y", 0, plan + done],
      ["yes", 0, plan + done],
      ["", 1, plan],
      ["no", 1, plan],
    ] as const) {
      const fake = await createAdministration();
      const outcome = await runAgainst(fake, ["purge", "alpine:3"], { person: { ask: async () => answer } });
      assert.deepEqual([outcome.exitCode, outcome.out], [exitCode, out]);
      assert.equal(fake.removed.length > 0, exitCode === 0);
    }
  });

  test("--dry-run only shows, --yes does not ask", async () => {
    const ask = (): Promise<string> => assert.fail("asked");
    const dry = await createAdministration();
    assert.equal((await runAgainst(dry, ["purge", "-n", "-y", "alpine:3"], { person: { ask } })).out, plan);
    assert.deepEqual(dry.removed, []);
    assert.equal((await runAgainst(dry, ["purge", "--yes", "alpine:3"], { person: { ask } })).out, done);
  });

  test("the job that removes it has a bar, and Ctrl-C stops it", async () => {
    const barrier = createBarrier();
    const { options, jobs } = await createAdministration();
    const content = { ...options.content, removeTag: (): Promise<boolean> => barrier.wait().then(() => true) };
    const cancelled = Promise.withResolvers<void>();
    const watched: typeof options.jobs = {
      start: (...job) => jobs.start(...job),
      get: (id) => jobs.get(id),
      list: () => jobs.list(),
      follow: (...follower) => jobs.follow(...follower),
      cancel(id) {
        cancelled.resolve();
        return jobs.cancel(id);
      },
    };
    const fake = await createAdministration({ overrides: { content, jobs: watched } });
    const screen = createScreen();
    const interrupts: (() => void)[] = [];
    const onInterrupt: Person["onInterrupt"] = (listener) => {
      interrupts.push(listener);
      return () => undefined;
    };
    const running = runAgainst(fake, ["purge", "--yes", "alpine:3"], { person: { screen, onInterrupt } });
    await until(() => screen.text().includes("Remove docker.io/library/alpine:3"));
    assert.match(screen.text(), /0% \(0 of 6\)/);
    interrupts.forEach((interrupt) => interrupt());
    await cancelled.promise;
    barrier.release();
    const { exitCode, out, err } = await running;
    assert.deepEqual([exitCode, out], [130, ""]);
    assert.match(err, /^docker\.io\/library\/alpine:3: 1 tag, 0 manifests .* removed; 0 B freed\nentrepot: purge-\w+ /);
    assert.equal(jobs.list()[0]?.state, "cancelled");
  });

  test("where nobody can be asked, one of the two is needed", async () => {
    const fake = await createAdministration();
    const { exitCode, err } = await runAgainst(fake, ["purge", "alpine:3"]);
    assert.equal(exitCode, 2);
    assert.match(err, /--yes, or --dry-run/);
    assert.deepEqual(fake.planned, []);
  });

  test("--namespace is a target", async () => {
    const fake = await createAdministration();
    const { out } = await runAgainst(fake, ["purge", "--namespace", "docker.io", "--dry-run", "--json"]);
    assert.equal(JSON.parse(out)[0].target, "docker.io/");
    assert.equal((await runAgainst(fake, ["purge", "--yes"])).exitCode, 2);
  });
});

test("pin lists and adds, unpin takes away", async () => {
  const fake = await createAdministration();
  const table = /^PATTERN +FROM\ndocker\.io\/library\/\*:lts +configuration\nquay\.io\/team\/\*\* +added\n$/;
  assert.match((await runAgainst(fake, ["pin"])).out, table);
  assert.match((await runAgainst(fake, ["pin", "a.io/b", "a.io/c"])).out, /^a\.io\/c +added$/m);
  const { out } = await runAgainst(fake, ["unpin", "a.io/b", "quay.io/team/**", "--json"]);
  assert.deepEqual(JSON.parse(out).added, ["a.io/c"]);
  const { exitCode, err } = await runAgainst(fake, ["pin", "alpine"]);
  assert.deepEqual([exitCode, err], [2, "entrepot: alpine: the pin: a pattern begins with a registry's name\n"]);
});

test("status shows the replicas, and what each fetches", async () => {
  const replicas = [
    { id: "one", address: "http://10.0.0.1:5001", isSelf: true, silentMs: 0, fetching: [] },
    { id: "two", address: "http://10.0.0.2:5001", isSelf: false, silentMs: 4_200, fetching: ["blob a", "blob b"] },
  ];
  const fake = await createAdministration({ overrides: { replicas: () => replicas } });
  assert.equal(
    (await runAgainst(fake, ["status"])).out,
    `REPLICA  ADDRESS               HEARD OF   FETCHES
one      http://10.0.0.1:5001  answers
two      http://10.0.0.2:5001  4.2 s ago  blob a
                                          blob b
`,
  );
  assert.deepEqual(JSON.parse((await runAgainst(fake, ["status", "--json"])).out), { replicas });
  assert.match((await runAgainst(await createAdministration(), ["status"])).out, /^it is alone: /);
});

const work: Step["run"] = async (progress) => {
  progress.total(4096, "bytes");
  progress.advance(4096);
  progress.count("examined", 2);
  progress.count("bytes freed", 2048);
};

describe("several words", () => {
  const done = /^docker\.io\/library\/alpine:3: .* freed\n$/;

  test("each is purged and told, also after one that is refused", async () => {
    const fake = await createAdministration();
    const outcome = await runAgainst(fake, ["purge", "--yes", "A:b:c", "busybox:1", "alpine:3"]);
    assert.equal(outcome.exitCode, 1);
    assert.match(outcome.out, done);
    assert.match(outcome.err, /^entrepot: A:b:c: .*\nentrepot: busybox:1: nothing of .*busybox:1 is cached\n$/);
    const json = await runAgainst(await createAdministration(), ["purge", "--yes", "--json", "alpine:3", "busybox:1"]);
    assert.equal(json.exitCode, 1);
    assert.deepEqual(
      JSON.parse(json.out).map(({ target }: { target: string }) => target),
      ["docker.io/library/alpine:3"],
    );
    assert.equal((await runAgainst(fake, ["purge", "--yes", "A:b:c"])).exitCode, 2);
  });

  test("what could not be planned is not asked for", async () => {
    const questions: string[] = [];
    const ask = async (question: string): Promise<string> => {
      questions.push(question);
      return "y";
    };
    const fake = await createAdministration();
    const outcome = await runAgainst(fake, ["purge", "busybox:1", "alpine:3"], { person: { ask } });
    assert.deepEqual([outcome.exitCode, questions.length], [1, 1]);
    assert.ok(fake.removed.length > 0);
    assert.equal((await runAgainst(fake, ["purge", "busybox:1"], { person: { ask } })).exitCode, 1);
    assert.equal(questions.length, 1);
  });

  test("Ctrl-C at the question is 130, Ctrl-D a no", async () => {
    for (const [answer, exitCode] of [
      [undefined, 130],
      ["", 1],
    ] as const) {
      const outcome = await runAgainst(await createAdministration(), ["purge", "alpine:3"], {
        person: { ask: async () => answer },
      });
      assert.deepEqual([outcome.exitCode, outcome.err], [exitCode, "entrepot: nothing was removed\n"]);
    }
  });

  test("pins are added and taken away one by one", async () => {
    const fake = await createAdministration();
    const added = await runAgainst(fake, ["pin", "bad", "a.io/b"]);
    assert.equal(added.exitCode, 1);
    assert.match(added.err, /^entrepot: bad: the pin: /);
    assert.match(added.out, /^a\.io\/b +added$/m);
    const removed = await runAgainst(fake, ["unpin", "a.io/none", "a.io/b", "--json"]);
    assert.equal(removed.exitCode, 1);
    assert.match(removed.err, /^entrepot: a\.io\/none: there is no pin/);
    assert.deepEqual(JSON.parse(removed.out).added, ["quay.io/team/**"]);
  });
});

test("ls reads names as purge does, and takes no tag", async () => {
  const fake = await createAdministration();
  for (const name of ["alpine", "library/alpine"]) {
    assert.match((await runAgainst(fake, ["ls", name])).out, /^TAG /, name);
  }
  for (const name of ["alpine:3", "docker.io/alpine:3", `alpine@${manifestDigest}`]) {
    const { exitCode, err } = await runAgainst(fake, ["ls", name]);
    assert.equal(exitCode, 2);
    assert.match(err, /ls takes no tag/);
  }
});

describe("flags that would do nothing", () => {
  for (const args of [
    ["verify", "--root", "/a"],
    ["verify", "--store", "--server", "http://a"],
    ["warm", "alpine", "--store", "--admin-token-file", "/token"],
  ]) {
    test(`${args.join(" ")} is refused`, async () => {
      const { exitCode, err } = await run(args);
      assert.equal(exitCode, 2);
      assert.match(err, /--store/);
    });
  }

  test("help shows only those that mean something", async () => {
    const { out } = await run(["help", "ls"]);
    assert.match(out, /--admin-token-file/);
    assert.doesNotMatch(out, /--max-size|--log-level|--root/);
    const warm = await run(["help", "warm"]);
    assert.match(warm.out, /--max-size/);
    assert.doesNotMatch(warm.out, /--check-cache-digest/);
  });
});

describe("jobs", () => {
  test("one that runs already is named", async () => {
    const barrier = createBarrier();
    const fake = await createAdministration({ step: () => barrier.wait() });
    const { id } = fake.administration.start({ kind: "evict" });
    const { exitCode, err } = await runAgainst(fake, ["evict"]);
    barrier.release();
    await fake.jobs.idle();
    assert.deepEqual(
      [exitCode, err],
      [1, `entrepot: a job of this kind runs already: \`entrepot jobs ${id}\` shows it\n`],
    );
  });

  test("are followed to their end, in lines", async () => {
    const fake = await createAdministration({ step: work });
    const { exitCode, out } = await runAgainst(fake, ["evict", "--dry-run"]);
    assert.equal(exitCode, 0);
    assert.match(out, /^The only step: done in \d+ ms \(examined: 2, bytes freed: 2\.0 KiB\)$/m);
    assert.match(out, /^evict \(nothing was changed\) succeeded after \d+ ms$/m);
    assert.deepEqual(fake.started, [{ dryRun: true }]);
  });

  test("on a terminal with bars, and the lines of what is done", async () => {
    const screen = createScreen();
    const fake = await createAdministration({ step: work });
    const { exitCode, out } = await runAgainst(fake, ["evict"], { person: { screen } });
    assert.equal(exitCode, 0);
    assert.match(out, /^evict succeeded/);
    assert.match(screen.text(), /The only step: done in/);
  });

  test("--json is a line a state", async () => {
    const { out } = await runAgainst(await createAdministration({ step: work }), ["verify", "--repair", "--json"]);
    const states = out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as JobState);
    assert.equal(states.at(-1)?.state, "succeeded");
  });

  test("one that fails is exit code 1, with its reason", async () => {
    const fake = await createAdministration({ step: () => Promise.reject(new Error("the disk is gone")) });
    const { exitCode, out } = await runAgainst(fake, ["evict"]);
    assert.equal(exitCode, 1);
    assert.match(out, /^evict failed after \d+ ms: the disk is gone$/m);
  });

  test("verify that finds damage, and leaves it, is exit code 1", async () => {
    const step: Step["run"] = async (progress) => progress.count("damaged", 3);
    const found = await runAgainst(await createAdministration({ step }), ["verify", "--rate", "1MiB/s"]);
    assert.equal(found.exitCode, 1);
    assert.match(found.out, /3 things are wrong; --repair/);
    // Nothing was put aside, so it is still there.
    const left = await runAgainst(await createAdministration({ step }), ["verify", "--repair"]);
    assert.equal(left.exitCode, 1);
    assert.match(left.out, /^3 things are wrong; could not be put right$/m);
    const failing: Step["run"] = async (progress) => progress.count("failed");
    assert.equal((await runAgainst(await createAdministration({ step: failing }), ["verify", "--repair"])).exitCode, 1);
    const repairing: Step["run"] = async (progress) => {
      progress.count("damaged", 3);
      progress.count("quarantined", 3);
    };
    assert.equal(
      (await runAgainst(await createAdministration({ step: repairing }), ["verify", "--repair"])).exitCode,
      0,
    );
  });

  test("Ctrl-C cancels, and waits for the end", async () => {
    let interrupt: (() => void) | undefined;
    let stopped = false;
    const fake = await createAdministration({
      step: async (_progress, signal) => {
        interrupt?.();
        await new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("stop"))));
      },
    });
    const person = {
      onInterrupt: (listener: () => void) => {
        // Called by the step, or here where that has begun.
        interrupt = listener;
        if (fake.jobs.list().length > 0) listener();
        return () => {
          stopped = true;
        };
      },
    };
    const { exitCode, out } = await runAgainst(fake, ["evict"], { person });
    assert.equal(exitCode, 130);
    assert.match(out, /^evict cancelled/m);
    assert.equal(fake.jobs.list()[0]?.state, "cancelled");
    assert.ok(stopped);
  });

  test("Ctrl-C leaves one that cannot be told to stop", async () => {
    const barrier = createBarrier();
    const unheard = Promise.withResolvers<void>();
    const fake = await createAdministration({
      step: () => barrier.wait(),
      overrides: {
        jobs: {
          start: (...job) => fake.jobs.start(...job),
          get: (id) => fake.jobs.get(id),
          list: () => fake.jobs.list(),
          follow: (...follower) => fake.jobs.follow(...follower),
          cancel() {
            unheard.resolve();
            throw new Error("nobody hears");
          },
        },
      },
    });
    const person: Partial<Person> = {
      onInterrupt(listener) {
        void barrier.reached.then(listener);
        return () => undefined;
      },
    };
    const { exitCode } = await runAgainst(fake, ["evict"], { person });
    await unheard.promise;
    assert.equal(exitCode, 130);
    assert.equal(fake.jobs.list()[0]?.state, "running");
    barrier.release();
  });

  test("are listed, and followed by their id", async () => {
    const fake = await createAdministration({ step: work });
    assert.match((await runAgainst(fake, ["jobs"])).out, /^no job ran/);
    await runAgainst(fake, ["evict"]);
    const { out } = await runAgainst(fake, ["jobs"]);
    const id = /^evict-\w+/m.exec(out)?.[0] ?? assert.fail(out);
    assert.match((await runAgainst(fake, ["jobs", id])).out, /^evict succeeded/m);
    assert.deepEqual(await runAgainst(fake, ["jobs", "none"]), {
      exitCode: 1,
      out: "",
      err: 'entrepot: there is no job "none"\n',
    });
  });

  test("warm reads lists and images, platforms and parallel", async () => {
    const fake = await createAdministration();
    const files = { "images.txt": "# mine\nalpine:3\nquay.io/team/app # two\n" };
    const args = [
      "warm",
      "busybox",
      "images.txt",
      "--platform",
      "linux/amd64,linux/arm64",
      "--platform",
      "linux/s390x",
      "--parallel",
      "3",
    ];
    const { exitCode, err } = await runAgainst(fake, args, { files });
    assert.deepEqual([exitCode, err], [0, ""]);
    const [options] = fake.started;
    assert.ok(options !== undefined && "images" in options);
    assert.deepEqual(
      options.images.map(({ repository }) => repository),
      ["busybox", "alpine", "team/app"],
    );
    assert.deepEqual(
      options.platforms?.map(({ architecture }) => architecture),
      ["amd64", "arm64", "s390x"],
    );
    assert.equal(options.parallel, 3);
    const bad = await runAgainst(fake, ["warm", "./list"], { files: { "./list": "alpine\nA B\n" } });
    assert.equal(bad.exitCode, 2);
    assert.match(bad.err, /^entrepot: \.\/list:2: "A B": /);
    const none = await runAgainst(fake, ["warm", "./none"]);
    assert.deepEqual(
      [none.exitCode, none.err],
      [2, "entrepot: the list ./none cannot be read: there is no such file\n"],
    );
  });
});

test("steps that run side by side have a bar each; one that fails says why", () => {
  const screen = createScreen();
  const bars = createBars(screen);
  const step = { name: "a", title: "Pull a", state: "running", counts: {} } as const;
  const other = { ...step, name: "b", title: "Pull b" };
  const job: JobState = { id: "x", kind: "warm", dryRun: false, state: "running", startedAt: 0, steps: [step, other] };
  try {
    bars.show(job);
    assert.match(screen.text(), /Pull a.*\n.*Pull b/);
    bars.show({ ...job, steps: [{ ...step, state: "failed", durationMs: 5, error: "it is gone" }, other] });
  } finally {
    bars.stop();
  }
  assert.match(screen.text(), /Pull a: failed in 5 ms: it is gone\n.*Pull b/s);
});

test("a bar shows how far a step is, and goes when it has ended", () => {
  const screen = createScreen();
  const bars = createBars(screen);
  const step = { name: "a", title: "Read all", state: "running", counts: { examined: 1 } } as const;
  const job: JobState = { id: "x", kind: "verify", dryRun: true, state: "running", startedAt: 0, steps: [step] };
  try {
    bars.show(job);
    bars.show({
      ...job,
      steps: [
        { ...step, state: "done", durationMs: 1_500 },
        { ...step, title: "Next" },
      ],
    });
  } finally {
    bars.stop();
  }
  const seen = screen.text();
  assert.match(seen, /Read all: examined: 1/);
  assert.match(seen, /Read all: done in 1\.5 s \(examined: 1\)\n/);
  assert.match(seen, /Next: examined: 1/);
  // The cursor is shown again.
  assert.ok(seen.lastIndexOf("\u001b[?25h") > seen.lastIndexOf("\u001b[?25l"));
});

test("lines tell each quarter once", () => {
  const lines: string[] = [];
  const view = createLines((line) => lines.push(line));
  const step = { name: "a", title: "Read", state: "running", counts: {}, total: 8, unit: "objects" } as const;
  for (const done of [0, 1, 2, 3, 7, 7, 8]) {
    view.show({ id: "x", kind: "warm", dryRun: false, state: "running", startedAt: 0, steps: [{ ...step, done }] });
  }
  assert.deepEqual(lines, ["Read: 25% (2 of 8)\n", "Read: 87% (7 of 8)\n"]);
});

test("what a step names is written below it", () => {
  const lines: string[] = [];
  const step = {
    name: "tags",
    title: "Remove tags",
    state: "done",
    counts: { removed: 1 },
    notes: ["goes a", "stays b"],
  };
  const job = { id: "x", kind: "collect", dryRun: true, state: "running", startedAt: 0, steps: [step] } as const;
  createLines((line) => lines.push(line)).show(job as JobState);
  assert.deepEqual(lines, ["Remove tags: done (removed: 1)\n  goes a\n  stays b\n"]);
});

describe("--store", () => {
  test("works on the folder, and closes it", async () => {
    let closed = 0;
    const fake = await createAdministration({ step: work });
    const { exitCode, out } = await run(["verify", "--store", "--root", "/data"], {
      store: { fake, onClose: () => closed++ },
    });
    assert.equal(exitCode, 0);
    assert.match(out, /^The only step: done/m);
    assert.equal(closed, 1);
  });

  test("says why it cannot", async () => {
    const { exitCode, err } = await run(["verify", "--store"]);
    assert.deepEqual([exitCode, err], [1, "entrepot: the folder is in use\n"]);
    assert.equal((await run(["verify", "--store", "--server", "http://a"])).exitCode, 2);
  });

  test("an image that is none closes it, too", async () => {
    let closed = 0;
    const fake = await createAdministration();
    const { exitCode } = await run(["warm", "--store", "UPPER"], { store: { fake, onClose: () => closed++ } });
    assert.deepEqual([exitCode, closed], [2, 1]);
  });
});

describe("the server", () => {
  test("is the configuration's admin_listen, with its token", async () => {
    await using folder = await createTemporaryDirectory();
    const path = `${folder.path}/admin.sock`;
    const token = "0123456789abcdef";
    await using _server = await serveAdministration(await createAdministration(), { address: { path }, token });
    const files = { "c.yaml": `admin_listen: unix:${path}\nadmin_token: ${token}` };
    const { exitCode, err } = await run(["ls", "--config", "c.yaml"], { files });
    assert.deepEqual([exitCode, err], [0, ""]);
    const without = await run(["ls", "--server", `unix:${path}`]);
    assert.equal(without.exitCode, 1);
    assert.match(without.err, /needs its token: .*--admin-token-file/);
    const tokenFile = { files: { "/token": `${token}\n` } };
    assert.equal(
      (await run(["ls", "--server", `unix:${path}`, "--admin-token-file", "/token"], tokenFile)).exitCode,
      0,
    );
  });

  test("that is not known, not there, or no mirror's", async () => {
    const unknown = await run(["ls"]);
    assert.equal(unknown.exitCode, 2);
    assert.match(unknown.err, /admin_listen .*--server/);
    const absent = await run(["du", "--server", "unix:/none/admin.sock"]);
    assert.equal(absent.exitCode, 1);
    assert.match(absent.err, /^entrepot: no mirror answers at unix:\/none\/admin\.sock \(ENOENT\): .*admin_listen/);
    for (const server of ["127.0.0.1:1", "ftp://a", "unix:", "http://user:secret@a", "http://a/b", "http://a?b=1"]) {
      const { exitCode, err } = await run(["ls", "--server", server]);
      assert.equal(exitCode, 2, server);
      assert.ok(!err.includes("secret"));
    }
    await using server = await serveAdministration(undefined);
    const { exitCode, err } = await run(["ls", "--server", server.address]);
    assert.equal(exitCode, 1);
    assert.match(err, /not served here; admin_listen/);
  });

  test("that is something else, or stops in the middle, is told without a stack", async () => {
    const bodies: Readonly<Record<string, string>> = { "/html": "<html>", "/other": '{"items": 5}' };
    for (const [name, expected] of [
      ["/html", /answers, but not as the administration of a mirror does/],
      ["/other", /answers, but not as the administration of a mirror does/],
      ["/cut", /the connection to .* broke/],
    ] as const) {
      const foreign = createServer((_, response) => {
        response.writeHead(200, {
          "Content-Type": "application/json",
          ...(name === "/cut" && { "Content-Length": 9 }),
        });
        if (name === "/cut") response.write("{", () => response.destroy());
        else response.end(bodies[name]);
      }).listen(0, "127.0.0.1");
      await once(foreign, "listening");
      const { port } = foreign.address() as AddressInfo;
      const { exitCode, err } = await run(["ls", "--server", `http://127.0.0.1:${port}`]);
      foreign.close();
      assert.equal(exitCode, 1);
      assert.match(err, expected);
      assert.equal(err.split("\n").length, 2);
    }
  });

  test("a token's file that holds none", async () => {
    const files = { "/short": "abc" };
    const { exitCode, err } = await run(["ls", "--server", "http://a", "--admin-token-file", "/short"], { files });
    assert.equal(exitCode, 2);
    assert.match(err, /^entrepot: the token's file \/short holds no token: it must be at least 16/);
  });

  test("a token's file that is not there", async () => {
    const { exitCode, err } = await run(["ls", "--server", "http://a", "--admin-token-file", "/none"]);
    assert.deepEqual([exitCode, err], [2, "entrepot: the token's file /none cannot be read (ENOENT)\n"]);
  });
});
