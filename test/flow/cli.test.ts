/*
 * The real program as a child process: exit codes, what it prints, signals.
 */
import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { readdir, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, test } from "node:test";
import { until } from "../support/event-loop.ts";
import { FakeS3 } from "../support/fake-s3.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";

const root = join(import.meta.dirname, "../..");
const main = join(root, "src/main.ts");

interface Ended {
  readonly exitCode: number | null;
  readonly out: string;
  readonly err: string;
}

/** The program, running. It is killed when it goes out of scope. */
class Program implements AsyncDisposable {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly ended: Promise<Ended>;
  #out = "";
  #err = "";

  constructor(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.#child = spawn(process.execPath, [main, ...args], { env });
    this.#child.stdout.setEncoding("utf8").on("data", (text: string) => (this.#out += text));
    this.#child.stderr.setEncoding("utf8").on("data", (text: string) => (this.#err += text));
    this.ended = once(this.#child, "close").then(([exitCode]) => {
      return { exitCode: exitCode as number | null, out: this.#out, err: this.#err };
    });
  }

  /** The first log line with this message. */
  async logged(message: string): Promise<Record<string, unknown>> {
    for (;;) {
      const lines = this.#out.split("\n").slice(0, -1);
      const found = lines.map((line) => JSON.parse(line) as Record<string, unknown>).find(({ msg }) => msg === message);
      if (found !== undefined) {
        return found;
      }
      const more = once(this.#child.stdout, "data").then(() => undefined);
      const end = await Promise.race([more, this.ended]);
      assert.equal(end, undefined, `it ended before it logged "${message}": ${this.#out}${this.#err}`);
    }
  }

  /** The first address that it listens at. */
  async address(): Promise<string> {
    const { addresses } = await this.logged("listening");
    return (addresses as string[])[0] ?? assert.fail("no address");
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.ended;
  }
}

function run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  return new Program(args, env).ended;
}

/** The status of a GET, with the body read. */
async function get(options: { readonly url: string } | { readonly socketPath: string }, path: string): Promise<number> {
  const asked = "url" in options ? request(`${options.url}${path}`) : request({ ...options, path });
  asked.end();
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  for await (const _ of response) {
    // Read to the end, so that a body that is cut fails here.
  }
  return response.statusCode ?? 0;
}

describe("commands that end by themselves", () => {
  test("check prints example.yaml resolved, without a word on standard error", async () => {
    const { exitCode, out, err } = await run(["check", "--config", join(root, "example.yaml")]);
    assert.deepEqual([exitCode, err], [0, ""]);
    assert.match(out, /^ {2}- namespace: registry\.k8s\.io$/m);
  });

  test("check takes the environment, and hides secrets", async () => {
    const { exitCode, out } = await run(["check"], {
      LISTEN: "0.0.0.0:80",
      UPSTREAM_CREDENTIALS: '{"docker.io": {"username": "the-user", "password": "hunter2"}}',
    });
    assert.equal(exitCode, 0);
    assert.match(out, /^listen: 0\.0\.0\.0:80$/m);
    assert.doesNotMatch(out, /the-user|hunter2/);
  });

  test("version is package.json's", async () => {
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
    assert.deepEqual(await run(["version"]), { exitCode: 0, out: `entrepot ${version}\n`, err: "" });
  });

  test("help is on standard output", async () => {
    const { exitCode, out, err } = await run(["--help"]);
    assert.deepEqual([exitCode, err], [0, ""]);
    assert.match(out, /^Usage: entrepot /);
  });

  test("a bad file: a line a problem, exit code 2, nothing on standard output, no stack", async () => {
    await using folder = await createTemporaryDirectory();
    const file = join(folder.path, "c.yaml");
    await writeFile(file, "listn: x\nshutdown_timeout: 5\n");
    for (const args of [["check"], [], ["filesystem", "--root", folder.path]]) {
      assert.deepEqual(await run([...args, "--config", file]), {
        exitCode: 2,
        out: "",
        err:
          `entrepot: ${file}:1: listn: unknown key; did you mean "listen"?\n` +
          `entrepot: ${file}:2: shutdown_timeout: a duration needs a unit: write "5s" for seconds (10s, 15m, 14d)\n`,
      });
    }
  });

  test("files that cannot be read", async () => {
    await using folder = await createTemporaryDirectory();
    const { exitCode, out, err } = await run([
      "--config",
      folder.path,
      "--upstream-config-file",
      `${folder.path}/none`,
    ]);
    assert.deepEqual([exitCode, out], [2, ""]);
    assert.equal(
      err,
      `entrepot: --config: ${folder.path} cannot be read: it is a folder\n` +
        `entrepot: --upstream-config-file: ${folder.path}/none cannot be read: there is no such file\n`,
    );
  });

  test("verify --store makes no storage where there is none", async () => {
    await using folder = await createTemporaryDirectory();
    const none = join(folder.path, "none");
    const { exitCode, out, err } = await run(["verify", "--store", "--root", none]);
    assert.deepEqual([exitCode, out], [2, ""]);
    assert.equal(err, `entrepot: ${none} is no storage of entrepot: it has no file "format"\n`);
    assert.equal((await run(["verify", "--store", "--root", folder.path])).exitCode, 2);
    assert.deepEqual(await readdir(folder.path), []);
  });

  test("verify --store --json writes nothing else", async () => {
    await using folder = await createTemporaryDirectory();
    await writeFile(join(folder.path, "format"), "entrepot 1\n");
    const { exitCode, out, err } = await run(["verify", "--store", "--root", folder.path, "--json"]);
    assert.deepEqual([exitCode, err], [0, ""]);
    const states = out.trimEnd().split("\n");
    for (const line of states) assert.equal((JSON.parse(line) as { kind: string }).kind, "verify");
  });

  test("standard output that is full or closed is told in a line, or not at all", async () => {
    const full = openSync("/dev/full", "w");
    try {
      const child = spawn(process.execPath, [main, "version"], { stdio: ["ignore", full, "pipe"] });
      const stderr = child.stderr ?? assert.fail("no pipe");
      const [err, [exitCode]] = await Promise.all([text(stderr), once(child, "close")]);
      assert.equal(exitCode, 1);
      assert.match(err, /^entrepot: cannot write to standard output: ENOSPC[^\n]*\n$/);
    } finally {
      closeSync(full);
    }
    const child = spawn(process.execPath, [main, "version"], { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.destroy();
    const [err, [exitCode]] = await Promise.all([text(child.stderr), once(child, "close")]);
    assert.deepEqual([exitCode, err], [141, ""]);
  });

  test("s3 without a usable bucket: a line, exit code 2", async () => {
    const { exitCode, out, err } = await run(["--listen", "127.0.0.1:0", "s3", "--host", "http://127.0.0.1:1"]);
    assert.deepEqual([exitCode, out], [2, ""]);
    assert.match(err, /^entrepot: storage\.s3\.bucket: is required: [^\n]*\n$/);
  });
});

describe("serving", () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(`answers, and ends with 0 on ${signal}`, async () => {
      await using folder = await createTemporaryDirectory();
      await using program = new Program(["--listen", "127.0.0.1:0", "filesystem", "--root", folder.path]);
      assert.equal(await get({ url: await program.address() }, "/v2/"), 200);
      program.signal(signal);
      const { exitCode, err } = await program.ended;
      assert.deepEqual([exitCode, err], [0, ""]);
      assert.equal((await program.logged("stopping"))["signal"], signal);
    });
  }

  const secretKey = "a secret that is nowhere else";
  const sources: [name: string, env: Record<string, string>][] = [
    ["the earlier system's variables", { S3_ACCESS_KEY: "access", S3_SECRET_KEY: secretKey }],
    ["AWS's own chain", { AWS_ACCESS_KEY_ID: "access", AWS_SECRET_ACCESS_KEY: secretKey }],
  ];
  for (const [name, env] of sources) {
    test(`with a bucket behind the folder, whose keys come from ${name}`, async () => {
      await using folder = await createTemporaryDirectory();
      await using s3 = await FakeS3.start();
      const bucket = ["s3", "--root", folder.path, "--host", s3.endpoint, "--bucket", s3.bucketName, "--prefix", "a/b"];
      await using program = new Program(["--listen", "127.0.0.1:0", ...bucket], env);
      assert.equal(await get({ url: await program.address() }, "/readyz"), 200);
      await program.logged("the bucket can be used");
      program.signal("SIGTERM");
      const { exitCode, out, err } = await program.ended;
      assert.deepEqual([exitCode, err], [0, ""]);
      assert.ok(!out.includes(secretKey));
      assert.ok(s3.asked.every(({ key }) => key === "" || key.startsWith("a/b/")));
    });
  }

  test("with a bucket that is named by the variables of the programs that people come from, and nothing else", async () => {
    await using s3 = await FakeS3.start();
    s3.keys = [{ accessKeyId: "id", secretAccessKey: "a key" }];
    const { endpoint, bucketName } = s3;
    for (const env of [
      { S3_HOST: endpoint, S3_BUCKET: bucketName, S3_ACCESS_KEY: "id", S3_SECRET_KEY: "a key" },
      {
        S3_ENDPOINT: new URL(endpoint).host,
        S3_BUCKET_NAME: bucketName,
        S3_ACCESS_KEY_ID: "id",
        S3_SECRET_ACCESS_KEY: "a key",
        S3_USE_SSL: "false",
        S3_PATH_STYLE: "true",
      },
    ]) {
      await using folder = await createTemporaryDirectory();
      const storage = { FILESYSTEM_ROOT: join(folder.path, "r"), S3_REGION: "a-region" };
      await using program = new Program(["--listen", "127.0.0.1:0", "s3"], { ...env, ...storage });
      await program.logged("the bucket can be used");
      const signed = s3.asked.splice(0).map(({ headers }) => String(headers["authorization"]));
      assert.ok(signed.length > 0 && signed.every((each) => /Credential=id\/\d+\/a-region\/s3\//.test(each)));
    }
  });

  test("on a Unix socket, with a second address for administration", async () => {
    await using folder = await createTemporaryDirectory();
    const socketPath = join(folder.path, "s");
    const env = { LISTEN: `unix:${socketPath}`, ADMIN_LISTEN: "127.0.0.1:0", FILESYSTEM_ROOT: join(folder.path, "r") };
    await using program = new Program([], env);
    const { addresses } = await program.logged("listening");
    const [, admin = ""] = addresses as string[];
    assert.equal(await get({ socketPath }, "/v2/"), 200);
    assert.equal(await get({ socketPath }, "/metrics"), 404);
    assert.equal(await get({ url: admin }, "/metrics"), 200);
  });

  test("a port or a folder that another process has: one line, exit code 1", async () => {
    await using folder = await createTemporaryDirectory();
    const taken = join(folder.path, "taken");
    await using program = new Program(["--listen", "127.0.0.1:0", "filesystem", "--root", taken]);
    const { host } = new URL(await program.address());
    const free = join(folder.path, "free");
    const port = await run(["--listen", host, "filesystem", "--root", free]);
    const err = `entrepot: cannot listen at ${host}: another program listens there (EADDRINUSE)\n`;
    assert.deepEqual(port, { exitCode: 1, out: "", err });
    const root = await run(["--listen", "127.0.0.1:0", "filesystem", "--root", taken]);
    assert.deepEqual([root.exitCode, root.out], [1, ""]);
    assert.match(root.err, /^entrepot: [^\n]*taken is in use by another process[^\n]*\n$/);
  });
});

describe("a signal while an upstream keeps a client waiting", () => {
  /** A mirror of a registry that has got a request and does not answer yet. */
  async function setScene(folder: string) {
    const arrived = Promise.withResolvers<ServerResponse>();
    const upstream = createServer((_, response) => arrived.resolve(response)).listen(0, "127.0.0.1");
    await once(upstream, "listening");
    const { port } = upstream.address() as AddressInfo;
    const file = join(folder, "c.yaml");
    await writeFile(file, `- {namespace: docker.io, host: "127.0.0.1:${port}", tls: false}`);
    const program = new Program([
      "--config",
      file,
      "--listen",
      "127.0.0.1:0",
      "filesystem",
      "--root",
      join(folder, "r"),
    ]);
    const asked = get({ url: await program.address() }, "/v2/library/a/manifests/latest");
    // Where the program is ended on purpose, nobody waits for this.
    asked.catch(() => {});
    const held = await arrived.promise;
    return {
      program,
      asked,
      held,
      async [Symbol.asyncDispose]() {
        await program[Symbol.asyncDispose]();
        upstream.closeAllConnections();
        upstream.close();
      },
    };
  }

  test("the client still gets its answer, then 0", async () => {
    await using folder = await createTemporaryDirectory();
    await using scene = await setScene(folder.path);
    scene.program.signal("SIGTERM");
    await scene.program.logged("stopping");
    const type = "application/vnd.oci.image.index.v1+json";
    scene.held.setHeader("content-type", type);
    scene.held.end(JSON.stringify({ schemaVersion: 2, mediaType: type, manifests: [] }));
    assert.equal(await scene.asked, 200);
    assert.equal((await scene.program.ended).exitCode, 0);
  });

  test("a signal that comes again ends it, 1", async () => {
    await using folder = await createTemporaryDirectory();
    await using scene = await setScene(folder.path);
    scene.program.signal("SIGTERM");
    await scene.program.logged("stopping");
    let hasEnded = false;
    const ended = scene.program.ended.finally(() => (hasEnded = true));
    // One that comes at once is the first one still.
    await until(() => {
      scene.program.signal("SIGTERM");
      return hasEnded;
    });
    assert.equal((await ended).exitCode, 1);
    await assert.rejects(scene.asked);
  });
});
