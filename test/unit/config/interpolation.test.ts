import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { NamePattern } from "../../../src/oci/name-pattern.ts";
import { ValueError } from "../../../src/config/config-error.ts";
import { interpolatedKeys } from "../../../src/config/file-schema.ts";
import { escapeReferences, interpolate } from "../../../src/config/interpolation.ts";
import { loadFile, problemsOf } from "./loading.ts";

const env = { TOKEN: "s3cret", NESTED: "${TOKEN}", DOLLARS: "$$", EMPTY: "", _x9: "y" };

describe("interpolate", () => {
  for (const [text, expected] of [
    ["plain", "plain"],
    ["", ""],
    ["${TOKEN}", "s3cret"],
    ["a${TOKEN}b${_x9}", "as3cretby"],
    ["$oauthtoken", "$oauthtoken"],
    ["robot$mirror", "robot$mirror"],
    ["cost: 5$", "cost: 5$"],
    ["pa$$word", "pa$$word"],
    ["$$", "$$"],
    ["{TOKEN}", "{TOKEN}"],
    ["$ {TOKEN}", "$ {TOKEN}"],
    ["$${TOKEN}", "${TOKEN}"],
    ["$${", "${"],
    ["$$${TOKEN}", "$s3cret"],
    ["$$$${TOKEN}", "$${TOKEN}"],
    ["${NESTED}", "${TOKEN}"],
    ["${DOLLARS}{TOKEN}", "$${TOKEN}"],
  ] as const) {
    test(`${JSON.stringify(text)} becomes ${JSON.stringify(expected)}`, () => {
      assert.equal(interpolate(text, env), expected);
    });
  }

  const malformed = "expected a variable's name as in ${NAME}; write $${ for the text ${";
  for (const [text, message] of [
    ["hunter2 ${MISSING}", "the environment variable MISSING is not set"],
    ["${EMPTY}", "the environment variable EMPTY is not set"],
    ["${toString}", "the environment variable toString is not set"],
    ["hunter2${TOKEN", malformed],
    ["hunter2${}", malformed],
    ["${TOKEN:-hunter2}", malformed],
    ["${hunter2 x}", malformed],
    ["${a$b}", malformed],
    ["$$$${a}${", malformed],
  ] as const) {
    test(`${JSON.stringify(text)} is refused without being quoted`, () => {
      assert.throws(() => interpolate(text, env), { name: "ValueError", message });
    });
  }

  const texts = fc.oneof(fc.string(), fc.stringMatching(/^[a${}]*$/));

  test("leaves every text alone that has no ${", () => {
    fc.assert(
      fc.property(texts, (text) => {
        fc.pre(!text.includes("${"));
        assert.equal(interpolate(text, {}), text);
      }),
    );
  });

  test("undoes escapeReferences", () => {
    fc.assert(fc.property(texts, (text) => assert.equal(interpolate(escapeReferences(text), {}), text)));
  });

  test("throws nothing but ValueError", () => {
    fc.assert(
      fc.property(texts, (text) => {
        try {
          interpolate(text, env);
        } catch (error) {
          assert.ok(error instanceof ValueError, String(error));
        }
      }),
    );
  });
});

describe("in a file", () => {
  const file = (lines: string): string => `- namespace: quay.io\n  host: quay.io\n${lines.replaceAll(/^/gm, "  ")}`;
  const values = { A: "one", B: "two", P: "http://u:p@proxy.example.com" };

  test("variables are put in where they may stand, at every depth", () => {
    const [, upstream] = loadFile(
      file(`
accounts:
  - { username: "\${A}", password: "\${B}" }
  - { username: "\${A}", password_file: "/run/\${B}" }
  - { docker_config: "\${A}.json" }
credentials_by_repository:
  - { match: x, username: "\${B}", password: "\${A}" }
headers: { X-Any: "a \${A}" }
proxy: "\${P}"
mirrors:
  - { host: m.example.com, username: "\${A}", password: "\${B}", headers: { X-Any: "\${B}" } }
`),
      { env: values },
    ).upstreams;
    assert.deepEqual(upstream?.accounts, [
      { kind: "password", username: "one", password: "two" },
      { kind: "password-file", username: "one", passwordFile: "/run/two" },
      { kind: "docker-config", path: "one.json" },
    ]);
    const turned = [{ kind: "password", username: "two", password: "one" }];
    assert.deepEqual(upstream.repositoryCredentials, [{ match: new NamePattern("x"), accounts: turned }]);
    assert.deepEqual(upstream.headers, { "X-Any": "a one" });
    assert.equal(upstream.proxy, "http://u:p@proxy.example.com");
    assert.deepEqual(upstream.mirrors[0]?.headers, { "X-Any": "two" });
    assert.deepEqual(upstream.mirrors[0]?.accounts, [{ kind: "password", username: "one", password: "two" }]);
  });

  test("and nowhere else", () => {
    const [, upstream] = loadFile(file('user_agent: "${A}"'), { env: values }).upstreams;
    assert.equal(upstream?.userAgent, "${A}");
  });

  test("every place that may hold a variable is asked for it", () => {
    const places =
      "username password password_file docker_config key_file ca_file client_cert client_key proxy admin_token admin_token_file access_key secret_key session_token advertise secret secret_file previous_secret";
    assert.deepEqual([...interpolatedKeys].toSorted(), places.split(" ").toSorted());
    for (const key of [...places.split(" "), "headers.X-Any"]) {
      const [first = "", second] = key.split(".");
      const line = second === undefined ? `${first}: "\${NONE}"` : `${first}: { ${second}: "\${NONE}" }`;
      const problems = problemsOf(() => loadFile(file(line)));
      const expected = `c.yaml:3: upstreams[0].${key}: the environment variable NONE is not set`;
      assert.ok(problems.includes(expected), problems.join("\n"));
    }
  });

  test("each unset variable is told of with its line, and once", () => {
    const problems = problemsOf(() =>
      loadFile(file('username: u\npassword: "${NONE}"\nproxy: "${NEITHER}"\ntls: 1'), { env: values }),
    );
    assert.deepEqual(problems, [
      "c.yaml:4: upstreams[0].password: the environment variable NONE is not set",
      "c.yaml:5: upstreams[0].proxy: the environment variable NEITHER is not set",
      "c.yaml:6: upstreams[0].tls: expected true or false, got 1",
    ]);
  });

  test("a value that cannot be used is not repeated", () => {
    const problems = problemsOf(() =>
      loadFile(file('username: u\npassword: "${SECRET}"\nheaders: { X-Any: "${SECRET}" }'), {
        env: { SECRET: "hunter2\n" },
      }),
    );
    assert.equal(problems.length, 2);
    assert.ok(!problems.join("\n").includes("hunter2"));
  });

  test("an anchor's text is filled in at each place", () => {
    const config = loadFile(
      '- &a { namespace: a.io, host: a.io, username: u, password: "${A}" }\n- { <<: *a, namespace: b.io }',
      { env: values },
    );
    const expected = [{ kind: "password", username: "u", password: "one" }];
    assert.deepEqual(
      config.upstreams.slice(1).map(({ accounts }) => accounts),
      [expected, expected],
    );
  });
});
