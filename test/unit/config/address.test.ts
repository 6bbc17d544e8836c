import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import {
  formatListen,
  type ListenAddress,
  parseHost,
  parseListen,
  parseCanonicalNamespace,
  parseUnlistedPattern,
} from "../../../src/config/address.ts";
import { ValueError } from "../../../src/config/config-error.ts";
import * as oci from "../../../src/oci/reference.ts";

/** Runs a parser on anything: it may refuse only by ValueError. */
function assertTotal(parse: (text: string) => unknown): void {
  const text = fc.oneof(fc.string(), fc.webUrl(), fc.domain(), fc.ipV6(), fc.stringMatching(/^[a1.:[\]/@*-]*$/));
  fc.assert(
    fc.property(text, (value) => {
      try {
        parse(value);
      } catch (error) {
        assert.ok(error instanceof ValueError, String(error));
      }
    }),
  );
}

describe("parseListen", () => {
  const cases: [string, ListenAddress][] = [
    ["0.0.0.0:80", { kind: "tcp", host: "0.0.0.0", port: 80 }],
    ["localhost:0", { kind: "tcp", host: "localhost", port: 0 }],
    ["[::]:8080", { kind: "tcp", host: "::", port: 8080 }],
    [":8080", { kind: "tcp", host: "", port: 8080 }],
    ["[::1]:65535", { kind: "tcp", host: "::1", port: 65_535 }],
    ["unix:/run/entrepot.sock", { kind: "unix", path: "/run/entrepot.sock" }],
  ];
  for (const [text, address] of cases) {
    test(`${text} is read and written back`, () => {
      assert.deepEqual(parseListen(text), address);
      assert.equal(formatListen(address), text);
    });
  }

  const refused: [string, RegExp][] = [
    ["", /expected host:port/],
    [":", /expected host:port/],
    ["::8080", /write :8080 for all addresses/],
    ["localhost", /expected host:port/],
    ["8080", /write :8080 for all addresses/],
    ["*:8080", /write :8080/],
    ["::1:8080", /expected host:port/],
    ["localhost:99999", /99999 is no port/],
    ["http://localhost:80", /expected host:port/],
    ["unix:", /unix:\/path/],
    [`unix:/${"x".repeat(107)}`, /1 to 107 bytes/],
  ];
  for (const [text, message] of refused) {
    test(`refuses "${text.slice(0, 30)}"`, () =>
      assert.throws(() => parseListen(text), { name: "ValueError", message }));
  }

  test("throws nothing but ValueError", () => assertTotal(parseListen));
});

describe("parseHost", () => {
  for (const host of [
    "quay.io",
    "registry.example.com:5000",
    "localhost:5000",
    "127.0.0.1",
    "[::1]:5000",
    "my_registry",
  ]) {
    test(`takes ${host}`, () => assert.equal(parseHost(host), host));
  }

  test("ignores case", () => assert.equal(parseHost("Quay.IO"), "quay.io"));

  const refused: [string, RegExp][] = [
    ["https://quay.io", /no scheme: write `host: quay\.io`$/],
    ["https://quay.io/v2/", /no scheme: write `host: quay\.io`$/],
    ["http://localhost:5000", /no scheme: write `host: localhost:5000` and `tls: false`$/],
    ["quay.io/v2", /no path: write `host: quay\.io`$/],
    ["quay.io:0", /expected host\[:port\]/],
    ["quay.io:65536", /expected host\[:port\]/],
    ["", /expected host\[:port\]/],
    ["a b", /expected host\[:port\]/],
  ];
  for (const [text, message] of refused) {
    test(`refuses "${text}"`, () => assert.throws(() => parseHost(text), { name: "ValueError", message }));
  }

  test("repeats no credentials", () => {
    for (const text of ["https://user:hunter2@quay.io", "user:hunter2@quay.io", "hunter2@"]) {
      assert.throws(
        () => parseHost(text),
        (error: Error) => !error.message.includes("hunter2"),
      );
    }
  });

  test("throws nothing but ValueError", () => assertTotal(parseHost));
});

describe("parseCanonicalNamespace", () => {
  const cases: [string, string][] = [
    ["docker.io", "docker.io"],
    ["index.docker.io", "docker.io"],
    ["registry-1.docker.io", "docker.io"],
    ["Registry-1.Docker.IO:443", "docker.io"],
    ["Quay.io", "quay.io"],
    ["quay.io:443", "quay.io"],
    ["localhost:5000", "localhost:5000"],
    ["127.0.0.1:5000", "127.0.0.1:5000"],
    ["[::1]:5000", "[::1]:5000"],
  ];
  for (const [text, namespace] of cases) {
    test(`${text} is ${namespace}`, () => assert.equal(parseCanonicalNamespace(text), namespace));
  }

  for (const text of [
    "",
    "https://quay.io",
    "quay.io/x",
    "a..b",
    "..",
    "-a",
    "a_b",
    "quay.io:0",
    "quay.io:99999",
    "10.1",
    "0x7f.1",
  ]) {
    test(`refuses "${text}"`, () => assert.throws(() => parseCanonicalNamespace(text), ValueError));
  }

  test("agrees with what requests may name", () => {
    const text = fc.oneof(fc.domain(), fc.ipV4(), fc.stringMatching(/^[a1x.:[\]_0-]{0,12}$/));
    fc.assert(
      fc.property(text, (value) => {
        const ours = attempt(() => parseCanonicalNamespace(value));
        const theirs = attempt(() => oci.canonicalNamespace(oci.parseNamespace(value)));
        assert.equal(ours, theirs, value);
      }),
      { numRuns: 1000 },
    );
  });
});

function attempt(parse: () => string): string | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

describe("parseUnlistedPattern", () => {
  for (const text of ["quay.io", "*.example.com", "a-b.example.com"]) {
    test(`takes ${text}`, () => assert.equal(parseUnlistedPattern(text).text, text));
  }

  for (const text of ["", "*", "quay", "*.*.com", "q*.io", "10.0.0.1", "quay.io:5000", "https://quay.io", ".io"]) {
    test(`refuses "${text}"`, () => assert.throws(() => parseUnlistedPattern(text), ValueError));
  }
});
