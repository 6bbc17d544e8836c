import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseImageReference } from "../../../src/oci/image-reference.ts";
import { NamePattern } from "../../../src/oci/name-pattern.ts";
import { parsePlatform } from "../../../src/oci/platform.ts";
import type { Config } from "../../../src/config/file-schema.ts";
import type { CredentialConfig } from "../../../src/config/credential-schema.ts";
import { type Given, load, loadFile, pems } from "./loading.ts";

const day = 86_400_000;

/** The upstream of a namespace in a configuration. */
function upstream(config: Config, namespace: string): Config["upstreams"][number] {
  const found = config.upstreams.find((entry) => entry.namespace === namespace);
  assert.ok(found !== undefined, `${namespace} is missing`);
  return found;
}

const tunables = {
  userAgent: undefined,
  proxy: undefined,
  manifestInvalidationMs: 600_000,
  blobInvalidationMs: 14 * day,
  staleIfErrorMs: Number.POSITIVE_INFINITY,
  staleWhileRevalidateMs: 0,
  keepDeleted: true,
  negativeTtlMs: 30_000,
  rateLimitReserve: 0.1,
  maxConnections: 32,
  connectTimeoutMs: 10_000,
  headerTimeoutMs: 20_000,
  idleTimeoutMs: 30_000,
  retries: 3,
  maxBytes: undefined,
  prefetch: "none",
};

const gib = 1024 ** 3;

const storage: Config["storage"] = {
  type: "filesystem",
  root: "./data",
  maxSize: { kind: "share", share: 0.9 },
  minFree: { kind: "share", share: 0.05 },
  highWatermark: 0.95,
  lowWatermark: 0.9,
  maxObjectBytes: undefined,
  pins: [],
  s3: undefined,
};

const plainEndpoint = {
  tls: true,
  acceptInvalidCerts: false,
  caFile: undefined,
  clientCert: undefined,
  clientKey: undefined,
  proxy: undefined,
  accounts: [],
  repositoryCredentials: [],
  headers: {},
  pathPrefix: undefined,
  realmHosts: [],
  allowPrivateRedirects: false,
};

const dockerHub = {
  ...plainEndpoint,
  ...tunables,
  namespace: "docker.io",
  host: "registry-1.docker.io",
  mirrors: [],
  offline: false,
  allow: undefined,
  deny: [],
  serverNames: [],
};

const noProxies = { http: undefined, https: undefined, noProxy: undefined };

function account(username: string, password: string): CredentialConfig {
  return { kind: "password", username, password };
}

test("without any setting, the defaults", () => {
  assert.deepEqual(load(), {
    listen: { kind: "tcp", host: "127.0.0.1", port: 8080 },
    adminListen: undefined,
    defaultNamespace: "docker.io",
    defaultUpstreamNamespace: "docker.io",
    checkCacheDigest: false,
    accelRedirect: undefined,
    storage,
    replicas: undefined,
    verify: { intervalMs: 7 * day, bytesPerSecond: 50 * 1024 ** 2 },
    warm: { images: [], file: undefined, platforms: [], intervalMs: day / 4, parallel: 4 },
    adminToken: undefined,
    adminTokenFile: undefined,
    upstreams: [dockerHub],
    upstreamDefaults: tunables,
    hosted: [],
    layouts: [],
    collection: { intervalMs: day, graceMs: day / 12 },
    allowUnlisted: true,
    proxyEnvironment: noProxies,
    log: { level: "info", format: "json" },
    shutdownDelayMs: 0,
    shutdownTimeoutMs: 30_000,
  });
});

test("every key of a file has its effect", () => {
  const shared = {
    userAgent: "shared/1",
    proxy: "http://proxy.example.com:3128",
    retries: 7,
    idleTimeoutMs: 60_000,
    staleIfErrorMs: 7_200_000,
    staleWhileRevalidateMs: 60_000,
    keepDeleted: false,
    negativeTtlMs: 0,
    rateLimitReserve: 0.25,
    maxBytes: 10 * gib,
    prefetch: "platform" as const,
  };
  const config = loadFile(
    `
listen: "[::]:80"
admin_listen: unix:/run/admin.sock
default_namespace: quay.io
default_upstream_namespace: ghcr.io
check_cache_digest: true
accel_redirect: /internal/
admin_token: \${TOKEN}
storage:
  type: filesystem
  root: /srv
  max_size: 1.5TB
  min_free: 0B
  high_watermark: 80%
  low_watermark: 12.5%
  max_object_size: 2GiB
  pin: [Quay.io:443/team/**, "docker.io/*:lts"]
verify: { interval: never, rate: 1MB/s }
warm: { images: [alpine, "quay.io/team/app:1"], file: list.txt, platforms: [linux/arm/v7], interval: 30d, parallel: 64 }
allow_unlisted: [Quay.io, "*.example.com"]
collection: { interval: never, grace: 10m }
hosted:
  - namespace: apps
    fallback: quay.io
    server_names: [Apps.example.com]
    repositories: [team/**]
    immutable_tags: [v*]
    sparse_manifests: true
    delete: { tags: false, manifests: false, blobs: false }
    retention: [{ repositories: [team/*], tags: ["PR-*"], keep_last: 3, keep_within: 1d }]
    max_manifest_size: 1MiB
    max_chunk_size: 10MiB
    max_blob_size: 1GiB
    quota: 10GiB
    upload_expiry: 1h
layouts:
  - namespace: images
    source: s3://images/team/a/
    name_prefix: team/x
    refresh: 1m
    redirect: true
    server_names: [Images.example.com]
    s3:
      endpoint: https://s3.example.com:9000
      region: eu
      force_path_style: false
      access_key: id
      secret_key: \${TOKEN}
      session_token: more
      ca_file: null
      insecure_skip_verify: true
      public_endpoint: https://images.example.com
      max_sockets: 5
      connect_timeout: 1s
      request_timeout: 2s
      retries: 1
  - { namespace: folders, source: ./images }
log: { level: debug, format: pretty }
shutdown_delay: 5s
shutdown_timeout: 0s
upstream_defaults:
  user_agent: shared/1
  proxy: http://proxy.example.com:3128
  retries: 7
  idle_timeout: 1m
  stale_if_error: 2h
  stale_while_revalidate: 1m
  keep_deleted: false
  negative_ttl: 0s
  rate_limit_reserve: 25%
  max_size: 10GiB
  prefetch: platform
upstreams:
  - namespace: quay.io
    host: mirror.example.com:5000
    tls: false
    accept_invalid_certs: true
    user_agent: own/2
    ca_file: /etc/ca.pem
    client_cert: client.pem
    client_key: client.key
    username: bob
    password: secret
    credentials_by_repository:
      - { match: "team/**", username: alice, password_file: /run/alice }
      - { match: public/app, accounts: [] }
    headers: { X-Tenant: one }
    path_prefix: cache/quay
    realm_hosts: [Auth.example.net, "127.0.0.1:5001"]
    allow_private_redirects: true
    mirrors:
      - Near.example.com
      - { host: "10.0.0.1:5000", tls: false, proxy: none, path_prefix: p, docker_config: d.json, headers: { x: y } }
    offline: true
    allow: ["team/*"]
    deny: [team/secret]
    proxy: https://user:p%40ss@proxy.example.net
    manifest_invalidation_time: 0s
    blob_invalidation_time: 1h
    stale_if_error: 30m
    stale_while_revalidate: forever
    keep_deleted: true
    negative_ttl: 5m
    rate_limit_reserve: 0%
    max_connections: 4
    connect_timeout: 1s
    header_timeout: 2s
    idle_timeout: 3s
    retries: 0
    max_size: 1GiB
    prefetch: none
    server_names: [Quay.Mirror.example.com]
`,
    { files: pems, env: { TOKEN: "0123456789abcdef" } },
  );
  assert.deepEqual(config, {
    listen: { kind: "tcp", host: "::", port: 80 },
    adminListen: { kind: "unix", path: "/run/admin.sock" },
    defaultNamespace: "quay.io",
    defaultUpstreamNamespace: "ghcr.io",
    checkCacheDigest: true,
    accelRedirect: "/internal/",
    storage: {
      type: "filesystem",
      root: "/srv",
      maxSize: { kind: "bytes", bytes: 1.5e12 },
      minFree: { kind: "bytes", bytes: 0 },
      highWatermark: 0.8,
      lowWatermark: 0.125,
      maxObjectBytes: 2 * gib,
      pins: ["quay.io/team/**", "docker.io/library/*:lts"],
      s3: undefined,
    },
    replicas: undefined,
    verify: { intervalMs: Number.POSITIVE_INFINITY, bytesPerSecond: 1_000_000 },
    warm: {
      images: [parseImageReference("alpine"), parseImageReference("quay.io/team/app:1")],
      file: "list.txt",
      platforms: [parsePlatform("linux/arm/v7")],
      intervalMs: 30 * day,
      parallel: 64,
    },
    adminToken: "0123456789abcdef",
    adminTokenFile: undefined,
    allowUnlisted: [new NamePattern("quay.io"), new NamePattern("*.example.com")],
    collection: { intervalMs: Infinity, graceMs: 600_000 },
    hosted: [
      {
        namespace: "apps",
        fallback: "quay.io",
        serverNames: ["apps.example.com"],
        repositories: [new NamePattern("team/**")],
        immutableTags: [new NamePattern("v*")],
        sparseManifests: true,
        deletes: { tags: false, manifests: false, blobs: false },
        retention: [
          {
            repositories: [new NamePattern("team/*")],
            tags: [new NamePattern("PR-*")],
            keepLast: 3,
            keepWithinMs: day,
          },
        ],
        maxManifestBytes: 1024 ** 2,
        maxChunkBytes: 10 * 1024 ** 2,
        maxBlobBytes: gib,
        quotaBytes: 10 * gib,
        expiryMs: 3_600_000,
      },
    ],
    layouts: [
      {
        namespace: "images",
        source: { kind: "bucket", bucket: "images", prefix: "team/a" },
        namePrefix: "team/x",
        refreshMs: 60_000,
        redirect: true,
        serverNames: ["images.example.com"],
        s3: {
          endpoint: "https://s3.example.com:9000",
          region: "eu",
          forcePathStyle: false,
          accessKey: "id",
          secretKey: "0123456789abcdef",
          sessionToken: "more",
          caFile: undefined,
          insecureSkipVerify: true,
          publicEndpoint: "https://images.example.com",
          maxSockets: 5,
          connectTimeoutMs: 1_000,
          requestTimeoutMs: 2_000,
          retries: 1,
        },
      },
      {
        namespace: "folders",
        source: { kind: "folder", path: "./images" },
        namePrefix: undefined,
        refreshMs: 10_000,
        redirect: false,
        serverNames: [],
        s3: undefined,
      },
    ],
    proxyEnvironment: noProxies,
    log: { level: "debug", format: "pretty" },
    shutdownDelayMs: 5_000,
    shutdownTimeoutMs: 0,
    upstreamDefaults: { ...tunables, ...shared },
    upstreams: [
      { ...dockerHub, ...shared },
      {
        namespace: "quay.io",
        host: "mirror.example.com:5000",
        tls: false,
        acceptInvalidCerts: true,
        userAgent: "own/2",
        caFile: "/etc/ca.pem",
        clientCert: "client.pem",
        clientKey: "client.key",
        accounts: [account("bob", "secret")],
        repositoryCredentials: [
          {
            match: new NamePattern("team/**"),
            accounts: [{ kind: "password-file", username: "alice", passwordFile: "/run/alice" }],
          },
          { match: new NamePattern("public/app"), accounts: [] },
        ],
        headers: { "X-Tenant": "one" },
        pathPrefix: "cache/quay",
        realmHosts: ["auth.example.net", "127.0.0.1:5001"],
        allowPrivateRedirects: true,
        mirrors: [
          { ...plainEndpoint, host: "near.example.com", proxy: "https://user:p%40ss@proxy.example.net" },
          {
            ...plainEndpoint,
            host: "10.0.0.1:5000",
            tls: false,
            proxy: "none",
            pathPrefix: "p",
            accounts: [{ kind: "docker-config", path: "d.json" }],
            headers: { x: "y" },
          },
        ],
        offline: true,
        allow: [new NamePattern("team/*")],
        deny: [new NamePattern("team/secret")],
        proxy: "https://user:p%40ss@proxy.example.net",
        manifestInvalidationMs: 0,
        blobInvalidationMs: 3_600_000,
        staleIfErrorMs: 1_800_000,
        staleWhileRevalidateMs: Number.POSITIVE_INFINITY,
        keepDeleted: true,
        negativeTtlMs: 300_000,
        rateLimitReserve: 0,
        maxConnections: 4,
        connectTimeoutMs: 1_000,
        headerTimeoutMs: 2_000,
        idleTimeoutMs: 3_000,
        retries: 0,
        maxBytes: gib,
        prefetch: "none",
        serverNames: ["quay.mirror.example.com"],
      },
    ],
  });
});

test("no limit can be written as none or null, and in an entry against the defaults", () => {
  for (const none of ["none", "null"]) {
    const config = loadFile(`
storage: { max_size: ${none}, max_object_size: ${none} }
upstream_defaults: { max_size: 1GiB, blob_invalidation_time: forever }
upstreams:
  - { namespace: quay.io, host: quay.io, max_size: ${none} }
  - { namespace: ghcr.io, host: ghcr.io }
`);
    assert.deepEqual(config.storage, { ...storage, maxSize: undefined });
    assert.equal(upstream(config, "quay.io").maxBytes, undefined);
    assert.equal(upstream(config, "ghcr.io").maxBytes, gib);
    assert.equal(upstream(config, "ghcr.io").blobInvalidationMs, Number.POSITIVE_INFINITY);
  }
});

describe("flags beat the environment, which beats the file", () => {
  const files = {
    "c.yaml": `{listen: "a:1", admin_listen: "a:11", default_namespace: a.io, default_upstream_namespace: a.io,
                check_cache_digest: false, admin_token_file: /a/token,
                storage: {root: /a, max_size: 1GiB, min_free: 1%, max_object_size: 1MB}, log: {level: trace, format: json}}`,
    "none.yaml": "",
  };
  const env = {
    LISTEN: "b:2",
    ADMIN_LISTEN: "b:22",
    DEFAULT_NAMESPACE: "b.io",
    DEFAULT_UPSTREAM_NAMESPACE: "b.io",
    ADMIN_TOKEN_FILE: "/b/token",
    CHECK_CACHE_DIGEST: "1",
    MAX_SIZE: "2GiB",
    MIN_FREE: "2%",
    MAX_OBJECT_SIZE: "2MB",
    FILESYSTEM_ROOT: "/b",
    LOG_LEVEL: "warn",
    LOG_FORMAT: "pretty",
    CONFIG: "c.yaml",
  };
  const flags = {
    listen: "c:3",
    adminListen: "c:33",
    defaultNamespace: "c.io",
    defaultUpstreamNamespace: "c.io",
    adminTokenFile: "/c/token",
    checkCacheDigest: true,
    maxSize: "none",
    minFree: "3B",
    maxObjectSize: "none",
    root: "/c",
    logLevel: "error",
    logFormat: "json",
  };
  const view = (config: Config): unknown => [
    config.listen,
    config.adminListen,
    config.defaultNamespace,
    config.defaultUpstreamNamespace,
    config.checkCacheDigest,
    config.adminTokenFile,
    config.storage,
    config.log,
  ];
  const bytes = (amount: number): unknown => ({ kind: "bytes", bytes: amount });
  const tcp = (host: string, port: number): unknown => ({ kind: "tcp", host, port });

  test("file", () => {
    const own = { root: "/a", maxSize: bytes(gib), minFree: { kind: "share", share: 0.01 }, maxObjectBytes: 1e6 };
    const limits = { ...storage, ...own };
    const expected = [
      tcp("a", 1),
      tcp("a", 11),
      "a.io",
      "a.io",
      false,
      "/a/token",
      limits,
      { level: "trace", format: "json" },
    ];
    assert.deepEqual(view(load({ flags: { config: "c.yaml" }, files })), expected);
  });
  test("environment", () => {
    const own = { root: "/b", maxSize: bytes(2 * gib), minFree: { kind: "share", share: 0.02 }, maxObjectBytes: 2e6 };
    const limits = { ...storage, ...own };
    const expected = [
      tcp("b", 2),
      tcp("b", 22),
      "b.io",
      "b.io",
      true,
      "/b/token",
      limits,
      { level: "warn", format: "pretty" },
    ];
    assert.deepEqual(view(load({ env, files })), expected);
  });
  test("flags", () => {
    const limits = { ...storage, root: "/c", maxSize: undefined, minFree: bytes(3) };
    const expected = [
      tcp("c", 3),
      tcp("c", 33),
      "c.io",
      "c.io",
      true,
      "/c/token",
      limits,
      { level: "error", format: "json" },
    ];
    assert.deepEqual(view(load({ flags, env, files })), expected);
  });
  test("--config beats CONFIG", () => {
    assert.equal(load({ flags: { config: "none.yaml" }, env: { CONFIG: "c.yaml" }, files }).storage.root, "./data");
  });
  test("a variable that is empty counts as unset", () => {
    const empty = Object.fromEntries(Object.keys(env).map((name) => [name, ""]));
    assert.deepEqual(load({ env: empty }), load());
  });
  test("false in the environment turns off what the file turned on", () => {
    for (const value of ["false", "0"]) {
      const config = loadFile("check_cache_digest: true", { env: { CHECK_CACHE_DIGEST: value } });
      assert.equal(config.checkCacheDigest, false);
    }
  });
});

describe("the list of upstreams", () => {
  const entry = "{namespace: quay.io, host: quay.io}";
  const forms: [string, Given][] = [
    ["under upstreams: in --config", { flags: { config: "f" }, files: { f: `upstreams: [${entry}]` } }],
    ["bare in --config", { flags: { config: "f" }, files: { f: `- ${entry}` } }],
    ["bare in --upstream-config-file", { flags: { upstreamConfigFile: "f" }, files: { f: `- ${entry}` } }],
    ["a mapping there", { flags: { upstreamConfigFile: "f" }, files: { f: `upstreams: [${entry}]` } }],
    ["named by UPSTREAM_CONFIG_FILE", { env: { UPSTREAM_CONFIG_FILE: "f" }, files: { f: `- ${entry}` } }],
    ["as JSON", { flags: { config: "f" }, files: { f: '{"upstreams":[{"namespace":"quay.io","host":"quay.io"}]}' } }],
  ];
  for (const [name, given] of forms) {
    test(`${name}, with docker.io added`, () => {
      const quay = { ...dockerHub, namespace: "quay.io", host: "quay.io" };
      assert.deepEqual(load(given).upstreams, [dockerHub, quay]);
    });
  }

  test("--upstream-config-file replaces the list of --config and nothing else", () => {
    const config = loadFile("{default_namespace: gcr.io, upstreams: [{namespace: gcr.io, host: gcr.io}]}", {
      flags: { upstreamConfigFile: "u.yaml" },
      files: { "u.yaml": `- ${entry}` },
    });
    assert.deepEqual(
      config.upstreams.map(({ namespace }) => namespace),
      ["docker.io", "quay.io"],
    );
    assert.equal(config.defaultNamespace, "gcr.io");
  });

  for (const name of ["docker.io", "index.docker.io", "registry-1.docker.io"]) {
    test(`${name} is docker.io, at the host that is configured`, () => {
      const config = loadFile(`- {namespace: ${name}, host: hub.example.com}`);
      assert.deepEqual(config.upstreams, [{ ...dockerHub, host: "hub.example.com" }]);
      assert.equal(load({ flags: { defaultNamespace: name } }).defaultNamespace, "docker.io");
    });
  }

  test("the host docker.io, which is no registry, is Docker Hub's registry", () => {
    assert.deepEqual(loadFile("- {namespace: docker.io, host: docker.io}").upstreams, [dockerHub]);
  });

  test("anchors and merge keys work", () => {
    const config = loadFile(`
- &base { namespace: a.example.com, host: a.example.com, retries: 9 }
- { <<: *base, namespace: b.example.com }
`);
    assert.equal(upstream(config, "b.example.com").retries, 9);
  });
});

describe("what the predecessor took", () => {
  const list = `---
- namespace: docker.io
  host: registry-1.docker.io
  tls: true
  accept_invalid_certs: false
  user_agent: null
  username: null
  password: null
  manifest_invalidation_time: 14d
  blob_invalidation_time: 14d
${["quay.io", "gcr.io", "ghcr.io", "k8s.gcr.io", "registry.k8s.io"].map((name) => `- namespace: ${name}\n  host: ${name}\n`).join("")}`;

  test("its list of upstreams, values as they stand", () => {
    const config = load({ flags: { upstreamConfigFile: "u.yaml" }, files: { "u.yaml": list } });
    assert.deepEqual(config.upstreams, [
      { ...dockerHub, manifestInvalidationMs: 14 * day },
      ...["quay.io", "gcr.io", "ghcr.io", "k8s.gcr.io", "registry.k8s.io"].map((name) => {
        return { ...dockerHub, namespace: name, host: name };
      }),
    ]);
  });

  test("its environment", () => {
    const config = load({
      env: {
        LISTEN: "0.0.0.0:80",
        DEFAULT_NAMESPACE: "docker.io",
        DEFAULT_UPSTREAM_NAMESPACE: "docker.io",
        CHECK_CACHE_DIGEST: "true",
        UPSTREAM_CONFIG_FILE: "/upstream.yaml",
        UPSTREAM_CREDENTIALS: '{"docker.io":{"username":"u","password":"p"}}',
        FILESYSTEM_ROOT: "/data",
        RUST_LOG: "info,actix-web=debug",
        PORT: "80",
      },
      files: { "/upstream.yaml": "[]" },
    });
    assert.deepEqual(config.listen, { kind: "tcp", host: "0.0.0.0", port: 80 });
    assert.equal(config.checkCacheDigest, true);
    assert.equal(config.storage.root, "/data");
    assert.deepEqual(config.upstreams, [{ ...dockerHub, accounts: [account("u", "p")] }]);
  });
});

describe("credentials", () => {
  const file = `
- { namespace: quay.io, host: quay.example.com, username: file, password: file }
- { namespace: ghcr.io, host: ghcr.io, username: file, password: file }
`;
  const env = { UPSTREAM_CREDENTIALS: '{"quay.io": {"username": "env", "password": "env"}}' };

  test("of the environment beat those of the file, namespace by namespace", () => {
    const config = loadFile(file, { env });
    assert.deepEqual(upstream(config, "quay.io").accounts, [account("env", "env")]);
    assert.equal(upstream(config, "quay.io").host, "quay.example.com");
    assert.deepEqual(upstream(config, "ghcr.io").accounts, [account("file", "file")]);
    assert.deepEqual(upstream(config, "docker.io").accounts, []);
  });

  test("of the flag beat those of the environment", () => {
    const flags = { upstreamCredentials: '{"quay.io": {"username": "flag", "password": "flag"}}' };
    assert.deepEqual(upstream(loadFile(file, { env, flags }), "quay.io").accounts, [account("flag", "flag")]);
  });

  test("for a namespace that is not listed add it", () => {
    const config = loadFile("upstream_defaults: {retries: 5}", { env });
    assert.deepEqual(upstream(config, "quay.io"), {
      ...dockerHub,
      namespace: "quay.io",
      host: "quay.io",
      retries: 5,
      accounts: [account("env", "env")],
    });
  });

  test("take the place of all accounts, but not of those for some repositories", () => {
    const config = loadFile(
      `
- namespace: quay.io
  host: quay.io
  accounts: [{ username: a, password: a }, { username: b, password: b }]
  credentials_by_repository: [{ match: team/app, username: c, password: c }]
`,
      { env },
    );
    assert.deepEqual(upstream(config, "quay.io").accounts, [account("env", "env")]);
    assert.deepEqual(upstream(config, "quay.io").repositoryCredentials, [
      { match: new NamePattern("team/app"), accounts: [account("c", "c")] },
    ]);
  });

  test("are taken to the letter", () => {
    const letters = { UPSTREAM_CREDENTIALS: '{"quay.io": {"username": "${u}", "password": "$${p}"}}' };
    assert.deepEqual(upstream(load({ env: letters }), "quay.io").accounts, [account("${u}", "$${p}")]);
  });

  test("for another name of Docker Hub are Docker Hub's", () => {
    const config = load({ env: { UPSTREAM_CREDENTIALS: '{"index.docker.io": {"username": "u", "password": "p"}}' } });
    assert.deepEqual(config.upstreams, [{ ...dockerHub, accounts: [account("u", "p")] }]);
  });
});

test("allow_unlisted: false goes with defaults that are listed, also by credentials", () => {
  const env = { UPSTREAM_CREDENTIALS: '{"quay.io": {"username": "u", "password": "p"}}' };
  const config = loadFile("{allow_unlisted: false, default_namespace: quay.io}", { env });
  assert.equal(config.allowUnlisted, false);
});
