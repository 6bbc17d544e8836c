import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { runCommandLine } from "../../../src/cli/program.ts";
import { options } from "../../../src/config/options.ts";
import type { Config } from "../../../src/config/file-schema.ts";

interface Outcome {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
  /** The configuration that would have been served. */
  readonly served: Config | undefined;
}

/** Runs a command line with nothing real behind it. */
async function run(
  args: string[],
  env: Record<string, string> = {},
  files: Record<string, string> = {},
): Promise<Outcome> {
  let out = "";
  let err = "";
  let served: Config | undefined;
  const terminal = {
    env,
    readFile: (path: string): Buffer => {
      const content = files[path];
      if (content === undefined) {
        throw Object.assign(new Error("none"), { code: "ENOENT" });
      }
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
    serve: async (config: Config): Promise<number> => {
      served = config;
      return 7;
    },
    openStore: () => assert.fail("no store is opened here"),
    stopSignal: () => assert.fail("nothing stays here"),
  };
  const person = { screen: undefined, ask: undefined, onInterrupt: () => () => undefined };
  const exitCode = await runCommandLine(args, terminal, "1.2.3", actions, person);
  return { exitCode, out, err, served };
}

describe("serving", () => {
  const cases: [name: string, args: string[], root: string, port: number][] = [
    ["without anything", [], "./data", 8080],
    ["flags only", ["--listen", "a:1"], "./data", 1],
    ["flag=value", ["--listen=a:1"], "./data", 1],
    ["the predecessor's order", ["--listen", "a:1", "filesystem", "--root", "/d"], "/d", 1],
    ["flags behind the command", ["filesystem", "--root", "/d", "--listen", "a:1"], "/d", 1],
    ["filesystem without root", ["filesystem"], "./data", 8080],
    ["limits without a command", ["--max-size", "10GiB", "--min-free=1%", "--max-object-size", "none"], "./data", 8080],
    ["a switch before the command", ["--check-cache-digest", "filesystem", "--root", "/d"], "/d", 8080],
  ];
  for (const [name, args, root, port] of cases) {
    test(name, async () => {
      const { exitCode, out, err, served } = await run(args);
      assert.deepEqual([exitCode, out, err], [7, "", ""]);
      assert.equal(served?.storage.root, root);
      assert.equal(served?.listen.kind === "tcp" && served.listen.port, port);
      assert.equal(served?.checkCacheDigest, args.includes("--check-cache-digest"));
    });
  }

  test("every flag arrives, and beats its variable", async () => {
    const flags: Record<string, [flag: string, env: string]> = {
      config: ["c.yaml", "wrong"],
      listen: ["a:1", "b:2"],
      adminListen: ["a:11", "b:2"],
      defaultNamespace: ["a.io", "b.io"],
      defaultUpstreamNamespace: ["aa.io", "b.io"],
      upstreamConfigFile: ["u.yaml", "wrong"],
      upstreamCredentials: ['{"c.io": {"username": "u", "password": "p"}}', "wrong"],
      adminTokenFile: ["/a/token", "/b/token"],
      maxSize: ["10GiB", "wrong"],
      minFree: ["1GiB", "wrong"],
      maxObjectSize: ["1MiB", "wrong"],
      logLevel: ["trace", "wrong"],
      logFormat: ["pretty", "wrong"],
      root: ["/a", "/b"],
    };
    const args: string[] = ["filesystem", "--check-cache-digest"];
    const env: Record<string, string> = { CHECK_CACHE_DIGEST: "0" };
    const others = options.filter(({ name, commands }) => name !== "checkCacheDigest" && commands[0] !== "s3");
    for (const option of others) {
      const [flag, variable] = flags[option.name] ?? assert.fail(option.name);
      args.push(option.flag.replace(/ .*/, ""), flag);
      env[option.env] = variable;
    }
    const files = { "c.yaml": "shutdown_timeout: 1s", "u.yaml": "- {namespace: x.io, host: x.io}" };
    const { err, served } = await run(args, env, files);
    assert.equal(err, "");
    assert.ok(served !== undefined);
    assert.deepEqual(served.listen, { kind: "tcp", host: "a", port: 1 });
    assert.deepEqual(served.adminListen, { kind: "tcp", host: "a", port: 11 });
    assert.equal(served.defaultNamespace, "a.io");
    assert.equal(served.defaultUpstreamNamespace, "aa.io");
    assert.equal(served.checkCacheDigest, true);
    assert.equal(served.storage.root, "/a");
    assert.equal(served.adminTokenFile, "/a/token");
    assert.deepEqual(served.storage.maxSize, { kind: "bytes", bytes: 10 * 1024 ** 3 });
    assert.deepEqual(served.storage.minFree, { kind: "bytes", bytes: 1024 ** 3 });
    assert.equal(served.storage.maxObjectBytes, 1024 ** 2);
    assert.equal(served.shutdownTimeoutMs, 1_000);
    assert.deepEqual(served.log, { level: "trace", format: "pretty" });
    assert.deepEqual(
      served.upstreams.map(({ namespace, accounts }) => [namespace, accounts]),
      [
        ["docker.io", []],
        ["x.io", []],
        ["c.io", [{ kind: "password", username: "u", password: "p" }]],
      ],
    );
  });
});

describe("the command s3", () => {
  const bucket = {
    bucket: "cache",
    endpoint: "https://s3.example.com:9000",
    region: "eu-central-1",
    prefix: "team/one",
    forcePathStyle: true,
    accessKey: "id",
    secretKey: "$${hunter2}",
  };

  test("takes the earlier system's flags, which beat its variables", async () => {
    const flags = ["s3", "--root", "/d", "--host", bucket.endpoint, "--bucket", "cache", "--region", "eu-central-1"];
    const keys = ["--prefix", "team/one", "--path-style", "--access-key", "id", "--secret-key", bucket.secretKey];
    const env = {
      FILESYSTEM_ROOT: "/other",
      S3_HOST: "wrong",
      S3_BUCKET: "WRONG",
      S3_REGION: "not a region",
      S3_PREFIX: "/",
      S3_PATH_STYLE: "0",
      S3_ACCESS_KEY: "other",
      S3_SECRET_KEY: "other",
    };
    const { err, served } = await run([...flags, ...keys], env);
    assert.equal(err, "");
    assert.deepEqual([served?.storage.type, served?.storage.root], ["s3", "/d"]);
    assert.deepEqual({ ...served?.storage.s3, ...bucket }, served?.storage.s3);
  });

  test("takes variables alone, beats the file's type, and leaves the file's other keys", async () => {
    const files = { "c.yaml": "storage: {root: /hot, type: filesystem, s3: {bucket: other, max_sockets: 7}}" };
    const { err, served } = await run(["--config", "c.yaml", "s3"], { S3_BUCKET: "cache" }, files);
    assert.equal(err, "");
    const { type, root, s3 } = served?.storage ?? assert.fail();
    assert.deepEqual([type, root, s3?.bucket, s3?.maxSockets], ["s3", "/hot", "cache", 7]);
  });

  test("check prints what it comes to, and no key", async () => {
    const env = { S3_BUCKET: "cache", S3_ACCESS_KEY: "hunter1", S3_SECRET_KEY: "hunter2" };
    const { exitCode, out, err } = await run(["check", "s3", "--root", "/d"], env);
    assert.deepEqual([exitCode, err], [0, ""]);
    assert.match(out, /^ {2}type: s3\n {2}root: \/d$/m);
    assert.match(out, /^ {2}s3:\n {4}bucket: cache\n {4}endpoint: null$/m);
    assert.match(out, /^ {4}access_key: "\[hidden\]"\n {4}secret_key: "\[hidden\]"\n {4}session_token: null$/m);
    assert.doesNotMatch(out, /hunter/);
  });

  test("the command filesystem beats a file that says s3, whose bucket is not forgotten silently", async () => {
    const files = { "c.yaml": "storage:\n  type: s3\n  s3: {bucket: cache}" };
    const { exitCode, err } = await run(["--config", "c.yaml", "filesystem"], {}, files);
    assert.equal(exitCode, 2);
    assert.match(
      err,
      /^entrepot: c\.yaml:3: storage\.s3: needs `type: s3`, or the command `s3`; else there is no bucket\n$/,
    );
  });
});

describe("check", () => {
  const orders: string[][] = [
    ["--config", "c.yaml", "check", "filesystem", "--root", "/d"],
    ["check", "--config", "c.yaml", "filesystem", "--root", "/d"],
    ["check", "filesystem", "--root", "/d", "--config", "c.yaml"],
  ];
  for (const args of orders) {
    test(`${args.join(" ")} prints and does not serve`, async () => {
      const { exitCode, out, err, served } = await run(args, {}, { "c.yaml": "listen: 'a:1'" });
      assert.deepEqual([exitCode, err, served], [0, "", undefined]);
      assert.match(out, /^listen: a:1$/m);
      assert.match(out, /^ {2}root: \/d$/m);
    });
  }
});

describe("version", () => {
  for (const args of [["version"], ["--version"], ["-V"]]) {
    test(args.join(" "), async () => {
      assert.deepEqual(await run(args), { exitCode: 0, out: "entrepot 1.2.3\n", err: "", served: undefined });
    });
  }
});

describe("help", () => {
  const commands = [[], ["filesystem"], ["check"], ["check", "filesystem"], ["s3"], ["check", "s3"], ["version"]];
  for (const command of commands) {
    for (const flag of ["-h", "--help"]) {
      test(`${[...command, flag].join(" ")} has every flag with variable and default`, async () => {
        const { exitCode, out, err } = await run([...command, flag]);
        assert.deepEqual([exitCode, err], [0, ""]);
        const text = out.replaceAll(/\s+/g, " ");
        for (const option of options) {
          if (option.commands.length === 0 || option.commands.some((name) => name === command.at(-1))) {
            const fallback = option.fallback === undefined ? "" : ` [default: ${option.fallback}]`;
            assert.ok(
              text.includes(`${option.flag} ${option.description} [env: ${option.env}]${fallback}`),
              option.flag,
            );
          }
        }
      });
    }
  }

  test("names the commands", async () => {
    const { out } = await run(["--help"]);
    for (const name of ["filesystem", "s3", "check", "version", "help"]) {
      assert.match(out, new RegExp(`^  ${name} `, "m"));
    }
  });
});

describe("what is asked for wrongly: one line, exit code 2, nothing on standard output", () => {
  const cases: [args: string[], err: RegExp][] = [
    [["--lisen", "a:1"], /^entrepot: unknown option '--lisen'\n\(Did you mean --listen\?\)\n$/],
    [["--listen"], /^entrepot: option '--listen <address>' argument missing\n$/],
    [["--listen", "x"], /^entrepot: --listen: expected host:port.*\n$/],
    [
      ["chek"],
      /^entrepot: unknown command "chek"; the commands are filesystem, s3, check, version, ls, du, purge, pin, unpin, status, health, evict, collect, retain, verify, warm, jobs, node, layouts, adopt, nginx, push\n$/,
    ],
    [["check", "foo"], /^entrepot: unknown command "foo"; the commands are filesystem, s3\n$/],
    [["filesystem", "foo"], /^entrepot: unexpected word "foo" after filesystem\n$/],
    [
      ["s3"],
      /^entrepot: storage\.s3\.bucket: is required: name the bucket here, by `s3 --bucket NAME` or by S3_BUCKET\n$/,
    ],
    [
      ["s3", "--bucket", "cache", "--secret-key", "hunter2"],
      /^entrepot: --secret-key: needs an access_key with it; without both, AWS's default chain is used\n$/,
    ],
    [
      ["check", "s3", "--bucket", "cache", "--host", "s3.example.com"],
      /^entrepot: --host: needs a scheme: write https:\/\/s3\.example\.com, or http:\/\/ where the server has no TLS\n$/,
    ],
    [["s3", "foo"], /^entrepot: unexpected word "foo" after s3\n$/],
    [["filesystem", "--bucket", "cache"], /^entrepot: unknown option '--bucket'\n$/],
    [["--bucket", "cache"], /^entrepot: unknown option '--bucket'\n$/],
    [["check", "--config", "none.yaml"], /^entrepot: --config: none\.yaml cannot be read: there is no such file\n$/],
    [["--config", "bad.yaml"], /^entrepot: bad\.yaml:1: a: unknown key\nentrepot: bad\.yaml:2: log\.b: unknown key\n$/],
  ];
  for (const [args, expected] of cases) {
    test(args.join(" "), async () => {
      const { exitCode, out, err, served } = await run(
        args,
        {},
        { "bad.yaml": "aaaa: 1\nlog: {bbbb: 2}".replaceAll(/(.)\1+/g, "$1") },
      );
      assert.deepEqual([exitCode, out, served], [2, "", undefined]);
      assert.match(err, expected);
    });
  }

  test("credentials that a shell took apart are not repeated", async () => {
    for (const args of [
      ["--upstream-credentials", '{"docker.io":', '{"username":', '"u",', '"password":', "hunter2}}"],
      ["--upstream-credentials", '{"docker.io":{"username":"u","password":', "hunter2}}"],
      ["filesystem", "--upstream-credentials", "{", "hunter2}"],
      ["--password=hunter2"],
    ]) {
      const { exitCode, out, err } = await run(args);
      assert.equal(exitCode, 2);
      assert.ok(!`${out}${err}`.includes("hunter2"), err);
    }
  });
});
