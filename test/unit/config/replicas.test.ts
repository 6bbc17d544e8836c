/* How replicas are configured: what is read, and what is refused. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { loadFile, problemsOf } from "./loading.ts";

const secret = "an-example-of-a-secret-that-replicas-share";

/** A file with replicas of these settings. */
function replicasWith(...lines: string[]): string {
  return ["storage: {type: s3, s3: {bucket: cache}}", "replicas:", ...lines.map((line) => `  ${line}`)].join("\n");
}

test("one address and a secret are all that is needed", () => {
  assert.deepEqual(loadFile(replicasWith("listen: 10.0.0.7:5001", `secret: ${secret}`)).replicas, {
    listen: { kind: "tcp", host: "10.0.0.7", port: 5001 },
    advertise: undefined,
    secret,
    secretFile: undefined,
    previousSecret: undefined,
  });
  assert.equal(loadFile("replicas: null").replicas, undefined);
});

test("what is advertised is an address that others can reach", () => {
  for (const [advertise, read] of [
    ["10.0.0.7:5001", "10.0.0.7:5001"],
    ["10.0.0.7:80", "10.0.0.7:80"],
    ["http://Replica-1.example.com:5001/", "replica-1.example.com:5001"],
    ['"[fd00::7]:5001"', "[fd00::7]:5001"],
    ["10.0.0.7", "10.0.0.7"],
    ["replica-1", "replica-1"],
    ["fd00::7", "[fd00::7]"],
    ["fd00::7:5002", "[fd00::7:5002]"],
  ]) {
    const { replicas } = loadFile(replicasWith("listen: 0.0.0.0:5001", `advertise: ${advertise}`, `secret: ${secret}`));
    assert.equal(replicas?.advertise, read);
  }
});

describe("what is refused", () => {
  const listen = "listen: 10.0.0.7:5001";
  for (const { what, lines, problem } of [
    {
      what: "a socket",
      lines: ["listen: unix:/run/peers", `secret: ${secret}`],
      problem: /replicas\.listen: expected host:port/,
    },
    ...['":5001"', "0.0.0.0:5001", '"[::]:5001"', '"[::0]:5001"', '"[0:0::0]:5001"'].map((any) => ({
      what: `${any} without what is advertised`,
      lines: [`listen: ${any}`, `secret: ${secret}`],
      problem: /replicas\.advertise: is required/,
    })),
    ...[
      "https://10.0.0.7:5001",
      "10.0.0.7:5001/path",
      "user:password@10.0.0.7:5001",
      '":5001"',
      "fd00::7:5001:5001:1:2:3:4:5",
      '"::"',
      "0.0.0.0:5001",
      '"[::]:5001"',
    ].map((advertise) => ({
      what: `to advertise ${advertise}`,
      lines: [listen, `advertise: ${advertise}`, `secret: ${secret}`],
      problem: /replicas\.advertise: expected host or host:port/,
    })),
    {
      what: "to advertise an IPv6 address whose end is meant as the port",
      lines: [listen, "advertise: fd00::7:5001", `secret: ${secret}`],
      problem: /replicas\.advertise: an IPv6 address has brackets before a port/,
    },
    { what: "no secret", lines: [listen], problem: /replicas\.secret: either/ },
    {
      what: "two secrets",
      lines: [listen, `secret: ${secret}`, "secret_file: /secret"],
      problem: /replicas\.secret: either/,
    },
    { what: "a short secret", lines: [listen, "secret: short"], problem: /replicas\.secret: must be at least 32/ },
    {
      what: "a short previous secret",
      lines: [listen, `secret: ${secret}`, "previous_secret: short"],
      problem: /replicas\.previous_secret: must be at least 32/,
    },
  ]) {
    test(what, () => {
      const problems = problemsOf(() => loadFile(replicasWith(...lines))).join("\n");
      assert.match(problems, problem);
      for (const private_ of [secret, "password"]) assert.ok(!problems.includes(private_), problems);
    });
  }

  test("replicas without a bucket", () => {
    const file = ["replicas:", `  ${listen}`, `  secret: ${secret}`].join("\n");
    assert.match(problemsOf(() => loadFile(file)).join("\n"), /replicas: needs a bucket/);
  });
});
