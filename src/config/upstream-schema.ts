import * as z from "zod";
import { parseHost, parseNamespace } from "./address.ts";
import { ValueError } from "./config-error.ts";
import { count, duration, durationOrForever, text, timeout } from "./fields.ts";
import type { UpstreamConfig, UpstreamDefaults } from "./schema.ts";

/** Docker Hub's registry: what `docker.io` is asked at. */
export const dockerHubHost = "registry-1.docker.io";

/** An upstream's entry as it was read: what it leaves out comes from the defaults. */
export interface UpstreamEntry extends Omit<UpstreamConfig, keyof UpstreamDefaults> {
  readonly tunables: { readonly [K in keyof UpstreamDefaults]: UpstreamDefaults[K] | undefined };
}

function parsePlainText(value: string): string {
  if (!/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value)) {
    throw new ValueError("must be printable ASCII text without spaces around it; leave the key out for the default");
  }
  return value;
}

/** Checks a user name for Basic authentication (RFC 7617 §2); the message does not repeat it. */
function parseUsername(value: string): string {
  // oxlint-disable-next-line no-control-regex -- what is refused are the control characters
  if (value === "" || /[:\x00-\x1f\x7f]/.test(value)) {
    throw new ValueError("must not be empty, nor hold a colon or a control character");
  }
  return value;
}

function parsePassword(value: string): string {
  // oxlint-disable-next-line no-control-regex -- what is refused are the control characters
  if (value === "" || /[\x00-\x1f\x7f]/.test(value)) {
    throw new ValueError("must not be empty, nor hold a control character such as a line's end");
  }
  return value;
}

function parseServerName(value: string): string {
  if (value.includes(":") || value.includes("/") || value.includes("@")) {
    throw new ValueError("expected a host name without port, such as hub.example.com");
  }
  return parseHost(value);
}

function parseUpstreamHost(value: string): string {
  const host = parseHost(value);
  return host === "docker.io" ? dockerHubHost : host;
}

const tunables = {
  user_agent: text(parsePlainText)
    .nullable()
    .meta({ description: "The `User-Agent` that the upstream is sent; null for `entrepot/<version>`." }),
  manifest_invalidation_time: duration(
    "How long a tag is served without asking the upstream. After it, one HEAD request asks whether the tag has moved. `0s` asks every time. What is pulled by digest is never asked for again.",
  ),
  blob_invalidation_time: duration(
    "How long a blob that nobody asks for is kept. **This version checks the value but removes nothing yet.**",
  ),
  stale_if_error: durationOrForever(
    "How long after the upstream last confirmed a tag it may still be served while the upstream fails: a duration, or `forever`.",
  ),
  max_connections: count("Connections to the upstream at one time; further requests wait in a queue.", 1, 10_000),
  connect_timeout: timeout("How long making a connection may take, TLS included.", 1),
  header_timeout: timeout("How long the upstream may take to begin its answer.", 1),
  idle_timeout: timeout("How long the upstream may pause within a body.", 1),
  retries: count("Tries after the first one that bring no progress, before a request is given up.", 0, 100),
};

/** The schema of `upstream_defaults`. */
export const upstreamDefaultsSchema: z.ZodType<UpstreamDefaults> = z
  .strictObject({
    user_agent: tunables.user_agent.prefault(null),
    manifest_invalidation_time: tunables.manifest_invalidation_time.prefault("10m"),
    blob_invalidation_time: tunables.blob_invalidation_time.prefault("14d"),
    stale_if_error: tunables.stale_if_error.prefault("forever"),
    max_connections: tunables.max_connections.prefault(32),
    connect_timeout: tunables.connect_timeout.prefault("10s"),
    header_timeout: tunables.header_timeout.prefault("20s"),
    idle_timeout: tunables.idle_timeout.prefault("30s"),
    retries: tunables.retries.prefault(3),
  })
  .transform((keys): UpstreamDefaults => ({
    userAgent: keys.user_agent ?? undefined,
    manifestInvalidationMs: keys.manifest_invalidation_time,
    blobInvalidationMs: keys.blob_invalidation_time,
    staleIfErrorMs: keys.stale_if_error,
    maxConnections: keys.max_connections,
    connectTimeoutMs: keys.connect_timeout,
    headerTimeoutMs: keys.header_timeout,
    idleTimeoutMs: keys.idle_timeout,
    retries: keys.retries,
  }));

const username = text(parseUsername);
const password = text(parsePassword);

/** The schema of one entry of `upstreams`. */
export const upstreamSchema: z.ZodType<UpstreamEntry> = z
  .strictObject({
    namespace: text(parseNamespace).meta({
      description:
        "The name by which clients know the registry (`?ns=`, or the first part of a path). `index.docker.io` and `registry-1.docker.io` are `docker.io`.",
    }),
    host: text(parseUpstreamHost).meta({
      description:
        "The registry that is asked: `host[:port]`, without scheme or path. `docker.io`, which is no registry, stands for `registry-1.docker.io`.",
    }),
    tls: z.boolean().prefault(true).meta({ description: "Whether the upstream is asked over HTTPS." }),
    accept_invalid_certs: z
      .boolean()
      .prefault(false)
      .meta({ description: "Whether any certificate of the upstream is taken, unchecked." }),
    username: username
      .nullable()
      .optional()
      .meta({ description: "The user name for the upstream; together with `password`. Null for none." }),
    password: password
      .nullable()
      .optional()
      .meta({ description: "The password or access token; together with `username`. Null for none." }),
    server_names: z.array(text(parseServerName)).prefault([]).meta({
      description:
        "`Host` headers that mean this upstream, without port: a request that is sent to the mirror under such a name, and has no `?ns=`, is for this namespace.",
    }),
    ...z.strictObject(tunables).partial().shape,
  })
  .transform((keys, context): UpstreamEntry => {
    const credentials = pairOf(keys.username ?? undefined, keys.password ?? undefined);
    if (typeof credentials === "string") {
      const missing = credentials === "username" ? "password" : "username";
      context.addIssue({ code: "custom", path: [credentials], message: `needs a ${missing} with it` });
      return z.NEVER;
    }
    return {
      namespace: keys.namespace,
      host: keys.host,
      tls: keys.tls,
      acceptInvalidCerts: keys.accept_invalid_certs,
      credentials,
      serverNames: keys.server_names,
      tunables: {
        userAgent: keys.user_agent ?? undefined,
        manifestInvalidationMs: keys.manifest_invalidation_time,
        blobInvalidationMs: keys.blob_invalidation_time,
        staleIfErrorMs: keys.stale_if_error,
        maxConnections: keys.max_connections,
        connectTimeoutMs: keys.connect_timeout,
        headerTimeoutMs: keys.header_timeout,
        idleTimeoutMs: keys.idle_timeout,
        retries: keys.retries,
      },
    };
  });

/** The schema of `--upstream-credentials`: namespaces with what to log in with. */
export const credentialsSchema: z.ZodType<Record<string, { username: string; password: string }>> = z.record(
  z.string(),
  z.strictObject({ username, password }),
);

/** Both, neither, or the name of the one that stands alone. */
function pairOf(
  name: string | undefined,
  secret: string | undefined,
): UpstreamConfig["credentials"] | "username" | "password" {
  if (name !== undefined && secret !== undefined) {
    return { username: name, password: secret };
  }
  if (name === undefined && secret === undefined) {
    return undefined;
  }
  return name === undefined ? "password" : "username";
}

/** Fills in what an entry leaves out. */
export function completeUpstream(entry: UpstreamEntry, defaults: UpstreamDefaults): UpstreamConfig {
  const { tunables: own, ...rest } = entry;
  return {
    ...rest,
    userAgent: own.userAgent ?? defaults.userAgent,
    manifestInvalidationMs: own.manifestInvalidationMs ?? defaults.manifestInvalidationMs,
    blobInvalidationMs: own.blobInvalidationMs ?? defaults.blobInvalidationMs,
    staleIfErrorMs: own.staleIfErrorMs ?? defaults.staleIfErrorMs,
    maxConnections: own.maxConnections ?? defaults.maxConnections,
    connectTimeoutMs: own.connectTimeoutMs ?? defaults.connectTimeoutMs,
    headerTimeoutMs: own.headerTimeoutMs ?? defaults.headerTimeoutMs,
    idleTimeoutMs: own.idleTimeoutMs ?? defaults.idleTimeoutMs,
    retries: own.retries ?? defaults.retries,
  };
}

/** An upstream at a namespace that no entry describes: HTTPS, at the namespace's own host. */
export function impliedUpstream(
  namespace: string,
  credentials: UpstreamConfig["credentials"],
  defaults: UpstreamDefaults,
): UpstreamConfig {
  return {
    ...defaults,
    namespace,
    host: namespace === "docker.io" ? dockerHubHost : namespace,
    tls: true,
    acceptInvalidCerts: false,
    credentials,
    serverNames: [],
  };
}
