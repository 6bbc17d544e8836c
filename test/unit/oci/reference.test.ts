import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  isDigestReference,
  maxRepositoryLength,
  parseNamespace,
  parseReference,
  parseRepository,
  parseTag,
} from "../../../src/oci/reference.ts";
import { anyText, digest, repository, tag } from "./arbitraries.ts";
import { assertRefused, assertThrowsOnlyOciError } from "./rejection.ts";

test("repository names of the grammar are read", () => {
  const names = [
    "a",
    "0",
    "alpine",
    "library/alpine",
    "docker.io/library/alpine",
    "a/b/c/d/e/f/g",
    "a.b",
    "a_b",
    "a__b",
    "a-b",
    "a---b",
    "foo/blobs/bar",
    "manifests/tags/uploads/referrers",
    "a".repeat(maxRepositoryLength),
  ];
  for (const name of names) {
    assert.equal(parseRepository(name), name);
  }
});

test("other repository names are refused", () => {
  const names = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    "A",
    "library/Alpine",
    ".",
    "..",
    "a/../b",
    "a/.",
    ".a",
    "a.",
    "a..b",
    "_a",
    "a_",
    "a___b",
    "-a",
    "a-",
    "a._b",
    "a-.b",
    "localhost:5000/a",
    "a b",
    "a\n",
    "a\\b",
    "a%2fb",
    "é",
    "\u{0}",
    "_manifests",
    "a".repeat(maxRepositoryLength + 1),
  ];
  for (const name of names) {
    assertRefused(() => parseRepository(name), "NAME_INVALID", name);
  }
});

test("tags of the grammar are read", () => {
  for (const text of [
    "latest",
    "1.0",
    "_",
    "_.-",
    "v1.0.0-rc.1_build",
    "sha256-abc.sig",
    "A",
    "list",
    "a".repeat(128),
  ]) {
    assert.equal(parseTag(text), text);
  }
});

test("other tags are refused", () => {
  for (const text of ["", ".a", "-a", "..", ".", "a/b", "a:b", "a+b", "a b", "a\n", "é", "\u{0}", "a".repeat(129)]) {
    assertRefused(() => parseTag(text), "TAG_INVALID", text);
  }
});

test("a colon makes a reference a digest", () => {
  assertRefused(() => parseReference("latest:"), "DIGEST_INVALID");
  assertRefused(() => parseReference("sha256:baddigeststring"), "DIGEST_INVALID");
  assertRefused(() => parseReference("-latest"), "TAG_INVALID");
  fc.assert(
    fc.property(fc.oneof(tag, digest), (reference) => {
      assert.equal(parseReference(reference), reference);
      assert.equal(isDigestReference(reference), reference.includes(":"));
    }),
  );
});

test("registry hosts are read, in lower case", () => {
  const hosts: [string, string][] = [
    ["docker.io", "docker.io"],
    ["Docker.IO", "docker.io"],
    ["localhost", "localhost"],
    ["localhost:5000", "localhost:5000"],
    ["registry-1.docker.io:443", "registry-1.docker.io:443"],
    ["a.b:1", "a.b:1"],
    ["a.b:65535", "a.b:65535"],
    ["xn--bcher-kva.example.com", "xn--bcher-kva.example.com"],
    ["3scale.example.com", "3scale.example.com"],
    ["1password", "1password"],
    ["127.0.0.1", "127.0.0.1"],
    ["127.0.0.1:5000", "127.0.0.1:5000"],
    ["[::1]", "[::1]"],
    ["[2001:DB8::1]:5000", "[2001:db8::1]:5000"],
    [`${"a".repeat(63)}.example.com`, `${"a".repeat(63)}.example.com`],
  ];
  for (const [text, expected] of hosts) {
    assert.equal(parseNamespace(text), expected);
  }
});

test("what is no registry host is refused", () => {
  const hosts = [
    "",
    ".",
    ":",
    ":5000",
    "docker.io:",
    "docker.io:0",
    "docker.io:65536",
    "docker.io:080",
    "docker.io:+80",
    "docker.io:80:80",
    "docker.io:http",
    "docker.io/library",
    "https://docker.io",
    "user@docker.io",
    "docker.io?",
    "docker.io#",
    "docker.io.",
    ".docker.io",
    "docker..io",
    "-docker.io",
    "docker-.io",
    "docker_io",
    "docker.io\n",
    " docker.io",
    "docker.io\u{0}",
    "docker%2eio",
    "doc\u{212a}er.io",
    "bücher.example.com",
    `${"a".repeat(64)}.example.com`,
    `${"a.".repeat(127)}aa`,
    "127.0.0.256",
    "127.0.0.01",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "::1",
    "[::1",
    "::1]",
    "[]",
    "[::g]",
    "[::1]5000",
    "[::1]:",
    "[::1]:0",
    "[fe80::1%eth0]",
    "[127.0.0.1]",
    "[docker.io]",
    "[[::1]]",
  ];
  for (const host of hosts) {
    assertRefused(() => parseNamespace(host), "NAME_INVALID", host);
  }
});

test("a host may have 255 characters with its port", () => {
  const host = (length: number): string => "a.".repeat(200).slice(0, length - 3);
  assert.equal(parseNamespace(`${host(250)}a:99`).length, 251);
  assert.equal(parseNamespace(`${host(254)}a:99`).length, 255);
  assertRefused(() => parseNamespace(`${host(254)}ab:99`), "NAME_INVALID");
});

test("a namespace that was read is read as itself", () => {
  const port = fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined });
  const host = fc.oneof(
    fc.domain().filter((name) => name.length < 250),
    fc.ipV4(),
    fc.ipV6().map((address) => `[${address}]`),
  );
  fc.assert(
    fc.property(host, port, (name, number) => {
      const text = number === undefined ? name : `${name}:${number}`;
      const namespace = parseNamespace(text);
      assert.equal(namespace, text.toLowerCase());
      assert.equal(parseNamespace(namespace), namespace);
    }),
  );
});

test("names and tags that were generated are read as themselves", () => {
  fc.assert(fc.property(repository, (name) => parseRepository(name) === name));
  fc.assert(fc.property(tag, (text) => parseTag(text) === text));
});

test("any text is read or refused with an OciError", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      for (const parse of [parseRepository, parseTag, parseReference, parseNamespace]) {
        assertThrowsOnlyOciError(() => parse(text));
      }
    }),
  );
});
