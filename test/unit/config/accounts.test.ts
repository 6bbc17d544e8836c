import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { NamePattern } from "../../../src/oci/name-pattern.ts";
import { findMisplacement, type Provider } from "../../../src/config/provider-schema.ts";
import { parseRepositoryPattern } from "../../../src/config/repository-names.ts";
import type { CredentialConfig } from "../../../src/config/credential-schema.ts";
import type { UpstreamConfig } from "../../../src/config/upstream-schema.ts";
import { createAcr } from "../../../src/upstream/credentials/acr.ts";
import { createEcr } from "../../../src/upstream/credentials/ecr.ts";
import { createGcp } from "../../../src/upstream/credentials/gcp.ts";
import { systemClock } from "../../../src/concurrency/clock.ts";
import { loadFile, problemsOf } from "./loading.ts";

const ecrHost = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

function file(lines: string, host = "quay.io"): string {
  return `- namespace: x.example.com\n  host: ${host}\n${lines.replaceAll(/^/gm, "  ")}`;
}

function upstreamOf(lines: string, host?: string): UpstreamConfig {
  const [, upstream] = loadFile(file(lines, host)).upstreams;
  assert.ok(upstream !== undefined);
  return upstream;
}

describe("each form of an account", () => {
  const forms: [form: string, account: CredentialConfig, host?: string][] = [
    ["username: u\npassword: p", { kind: "password", username: "u", password: "p" }],
    ["username: u\npassword_file: f", { kind: "password-file", username: "u", passwordFile: "f" }],
    ["username: u\npassword: p\npassword_file: null", { kind: "password", username: "u", password: "p" }],
    ["docker_config: d.json", { kind: "docker-config", path: "d.json" }],
    ["username: null\npassword: null\ndocker_config: d.json", { kind: "docker-config", path: "d.json" }],
    ["credentials: ecr", { kind: "ecr" }, ecrHost],
    ["credentials: { type: ecr }", { kind: "ecr" }, ecrHost],
    [
      "credentials: { type: ecr, profile: p, role_arn: r, external_id: e, endpoint: 'https://a.example.com' }",
      { kind: "ecr", profile: "p", roleArn: "r", externalId: "e", endpoint: "https://a.example.com" },
      ecrHost,
    ],
    ["credentials: gcp", { kind: "gcp" }, "gcr.io"],
    ["credentials: { type: gcp, key_file: k.json }", { kind: "gcp", keyFile: "k.json" }, "eu-docker.pkg.dev"],
    ["credentials: acr", { kind: "acr" }, "example.azurecr.io"],
    [
      "credentials: { type: acr, client_id: c, tenant_id: t }",
      { kind: "acr", clientId: "c", tenantId: "t" },
      "example.azurecr.io",
    ],
  ];
  for (const [form, account, host] of forms) {
    const indented = form.replaceAll("\n", "\n    ");
    test(`${form.replaceAll("\n", ", ")}: of the upstream, in a list, for some repositories, of a mirror`, () => {
      assert.deepEqual(upstreamOf(form, host).accounts, [account]);
      assert.deepEqual(upstreamOf(`accounts:\n  - ${indented}`, host).accounts, [account]);
      const some = upstreamOf(`credentials_by_repository:\n  - match: team/*\n    ${indented}`, host);
      assert.deepEqual(some.accounts, []);
      assert.deepEqual(some.repositoryCredentials, [{ match: new NamePattern("team/*"), accounts: [account] }]);
      const mirrored = upstreamOf(`mirrors:\n  - host: ${host ?? "m.io"}\n    ${indented}`);
      assert.deepEqual(mirrored.accounts, []);
      assert.deepEqual(mirrored.mirrors[0]?.accounts, [account]);
    });
  }

  test("several accounts keep their order; none is anonymous", () => {
    const list = "[{ username: a, password: a }, { docker_config: d }, { username: b, password_file: b }]";
    assert.deepEqual(
      upstreamOf(`accounts: ${list}`).accounts.map(({ kind }) => kind),
      ["password", "docker-config", "password-file"],
    );
    for (const none of ["accounts: []", "accounts: null", "docker_config: null\ncredentials: null", ""]) {
      assert.deepEqual(upstreamOf(none).accounts, []);
    }
  });
});

describe("what is wrong with accounts", () => {
  const cases: [string, string, string, host?: string][] = [
    ["user name alone", "username: u", "c.yaml:3: @.username: needs a password or password_file with it"],
    ["password alone", "password: p", "c.yaml:3: @.password: needs a username with it"],
    ["password_file alone", "password_file: p", "c.yaml:3: @.password_file: needs a username with it"],
    [
      "password and file",
      "username: u\npassword: p\npassword_file: f",
      "c.yaml:5: @.password_file: not together with `password`: an account has one of them",
    ],
    [
      "user and docker_config",
      "username: u\npassword: p\ndocker_config: f",
      "c.yaml:5: @.docker_config: not together with `username`: an account has one of them",
    ],
    [
      "docker_config and cloud",
      "docker_config: f\ncredentials: ecr",
      "c.yaml:4: @.credentials: not together with `docker_config`: an account has one of them",
    ],
    [
      "one and several",
      "username: u\npassword: p\naccounts: []",
      "c.yaml:5: @.accounts: not together with `username`: put that account into the list",
    ],
    [
      "an empty account",
      "accounts:\n  - {}",
      "c.yaml:4: @.accounts[0]: an account needs `username`, `docker_config` or `credentials`",
    ],
    [
      "half an account in a list",
      "accounts:\n  - username: u",
      "c.yaml:4: @.accounts[0].username: needs a password or password_file with it",
    ],
    [
      "a misspelt key in a list",
      "accounts:\n  - usrname: u",
      'c.yaml:4: @.accounts[0].usrname: unknown key; did you mean "username"?',
    ],
    ["no list", "accounts: { username: u }", "c.yaml:3: @.accounts: expected a list, got a mapping"],
    ["an empty path", "docker_config: ''", "c.yaml:3: @.docker_config: expected a file's path"],
    [
      "a path of several lines",
      'username: u\npassword_file: "a\\nb"',
      "c.yaml:4: @.password_file: expected a file's path",
    ],
    [
      "no pattern",
      "credentials_by_repository:\n  - username: u\n    password: p",
      "c.yaml:4: @.credentials_by_repository[0].match: is required",
    ],
    [
      "a pattern alone",
      "credentials_by_repository:\n  - match: x",
      "c.yaml:4: @.credentials_by_repository[0]: needs credentials; `accounts: []` stands for none",
    ],
    [
      "a pattern with capitals",
      "credentials_by_repository:\n  - { match: Team/*, accounts: [] }",
      "c.yaml:4: @.credentials_by_repository[0].match: expected a repository's name or a pattern such as library/* or team/**; names of repositories have no capital letters",
    ],
    [
      "a pattern with the namespace",
      "credentials_by_repository:\n  - { match: x.example.com/team/*, accounts: [] }",
      'c.yaml:4: @.credentials_by_repository[0].match: leave the namespace out: write "team/*"',
    ],
    [
      "an unknown provider",
      "credentials: ec",
      'c.yaml:3: @.credentials: expected one of ecr, gcp, acr; did you mean "ecr"?',
    ],
    ["something else for a provider", "credentials: 5", "c.yaml:3: @.credentials: expected one of ecr, gcp, acr"],
    [
      "a list for a provider",
      "credentials: [ecr]",
      "c.yaml:3: @.credentials: expected one of ecr, gcp, acr, or a mapping, got a list",
    ],
    ["no type", "credentials:\n  profile: p", "c.yaml:3: @.credentials.type: expected one of ecr, gcp, acr"],
    [
      "a misspelt key of a provider",
      "credentials:\n  type: ecr\n  rolearn: x",
      'c.yaml:5: @.credentials.rolearn: unknown key; did you mean "role_arn"?',
      ecrHost,
    ],
    [
      "a key of another provider",
      "credentials:\n  type: gcp\n  profile: x",
      "c.yaml:5: @.credentials.profile: belongs to ecr, not to gcp",
      "gcr.io",
    ],
    [
      "an endpoint without https",
      "credentials: { type: ecr, endpoint: 'http://a' }",
      "c.yaml:3: @.credentials.endpoint: expected a URL that begins with https://",
      ecrHost,
    ],
    [
      "spaces",
      "credentials: { type: ecr, profile: 'a b' }",
      "c.yaml:3: @.credentials.profile: must be printable ASCII text without spaces",
      ecrHost,
    ],
    [
      "a provider for another host",
      "credentials: gcp",
      "c.yaml:3: @.credentials: gcp credentials are for hosts such as <location>-docker.pkg.dev or gcr.io, not for quay.io",
    ],
    [
      "the same in a list",
      "accounts:\n  - credentials: acr",
      "c.yaml:4: @.accounts[0].credentials: acr credentials are for hosts such as <name>.azurecr.io, not for quay.io",
    ],
    [
      "the same for some repositories",
      "credentials_by_repository:\n  - match: x\n    credentials: ecr",
      "c.yaml:4: @.credentials_by_repository[0]: ecr credentials are for hosts such as <account>.dkr.ecr.<region>.amazonaws.com or public.ecr.aws, not for quay.io",
    ],
    [
      "the same for a mirror",
      "mirrors:\n  - host: m.io\n    credentials: gcp",
      "c.yaml:5: @.mirrors[0].credentials: gcp credentials are for hosts such as <location>-docker.pkg.dev or gcr.io, not for m.io",
    ],
    [
      "a provider over plain http",
      "tls: false\ncredentials: gcp",
      "c.yaml:4: @.credentials: gcp credentials need `tls: true`",
      "gcr.io",
    ],
  ];
  for (const [name, lines, expected, host] of cases) {
    test(name, () => {
      const problems = problemsOf(() => loadFile(file(lines, host)));
      assert.deepEqual(problems, [expected.replace("@", "upstreams[0]")]);
    });
  }

  test("what stands in the wrong place, and may be a secret, is not repeated", () => {
    for (const lines of [
      "credentials: hunter2",
      "credentials: { type: hunter2 }",
      "accounts: hunter2",
      "accounts: [hunter2]",
      "credentials_by_repository: [hunter2]",
      "username: u\npassword: 'hunter2\n\n  x'",
      "username: 'hunter2:x'\npassword: p",
      "credentials: { type: ecr, endpoint: 'https://u:hunter2@a.example.com' }",
      "credentials: { type: ecr, external_id: 'hunter2 x' }",
    ]) {
      const problems = problemsOf(() => loadFile(file(lines, ecrHost)));
      assert.notEqual(problems.length, 0, lines);
      assert.ok(!problems.join("\n").includes("hunter2"), problems.join("\n"));
    }
  });
});

test("a provider's hosts are those that its source takes", () => {
  const common = { clock: systemClock, fetchJson: () => Promise.reject(new Error("nothing is sent")) };
  const sources: [Provider, (host: string) => unknown][] = [
    ["ecr", (host) => createEcr({ ...common, host })],
    ["gcp", (host) => createGcp({ ...common, host })],
    ["acr", (host) => createAcr({ ...common, host })],
  ];
  const hosts = [
    ecrHost,
    "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
    "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
    "123456789012.dkr-ecr.eu-west-1.on.aws",
    "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu",
    "12345678901.dkr.ecr.eu-central-1.amazonaws.com",
    "123456789012.dkr.ecr.nowhere.amazonaws.com",
    "123456789012.dkr.ecr.eu-central-1.amazonaws.com.example.com",
    "public.ecr.aws",
    "ecr-public.aws.com",
    "gcr.io",
    "eu.gcr.io",
    "europe-docker.pkg.dev",
    "gcr.io.example.com",
    "notgcr.io",
    "example.azurecr.io",
    "example-hash123.azurecr.io",
    "example.azurecr.cn",
    "example.azurecr.us",
    "example.azurecr.de",
    "abc.azurecr.io",
    "a.example.azurecr.io",
    "quay.io",
  ];
  for (const [kind, create] of sources) {
    for (const host of hosts) {
      const theirs = problemOf(() => create(host)) === undefined;
      assert.equal(findMisplacement(kind, host, true) === undefined, theirs, `${kind} ${host}`);
      assert.equal(findMisplacement(kind, `${host}:443`, true) === undefined, theirs, `${kind} ${host}:443`);
    }
  }
});

function problemOf(task: () => unknown): string | undefined {
  try {
    task();
    return undefined;
  } catch (error) {
    return String(error);
  }
}

describe("patterns of repositories", () => {
  for (const text of ["library/*", "team/**", "*", "**", "a", "*/app", "team-*/x.y_z"]) {
    test(`takes ${text}`, () => assert.equal(parseRepositoryPattern(text).text, text));
  }
  for (const text of ["", "/a", "a/", "a//b", "***", "a b", "a:latest", "Team/*", "quay.io/x?", "[ab]"]) {
    test(`refuses "${text}"`, () => assert.throws(() => parseRepositoryPattern(text), { name: "ValueError" }));
  }
});
