import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  findDockerAuth,
  findDockerHelper,
  parseDockerAuths,
} from "../../../../src/upstream/credentials/docker-auths.ts";

const base64 = (text: string): string => Buffer.from(text).toString("base64");
const read = (config: unknown): ReturnType<typeof parseDockerAuths> => parseDockerAuths("file", JSON.stringify(config));
const find = (keys: readonly string[], host: string, repository: string): string | undefined =>
  findDockerAuth(
    read({ auths: Object.fromEntries(keys.map((key) => [key, { auth: base64(`user:${key}`) }])) }),
    host,
    repository,
  )?.credentials.password;

describe("an entry", () => {
  for (const [entry, username, password] of [
    [{ auth: base64("user:pass:word") }, "user", "pass:word"],
    [{ auth: base64("user:pass\0\0") }, "user", "pass"],
    [{ auth: base64("user:pass").replaceAll("=", "") }, "user", "pass"],
    [{ auth: base64("_json_key:{\n}") }, "_json_key", "{\n}"],
    [{ username: "user", password: "pass" }, "user", "pass"],
    [{ username: "old", password: "old", auth: base64("user:pass") }, "user", "pass"],
    [{ auth: base64("00000000-0000-0000-0000-000000000000:"), identitytoken: "token" }, "<token>", "token"],
    [{ auth: base64("user:pass"), identitytoken: "" }, "user", "pass"],
    [{ auth: base64("<token>:token") }, "<token>", "token"],
  ] as const) {
    test(JSON.stringify(entry), () => {
      const auths = read({ auths: { "a.example.com": entry } });
      assert.deepEqual(findDockerAuth(auths, "a.example.com", "team/app")?.credentials, { username, password });
    });
  }

  for (const entry of [{}, null, { auth: "" }, { registrytoken: "x" }, { email: "a@example.com" }]) {
    test(`${JSON.stringify(entry)} holds nothing`, () => {
      assert.equal(findDockerAuth(read({ auths: { "a.example.com": entry } }), "a.example.com", "app"), undefined);
    });
  }
});

describe("the key for a repository", () => {
  for (const [keys, host, repository, expected] of [
    [["a.example.com"], "a.example.com", "app", "a.example.com"],
    [["a.example.com"], "A.example.com", "app", "a.example.com"],
    [["A.Example.com"], "a.example.com", "app", "A.Example.com"],
    [["a.example.com"], "b.example.com", "app", undefined],
    [["a.example.com"], "a.example.com:5000", "app", undefined],
    [["a.example.com", "a.example.com:5000"], "a.example.com:5000", "app", "a.example.com:5000"],
    [["https://a.example.com"], "a.example.com", "app", "https://a.example.com"],
    [["https://a.example.com/v2/"], "a.example.com", "app", "https://a.example.com/v2/"],
    [["https://a.example.com/artifactory/"], "a.example.com", "app", "https://a.example.com/artifactory/"],
    [["http://a.example.com:5000/v1/"], "a.example.com:5000", "app", "http://a.example.com:5000/v1/"],
    [["a.example.com/v2/"], "a.example.com", "app", "a.example.com/v2/"],
    [["https://a.example.com", "a.example.com"], "a.example.com", "app", "a.example.com"],
    [["a.example.com/team", "a.example.com"], "a.example.com", "team/app", "a.example.com/team"],
    [["a.example.com", "a.example.com/team"], "a.example.com", "team", "a.example.com/team"],
    [["a.example.com", "a.example.com/team"], "a.example.com", "teams/app", "a.example.com"],
    [["a.example.com/team/app", "a.example.com/team"], "a.example.com", "team/app/web", "a.example.com/team/app"],
    [["a.example.com/team"], "a.example.com", "other/app", undefined],
    [["https://index.docker.io/v1/"], "registry-1.docker.io", "library/alpine", "https://index.docker.io/v1/"],
    [["docker.io"], "registry-1.docker.io", "library/alpine", "docker.io"],
    [["registry-1.docker.io", "docker.io"], "docker.io", "library/alpine", "docker.io"],
    [
      ["docker.io", "index.docker.io", "https://index.docker.io/v1/"],
      "registry-1.docker.io",
      "library/alpine",
      "https://index.docker.io/v1/",
    ],
    [["https://index.docker.io/v1/", "docker.io/team"], "registry-1.docker.io", "team/app", "docker.io/team"],
    [["https://index.docker.io/v1/"], "quay.io", "team/app", undefined],
  ] as const) {
    test(`of ${keys.join(" and ")} for ${host}/${repository}: ${expected}`, () => {
      assert.equal(find(keys, host, repository), expected);
    });
  }
});

describe("the helper for a registry", () => {
  const auths = read({
    credsStore: "desktop",
    credHelpers: {
      "https://a.example.com": "ecr-login",
      "docker.io": "hub",
      "none.example.com": "",
    },
  });
  for (const [host, expected] of [
    ["a.example.com", { helper: "ecr-login", serverUrl: "a.example.com" }],
    ["registry-1.docker.io", { helper: "hub", serverUrl: "https://index.docker.io/v1/" }],
    ["b.example.com:5000", { helper: "desktop", serverUrl: "b.example.com:5000" }],
    ["none.example.com", undefined],
  ] as const) {
    test(host, () => assert.deepEqual(findDockerHelper(auths, host), expected));
  }

  test("none", () => {
    assert.equal(findDockerHelper(read({ auths: {} }), "a.example.com"), undefined);
    assert.equal(findDockerHelper(read({ credsStore: "" }), "a.example.com"), undefined);
  });
});

describe("what is no Docker configuration is refused without being quoted", () => {
  for (const [text, message] of [
    ["hunter2", "file: it is not valid JSON"],
    ['["hunter2"]', "file: the file: expected a mapping"],
    ['{"auths": "hunter2"}', "file: auths: expected a mapping"],
    ['{"auths": {"a.example.com": "hunter2"}}', "file: auths of a.example.com: expected a mapping"],
    ['{"auths": {"a.example.com": {"auth": 42}}}', "file: auths of a.example.com: expected text"],
    [
      '{"auths": {"a.example.com": {"auth": "user:hunter2"}}}',
      "file: auths of a.example.com: the value of auth is not base64 of a user name, a colon and a password",
    ],
    [
      `{"auths": {"a.example.com": {"auth": "${base64("hunter2")}"}}}`,
      "file: auths of a.example.com: the value of auth is not base64 of a user name, a colon and a password",
    ],
    ['{"credsStore": {}}', "file: credsStore: expected text"],
    ['{"credHelpers": {"a.example.com": 1}}', "file: credHelpers of a.example.com: expected text"],
  ] as const) {
    test(text, () => {
      assert.throws(() => parseDockerAuths("file", text), { name: "CredentialError", message });
    });
  }
});
