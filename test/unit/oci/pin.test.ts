import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parsePin, PinError, type Pinnable } from "../../../src/oci/pin.ts";

const sha256 = `sha256:${"a".repeat(64)}`;

function what(text: string): Pinnable {
  const [, namespace = "", repository = "", tag, digest] = /^([^/]+)\/([^:@]+)(?::([^@]+)|@(.+))?$/.exec(text) ?? [];
  return { namespace, repository, ...(tag !== undefined && { tag }), ...(digest !== undefined && { digest }) };
}

const cases: [string, string[], string[]][] = [
  [
    "docker.io/library/alpine",
    ["docker.io/library/alpine", "docker.io/library/alpine:3", `docker.io/library/alpine@${sha256}`],
    ["docker.io/library/alpine2", "docker.io/alpine", "quay.io/library/alpine", "docker.io/library/alpine/x"],
  ],
  [
    "docker.io/library/*:lts",
    ["docker.io/library/node:lts"],
    [
      "docker.io/library/node:1",
      "docker.io/library/node",
      "docker.io/library/a/b:lts",
      `docker.io/library/a@${sha256}`,
    ],
  ],
  ["quay.io/a:v1.*", ["quay.io/a:v1.2", "quay.io/a:v1."], ["quay.io/a:v1", "quay.io/a:v1x2", "quay.io/a:V1.2"]],
  ["quay.io/**", ["quay.io/a", "quay.io/a/b/c", "quay.io/a:1"], ["quay.io.example.com/a"]],
  ["quay.io/**/app", ["quay.io/app", "quay.io/a/app", "quay.io/a/b/app"], ["quay.io/xapp", "quay.io/app/x"]],
  ["quay.io/a/**/b", ["quay.io/a/b", "quay.io/a/x/y/b"], ["quay.io/ab", "quay.io/a"]],
  ["quay.io/a/**", ["quay.io/a", "quay.io/a/b"], ["quay.io/ab"]],
  ["quay.io/team-*/x", ["quay.io/team-1/x", "quay.io/team-/x"], ["quay.io/team-1/2/x", "quay.io/team/x"]],
  [`quay.io/a@${sha256}`, [`quay.io/a@${sha256}`], ["quay.io/a", "quay.io/a:1", `quay.io/b@${sha256}`]],
  ["*.example.com/a", ["x.example.com/a", "x.y.example.com/a"], ["example.com/a"]],
  ["*/a", ["quay.io/a"], ["quay.io/b"]],
];
for (const [pattern, fitting, others] of cases) {
  test(pattern.slice(0, 40), () => {
    const pin = parsePin(pattern);
    assert.equal(pin.pattern, pattern);
    for (const text of fitting) assert.ok(pin.matches(what(text)), text);
    for (const text of others) assert.ok(!pin.matches(what(text)), text);
  });
}

test("a namespace may have a port, and be an address", () => {
  const id = { namespace: "localhost:5000", repository: "app" };
  assert.ok(parsePin("localhost:5000/app:1").matches({ ...id, tag: "1" }));
  assert.ok(parsePin("localhost:*/app").matches(id));
  assert.ok(parsePin("[::1]:5000/app").matches({ ...id, namespace: "[::1]:5000" }));
  assert.equal(parsePin("localhost:5000/app").of, "repository");
  assert.equal(parsePin("localhost:5000/app:1").of, "tags");
  assert.equal(parsePin(`localhost:5000/app@${sha256}`).of, "digest");
});

test("which repositories it means something in", () => {
  const id = { namespace: "quay.io", repository: "a/b" };
  for (const pattern of ["quay.io/a/*:1", "quay.io/**", `quay.io/a/b@${sha256}`]) {
    assert.ok(parsePin(pattern).matchesRepository(id), pattern);
  }
  for (const pattern of ["quay.io/a:1", "docker.io/**"]) assert.ok(!parsePin(pattern).matchesRepository(id), pattern);
});

describe("what is no pin", () => {
  const many = `quay.io/${"a".repeat(2_000)}`;
  for (const text of ["", "alpine", "quay.io/", "/a", "quay.io//a", "quay.io/A", "quay.io/a b", "quay.io/a**", many]) {
    test(JSON.stringify(text.slice(0, 20)), () => assert.throws(() => parsePin(text), PinError));
  }
  test("a tag or digest that is none", () => {
    assert.throws(() => parsePin("quay.io/a:"), /expected a tag/);
    assert.throws(() => parsePin("quay.io/a:x/y"), /expected a tag/);
    assert.throws(() => parsePin(`quay.io/a:1@${sha256}`), /expected a tag/);
    assert.throws(() => parsePin("quay.io/a@sha256:1"), /expected a digest/);
  });
});

test("a pattern with very many stars takes no time", () => {
  const pin = parsePin(`quay.io/${"*a".repeat(100)}/**/**/**/b`);
  const started = performance.now();
  assert.ok(!pin.matches({ namespace: "quay.io", repository: `${"a".repeat(200)}/${"a/".repeat(20)}c` }));
  assert.ok(performance.now() - started < 1_000);
});
