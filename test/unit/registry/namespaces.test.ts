import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { canonicalNamespace, type Namespace, parseNamespace } from "../../../src/oci/reference.ts";
import { parseRoute } from "../../../src/oci/route.ts";
import { Namespaces, type NamespacesOptions, type OpenNamespace } from "../../../src/registry/namespaces.ts";
import type { PullRegistry } from "../../../src/registry/registry.ts";
import { isPublicName } from "../../../src/upstream/guard.ts";
import { assertRefused, assertThrowsOnlyOciError } from "../oci/rejection.ts";
import { anyText } from "../oci/arbitraries.ts";

const absent = async (): Promise<undefined> => undefined;

function emptyRegistry(): PullRegistry {
  return {
    resolve: absent,
    manifest: absent,
    statBlob: absent,
    openBlob: absent,
    tags: absent,
    referrers: absent,
  };
}

interface Subject {
  readonly namespaces: Namespaces;
  readonly listed: ReadonlyMap<Namespace, PullRegistry>;
  /** The unlisted namespaces whose registry was made, in order. */
  readonly made: string[];
}

function setUp(options: Partial<NamespacesOptions> = {}): Subject {
  const made: string[] = [];
  const names = ["docker.io", "ghcr.io", "local", "localhost:5000", "registry.example.com:8443", "127.0.0.1:5000"];
  const listed = new Map(names.map((name) => [parseNamespace(name), emptyRegistry()]));
  const hosts = new Map([
    ["hub.mirror.example.com", parseNamespace("docker.io")],
    ["ghcr.mirror.example.com", parseNamespace("ghcr.io")],
    ["[::1]", parseNamespace("local")],
  ]);
  const namespaces = new Namespaces({
    rules: {
      ofServerName: (host) => hosts.get(host),
      defaultNamespace: parseNamespace("docker.io"),
      emptyNamespace: parseNamespace("ghcr.io"),
    },
    listed,
    allowsUnlisted: () => true,
    openUnlisted: (namespace) => {
      made.push(namespace);
      return emptyRegistry();
    },
    ...options,
  });
  return { namespaces, listed, made };
}

function routeOf(target: string): Parameters<Namespaces["open"]>[0] {
  const route = parseRoute(target);
  assert.ok(route !== undefined && "name" in route.endpoint, `${target} is no resource`);
  return { ...route, name: route.endpoint.name };
}

function open(namespaces: Namespaces, target: string, host?: string): OpenNamespace {
  return namespaces.open(routeOf(target), host);
}

/** What a request means, as `namespace repository`. */
function meaning(target: string, host?: string): string {
  const { namespace, repository } = open(setUp().namespaces, target, host);
  return `${namespace} ${repository}`;
}

type Row = readonly [request: string, expected: string, host?: string];

function assertMeanings(rows: readonly Row[]): void {
  for (const [request, expected, host] of rows) {
    const [path = "", query] = request.split("?");
    const target = `${path}/manifests/latest${query === undefined ? "" : `?${query}`}`;
    assert.equal(meaning(target, host), expected, `${request}${host === undefined ? "" : ` at ${host}`}`);
  }
}

test("each client's request for docker.io/library/alpine means that (protocol, 3.0)", () => {
  const alpine = "docker.io library/alpine";
  assertMeanings([
    // Docker, registry-mirrors with and without a path; no ns.
    ["/v2/library/alpine", alpine],
    ["/pfx/v2/library/alpine", alpine],
    // Docker with containerd's image store.
    ["/v2/library/alpine?ns=docker.io", alpine],
    ["/pfx/v2/library/alpine?ns=docker.io", alpine],
    // containerd, with and without a path.
    ["/docker.io/v2/library/alpine?ns=docker.io", alpine],
    ["/docker.io/v2/library/alpine", alpine],
    // containerd, override_path with /v2/docker.io, and with a doubled /v2.
    ["/v2/docker.io/library/alpine?ns=docker.io", alpine],
    ["/v2/v2/library/alpine?ns=docker.io", alpine],
    ["/v2/docker.io/v2/library/alpine?ns=docker.io", alpine],
    // BuildKit, mirrors = ["m/docker.io"]: a path and ns.
    ["/v2/docker.io/library/alpine?ns=docker.io", alpine],
    // podman, CRI-O, skopeo with location = "m/docker.io".
    ["/v2/docker.io/library/alpine", alpine],
    // k3s with an endpoint with /v2, and with a rewrite.
    ["/docker.io/v2/library/alpine?ns=docker.io", alpine],
    ["/v2/docker.io/library/alpine?ns=docker.io", alpine],
    // kaniko, --registry-map docker.io=m/docker.io.
    ["/v2/docker.io/library/alpine", alpine],
    // crane, helm, oras with an explicit name, library/ omitted by the user.
    ["/v2/docker.io/alpine", alpine],
    ["/v2/alpine", alpine],
  ]);
});

test("ns wins, and the first segment that says the same is taken off once", () => {
  assertMeanings([
    ["/v2/google.com/cloudsdktool/x?ns=gcr.io", "gcr.io google.com/cloudsdktool/x"],
    ["/v2/google.com/cloudsdktool/x", "google.com cloudsdktool/x"],
    ["/v2/ghcr.io/owner/app?ns=ghcr.io", "ghcr.io owner/app"],
    ["/v2/ghcr.io/ghcr.io/owner/app?ns=ghcr.io", "ghcr.io ghcr.io/owner/app"],
    ["/v2/docker.io/owner/app?ns=ghcr.io", "ghcr.io docker.io/owner/app"],
    ["/v2/local/app?ns=local", "local app"],
    ["/v2/local/app?ns=ghcr.io", "ghcr.io local/app"],
    ["/v2/index.docker.io/library/alpine?ns=docker.io", "docker.io library/alpine"],
    ["/v2/library/alpine?ns=registry.k8s.io", "registry.k8s.io library/alpine"],
    ["/v2/pause?ns=registry.k8s.io", "registry.k8s.io pause"],
    ["/v2/ghcr.io?ns=ghcr.io", "ghcr.io ghcr.io"],
    ["/ghcr.io/v2/owner/app?ns=ghcr.io", "ghcr.io owner/app"],
    ["/ghcr.io/owner/v2/app?ns=ghcr.io", "ghcr.io owner/app"],
    ["/docker.io/v2/owner/app?ns=ghcr.io", "ghcr.io owner/app"],
    ["/ghcr.io/v2/ghcr.io/app?ns=ghcr.io", "ghcr.io ghcr.io/app"],
    ["/v2/owner/app?ns=GHCR.io", "ghcr.io owner/app"],
    ["/v2/owner/app?ns=localhost%3A5000", "localhost:5000 owner/app"],
    ["/v2/owner/app?ns=registry.example.com:8443", "registry.example.com:8443 owner/app"],
    ["/v2/owner/app?ns=127.0.0.1:5000", "127.0.0.1:5000 owner/app"],
    ["/v2/owner/app?ns=", "ghcr.io owner/app"],
    ["/v2/owner/app?ns=local", "local owner/app", "hub.mirror.example.com"],
  ]);
});

test("a configured Host header comes next", () => {
  assertMeanings([
    ["/v2/owner/app", "ghcr.io owner/app", "ghcr.mirror.example.com"],
    ["/v2/owner/app", "ghcr.io owner/app", "GHCR.mirror.example.com:8080"],
    ["/v2/alpine", "docker.io library/alpine", "hub.mirror.example.com"],
    ["/v2/docker.io/owner/app", "ghcr.io docker.io/owner/app", "ghcr.mirror.example.com"],
    ["/v2/ghcr.io/owner/app", "ghcr.io owner/app", "ghcr.mirror.example.com"],
    ["/ghcr.io/v2/owner/app", "ghcr.io owner/app", "ghcr.mirror.example.com"],
    ["/v2/app", "local app", "[::1]:8080"],
    ["/v2/owner/app", "docker.io owner/app", "localhost:8080"],
    ["/v2/owner/app", "docker.io owner/app", "ghcr.io"],
  ]);
});

test("then the first segment of the path, when it is configured or looks like a registry's host", () => {
  assertMeanings([
    ["/v2/registry.k8s.io/pause", "registry.k8s.io pause"],
    ["/v2/registry.k8s.io/a/b/c/d", "registry.k8s.io a/b/c/d"],
    ["/registry.k8s.io/v2/pause", "registry.k8s.io pause"],
    ["/a/b/registry.k8s.io/v2/pause", "registry.k8s.io pause"],
    ["/v2/local/app", "local app"],
    ["/local/v2/app", "local app"],
    ["/proxy/local/v2/app", "local app"],
    ["/v2/v2/ghcr.io/owner/app", "ghcr.io owner/app"],
    ["/ghcr.io/v2/v2/owner/app", "ghcr.io owner/app"],
    ["/v2/ghcr.io/v2/owner/app", "ghcr.io owner/app"],
    ["/v2/ghcr.io/v2", "ghcr.io v2"],
    ["/v2/owner/ghcr.io/app", "docker.io owner/ghcr.io/app"],
    ["/v2/registry.k8s.io", "docker.io library/registry.k8s.io"],
    ["/proxy/v2/owner/app", "docker.io owner/app"],
    ["/proxy/v2/ghcr.io/owner/app", "ghcr.io owner/app"],
  ]);
});

test("library/ is added to Docker Hub's names of one segment, and to no others", () => {
  assertMeanings([
    ["/v2/alpine", "docker.io library/alpine"],
    ["/v2/index.docker.io/alpine", "docker.io library/alpine"],
    ["/v2/registry-1.docker.io/alpine", "docker.io library/alpine"],
    ["/v2/alpine?ns=index.docker.io", "docker.io library/alpine"],
    ["/v2/alpine?ns=registry-1.docker.io", "docker.io library/alpine"],
    ["/v2/alpine?ns=docker.io:443", "docker.io library/alpine"],
    ["/v2/alpine?ns=DOCKER.IO", "docker.io library/alpine"],
    ["/docker.io/v2/alpine", "docker.io library/alpine"],
    ["/v2/grafana/grafana", "docker.io grafana/grafana"],
    ["/v2/ghcr.io/app", "ghcr.io app"],
    ["/v2/mcr.microsoft.com/windows", "mcr.microsoft.com windows"],
    ["/v2/local/app", "local app"],
  ]);
});

test("port 443 and Docker Hub's other names are no namespaces of their own", () => {
  for (const [name, expected] of [
    ["ghcr.io:443", "ghcr.io"],
    ["index.docker.io", "docker.io"],
    ["index.docker.io:443", "docker.io"],
    ["registry-1.docker.io", "docker.io"],
    ["docker.io", "docker.io"],
    ["ghcr.io:4430", "ghcr.io:4430"],
    ["localhost:5000", "localhost:5000"],
    ["auth.docker.io", "auth.docker.io"],
  ] as const) {
    assert.equal(canonicalNamespace(parseNamespace(name)), expected, name);
  }
});

test("what is not configured is mirrored under a public name on port 443, and counted as other", () => {
  const { namespaces, listed, made } = setUp();
  const unlisted = open(namespaces, "/v2/quay.io/org/app/manifests/latest");
  assert.equal(unlisted.label, "other");
  assert.equal(open(namespaces, "/v2/org/app/manifests/latest?ns=quay.io:443").registry, unlisted.registry);
  assert.deepEqual(made, ["quay.io"]);
  const known = open(namespaces, "/v2/ghcr.io/org/app/manifests/latest");
  assert.equal(known.label, "ghcr.io");
  assert.equal(known.registry, listed.get(parseNamespace("ghcr.io")));
  assert.deepEqual(made, ["quay.io"]);
});

const refusedNames = [
  // Addresses, in each notation that a resolver may read as one.
  "127.0.0.1",
  "10.0.0.1",
  "169.254.169.254",
  "8.8.8.8",
  "8.8.8.8:443",
  "[::1]",
  "[::1]:443",
  "[::ffff:127.0.0.1]",
  "[fd00::1]",
  // Ports.
  "quay.io:80",
  "quay.io:8443",
  "registry.example.com:5000",
  // Names that are not public.
  "localhost",
  "localhost:443",
  "LOCALHOST",
  "registry.localhost",
  "registry",
  "kubernetes",
  "metadata",
];
const malformedNames = [
  "127.1",
  "2130706433",
  "0x7f000001",
  "0x7f.1",
  "0x7f.0.0.1",
  "0177.0.0.01",
  "127.0.0.1.",
  "1.2.3.0x4",
  "::1",
  "[::1%25eth0]",
  "quay.io.",
  "quay..io",
  "quay.io:",
  "quay.io:0",
  "quay.io:65536",
  "quay.io:0443",
  "https://quay.io",
  "user@quay.io",
  "quay.io/org",
  "quay.io%20",
  "qu\u00e4y.io",
  "\u2488.2.3.4",
  "-quay.io",
  ".",
  "..",
];

test("no way into a network: addresses, ports, localhost and single labels are refused", () => {
  const { namespaces, made } = setUp();
  for (const name of refusedNames) {
    const query = encodeURIComponent(name);
    assertRefused(() => open(namespaces, `/v2/org/app/manifests/latest?ns=${query}`), "NAME_UNKNOWN", name);
  }
  for (const name of malformedNames) {
    const query = encodeURIComponent(name);
    assertRefused(() => open(namespaces, `/v2/org/app/manifests/latest?ns=${query}`), "NAME_INVALID", name);
  }
  for (const segment of ["10.0.0.1", "127.1", "0x7f.1", "1.2.3.0x4", "169.254.169.254", "localhost", "a.localhost"]) {
    assertRefused(() => open(namespaces, `/v2/${segment}/app/manifests/latest`), "NAME_UNKNOWN", segment);
    assertRefused(() => open(namespaces, `/${segment}/v2/app/manifests/latest`), "NAME_UNKNOWN", segment);
  }
  assert.deepEqual(made, []);
});

test("configured upstreams may be anywhere", () => {
  const { namespaces } = setUp();
  for (const name of ["localhost:5000", "127.0.0.1:5000", "local"]) {
    assert.equal(open(namespaces, `/v2/app/manifests/latest?ns=${encodeURIComponent(name)}`).label, name);
  }
});

test("unlisted namespaces may be narrowed", () => {
  const { namespaces, made } = setUp({ allowsUnlisted: (namespace) => namespace === "quay.io" });
  assert.equal(open(namespaces, "/v2/quay.io/app/tags/list").namespace, "quay.io");
  assertRefused(() => open(namespaces, "/v2/docker.example.com/app/tags/list"), "NAME_UNKNOWN");
  assert.deepEqual(made, ["quay.io"]);
  assert.equal(open(namespaces, "/v2/ghcr.io/app/tags/list").namespace, "ghcr.io", "the configured ones stay");
});

test("the number of unlisted namespaces that are kept is bounded", () => {
  const { namespaces, made } = setUp();
  const first = open(namespaces, "/v2/n0.example.com/app/tags/list").registry;
  for (let index = 1; index <= 256; index++) open(namespaces, `/v2/n${index}.example.com/app/tags/list`);
  assert.equal(made.length, 257);
  open(namespaces, "/v2/n256.example.com/app/tags/list");
  assert.equal(made.length, 257, "the newest is kept");
  assert.notEqual(open(namespaces, "/v2/n0.example.com/app/tags/list").registry, first, "the oldest is not");
});

test("whatever is asked for, it is an OciError or a namespace that may be asked", () => {
  const { namespaces } = setUp();
  const target = fc.tuple(anyText, anyText, anyText).map(([a, b, c]) => `/${a}/v2/${b}/tags/list?ns=${c}`);
  fc.assert(
    fc.property(
      fc.oneof(
        target,
        anyText.map((text) => `/v2/app/tags/list?ns=${text}`),
      ),
      anyText,
      (text, host) => {
        assertThrowsOnlyOciError(() => {
          const route = parseRoute(text);
          if (route === undefined || !("name" in route.endpoint)) return;
          const place = namespaces.open({ ...route, name: route.endpoint.name }, host);
          assert.ok(place.label !== "other" || isPublicName(place.namespace), place.namespace);
        });
      },
    ),
    { numRuns: 1_000 },
  );
});
