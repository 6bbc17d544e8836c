import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type Given, load, loadFile, problemsOf } from "./loading.ts";

/** One upstream as a list of lines, with more lines behind it. */
function upstreamWith(...lines: string[]): string {
  return ["upstreams:", "  - namespace: quay.io", "    host: quay.io", ...lines.map((line) => `    ${line}`)].join(
    "\n",
  );
}

describe("what is wrong in a file is said with file, line and key", () => {
  const cases: [string, string, string | RegExp][] = [
    ["a misspelt key", "log:\n  levle: info", 'c.yaml:2: log.levle: unknown key; did you mean "level"?'],
    ["a key in another case", "checkCacheDigest: true", /^c\.yaml:1: checkCacheDigest: .*"check_cache_digest"\?$/],
    ["an unknown key", "frobnicate: 1", "c.yaml:1: frobnicate: unknown key"],
    ["a key called __proto__", "__proto__: 1", /^c\.yaml:1: __proto__: unknown key/],
    [
      "a misspelt key of an upstream",
      upstreamWith("", "usernme: x"),
      /^c\.yaml:5: upstreams\[0\]\.usernme: .*"username"\?$/,
    ],
    ["a misspelt default", "upstream_defaults:\n  retry: 1", /^c\.yaml:2: upstream_defaults\.retry: .*"retries"\?$/],
    ["no boolean", upstreamWith("tls: 'yes'"), 'c.yaml:4: upstreams[0].tls: expected true or false, got "yes"'],
    ["a YAML 1.1 boolean", upstreamWith("tls: yes"), 'c.yaml:4: upstreams[0].tls: expected true or false, got "yes"'],
    ["no text", "listen: 8080", "c.yaml:1: listen: expected text, got 8080"],
    ["no list", "upstreams: {a: 1}", "c.yaml:1: upstreams: expected a list, got a mapping"],
    ["nothing where a list is meant", "\nupstreams:", "c.yaml:2: upstreams: expected a list, got nothing"],
    ["no mapping", "log: info", "c.yaml:1: log: expected a mapping, got text"],
    ["a text for a file", "hello", "c.yaml:1: expected a mapping, got text"],
    [
      "no whole number",
      upstreamWith("retries: 1.5"),
      "c.yaml:4: upstreams[0].retries: expected a whole number, got 1.5",
    ],
    [
      "too small a number",
      upstreamWith("max_connections: 0"),
      /^c\.yaml:4: upstreams\[0\]\.max_connections: must be at least 1, got 0$/,
    ],
    ["too large a number", upstreamWith("retries: 101"), /retries: must be at most 100, got 101$/],
    [
      "a duration without unit",
      upstreamWith("idle_timeout: 10"),
      /^c\.yaml:4: upstreams\[0\]\.idle_timeout: .*write "10s"/,
    ],
    ["the same in quotes", upstreamWith("stale_if_error: '10'"), /stale_if_error: .*write "10s"/],
    ["a number of seconds to remember", upstreamWith("negative_ttl: 5"), /negative_ttl: .*write "5s"/],
    ["the same for stale tags", upstreamWith("stale_while_revalidate: 5"), /stale_while_revalidate: .*write "5s"/],
    [
      "a share without percent sign",
      upstreamWith("rate_limit_reserve: 0.1"),
      'c.yaml:4: upstreams[0].rate_limit_reserve: a share needs a percent sign: write "10%"',
    ],
    [
      "a share of more than all",
      upstreamWith("rate_limit_reserve: 101%"),
      /rate_limit_reserve: expected a share from 0% to 100%, such as "10%", got "101%"$/,
    ],
    ["keep_deleted as text", upstreamWith("keep_deleted: 'no'"), /keep_deleted: expected true or false, got "no"$/],
    ["an unknown unit", "shutdown_timeout: 5 parsecs", /^c\.yaml:1: shutdown_timeout: unknown unit of time "parsecs"/],
    ["a timeout of nothing", upstreamWith("connect_timeout: 0s"), /connect_timeout: must be longer than 0s/],
    ["a timeout that no timer can count", "shutdown_timeout: 25d", /shutdown_timeout: must be at most 24d, got "25d"$/],
    [
      "a host with scheme",
      "- {namespace: a.io, host: 'http://a.io/v2'}",
      "c.yaml:1: upstreams[0].host: a host has no scheme: write `host: a.io` and `tls: false`",
    ],
    ["no host", "- namespace: quay.io", "c.yaml:1: upstreams[0].host: is required"],
    ["no namespace", "\n- host: quay.io", "c.yaml:2: upstreams[0].namespace: is required"],
    [
      "a URL for a namespace",
      "- {namespace: 'https://a.io', host: a.io}",
      /upstreams\[0\]\.namespace: expected a registry's name/,
    ],
    [
      "a namespace twice",
      upstreamWith("- namespace: quay.io", "  host: b.io").replace("    - n", "  - n").replace("      h", "    h"),
      "c.yaml:4: upstreams[1].namespace: quay.io is listed already, as upstreams[0]",
    ],
    [
      "two names of Docker Hub",
      "- {namespace: docker.io, host: a.io}\n- {namespace: index.docker.io, host: b.io}",
      "c.yaml:2: upstreams[1].namespace: docker.io is listed already, as upstreams[0]",
    ],
    [
      "a server name twice",
      "- {namespace: a.io, host: a.io, server_names: [m.example.com]}\n- {namespace: b.io, host: b.io, server_names: [x.example.com, M.example.com]}",
      "c.yaml:2: upstreams[1].server_names[1]: m.example.com stands for a.io already",
    ],
    [
      "a server name with port",
      upstreamWith("server_names: ['m.example.com:80']"),
      /server_names\[0\]: expected a host name without port/,
    ],
    [
      "a user name alone",
      upstreamWith("username: bob"),
      "c.yaml:4: upstreams[0].username: needs a password or password_file with it",
    ],
    ["a password alone", upstreamWith("password: x"), "c.yaml:4: upstreams[0].password: needs a username with it"],
    [
      "a user name with colon",
      upstreamWith("username: 'a:b'", "password: x"),
      /username: must not be empty, nor hold a colon/,
    ],
    ["an empty password", upstreamWith("username: a", "password: ''"), /password: must not be empty/],
    ["a User-Agent that would break the header", upstreamWith('user_agent: "a\\nb"'), /user_agent: must be printable/],
    [
      "an unknown level",
      "log: {level: verbose}",
      /^c\.yaml:1: log\.level: expected one of trace, debug, .*, got "verbose"$/,
    ],
    ["a misspelt level", "log: {level: inof}", /got "inof"; did you mean "info"\?$/],
    [
      "another kind of storage",
      "storage:\n  type: s4\n",
      'c.yaml:2: storage.type: expected one of filesystem, s3, got "s4"; did you mean "s3"?',
    ],
    [
      "an unknown storage",
      "storage: {type: tape}",
      'c.yaml:1: storage.type: expected one of filesystem, s3, got "tape"',
    ],
    ["an empty root", "storage: {root: ''}", /^c\.yaml:1: storage\.root: expected a folder's path/],
    [
      "a size without unit",
      "storage: {max_size: 500}",
      'c.yaml:1: storage.max_size: needs a unit or a percent sign, as in "50GiB" or "90%"',
    ],
    [
      "the same in quotes",
      "storage: {min_free: '0'}",
      'c.yaml:1: storage.min_free: needs a unit or a percent sign, as in "50GiB" or "90%"',
    ],
    ["an unknown unit of size", upstreamWith("max_size: 5 GB/s"), /upstreams\[0\]\.max_size: expected a size such as/],
    ["a namespace's size without unit", upstreamWith("max_size: 5"), /upstreams\[0\]\.max_size: a size needs a unit/],
    ["an object's size without unit", "storage: {max_object_size: '5'}", /max_object_size: a size needs a unit/],
    ["a size of nothing", "storage: {max_size: 0%}", /storage\.max_size: must be more than nothing, or "none" for no/],
    ["an object's of nothing", "storage: {max_object_size: 0B}", /max_object_size: must be more than nothing/],
    ["a share of more than the volume", "storage: {min_free: 101%}", /min_free: expected a share from 0% to 100%/],
    ["a share for a namespace", "upstream_defaults: {max_size: 5%}", /max_size: expected a size such as "500MB"/],
    [
      "a watermark without percent sign",
      "storage: {low_watermark: 0.8}",
      /low_watermark: a share needs a percent sign/,
    ],
    [
      "watermarks the wrong way round",
      "storage:\n  low_watermark: 96%",
      'c.yaml:1: storage.high_watermark: must be more than low_watermark, which is 96%; got "95%"',
    ],
    [
      "equal watermarks",
      "storage:\n  root: /a\n  high_watermark: 90%",
      'c.yaml:3: storage.high_watermark: must be more than low_watermark, which is 90%; got "90%"',
    ],
    [
      "a watermark of nothing",
      "storage:\n  low_watermark: 0%\n  high_watermark: 0%",
      "c.yaml:2: storage.low_watermark: must be more than 0%",
    ],
    [
      "a pin without namespace",
      "storage:\n  pin:\n    - alpine",
      /^c\.yaml:3: storage\.pin\[0\]: .*begins with a registry/,
    ],
    ["an unknown prefetch", upstreamWith("prefetch: all"), /prefetch: expected one of none, platform, got "all"$/],
    [
      "a blob's time that is no duration",
      upstreamWith("blob_invalidation_time: never"),
      /blob_invalidation_time: expected a/,
    ],
    ["verifying all the time", "verify: {interval: 0s}", 'c.yaml:1: verify.interval: must be longer than 0s, got "0s"'],
    [
      "an interval without unit",
      "verify: {interval: 7}",
      /^c\.yaml:1: verify\.interval: a duration needs a unit: write "7s"/,
    ],
    [
      "an unknown word for an interval",
      "verify: {interval: forever}",
      /^c\.yaml:1: verify\.interval: expected a duration/,
    ],
    ["warming without end", "warm: {interval: never}", /^c\.yaml:1: warm\.interval: expected a duration/],
    ["warming all the time", "warm: {interval: 0s}", /^c\.yaml:1: warm\.interval: must be longer than 0s/],
    ["a rate of nothing", "verify: {rate: 0MB/s}", 'c.yaml:1: verify.rate: must be more than 0, such as "50MiB/s"'],
    ["a rate without unit", "verify: {rate: 50}", /^c\.yaml:1: verify\.rate: a size needs a unit/],
    [
      "no platform",
      "warm: {platforms: [amd64]}",
      /^c\.yaml:1: warm\.platforms\[0\]: expected a platform such as .*"amd64"$/,
    ],
    ["no image", "warm: {images: ['https://a.io/b']}", /^c\.yaml:1: warm\.images\[0\]: expected an image such as/],
    ["too many at one time", "warm: {parallel: 65}", /^c\.yaml:1: warm\.parallel: must be at most 64, got 65$/],
    ["a short token", "admin_token: 0123456789abcde", /^c\.yaml:1: admin_token: must be at least 16 printable/],
    ["a token of digits", "admin_token: 1234567890123456", "c.yaml:1: admin_token: expected text; put it in quotes"],
    [
      "a token twice",
      "admin_token: 0123456789abcdef\nadmin_token_file: f",
      "c.yaml:2: admin_token_file: not together with `admin_token`",
    ],
    [
      "allow_unlisted as text",
      "allow_unlisted: maybe",
      /^c\.yaml:1: allow_unlisted: expected true, false or a list of names .*, got "maybe"$/,
    ],
    [
      "a bad pattern",
      "allow_unlisted:\n  - quay.io\n  - '*'",
      /^c\.yaml:3: allow_unlisted\[1\]: write `allow_unlisted: true`/,
    ],
    [
      "the same address twice",
      "{listen: 'a:1', admin_listen: 'a:1'}",
      "c.yaml:1: admin_listen: must be another address than listen",
    ],
    [
      "a default that is never served",
      "{allow_unlisted: false, default_namespace: gcr.io}",
      /^c\.yaml:1: default_namespace: gcr\.io is not among the upstreams/,
    ],
    ["a key twice", "listen: 'a:1'\nlisten: 'a:2'", "c.yaml:2: the key is there twice"],
    ["a syntax error", "a: 1\nb: [1, 2", /^c\.yaml:2: not valid YAML: /],
    ["a tab", "log:\n\tlevel: info", /^c\.yaml:2: not valid YAML: a tab/],
    ["two documents", "a: 1\n---\nb: 2", /^c\.yaml:2: expected one YAML document/],
    ["an alias to nothing", "listen: *there", /^c\.yaml:1: not valid YAML: an alias/],
    ["a tag", "listen: !secret x", /^c\.yaml:1: unknown YAML tag/],
  ];
  for (const [name, content, expected] of cases) {
    test(name, () => {
      const problems = problemsOf(() => loadFile(content));
      assert.equal(problems.length, 1, problems.join("\n"));
      if (typeof expected === "string") {
        assert.equal(problems[0], expected);
      } else {
        assert.match(problems[0] ?? "", expected);
      }
    });
  }

  test("every problem at once, in the order of the file", () => {
    const content =
      "listn: x\nlog: {level: 1, format: x}\nupstreams:\n  - {namespace: a.io}\n  - {host: b.io, tls: 1}\n";
    const lines = problemsOf(() => loadFile(content)).map((problem) => problem.replace(/: [^:]*$/, ""));
    assert.deepEqual(lines, [
      "c.yaml:1: listn",
      "c.yaml:2: log.level",
      "c.yaml:2: log.format",
      "c.yaml:4: upstreams[0].host",
      "c.yaml:5: upstreams[1].namespace",
      "c.yaml:5: upstreams[1].tls",
    ]);
  });
});

describe("what is wrong elsewhere is said with flag, variable or file", () => {
  const cases: [string, Given, string | RegExp][] = [
    ["a flag", { flags: { listen: "x" } }, '--listen: expected host:port, [v6]:port, :port or unix:/path, got "x"'],
    ["a variable", { env: { LISTEN: "x" } }, 'LISTEN: expected host:port, [v6]:port, :port or unix:/path, got "x"'],
    [
      "a flag over a key of the file",
      { flags: { config: "f", logLevel: "x" }, files: { f: "log: {level: info}" } },
      /^--log-level: expected one of/,
    ],
    ["a limit", { flags: { maxSize: "5" } }, '--max-size: needs a unit or a percent sign, as in "50GiB" or "90%"'],
    [
      "a token's file besides a token",
      { flags: { config: "f", adminTokenFile: "t" }, files: { f: "admin_token: 0123456789abcdef" } },
      "--admin-token-file: not together with `admin_token`",
    ],
    [
      "no boolean",
      { env: { CHECK_CACHE_DIGEST: "yes" } },
      'CHECK_CACHE_DIGEST: expected true, false, 1 or 0, got "yes"',
    ],
    ["no file", { flags: { config: "f" } }, "--config: f cannot be read: there is no such file"],
    ["no file of the environment", { env: { UPSTREAM_CONFIG_FILE: "f" } }, /^UPSTREAM_CONFIG_FILE: f cannot be read/],
    [
      "the file of upstreams",
      { flags: { upstreamConfigFile: "f" }, files: { f: "\n- {namespace: a.io, host: a.io, tls: 1}" } },
      "f:2: upstreams[0].tls: expected true or false, got 1",
    ],
    [
      "that as a mapping",
      { flags: { upstreamConfigFile: "f" }, files: { f: "upstreams:\n- {namespace: a.io}" } },
      "f:2: upstreams[0].host: is required",
    ],
    [
      "more than upstreams in it",
      { flags: { upstreamConfigFile: "f" }, files: { f: "listen: a:1\nupstreams: []" } },
      /^f:1: listen: only `upstreams` is read from this file; use --config/,
    ],
    [
      "credentials that are no JSON",
      { env: { UPSTREAM_CREDENTIALS: "{docker.io: x}" } },
      /^UPSTREAM_CREDENTIALS: not valid JSON; expected \{"docker\.io"/,
    ],
    [
      "credentials that are no mapping",
      { flags: { upstreamCredentials: "[]" } },
      "--upstream-credentials: expected a mapping, got a list",
    ],
    [
      "credentials without password",
      { env: { UPSTREAM_CREDENTIALS: '{"a.io": {"username": "u"}}' } },
      'UPSTREAM_CREDENTIALS: ["a.io"].password: is required',
    ],
    [
      "credentials with a misspelt key",
      { env: { UPSTREAM_CREDENTIALS: '{"a.io": {"username": "u", "password": "p", "pasword": "q"}}' } },
      /\["a\.io"\]\.pasword: unknown key; did you mean "password"\?$/,
    ],
    [
      "credentials of a URL",
      { env: { UPSTREAM_CREDENTIALS: '{"https://a.io": {"username": "u", "password": "p"}}' } },
      /^UPSTREAM_CREDENTIALS: expected a registry's name/,
    ],
    [
      "credentials twice",
      {
        env: {
          UPSTREAM_CREDENTIALS:
            '{"docker.io": {"username": "u", "password": "p"}, "index.docker.io": {"username": "u", "password": "p"}}',
        },
      },
      /^UPSTREAM_CREDENTIALS: docker\.io is there twice/,
    ],
  ];
  for (const [name, given, expected] of cases) {
    test(name, () => {
      const problems = problemsOf(() => load(given));
      assert.equal(problems.length, 1, problems.join("\n"));
      if (typeof expected === "string") {
        assert.equal(problems[0], expected);
      } else {
        assert.match(problems[0] ?? "", expected);
      }
    });
  }

  test("both files and the credentials at once", () => {
    const problems = problemsOf(() =>
      load({ flags: { config: "a", upstreamConfigFile: "b", upstreamCredentials: "x" }, files: { a: "[", b: "{" } }),
    );
    assert.deepEqual(
      problems.map((problem) => problem.split(":")[0]),
      ["a", "b", "--upstream-credentials"],
    );
  });
});

describe("no message repeats a secret", () => {
  const secret = "hunter2";
  const contents = [
    `password: ${secret}: x`,
    `password: "${secret}`,
    `password: "\\${secret}"`,
    `password: *${secret}`,
    `password: !${secret} x`,
    `password: "a" ${secret}`,
    `password: @${secret}`,
    `password: [${secret}]`,
    `password: {${secret}: 1}`,
    `password: |${secret}`,
    `%${secret}\n---\n`,
    `password:\n\t${secret}`,
    `upstreams: ["${secret}"]`,
    `upstreams: ${secret}`,
    upstreamWith(`password: ${secret}`),
    upstreamWith(`username: "${secret}:"`, "password: x"),
    upstreamWith("username: u", `password: "${secret}\\n"`),
    upstreamWith(`password: [${secret}]`, "username: u"),
    upstreamWith("username: u", `pasword: ${secret}`),
    `- {namespace: a.io, host: "user:${secret}@a.io"}`,
    `- {namespace: "user:${secret}@a.io", host: a.io}`,
    `admin_token: ${secret}`,
    `admin_token: "${secret}\\n0123456789"`,
    `admin_token: [${secret}]`,
  ];
  for (const content of contents) {
    test(JSON.stringify(content), () => {
      const problems = problemsOf(() => loadFile(content));
      assert.notEqual(problems.length, 0);
      assert.ok(!problems.join("\n").includes(secret), problems.join("\n"));
    });
  }

  test("in the credentials of the environment", () => {
    for (const json of [
      `{"a.io": "${secret}"}`,
      `{"a.io": {"username": "${secret}:", "password": 1}}`,
      `{"a": ${secret}}`,
      `"${secret}"`,
    ]) {
      const problems = problemsOf(() => load({ env: { UPSTREAM_CREDENTIALS: json } }));
      assert.notEqual(problems.length, 0);
      assert.ok(!problems.join("\n").includes(secret), problems.join("\n"));
    }
  });
});

test("whatever a file says, it loads or is refused by ConfigError, a line a problem", () => {
  const line = fc.oneof(
    fc.constantFrom(
      "upstreams:",
      "- namespace: a.io",
      "  host: a.io",
      "  tls: 1",
      "log:",
      "a: &x [*x]",
      "<<: 1",
      "? [a]: b",
      "1: 2",
    ),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(line), (lines) => {
      for (const problem of problemsOf(() => loadFile(lines.join("\n")))) {
        assert.match(problem, /^c\.yaml(?::\d+)?: /);
      }
    }),
  );
  const value = fc.jsonValue();
  fc.assert(
    fc.property(value, (json) => {
      problemsOf(() => loadFile(JSON.stringify(json)));
    }),
  );
});
