import { stringify } from "yaml";
import { formatListen } from "./address.ts";
import { formatDuration } from "./duration.ts";
import type { Config, UpstreamConfig, UpstreamDefaults } from "./schema.ts";

/** What stands in for a secret. */
const hidden = "[hidden]";

/**
 * Writes a configuration as YAML with every key of the file, defaults included. It can be loaded again and then means
 * the same, except for user names and passwords, which are hidden.
 */
export function formatConfig(config: Config): string {
  return stringify({
    listen: formatListen(config.listen),
    ...(config.adminListen === undefined ? {} : { admin_listen: formatListen(config.adminListen) }),
    default_namespace: config.defaultNamespace,
    default_upstream_namespace: config.defaultUpstreamNamespace,
    check_cache_digest: config.checkCacheDigest,
    storage: { type: config.storage.type, root: config.storage.root },
    upstreams: config.upstreams.map(describeUpstream),
    upstream_defaults: describeTunables(config.upstreamDefaults),
    allow_unlisted: config.allowUnlisted,
    log: { level: config.log.level, format: config.log.format },
    shutdown_timeout: formatDuration(config.shutdownTimeoutMs),
  });
}

function describeUpstream(upstream: UpstreamConfig): object {
  return {
    namespace: upstream.namespace,
    host: upstream.host,
    tls: upstream.tls,
    accept_invalid_certs: upstream.acceptInvalidCerts,
    username: upstream.credentials === undefined ? null : hidden,
    password: upstream.credentials === undefined ? null : hidden,
    server_names: upstream.serverNames,
    ...describeTunables(upstream),
  };
}

function describeTunables(tunables: UpstreamDefaults): object {
  return {
    user_agent: tunables.userAgent ?? null,
    manifest_invalidation_time: formatDuration(tunables.manifestInvalidationMs),
    blob_invalidation_time: formatDuration(tunables.blobInvalidationMs),
    stale_if_error:
      tunables.staleIfErrorMs === Number.POSITIVE_INFINITY ? "forever" : formatDuration(tunables.staleIfErrorMs),
    max_connections: tunables.maxConnections,
    connect_timeout: formatDuration(tunables.connectTimeoutMs),
    header_timeout: formatDuration(tunables.headerTimeoutMs),
    idle_timeout: formatDuration(tunables.idleTimeoutMs),
    retries: tunables.retries,
  };
}
