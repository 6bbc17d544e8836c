import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { parsePin, PinError } from "../../../src/oci/pin.ts";

const sha256 = `sha256:${"a".repeat(64)}`;

const canonicalOf = (text: string): string => parsePin(text).pattern;

describe("the grammar of pins", () => {
  for (const text of [
    "docker.io/library/*:lts",
    "docker.io/**",
    "registry.k8s.io/**",
    "quay.io/team/app",
    "quay.io/team/app:1.2",
    "quay.io/team/app:v1.*-alpine",
    "quay.io/*/app:*",
    "quay.io/**/app",
    "quay.io/team-*/x.y_z",
    `quay.io/team/app@${sha256}`,
    `quay.io/team/*@sha512:${"0".repeat(128)}`,
    "localhost:5000/a",
    "localhost/a",
    "[::1]:5000/a:b",
    "*/library/alpine",
    "*.example.com/**",
    "registry.example.com:*/app",
  ]) {
    test(`takes ${text.slice(0, 50)}`, () => assert.equal(canonicalOf(text), text));
  }

  const canonical: [string, string][] = [
    ["Quay.IO/team/app:LTS", "quay.io/team/app:LTS"],
    ["quay.io:443/app", "quay.io/app"],
    ["registry-1.docker.io/library/alpine", "docker.io/library/alpine"],
    ["docker.io/alpine:3", "docker.io/library/alpine:3"],
    ["docker.io/*:lts", "docker.io/library/*:lts"],
    ["*.Example.com/**", "*.example.com/**"],
  ];
  for (const [text, pattern] of canonical) {
    test(`${text} is ${pattern}`, () => assert.equal(canonicalOf(text), pattern));
  }

  const refused: [string, RegExp][] = [
    ["", /begins with a registry's name, such as docker\.io\/library\/alpine/],
    ["alpine:3", /begins with a registry's name/],
    ["library/*:lts", /begins with a registry's name/],
    ["**", /begins with a registry's name/],
    ["/app", /begins with a registry's name/],
    ["**/app", /expected a registry's name such as quay\.io or \*\.example\.com/],
    ["https://quay.io/app", /expected a registry's name/],
    ["quay.io/", /expected a repository behind quay\.io\//],
    ["quay.io/:tag", /expected a repository behind/],
    ["quay.io//app", /expected a repository behind/],
    ["quay.io/app/", /expected a repository behind/],
    ["quay.io/Team/*", /no capital letters$/],
    ["quay.io/team**", /expected a repository behind/],
    ["quay.io/***", /expected a repository behind/],
    ["quay.io/a b", /expected a repository behind/],
    ["quay.io/app:", /expected a tag such as 1\.2/],
    ["quay.io/app:a/b", /expected a tag such as 1\.2/],
    [`quay.io/app:1@${sha256}`, /expected a tag: either a tag or a digest/],
    ["quay.io/app@sha256:abc", /expected a digest such as sha256/],
    ["quay.io/app@sha256:*", /expected a digest such as sha256/],
    ["quay.io/app@", /expected a digest/],
  ];
  for (const [text, message] of refused) {
    test(`refuses "${text.slice(0, 50)}"`, () => assert.throws(() => canonicalOf(text), { name: "PinError", message }));
  }

  test("throws nothing but PinError, and reads what it gave as the same", () => {
    const piece = fc.constantFrom("a", "docker.io", "quay.io", "/", ":", "@", "*", "**", "1", ".", sha256, "A", "-");
    const text = fc.oneof(
      fc.string(),
      fc.array(piece).map((pieces) => pieces.join("")),
    );
    fc.assert(
      fc.property(text, (value) => {
        let pattern: string;
        try {
          pattern = canonicalOf(value);
        } catch (error) {
          assert.ok(error instanceof PinError, String(error));
          return;
        }
        assert.equal(canonicalOf(pattern), pattern);
      }),
    );
  });
});
