import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { parsePathPrefix } from "../../../src/config/repository-names.ts";
import type { Config } from "../../../src/config/file-schema.ts";
import type { UpstreamConfig } from "../../../src/config/upstream-schema.ts";
import { parseRepository } from "../../../src/oci/reference.ts";
import { certificate } from "../upstream/certificate.ts";
import { type Given, load, loadFile, pems, problemsOf } from "./loading.ts";

function file(lines: string): string {
  return `- namespace: quay.io\n  host: quay.io\n${lines.replaceAll(/^/gm, "  ")}`;
}

function upstreamOf(config: Config): UpstreamConfig {
  const [, upstream] = config.upstreams;
  assert.ok(upstream !== undefined);
  return upstream;
}

function refuses(cases: readonly (readonly [name: string, lines: string, problem: string])[]): void {
  for (const [name, lines, expected] of cases) {
    test(name, () => {
      assert.deepEqual(
        problemsOf(() => loadFile(file(lines), { files: pems })),
        [expected.replace("@", "upstreams[0]")],
      );
    });
  }
}

describe("what is wrong with how a registry is reached", () => {
  refuses([
    [
      "a prefix with slashes",
      "path_prefix: /cache/",
      'c.yaml:3: @.path_prefix: expected a project\'s name without slashes at its ends: write "cache"',
    ],
    [
      "no prefix",
      "path_prefix: Cache",
      'c.yaml:3: @.path_prefix: expected a project\'s name such as cache or team/cache, got "Cache"',
    ],
    [
      "a token server's URL",
      "realm_hosts:\n  - https://auth.example.net/token",
      "c.yaml:4: @.realm_hosts[0]: a host has no scheme: write `host: auth.example.net`",
    ],
    [
      "allow_private_redirects as text",
      "allow_private_redirects: 'on'",
      'c.yaml:3: @.allow_private_redirects: expected true or false, got "on"',
    ],
    ["offline as text", "offline: 'on'", 'c.yaml:3: @.offline: expected true or false, got "on"'],
    ["one name for a list", "allow: library/*", "c.yaml:3: @.allow: expected a list, got text"],
    [
      "a bad pattern",
      "deny:\n  - a\n  - /b",
      "c.yaml:5: @.deny[1]: expected a repository's name or a pattern such as library/* or team/**",
    ],
    [
      "a pattern with the namespace",
      "allow:\n  - quay.io/team/*",
      'c.yaml:4: @.allow[0]: leave the namespace out: write "team/*"',
    ],
    [
      "a pattern with the namespace, which would deny nothing",
      "deny:\n  - a\n  - quay.io/team/*",
      'c.yaml:5: @.deny[1]: leave the namespace out: write "team/*"',
    ],
    ["a certificate without key", "client_cert: client.pem", "c.yaml:3: @.client_cert: needs a client_key with it"],
    ["a key without certificate", "client_key: client.key", "c.yaml:3: @.client_key: needs a client_cert with it"],
  ]);
});

describe("headers", () => {
  refuses([
    [
      "Authorization",
      "headers:\n  Authorization: Basic hunter2",
      "c.yaml:4: @.headers.Authorization: this header cannot be set; credentials go to `username` and `password`",
    ],
    [
      "User-Agent",
      "headers: { user-agent: me }",
      "c.yaml:3: @.headers.user-agent: this header cannot be set; write `user_agent`",
    ],
    ["Host", "headers: { Host: a }", "c.yaml:3: @.headers.Host: this header cannot be set"],
    ["a header twice", "headers:\n  X-A: a\n  x-a: b", "c.yaml:5: @.headers.x-a: the header is there twice"],
    ["no name", "headers:\n  'X A': a", 'c.yaml:4: @.headers["X A"]: not a header\'s name'],
    [
      "a line's end",
      'headers:\n  X-A: "hunter2\\nX-B: c"',
      "c.yaml:4: @.headers.X-A: must be printable ASCII text without spaces around it",
    ],
    ["a number", "headers:\n  X-A: 4711", "c.yaml:4: @.headers.X-A: expected text; put it in quotes"],
    ["a list", "headers: [X-A]", "c.yaml:3: @.headers: expected a mapping, got a list"],
  ]);
});

test("a prefix is what a repository may be called", () => {
  const text = fc.oneof(fc.string(), fc.stringMatching(/^[a-b0._/-]{0,8}$/), fc.stringMatching(/^a{250,260}$/));
  fc.assert(
    fc.property(text, (value) => {
      const attempt = (parse: (text: string) => unknown): boolean => {
        try {
          parse(value);
          return true;
        } catch {
          return false;
        }
      };
      assert.equal(attempt(parsePathPrefix), attempt(parseRepository), value);
    }),
    { numRuns: 1000 },
  );
});

describe("mirrors", () => {
  refuses([
    [
      "a URL for a host",
      "mirrors:\n  - http://m.example.com",
      "c.yaml:4: @.mirrors[0]: a host has no scheme: write `host: m.example.com` and `tls: false`",
    ],
    ["no host", "mirrors:\n  - tls: false", "c.yaml:4: @.mirrors[0].host: is required"],
    [
      "a number",
      "mirrors:\n  - 5000",
      "c.yaml:4: @.mirrors[0]: expected a host such as mirror.example.com, or a mapping with `host`, got 5000",
    ],
    [
      "a misspelt key",
      "mirrors:\n  - host: m.example.com\n    acept_invalid_certs: true",
      'c.yaml:5: @.mirrors[0].acept_invalid_certs: unknown key; did you mean "accept_invalid_certs"?',
    ],
    [
      "a key of the upstream",
      "mirrors:\n  - host: m.example.com\n    retries: 1",
      "c.yaml:5: @.mirrors[0].retries: unknown key",
    ],
    [
      "a header that cannot be set",
      "mirrors:\n  - host: m.example.com\n    headers: { Host: a }",
      "c.yaml:5: @.mirrors[0].headers.Host: this header cannot be set",
    ],
    ["no list", "mirrors: m.example.com", "c.yaml:3: @.mirrors: expected a list, got text"],
  ]);

  test("a text is a host with nothing more said of it", () => {
    const config = loadFile(file("mirrors: [M.example.com, { host: M.example.com }, docker.io]"));
    const [first, second, hub] = upstreamOf(config).mirrors;
    assert.deepEqual(first, second);
    assert.equal(first?.host, "m.example.com");
    assert.equal(hub?.host, "registry-1.docker.io");
  });

  test("credentials in a host's place are not repeated", () => {
    for (const mirror of ["https://u:hunter2@m.example.com", "{ host: 'u:hunter2@m.example.com' }"]) {
      const problems = problemsOf(() =>
        loadFile(file(`mirrors: [${mirror.startsWith("{") ? mirror : `"${mirror}"`}]`)),
      );
      assert.equal(problems.length, 1);
      assert.ok(!problems.join("\n").includes("hunter2"), problems.join("\n"));
    }
  });
});

describe("proxies", () => {
  const proxyOf = (lines: string, given?: Given): string | undefined => upstreamOf(loadFile(lines, given)).proxy;

  for (const [text, expected] of [
    ["http://proxy.example.com:3128", "http://proxy.example.com:3128"],
    ["HTTP://Proxy.example.com:3128/", "http://proxy.example.com:3128"],
    ["https://u:p%40ss@proxy.example.com", "https://u:p%40ss@proxy.example.com"],
    ["http://u@[::1]:3128", "http://u@[::1]:3128"],
    ["none", "none"],
  ] as const) {
    test(`${text} is taken`, () => assert.equal(proxyOf(file(`proxy: "${text}"`)), expected));
  }

  for (const text of [
    "proxy.example.com:3128",
    "off",
    "",
    "socks5://u:hunter2@proxy.example.com",
    "http://u:hunter2@proxy.example.com/path",
    "http://u:hun/ter2@proxy.example.com",
    "http://u:hunter2%zz@proxy.example.com",
    "http://u:hunter2@",
  ]) {
    test(`${JSON.stringify(text)} is refused without being quoted`, () => {
      const [problem = "", ...more] = problemsOf(() => loadFile(file(`proxy: "${text}"`)));
      assert.match(problem, /^c\.yaml:3: upstreams\[0\]\.proxy: expected the URL of an HTTP proxy, such as http:/);
      assert.deepEqual(more, []);
      assert.ok(!/hunter2|ter2/.test(problem), problem);
    });
  }

  test("an upstream's beats the defaults'; a mirror's is the upstream's where it has none", () => {
    const defaults = "upstream_defaults: { proxy: 'http://d.example.com' }\nupstreams:\n";
    const own = "proxy: 'http://o.example.com'";
    const mirrors = "mirrors: [m.io, { host: m.io, proxy: null }, { host: m.io, proxy: none }]";
    const config = loadFile(`${defaults}${file(`${own}\n${mirrors}`)}\n- { namespace: b.io, host: b.io, proxy: null }`);
    assert.equal(config.upstreams[0]?.proxy, "http://d.example.com");
    assert.equal(config.upstreams[1]?.proxy, "http://o.example.com");
    assert.deepEqual(
      config.upstreams[1]?.mirrors.map(({ proxy }) => proxy),
      ["http://o.example.com", "http://o.example.com", "none"],
    );
    assert.equal(config.upstreams[2]?.proxy, "http://d.example.com");
    assert.equal(config.upstreamDefaults.proxy, "http://d.example.com");
  });

  const none = { http: undefined, https: undefined, noProxy: undefined };
  const environments: [string, Record<string, string>, Config["proxyEnvironment"]][] = [
    ["nothing", {}, none],
    ["empty variables", { HTTPS_PROXY: "", https_proxy: "", NO_PROXY: "" }, none],
    [
      "capitals",
      { HTTP_PROXY: "http://a:1", HTTPS_PROXY: "http://b:2", NO_PROXY: "localhost,.example.com" },
      { http: "http://a:1", https: "http://b:2", noProxy: "localhost,.example.com" },
    ],
    [
      "small letters",
      { http_proxy: "http://a:1", https_proxy: "http://b:2", no_proxy: "*" },
      { http: "http://a:1", https: "http://b:2", noProxy: "*" },
    ],
    ["both", { https_proxy: "http://a:1", HTTPS_PROXY: "http://b:2" }, { ...none, https: "http://b:2" }],
    ["capitals that are empty", { https_proxy: "http://a:1", HTTPS_PROXY: "" }, { ...none, https: "http://a:1" }],
    ["no scheme", { https_proxy: "proxy:3128" }, { ...none, https: "http://proxy:3128" }],
  ];
  for (const [name, env, expected] of environments) {
    test(`of the environment: ${name}`, () => assert.deepEqual(load({ env }).proxyEnvironment, expected));
  }

  test("a variable that is no proxy is named, and not quoted", () => {
    const problems = problemsOf(() =>
      load({ env: { https_proxy: "socks5://u:hunter2@proxy:1080", HTTP_PROXY: "http://u:hunter2@proxy/x" } }),
    );
    assert.deepEqual(
      problems.map((problem) => problem.replace(/: .*/, "")),
      ["HTTP_PROXY", "https_proxy"],
    );
    assert.ok(!problems.join("\n").includes("hunter2"));
  });
});

describe("files of certificates and keys", () => {
  const encrypted = certificate.key.replaceAll("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
  const foreign = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
`;
  const files = {
    ...pems,
    "text.pem": "hello",
    "broken.pem": `${certificate.cert}\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
    "encrypted.key": encrypted,
    "foreign.key": foreign,
  };
  const pair = (cert: string, key: string): string => `client_cert: ${cert}\nclient_key: ${key}`;
  const cases: [string, string, string][] = [
    ["a missing bundle", "ca_file: no.pem", "c.yaml:3: @.ca_file: no.pem cannot be used: there is no such file"],
    [
      "a bundle without certificate",
      "ca_file: text.pem",
      "c.yaml:3: @.ca_file: text.pem cannot be used: it holds no certificate in PEM",
    ],
    [
      "a bundle with a broken one",
      "ca_file: broken.pem",
      "c.yaml:3: @.ca_file: broken.pem cannot be used: it holds a certificate that cannot be read",
    ],
    [
      "a missing certificate",
      pair("no.pem", "client.key"),
      "c.yaml:3: @.client_cert: no.pem cannot be used: there is no such file",
    ],
    [
      "a missing key",
      pair("client.pem", "no.key"),
      "c.yaml:4: @.client_key: no.key cannot be used: there is no such file",
    ],
    [
      "a key that is none",
      pair("client.pem", "client.pem"),
      "c.yaml:4: @.client_key: client.pem cannot be used: it holds no private key in PEM",
    ],
    [
      "an encrypted key",
      pair("client.pem", "encrypted.key"),
      "c.yaml:4: @.client_key: encrypted.key cannot be used: its key is encrypted, which is not supported",
    ],
    [
      "the key of another certificate",
      pair("client.pem", "foreign.key"),
      "c.yaml:4: @.client_key: foreign.key cannot be used: its key is not that of the certificate in client_cert",
    ],
    [
      "a mirror's",
      "mirrors:\n  - m.io\n  - host: m.io\n    ca_file: no.pem",
      "c.yaml:6: @.mirrors[1].ca_file: no.pem cannot be used: there is no such file",
    ],
  ];
  for (const [name, lines, expected] of cases) {
    test(name, () => {
      const problems = problemsOf(() => loadFile(file(lines), { files }));
      assert.deepEqual(problems, [expected.replace("@", "upstreams[0]")]);
    });
  }

  test("are found for each upstream, in the file of upstreams as well", () => {
    const list = "- { namespace: docker.io, host: docker.io }\n- { namespace: a.io, host: a.io, ca_file: no.pem }";
    const problems = problemsOf(() => load({ flags: { upstreamConfigFile: "u" }, files: { u: list } }));
    assert.deepEqual(problems, ["u:2: upstreams[1].ca_file: no.pem cannot be used: there is no such file"]);
  });

  test("nothing is read where none is named", () => {
    const given = { files: {}, flags: { config: "c.yaml" } };
    assert.deepEqual(
      problemsOf(() => loadFile(file("ca_file: null\nclient_cert: null"), given)),
      [],
    );
  });
});
