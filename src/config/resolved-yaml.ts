import { stringify } from "yaml";
import { formatListen } from "./address.ts";
import { formatDuration } from "./duration.ts";
import {
  formatDurationOrForever,
  formatIntervalOrNever,
  formatShare,
  formatSizeLimit,
  formatSizeOrNone,
} from "./fields.ts";
import { escapeReferences } from "./interpolation.ts";
import { hideProxy } from "./proxy.ts";
import { formatSize } from "./size.ts";
import type {
  Config,
  CredentialConfig,
  EndpointConfig,
  StorageConfig,
  UpstreamConfig,
  UpstreamDefaults,
} from "./schema.ts";

/** What stands in for a secret. */
const hidden = "[hidden]";

/**
 * Writes a configuration as YAML with every key of the file, defaults included. It can be loaded again and then means
 * the same, except for user names, passwords and the values of headers, which are hidden. The token of the
 * administration is hidden by a text that is too short for one, so that nothing runs with a token that all know. The
 * environment's proxies stand above it as comments.
 */
export function formatConfig(config: Config): string {
  const { http, https, noProxy } = config.proxyEnvironment;
  const variables = [
    ["HTTP_PROXY", http && hideProxy(http, hidden)],
    ["HTTPS_PROXY", https && hideProxy(https, hidden)],
    ["NO_PROXY", noProxy === undefined ? undefined : JSON.stringify(noProxy)],
  ];
  const comments = variables.map(([name, value]) => (value === undefined ? "" : `# ${name} is ${value}\n`));
  const yaml = stringify(
    {
      listen: formatListen(config.listen),
      ...(config.adminListen === undefined ? {} : { admin_listen: formatListen(config.adminListen) }),
      admin_token: config.adminToken === undefined ? null : hidden,
      admin_token_file: describePath(config.adminTokenFile),
      default_namespace: config.defaultNamespace,
      default_upstream_namespace: config.defaultUpstreamNamespace,
      check_cache_digest: config.checkCacheDigest,
      storage: describeStorage(config.storage),
      verify: {
        interval: formatIntervalOrNever(config.verify.intervalMs),
        rate: `${formatSize(config.verify.bytesPerSecond)}/s`,
      },
      warm: {
        images: config.warm.images,
        file: config.warm.file ?? null,
        platforms: config.warm.platforms,
        interval: formatDuration(config.warm.intervalMs),
        parallel: config.warm.parallel,
      },
      upstreams: config.upstreams.map(describeUpstream),
      upstream_defaults: describeTunables(config.upstreamDefaults),
      allow_unlisted: config.allowUnlisted,
      log: { level: config.log.level, format: config.log.format },
      shutdown_timeout: formatDuration(config.shutdownTimeoutMs),
    },
    // Equal parts would become anchors and aliases.
    { aliasDuplicateObjects: false },
  );
  return `${comments.join("")}${yaml}`;
}

function describeStorage(storage: StorageConfig): object {
  return {
    type: storage.type,
    root: storage.root,
    max_size: formatSizeLimit(storage.maxSize),
    min_free: formatSizeLimit(storage.minFree),
    high_watermark: formatShare(storage.highWatermark),
    low_watermark: formatShare(storage.lowWatermark),
    max_object_size: formatSizeOrNone(storage.maxObjectBytes),
    pin: storage.pins,
  };
}

function describeUpstream(upstream: UpstreamConfig): object {
  return {
    namespace: upstream.namespace,
    ...describeEndpoint(upstream),
    mirrors: upstream.mirrors.map((mirror) => ({ ...describeEndpoint(mirror), proxy: describeProxy(mirror.proxy) })),
    offline: upstream.offline,
    allow: upstream.allow ?? null,
    deny: upstream.deny,
    server_names: upstream.serverNames,
    ...describeTunables(upstream),
  };
}

function describeEndpoint(endpoint: EndpointConfig): object {
  return {
    host: endpoint.host,
    tls: endpoint.tls,
    accept_invalid_certs: endpoint.acceptInvalidCerts,
    ca_file: describePath(endpoint.caFile),
    client_cert: describePath(endpoint.clientCert),
    client_key: describePath(endpoint.clientKey),
    ...(endpoint.accounts.length === 0 ? { username: null, password: null } : describeAccounts(endpoint.accounts)),
    credentials_by_repository: endpoint.repositoryCredentials.map(({ match, accounts }) => {
      return { match, ...describeAccounts(accounts) };
    }),
    headers: Object.fromEntries(Object.keys(endpoint.headers).map((name) => [name, hidden])),
    path_prefix: endpoint.pathPrefix ?? null,
    realm_hosts: endpoint.realmHosts,
    allow_private_redirects: endpoint.allowPrivateRedirects,
  };
}

function describePath(path: string | undefined): string | null {
  return path === undefined ? null : escapeReferences(path);
}

function describeProxy(proxy: string | undefined): string | null {
  return proxy === undefined ? null : hideProxy(proxy, hidden);
}

function describeAccounts(accounts: readonly CredentialConfig[]): object {
  const [only] = accounts;
  return only !== undefined && accounts.length === 1
    ? describeAccount(only)
    : { accounts: accounts.map(describeAccount) };
}

function describeAccount(account: CredentialConfig): object {
  switch (account.kind) {
    case "password":
      return { username: hidden, password: hidden };
    case "password-file":
      return { username: hidden, password_file: escapeReferences(account.passwordFile) };
    case "docker-config":
      return { docker_config: escapeReferences(account.path) };
    case "ecr": {
      const { kind, profile, roleArn, externalId, endpoint } = account;
      return { credentials: { type: kind, profile, role_arn: roleArn, external_id: externalId, endpoint } };
    }
    case "gcp": {
      const { kind, keyFile } = account;
      return { credentials: { type: kind, ...(keyFile !== undefined && { key_file: escapeReferences(keyFile) }) } };
    }
    case "acr": {
      const { kind, clientId, tenantId } = account;
      return { credentials: { type: kind, client_id: clientId, tenant_id: tenantId } };
    }
  }
}

function describeTunables(tunables: UpstreamDefaults): object {
  return {
    user_agent: tunables.userAgent ?? null,
    proxy: describeProxy(tunables.proxy),
    manifest_invalidation_time: formatDuration(tunables.manifestInvalidationMs),
    blob_invalidation_time: formatDurationOrForever(tunables.blobInvalidationMs),
    stale_if_error: formatDurationOrForever(tunables.staleIfErrorMs),
    stale_while_revalidate: formatDurationOrForever(tunables.staleWhileRevalidateMs),
    keep_deleted: tunables.keepDeleted,
    negative_ttl: formatDuration(tunables.negativeTtlMs),
    rate_limit_reserve: formatShare(tunables.rateLimitReserve),
    max_connections: tunables.maxConnections,
    connect_timeout: formatDuration(tunables.connectTimeoutMs),
    header_timeout: formatDuration(tunables.headerTimeoutMs),
    idle_timeout: formatDuration(tunables.idleTimeoutMs),
    retries: tunables.retries,
    max_size: formatSizeOrNone(tunables.maxBytes),
    prefetch: tunables.prefetch,
  };
}
