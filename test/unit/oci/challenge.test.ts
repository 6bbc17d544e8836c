import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Challenge, parseChallenges } from "../../../src/oci/challenge.ts";
import { anyText } from "./arbitraries.ts";

type Plain = [scheme: string, parameters: Record<string, string>];

function read(header: string): Plain[] {
  return parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
}

test("registries' challenges are read", () => {
  const rows: [registry: string, header: string, expected: Plain[]][] = [
    [
      "Docker Hub",
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull"',
      [
        [
          "bearer",
          {
            realm: "https://auth.docker.io/token",
            service: "registry.docker.io",
            scope: "repository:library/alpine:pull",
          },
        ],
      ],
    ],
    [
      "ghcr.io",
      'Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:user/image:pull"',
      [["bearer", { realm: "https://ghcr.io/token", service: "ghcr.io", scope: "repository:user/image:pull" }]],
    ],
    [
      "quay.io, no scope",
      'Bearer realm="https://quay.io/v2/auth",service="quay.io"',
      [["bearer", { realm: "https://quay.io/v2/auth", service: "quay.io" }]],
    ],
    [
      "pkg.dev, only a realm",
      'Bearer realm="https://europe-docker.pkg.dev/v2/token"',
      [["bearer", { realm: "https://europe-docker.pkg.dev/v2/token" }]],
    ],
    [
      "public.ecr.aws",
      'Bearer realm="https://public.ecr.aws/token/",service="public.ecr.aws",scope="aws"',
      [["bearer", { realm: "https://public.ecr.aws/token/", service: "public.ecr.aws", scope: "aws" }]],
    ],
    [
      "private ECR",
      'Basic realm="https://1234.dkr.ecr.eu-central-1.amazonaws.com/",service="ecr.amazonaws.com"',
      [["basic", { realm: "https://1234.dkr.ecr.eu-central-1.amazonaws.com/", service: "ecr.amazonaws.com" }]],
    ],
    [
      "nvcr.io with an expired token",
      'Bearer realm="https://authn.nvidia.com/token", service="registry", error="invalid_token"',
      [["bearer", { realm: "https://authn.nvidia.com/token", service: "registry", error: "invalid_token" }]],
    ],
    [
      "a scope with commas",
      'Bearer realm="https://example.com/token",scope="repository:a/b:pull,push repository:c:pull",service="s"',
      [
        [
          "bearer",
          { realm: "https://example.com/token", scope: "repository:a/b:pull,push repository:c:pull", service: "s" },
        ],
      ],
    ],
    [
      "Forgejo, two challenges in a line, values without quotes",
      'Bearer realm=https://codeberg.org/v2/token,service=container_registry,scope=*,Basic realm="Gitea"',
      [
        ["bearer", { realm: "https://codeberg.org/v2/token", service: "container_registry", scope: "*" }],
        ["basic", { realm: "Gitea" }],
      ],
    ],
    [
      "a realm with its own query",
      'Bearer realm="https://example.com/token?a=b&c=d",service="s"',
      [["bearer", { realm: "https://example.com/token?a=b&c=d", service: "s" }]],
    ],
    [
      "a realm with its own query, without quotes",
      "Bearer realm=https://example.com/token?a=b,service=s",
      [["bearer", { realm: "https://example.com/token?a=b", service: "s" }]],
    ],
    ["no parameters", "Basic", [["basic", {}]]],
    [
      "several lines joined",
      'Negotiate, Basic realm="x", Bearer realm="y"',
      [
        ["negotiate", {}],
        ["basic", { realm: "x" }],
        ["bearer", { realm: "y" }],
      ],
    ],
    [
      "a token68",
      'Negotiate YWJj/+-._~==, Bearer realm="y"',
      [
        ["negotiate", {}],
        ["bearer", { realm: "y" }],
      ],
    ],
    ["names and schemes in other cases", 'BEARER Realm="X",SERVICE="Y"', [["bearer", { realm: "X", service: "Y" }]]],
    [
      "spaces",
      '  Bearer   realm = "x" ,\tservice =y , , Basic  realm="z" , ',
      [
        ["bearer", { realm: "x", service: "y" }],
        ["basic", { realm: "z" }],
      ],
    ],
    ["escapes", 'Bearer realm="a\\"b\\\\c\\d",service="s"', [["bearer", { realm: 'a"b\\cd', service: "s" }]]],
    ["an empty value", 'Bearer realm="",service="s"', [["bearer", { realm: "", service: "s" }]]],
    [
      "an empty value without quotes",
      "Bearer realm=x,service=,scope=y",
      [["bearer", { realm: "x", service: "", scope: "y" }]],
    ],
    ["a repeated name", 'Bearer realm="a",realm="b"', [["bearer", { realm: "a" }]]],
    ["names that objects have", 'Bearer constructor="a"', [["bearer", { constructor: "a" }]]],
  ];
  for (const [registry, header, expected] of rows) {
    assert.deepEqual(read(header), expected, registry);
  }
});

test("from what cannot be read on, the rest is dropped", () => {
  const rows: [string, Plain[]][] = [
    ["", []],
    [" , ,", []],
    ['"Bearer"', []],
    ['realm="x"', []],
    ['@Bearer realm="x"', []],
    ['Bearer realm="x', [["bearer", {}]]],
    ['Bearer realm="x\\"', [["bearer", {}]]],
    ['Bearer realm="x",service="y', [["bearer", { realm: "x" }]]],
    ['Bearer realm="x"service="y"', [["bearer", {}]]],
    ['Bearer realm="x",@,service="y"', [["bearer", { realm: "x" }]]],
    ['Bearer @, Basic realm="x"', [["bearer", {}]]],
    [
      'Basic realm="x", Bearer "y"',
      [
        ["basic", { realm: "x" }],
        ["bearer", {}],
      ],
    ],
    ['Basic Bearer realm="x"', [["basic", {}]]],
  ];
  for (const [header, expected] of rows) {
    assert.deepEqual(read(header), expected, header);
  }
});

/** A challenge as a registry may write it. */
function formatChallenge({ scheme, parameters }: Challenge): string {
  const written = Array.from(parameters, ([name, value]) => `${name}="${value.replaceAll(/["\\]/g, "\\$&")}"`);
  return [scheme, written.join(",")].join(" ").trimEnd();
}

test("challenges that were written are read", () => {
  const word = fc.stringMatching(/^[a-z0-9!#$%&'*+.^_`|~-]{1,8}$/);
  const value = fc.oneof(
    fc.string({ unit: "grapheme-ascii", maxLength: 20 }),
    fc.constantFrom('"', "\\", ",", " ", '\\"'),
  );
  const challenge = fc
    .tuple(word, fc.uniqueArray(fc.tuple(word, value), { selector: ([name]) => name, maxLength: 4 }))
    .map(([scheme, parameters]) => ({ scheme, parameters: new Map(parameters) }));
  fc.assert(
    fc.property(fc.array(challenge, { maxLength: 4 }), fc.constantFrom(",", ", ", " ,, "), (challenges, glue) => {
      assert.deepEqual(parseChallenges(challenges.map(formatChallenge).join(glue)), challenges);
    }),
  );
});

test("any text is read without an error", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      for (const header of [text, `Bearer ${text}`, `Bearer realm="x",${text}`]) {
        for (const { scheme, parameters } of parseChallenges(header)) {
          assert.equal(scheme, scheme.toLowerCase());
          assert.ok([...parameters.keys()].every((name) => name === name.toLowerCase()));
        }
      }
    }),
  );
});

test("a long header is read", () => {
  const filler = '\\"a,='.repeat(200_000);
  assert.equal(parseChallenges(`Bearer realm="${filler}"`)[0]?.parameters.get("realm")?.length, 800_000);
  assert.deepEqual(read(`Bearer realm="${filler}`), [["bearer", {}]]);
  assert.equal(parseChallenges("a,".repeat(100_000)).length, 100_000);
});
