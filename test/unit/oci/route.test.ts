import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseDigest } from "../../../src/oci/digest.ts";
import type { OciErrorCode } from "../../../src/oci/errors.ts";
import { parseReference, parseRepository } from "../../../src/oci/reference.ts";
import { type Endpoint, formatRoute, parseRoute, type Route } from "../../../src/oci/route.ts";
import { anyText, component, digest, repository, tag } from "./arbitraries.ts";
import { assertRefused, assertThrowsOnlyOciError } from "./rejection.ts";

const sha256 = parseDigest(`sha256:${"0a".repeat(32)}`);
const sha512 = parseDigest(`sha512:${"0a".repeat(64)}`);

function manifest(name: string, reference = "latest"): Endpoint {
  return { kind: "manifest", name: parseRepository(name), reference: parseReference(reference) };
}

function blob(name: string): Endpoint {
  return { kind: "blob", name: parseRepository(name), digest: sha256 };
}

function tags(name: string): Endpoint {
  return { kind: "tags", name: parseRepository(name) };
}

function referrers(name: string): Endpoint {
  return { kind: "referrers", name: parseRepository(name), digest: sha256 };
}

function uploads(name: string, session?: string): Endpoint {
  return { kind: "uploads", name: parseRepository(name), session };
}

function assertEndpoints(
  rows: readonly (readonly [target: string, endpoint: Endpoint, prefix?: readonly string[]])[],
): void {
  for (const [target, endpoint, prefix = []] of rows) {
    assert.deepEqual(parseRoute(target), { endpoint, prefix, ns: undefined, query: "" }, target);
  }
}

test("every endpoint is read", () => {
  assertEndpoints([
    ["/v2/", { kind: "base" }],
    ["/v2", { kind: "base" }],
    ["/v2/docker.io/v2/", { kind: "base" }],
    ["/v2/docker.io/v2", { kind: "base" }],
    ["/v2/library/alpine/manifests/latest", manifest("library/alpine")],
    ["/v2/alpine/manifests/latest", manifest("alpine")],
    [`/v2/alpine/manifests/${sha256}`, manifest("alpine", sha256)],
    [`/v2/alpine/manifests/${sha512}`, manifest("alpine", sha512)],
    [`/v2/a/b/c/d/blobs/${sha256}`, blob("a/b/c/d")],
    ["/v2/a/tags/list", tags("a")],
    [`/v2/a/referrers/${sha256}`, referrers("a")],
    ["/v2/_catalog", { kind: "catalog" }],
    ["/v2/v2/_catalog", { kind: "catalog" }],
    ["/v2/a/blobs/uploads", uploads("a")],
    ["/v2/a/blobs/uploads/", uploads("a")],
    ["/v2/a/blobs/uploads/5f2b-x", uploads("a", "5f2b-x")],
  ]);
});

test("each client's way to name a mirror is read (protocol, 3.0)", () => {
  const rows: [client: string, target: string, prefix: string[], name: string, ns: string | undefined][] = [
    ["docker, graph drivers", "/pfx/v2/library/alpine/manifests/latest", ["pfx"], "library/alpine", undefined],
    ["docker, no path", "/v2/library/alpine/manifests/latest", [], "library/alpine", undefined],
    [
      "docker, containerd store",
      "/pfx/v2/library/alpine/manifests/latest?ns=docker.io",
      ["pfx"],
      "library/alpine",
      "docker.io",
    ],
    ["containerd", "/pfx/v2/library/alpine/manifests/latest?ns=docker.io", ["pfx"], "library/alpine", "docker.io"],
    ["containerd, no path", "/v2/pause/manifests/latest?ns=registry.k8s.io", [], "pause", "registry.k8s.io"],
    ["containerd, a port", "/v2/a/manifests/latest?ns=localhost%3A5000", [], "a", "localhost:5000"],
    [
      "containerd, override_path with /v2/docker.io",
      "/v2/docker.io/library/alpine/manifests/latest?ns=docker.io",
      [],
      "docker.io/library/alpine",
      "docker.io",
    ],
    [
      "containerd, override_path with /v2/v2",
      "/v2/v2/library/alpine/manifests/latest?ns=docker.io",
      [],
      "library/alpine",
      "docker.io",
    ],
    ["BuildKit", "/v2/pfx/library/alpine/manifests/latest?ns=docker.io", [], "pfx/library/alpine", "docker.io"],
    ["podman", "/v2/docker.io/library/alpine/manifests/latest", [], "docker.io/library/alpine", undefined],
    ["k3s", "/pfx/v2/library/alpine/manifests/latest?ns=docker.io", ["pfx"], "library/alpine", "docker.io"],
    ["k3s, rewrite", "/v2/pfx/library/alpine/manifests/latest?ns=docker.io", [], "pfx/library/alpine", "docker.io"],
    ["kaniko", "/v2/pfx/library/alpine/manifests/latest", [], "pfx/library/alpine", undefined],
    ["crane, short name", "/v2/docker.io/alpine/manifests/latest", [], "docker.io/alpine", undefined],
    ["a host and one part", "/v2/registry.k8s.io/pause/manifests/latest", [], "registry.k8s.io/pause", undefined],
    ["several parts before", "/a/docker.io/v2/alpine/manifests/latest", ["a", "docker.io"], "alpine", undefined],
  ];
  for (const [client, target, prefix, name, ns] of rows) {
    assert.deepEqual(parseRoute(target), { endpoint: manifest(name), prefix, ns, query: "" }, client);
  }
  assert.equal(parseRoute("/pfx/library/alpine/manifests/latest?ns=docker.io"), undefined, "override_path without v2");
});

test("pings are read under every prefix", () => {
  assertEndpoints([
    ["/pfx/v2/", { kind: "base" }, ["pfx"]],
    ["/docker.io/library/v2", { kind: "base" }, ["docker.io", "library"]],
    ["/v2/v2/", { kind: "base" }],
    ["/v2/v2", { kind: "base" }],
    ["/a/v2/v2/", { kind: "base" }, ["a"]],
  ]);
});

test("a path is read from its right end", () => {
  assertEndpoints([
    ["/v2/foo/blobs/bar/manifests/latest", manifest("foo/blobs/bar")],
    ["/v2/manifests/manifests/manifests", manifest("manifests", "manifests")],
    ["/v2/foo/manifests/uploads", manifest("foo", "uploads")],
    ["/v2/foo/manifests/list", manifest("foo", "list")],
    ["/v2/foo/blobs/uploads/manifests/latest", manifest("foo/blobs/uploads")],
    ["/v2/foo/tags/list/manifests/latest", manifest("foo/tags/list")],
    [`/v2/foo/manifests/bar/blobs/${sha256}`, blob("foo/manifests/bar")],
    [`/v2/foo/blobs/uploads/blobs/${sha256}`, blob("foo/blobs/uploads")],
    [`/v2/blobs/blobs/${sha256}`, blob("blobs")],
    ["/v2/tags/tags/list", tags("tags")],
    ["/v2/foo/blobs/uploads/tags/list", tags("foo/blobs/uploads")],
    [`/v2/foo/tags/list/referrers/${sha256}`, referrers("foo/tags/list")],
    ["/v2/blobs/uploads/blobs/uploads", uploads("blobs/uploads")],
    ["/v2/foo/manifests/blobs/uploads/", uploads("foo/manifests")],
    ["/v2/foo/blobs/uploads/manifests", uploads("foo", "manifests")],
    ["/v2/uploads/blobs/uploads/x", uploads("uploads", "x")],
  ]);
});

test("v2 is the root once; later ones belong to the name", () => {
  assertEndpoints([
    ["/v2/foo/v2/manifests/latest", manifest("foo/v2")],
    ["/v2/v2/foo/manifests/latest", manifest("foo")],
    ["/v2/v2/v2/foo/manifests/latest", manifest("v2/foo")],
    ["/v2/v2/v2/manifests/latest", manifest("v2")],
    ["/v2/v2/manifests/latest", manifest("v2")],
    [`/v2/v2/blobs/${sha256}`, blob("v2")],
    ["/v2/v2/tags/list", tags("v2")],
    ["/v2/v2/blobs/uploads/", uploads("v2")],
    ["/v2/foo/manifests/v2", manifest("foo", "v2")],
    ["/pfx/v2/v2/foo/manifests/latest", manifest("foo"), ["pfx"]],
  ]);
});

test("percent-encoding is taken off once, within a segment", () => {
  assertEndpoints([
    [`/v2/a/manifests/${sha256.replace(":", "%3A")}`, manifest("a", sha256)],
    [`/v2/a/blobs/${sha256.replace(":", "%3a")}`, blob("a")],
    ["/v2/%61lpine/%6danifests/l%61test", manifest("alpine")],
    ["/%762/alpine/tags/list", tags("alpine")],
  ]);
});

test("what is no resource is undefined", () => {
  const targets = [
    "",
    "/",
    "*",
    "v2/",
    "?ns=docker.io",
    "http://example.com/v2/",
    "/v1/_ping",
    "/v2x/",
    "/V2/",
    "/healthz",
    "/metrics?x=%zz",
    "/foo//bar",
    "/v2/_oci/ext/discover",
    "/v2/alpine",
    "/v2/manifests",
    "/v2/manifests/latest",
    `/v2/blobs/${sha256}`,
    "/v2/blobs/uploads",
    "/v2/blobs/uploads/x",
    "/v2/tags/list",
    "/v2/alpine/tags",
    "/v2/alpine/tags/other",
    "/v2/alpine/manifest/latest",
    "/v2/alpine/manifests/latest/extra",
    "/v2/alpine/Manifests/latest",
  ];
  for (const target of targets) {
    assert.equal(parseRoute(target), undefined, target);
  }
});

test("bad paths are refused with the fitting code", () => {
  const rows: [OciErrorCode, string[]][] = [
    [
      "NAME_INVALID",
      [
        "/v2//",
        "//v2/",
        "/pfx//v2/",
        "/v2//alpine/manifests/latest",
        "/v2/library//alpine/manifests/latest",
        "/v2/alpine//manifests/latest",
        "/v2//manifests/latest",
        "/v2/alpine/",
        "/v2/alpine/tags/list/",
        "/v2/alpine/manifests/latest/",
        "/v2/./alpine/manifests/latest",
        "/v2/../alpine/manifests/latest",
        "/v2/a/../../manifests/latest",
        "/v2/%2e%2e/alpine/manifests/latest",
        "/v2/../../etc/passwd",
        "/../v2/",
        "/v2/library%2Falpine/manifests/latest",
        "/v2/library%2falpine/tags/list",
        "/v2/library%252Falpine/tags/list",
        "/v2/alpine/manifests%2flatest",
        "/v2/a%5Cb/tags/list",
        "/v2/a\\b/tags/list",
        "/v2/a%00/tags/list",
        "/v2/a\u{0}/tags/list",
        "/v2/a%0d%0a/tags/list",
        "/v2/a b/tags/list",
        "/v2/a#b/tags/list",
        "/v2/a;b/tags/list",
        "/v2/é/tags/list",
        "/v2/%c3%a9/tags/list",
        "/v2/Alpine/manifests/latest",
        "/v2/_a/manifests/latest",
        "/v2/a_/blobs/uploads/",
        "/v2/localhost:5000/a/manifests/latest",
        "/Pfx/v2/",
        "/a%2fb/v2/",
        "/localhost:5000/v2/a/tags/list",
        "/v2/a%/tags/list",
        "/v2/a%zz/tags/list",
        "/v2/a%4/tags/list",
        "/v2/%ff/tags/list",
        "/v2/%c0%ae%c0%ae/tags/list",
        "/v2/alpine/manifests/%zz",
        "/%zz/v2/",
        `/v2/${"a".repeat(256)}/tags/list`,
        `/v2/Alpine/blobs/${sha256}`,
        `/v2/a//referrers/${sha256}`,
      ],
    ],
    [
      "TAG_INVALID",
      [
        "/v2/alpine/manifests/",
        "/v2/alpine/manifests/..",
        "/v2/alpine/manifests/.latest",
        "/v2/alpine/manifests/-latest",
        "/v2/alpine/manifests/a%2fb",
        "/v2/alpine/manifests/..%2f..%2fetc%2fpasswd",
        "/v2/alpine/manifests/a%00",
        "/v2/alpine/manifests/a+b",
        "/v2/alpine/manifests/a%20b",
        `/v2/alpine/manifests/${"a".repeat(129)}`,
      ],
    ],
    [
      "DIGEST_INVALID",
      [
        "/v2/alpine/blobs/",
        "/v2/alpine/blobs/latest",
        "/v2/alpine/blobs/..",
        "/v2/alpine/blobs/sha256:baddigeststring",
        "/v2/alpine/manifests/sha256:baddigeststring",
        "/v2/alpine/manifests/:",
        "/v2/alpine/referrers/",
        "/v2/alpine/referrers/latest",
        `/v2/alpine/blobs/${sha256.toUpperCase()}`,
        `/v2/alpine/blobs/${sha256}%2f`,
        `/v2/alpine/blobs/sha256%253A${"0a".repeat(32)}`,
        `/v2/alpine/blobs/blake3:${"0a".repeat(32)}`,
        "/v2/alpine/blobs/sha256:..%2f..%2fetc",
      ],
    ],
  ];
  for (const [code, targets] of rows) {
    for (const target of targets) {
      assertRefused(() => parseRoute(target), code, target);
    }
  }
});

test("a target has at most 4096 characters", () => {
  const start = "/v2/alpine/tags/list?last=";
  const longest = start.padEnd(4096, "x");
  assert.equal(parseRoute(longest)?.query.length, 4096 - "/v2/alpine/tags/list?".length);
  assert.equal(assertRefused(() => parseRoute(`${longest}x`), "URI_TOO_LONG").status, 414);
  assertRefused(() => parseRoute("/".repeat(5000)), "URI_TOO_LONG");
});

test("ns is taken out of the query, and the rest stays as it was", () => {
  const rows: [query: string, ns: string | undefined, rest: string][] = [
    ["", undefined, ""],
    ["?", undefined, ""],
    ["?ns=docker.io", "docker.io", ""],
    ["?ns=", "", ""],
    ["?ns", "", ""],
    ["?ns=localhost%3a5000", "localhost:5000", ""],
    ["?n%73=docker.io", "docker.io", ""],
    ["?NS=docker.io", undefined, "NS=docker.io"],
    ["?nsx=docker.io", undefined, "nsx=docker.io"],
    ["?x=ns=docker.io", undefined, "x=ns=docker.io"],
    ["?ns=a=b", "a=b", ""],
    ["?ns=Docker.IO", "Docker.IO", ""],
    ["?ns=a+b", "a+b", ""],
    ["?ns=%2e%2e%2f", "../", ""],
    ["?ns=docker.io&ns=docker.io", "docker.io", ""],
    ["?ns=docker.io&ns=docker%2eio", "docker.io", ""],
    ["?n=10&last=b", undefined, "n=10&last=b"],
    ["?n=10&ns=docker.io&last=b", "docker.io", "n=10&last=b"],
    ["?ns=docker.io&n=10", "docker.io", "n=10"],
    ["?n=10&ns=docker.io", "docker.io", "n=10"],
    ["?artifactType=application%2Fvnd.x%2Bjson", undefined, "artifactType=application%2Fvnd.x%2Bjson"],
    ["?a&&b=?&", undefined, "a&&b=?&"],
    ["?&ns=a&", "a", "&"],
    ["?last=%C3%A9", undefined, "last=%C3%A9"],
  ];
  for (const [query, ns, rest] of rows) {
    assert.deepEqual(
      parseRoute(`/v2/a/tags/list${query}`),
      { endpoint: tags("a"), prefix: [], ns, query: rest },
      query,
    );
  }
});

test("bad queries are refused", () => {
  const queries = [
    "ns=docker.io&ns=quay.io",
    "ns=docker.io&ns=",
    "ns=docker.io&ns",
    "ns=a&n%73=b",
    "ns=%",
    "ns=%zz",
    "ns=%ff",
    "last=%",
    "last=%4",
    "%zz=a",
    "last=é",
    "last=a b",
    "last=a\r\nX: 1",
    "last=\u{0}",
  ];
  for (const query of queries) {
    assertRefused(() => parseRoute(`/v2/a/tags/list?${query}`), "NAME_INVALID", query);
  }
});

test("routes are written in their usual form", () => {
  const rows: [Route, string][] = [
    [{ endpoint: { kind: "base" }, prefix: [], ns: undefined, query: "" }, "/v2/"],
    [
      { endpoint: manifest("library/alpine"), prefix: [], ns: "a:5000", query: "" },
      "/v2/library/alpine/manifests/latest?ns=a%3A5000",
    ],
    [{ endpoint: blob("a"), prefix: ["b", "c"], ns: undefined, query: "" }, `/b/c/v2/a/blobs/${sha256}`],
    [{ endpoint: tags("a"), prefix: [], ns: "", query: "n=1&last=b" }, "/v2/a/tags/list?ns=&n=1&last=b"],
    [{ endpoint: uploads("a"), prefix: [], ns: undefined, query: "" }, "/v2/a/blobs/uploads/"],
    [{ endpoint: uploads("a", "b/c"), prefix: [], ns: undefined, query: "" }, "/v2/a/blobs/uploads/b%2Fc"],
    [{ endpoint: { kind: "catalog" }, prefix: ["b"], ns: undefined, query: "n=1" }, "/b/v2/_catalog?n=1"],
    [{ endpoint: referrers("v2/a"), prefix: [], ns: undefined, query: "" }, `/v2/v2/v2/a/referrers/${sha256}`],
  ];
  for (const [route, target] of rows) {
    assert.equal(formatRoute(route), target);
    assert.deepEqual(parseRoute(target), route);
  }
});

const endpoint: fc.Arbitrary<Endpoint> = fc.oneof(
  fc.constant<Endpoint>({ kind: "base" }),
  fc
    .tuple(repository, fc.oneof(tag, digest))
    .map(([name, reference]) => ({ kind: "manifest", name, reference }) as const),
  fc.tuple(repository, digest).map(([name, value]) => ({ kind: "blob", name, digest: value }) as const),
  repository.map((name) => ({ kind: "tags", name }) as const),
  fc.tuple(repository, digest).map(([name, value]) => ({ kind: "referrers", name, digest: value }) as const),
  fc
    .tuple(repository, fc.option(fc.string({ minLength: 1 }), { nil: undefined }))
    .map(([name, session]) => ({ kind: "uploads", name, session }) as const),
  fc.constant<Endpoint>({ kind: "catalog" }),
);

const query: fc.Arbitrary<string> = fc
  .array(fc.tuple(fc.constantFrom("n", "last", "artifactType", "nsx", ""), fc.string({ unit: "grapheme" })), {
    maxLength: 3,
  })
  .map((parameters) => parameters.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&"));

const route: fc.Arbitrary<Route> = fc.record(
  {
    endpoint,
    prefix: fc.array(
      component.filter((segment) => segment !== "v2"),
      { maxLength: 3 },
    ),
    ns: fc.option(fc.string({ unit: "grapheme", maxLength: 30 }), { nil: undefined }),
    query,
  },
  { noNullPrototype: true },
);

test("a route that was written is read", () => {
  fc.assert(
    fc.property(route, (value) => {
      assert.deepEqual(parseRoute(formatRoute(value)), value);
    }),
    { numRuns: 500 },
  );
});

test("any text is read or refused with an OciError, and what is read holds only checked names", () => {
  const target = fc.oneof(
    anyText,
    anyText.map((text) => `/v2/${text}`),
    fc.tuple(anyText, anyText).map(([name, tail]) => `/v2/${name}/manifests/${tail}`),
    fc.tuple(anyText, anyText).map(([prefix, text]) => `/${prefix}/v2/a/tags/list?${text}`),
    anyText.map((text) => `/v2/a/tags/list?${text}`),
  );
  fc.assert(
    fc.property(target, (text) => {
      let read: Route | undefined;
      assertThrowsOnlyOciError(() => (read = parseRoute(text)));
      if (read === undefined) {
        return;
      }
      assert.deepEqual(parseRoute(formatRoute(read)), read);
      assert.doesNotThrow(() => read?.prefix.forEach(parseRepository));
      if ("name" in read.endpoint) {
        assert.equal(parseRepository(read.endpoint.name), read.endpoint.name);
      }
    }),
    { numRuns: 1000 },
  );
});
