import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formatConfig } from "../../../src/config/resolved-yaml.ts";
import type { Config } from "../../../src/config/file-schema.ts";
import type { CredentialConfig } from "../../../src/config/credential-schema.ts";
import type { EndpointConfig } from "../../../src/config/endpoint-schema.ts";
import { load, loadFile, pems } from "./loading.ts";

const rich = `
listen: "[::1]:80"
admin_listen: unix:/run/a.sock
admin_token_file: "/run/$\${odd}"
storage:
  max_size: 1.5TiB
  min_free: 0B
  high_watermark: 50%
  low_watermark: 33.3333%
  max_object_size: 1234567B
  pin: ["docker.io/library/*:lts", "quay.io/**"]
  type: s3
  s3:
    bucket: cache.example
    endpoint: HTTPS://S3.example.com:443
    region: auto
    prefix: team/one
    force_path_style: false
    access_key: the-user
    secret_key: "\${SECRET}"
    session_token: hunter2
    ca_file: /etc/ca.pem
    sse: aws:kms
    kms_key_id: arn:aws:kms:eu-central-1:123456789012:key/1
    storage_class: GLACIER_IR
    redirect: always
    public_endpoint: http://public.example.com:80
    part_size: 16MiB
    checksums: when_supported
    max_sockets: 7
    connect_timeout: 1s
    request_timeout: 1m
    retries: 0
verify: { interval: never, rate: 1500kB }
warm: { images: ["alpine:3"], file: "\${not}", platforms: [linux/amd64], interval: 30d, parallel: 1 }
check_cache_digest: true
accel_redirect: /files/cache/
allow_unlisted: ["*.example.com"]
log: { level: warn, format: pretty }
shutdown_timeout: 1m 5s
upstream_defaults: { stale_if_error: 90s, user_agent: me/1, max_size: 20GB, prefetch: platform }
upstreams:
  - { namespace: quay.io, host: a.example.com:5000, tls: false, retries: 0, server_names: [q.example.com],
      max_size: none, prefetch: none, blob_invalidation_time: forever,
      username: the-user, password: hunter2, manifest_invalidation_time: 0s, stale_if_error: forever }
  - namespace: rich.example.com
    host: rich.example.com
    accounts:
      - { username: the-user, password: "\${SECRET}" }
      - { username: "\${SECRET}", password_file: "/run/$\${odd}" }
      - { docker_config: "$$$\${odd}.json" }
    credentials_by_repository:
      - { match: "team/*", username: the-user, password: hunter2 }
      - { match: "public/**", accounts: [] }
    ca_file: /etc/ca.pem
    client_cert: client.pem
    client_key: client.key
    headers: { X-Key: hunter2, X-Other: "Bearer \${SECRET}" }
    path_prefix: cache
    realm_hosts: [auth.example.net]
    allow_private_redirects: true
    mirrors:
      - near.example.com
      - { host: far.example.com, proxy: "http://the-user:hunter2@proxy.example.com:3128", headers: { X-Key: hunter2 },
          username: the-user, password: hunter2 }
    offline: true
    allow: [team/app]
    deny: ["team/**"]
    proxy: https://the-user:\${SECRET}@proxy.example.net
    stale_while_revalidate: forever
    keep_deleted: false
    negative_ttl: 0s
    rate_limit_reserve: 12.5%
  - namespace: public.ecr.aws
    host: public.ecr.aws
    credentials: { type: ecr, profile: p, role_arn: r, external_id: e, endpoint: "https://api.example.com" }
  - { namespace: gcr.io, host: gcr.io, credentials: { type: gcp, key_file: k.json } }
  - { namespace: a.azurecr.io, host: aaaaa.azurecr.io, credentials: { type: acr, client_id: c, tenant_id: t } }
`;
const env = {
  SECRET: "from-env",
  HTTPS_PROXY: "http://the-user:hunter2@proxy.example.org:3128",
  NO_PROXY: ".example.com",
};

/** What a configuration means after its secrets were hidden. */
function hide(config: Config): Config {
  const hideAccount = (account: CredentialConfig): CredentialConfig => {
    if (account.kind === "password") {
      return { ...account, username: "[hidden]", password: "[hidden]" };
    }
    return account.kind === "password-file" ? { ...account, username: "[hidden]" } : account;
  };
  const hideEndpoint = <T extends EndpointConfig>(endpoint: T): T => ({
    ...endpoint,
    accounts: endpoint.accounts.map(hideAccount),
    repositoryCredentials: endpoint.repositoryCredentials.map(({ match, accounts }) => {
      return { match, accounts: accounts.map(hideAccount) };
    }),
    headers: Object.fromEntries(Object.keys(endpoint.headers).map((name) => [name, "[hidden]"])),
    proxy: endpoint.proxy?.replace(/\/\/.*@/, "//%5Bhidden%5D@"),
  });
  const { s3 } = config.storage;
  return {
    ...config,
    storage: {
      ...config.storage,
      s3: s3 && { ...s3, accessKey: "[hidden]", secretKey: "[hidden]", sessionToken: "[hidden]" },
    },
    upstreams: config.upstreams.map((upstream) => {
      return { ...hideEndpoint(upstream), mirrors: upstream.mirrors.map(hideEndpoint) };
    }),
  };
}

describe("formatConfig", () => {
  for (const [name, config] of [
    ["the defaults", load({ env })],
    ["a rich configuration", loadFile(rich, { env, files: pems })],
  ] as const) {
    test(`${name}: what is written loads again and means the same`, () => {
      assert.deepEqual(loadFile(formatConfig(config), { env, files: pems }), hide(config));
    });
  }

  test("hides the token, by a text that is not taken for one", () => {
    const text = formatConfig(loadFile("admin_token: hunter2-and-some-more"));
    assert.match(text, /^admin_token: "\[hidden\]"$/m);
    assert.ok(!text.includes("hunter2"));
    assert.throws(() => loadFile(text), { name: "ConfigError", message: /admin_token: must be at least 16/ });
  });

  test("hides user names, passwords, headers and proxies' users, from wherever they come", () => {
    const more = { UPSTREAM_CREDENTIALS: '{"ghcr.io": {"username": "env-user", "password": "env-secret"}}' };
    const text = formatConfig(loadFile(rich, { env: { ...env, ...more }, files: pems }));
    for (const secret of ["the-user", "hunter2", "from-env", "env-user", "env-secret"]) {
      assert.ok(!text.includes(secret), text);
    }
    assert.match(text, /^# HTTPS_PROXY is http:\/\/\[hidden\]@proxy\.example\.org:3128$/m);
    assert.match(text, /^# NO_PROXY is "\.example\.com"$/m);
    assert.match(text, /^ {6}X-Key: "\[hidden\]"$/m);
    assert.match(text, /^ {4}proxy: https:\/\/\[hidden\]@proxy\.example\.net$/m);
    assert.match(text, /^ {6}- docker_config: \$\$\$\$\{odd\}\.json$/m);
    assert.equal(text.match(/password: "\[hidden\]"/g)?.length, 5);
    // docker.io and the mirror without an account.
    assert.equal(text.match(/password: null/g)?.length, 2);
  });
});
