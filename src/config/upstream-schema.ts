import * as z from "zod";
import { parseHost, parseNamespace } from "./address.ts";
import { ValueError } from "./config-error.ts";
import { addProblem, type PasswordPair } from "./credential-schema.ts";
import {
  dockerHubHost,
  endpointKeys,
  mirrorSchema,
  plainEndpoint,
  proxySchema,
  readEndpoint,
} from "./endpoint-schema.ts";
import { count, duration, durationOrForever, finiteSize, share, sizeOrNone, text, timeout } from "./fields.ts";
import { parseRepositoryPattern } from "./repository-names.ts";
import type { UpstreamConfig, UpstreamDefaults } from "./schema.ts";

/** An upstream's entry as it was read: what it leaves out comes from the defaults. No limit is `Infinity` here. */
export interface UpstreamEntry extends Omit<UpstreamConfig, keyof UpstreamDefaults> {
  readonly tunables: { readonly [K in keyof UpstreamDefaults]: UpstreamDefaults[K] | undefined };
}

function parsePlainText(value: string): string {
  if (!/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value)) {
    throw new ValueError("must be printable ASCII text without spaces around it; leave the key out for the default");
  }
  return value;
}

function parseServerName(value: string): string {
  if (value.includes(":") || value.includes("/") || value.includes("@")) {
    throw new ValueError("expected a host name without port, such as hub.example.com");
  }
  return parseHost(value);
}

const tunables = {
  user_agent: text(parsePlainText)
    .nullable()
    .meta({ description: "The `User-Agent` that the upstream is sent; null for `entrepot/<version>`." }),
  proxy: proxySchema.meta({
    description:
      "The HTTP proxy that the upstream is asked through: a URL such as `http://user:password@proxy.example.com:3128`, or `none` for a direct connection. Null for what `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say in the environment.",
  }),
  manifest_invalidation_time: duration(
    "How long a tag is served without asking the upstream. After it, one HEAD request asks whether the tag has moved. `0s` asks every time. What is pulled by digest is never asked for again. A manifest that nobody uses is removed after this time or `blob_invalidation_time`, whichever is longer.",
  ),
  blob_invalidation_time: durationOrForever(
    "How long a blob that nobody uses is kept: a duration, or `forever`. Any GET or HEAD request counts as use, also of the image's manifest.",
  ),
  stale_if_error: durationOrForever(
    "How long after the upstream last confirmed a tag it may still be served while the upstream fails: a duration, or `forever`.",
  ),
  stale_while_revalidate: durationOrForever(
    "How long after `manifest_invalidation_time` a tag is still served at once, while the upstream is asked in the background: a duration, or `forever`. `0s` waits for the upstream's answer.",
  ),
  keep_deleted: z.boolean().meta({
    description:
      "Whether a cached tag is still served, marked as stale, after the upstream said that it is gone; otherwise it is gone here, too.",
  }),
  negative_ttl: duration(
    "How long it is remembered that the upstream does not have something (a 404; never a refusal or a failure). `0s` asks every time.",
  ),
  rate_limit_reserve: share(
    "The share of the upstream's rate limit that is kept for what is not cached: when less is left, tags are served without asking for as long as the limit's window lasts. `0%` keeps nothing.",
  ),
  max_connections: count("Connections to the upstream at one time; further requests wait in a queue.", 1, 10_000),
  connect_timeout: timeout("How long making a connection may take, TLS included.", 1),
  header_timeout: timeout("How long the upstream may take to begin its answer.", 1),
  idle_timeout: timeout("How long the upstream may pause within a body.", 1),
  retries: count("Tries after the first one that bring no progress, before a request is given up.", 0, 100),
  max_size: sizeOrNone(
    "What the namespace may take of the storage. A blob that it shares with other namespaces counts fully. `none` or null for no limit but the storage's.",
  ),
  prefetch: z.enum(["none", "platform"]).meta({
    description:
      "What is fetched at once when a client pulls an image's manifest: with `platform` all blobs of that image, before the client asks for them one by one; with `none` nothing.",
  }),
};

const defaultsSchema = z.strictObject({
  user_agent: tunables.user_agent.prefault(null),
  proxy: tunables.proxy.prefault(null),
  manifest_invalidation_time: tunables.manifest_invalidation_time.prefault("10m"),
  blob_invalidation_time: tunables.blob_invalidation_time.prefault("14d"),
  stale_if_error: tunables.stale_if_error.prefault("forever"),
  stale_while_revalidate: tunables.stale_while_revalidate.prefault("0s"),
  keep_deleted: tunables.keep_deleted.prefault(true),
  negative_ttl: tunables.negative_ttl.prefault("30s"),
  rate_limit_reserve: tunables.rate_limit_reserve.prefault("10%"),
  max_connections: tunables.max_connections.prefault(32),
  connect_timeout: tunables.connect_timeout.prefault("10s"),
  header_timeout: tunables.header_timeout.prefault("20s"),
  idle_timeout: tunables.idle_timeout.prefault("30s"),
  retries: tunables.retries.prefault(3),
  max_size: tunables.max_size.prefault("none"),
  prefetch: tunables.prefetch.prefault("none"),
});

type DefaultsKeys = z.output<typeof defaultsSchema>;

/** The keys that an upstream's entry may leave to `upstream_defaults`. */
export const upstreamDefaultsKeys: readonly string[] = Object.keys(tunables);

/** Gives keys the names that the program has for them. */
function readTunables(keys: { readonly [K in keyof DefaultsKeys]?: DefaultsKeys[K] | undefined }): {
  [K in keyof UpstreamDefaults]: UpstreamDefaults[K] | undefined;
} {
  return {
    userAgent: keys.user_agent ?? undefined,
    proxy: keys.proxy ?? undefined,
    manifestInvalidationMs: keys.manifest_invalidation_time,
    blobInvalidationMs: keys.blob_invalidation_time,
    staleIfErrorMs: keys.stale_if_error,
    staleWhileRevalidateMs: keys.stale_while_revalidate,
    keepDeleted: keys.keep_deleted,
    negativeTtlMs: keys.negative_ttl,
    rateLimitReserve: keys.rate_limit_reserve,
    maxConnections: keys.max_connections,
    connectTimeoutMs: keys.connect_timeout,
    headerTimeoutMs: keys.header_timeout,
    idleTimeoutMs: keys.idle_timeout,
    retries: keys.retries,
    maxBytes: keys.max_size,
    prefetch: keys.prefetch,
  };
}

/** The schema of `upstream_defaults`. */
export const upstreamDefaultsSchema: z.ZodType<UpstreamDefaults> = defaultsSchema.transform(
  // The schema has a default for each of them.
  (keys) => ({ ...readTunables(keys), maxBytes: finiteSize(keys.max_size) }) as UpstreamDefaults,
);

const patternForm =
  "`*` stands for anything within a part of the name, `**` for anything: `library/*`, `team/**`. Docker Hub's own images are in `library/`.";

/** The schema of one entry of `upstreams`. */
export const upstreamSchema: z.ZodType<UpstreamEntry> = z
  .strictObject({
    namespace: text(parseNamespace).meta({
      description:
        "The name by which clients know the registry (`?ns=`, or the first part of a path). `index.docker.io` and `registry-1.docker.io` are `docker.io`.",
    }),
    ...endpointKeys,
    mirrors: z.array(mirrorSchema).prefault([]).meta({
      description:
        "Registries with the same content that are tried first, in this order; the upstream itself comes last. Each is a host, or a mapping.",
    }),
    offline: z.boolean().prefault(false).meta({
      description: "Whether the upstream and its mirrors are never asked, so that only what is cached is served.",
    }),
    allow: z
      .array(text(parseRepositoryPattern))
      .nullable()
      .optional()
      .meta({ description: `The only repositories that are served; null for all. ${patternForm}` }),
    deny: z
      .array(text(parseRepositoryPattern))
      .prefault([])
      .meta({ description: "Repositories that are not served, even if `allow` has them; of the same form." }),
    server_names: z.array(text(parseServerName)).prefault([]).meta({
      description:
        "`Host` headers that mean this upstream, without port: a request that is sent to the mirror under such a name, and has no `?ns=`, is for this namespace.",
    }),
    ...z.strictObject(tunables).partial().shape,
  })
  .transform((keys, context): UpstreamEntry => {
    const { namespace } = keys;
    const patterns = [
      ...(keys.allow ?? []).map((pattern, index) => ({ path: ["allow", index], pattern })),
      ...keys.deny.map((pattern, index) => ({ path: ["deny", index], pattern })),
      ...keys.credentials_by_repository.map(({ match }, index) => {
        return { path: ["credentials_by_repository", index, "match"], pattern: match };
      }),
    ];
    for (const { path, pattern } of patterns.filter(({ pattern }) => pattern.startsWith(`${namespace}/`))) {
      const message = `leave the namespace out: write "${pattern.slice(namespace.length + 1)}"`;
      addProblem(context, { path, message });
    }
    return {
      namespace,
      ...readEndpoint(keys, (problem) => addProblem(context, problem)),
      mirrors: keys.mirrors,
      offline: keys.offline,
      allow: keys.allow ?? undefined,
      deny: keys.deny,
      serverNames: keys.server_names,
      tunables: readTunables(keys),
    };
  });

/** Fills in what an entry leaves out. */
export function completeUpstream(entry: UpstreamEntry, defaults: UpstreamDefaults): UpstreamConfig {
  const { tunables: own, mirrors, ...rest } = entry;
  const proxy = own.proxy ?? defaults.proxy;
  return {
    ...rest,
    mirrors: mirrors.map((mirror) => ({ ...mirror, proxy: mirror.proxy ?? proxy })),
    proxy,
    userAgent: own.userAgent ?? defaults.userAgent,
    manifestInvalidationMs: own.manifestInvalidationMs ?? defaults.manifestInvalidationMs,
    blobInvalidationMs: own.blobInvalidationMs ?? defaults.blobInvalidationMs,
    staleIfErrorMs: own.staleIfErrorMs ?? defaults.staleIfErrorMs,
    staleWhileRevalidateMs: own.staleWhileRevalidateMs ?? defaults.staleWhileRevalidateMs,
    keepDeleted: own.keepDeleted ?? defaults.keepDeleted,
    negativeTtlMs: own.negativeTtlMs ?? defaults.negativeTtlMs,
    rateLimitReserve: own.rateLimitReserve ?? defaults.rateLimitReserve,
    maxConnections: own.maxConnections ?? defaults.maxConnections,
    connectTimeoutMs: own.connectTimeoutMs ?? defaults.connectTimeoutMs,
    headerTimeoutMs: own.headerTimeoutMs ?? defaults.headerTimeoutMs,
    idleTimeoutMs: own.idleTimeoutMs ?? defaults.idleTimeoutMs,
    retries: own.retries ?? defaults.retries,
    maxBytes: own.maxBytes === undefined ? defaults.maxBytes : finiteSize(own.maxBytes),
    prefetch: own.prefetch ?? defaults.prefetch,
  };
}

/** An upstream at a namespace that no entry describes: HTTPS, at the namespace's own host. */
export function impliedUpstream(
  namespace: string,
  credentials: PasswordPair | undefined,
  defaults: UpstreamDefaults,
): UpstreamConfig {
  return {
    ...plainEndpoint(namespace === "docker.io" ? dockerHubHost : namespace),
    ...defaults,
    namespace,
    accounts: credentials === undefined ? [] : [{ kind: "password", ...credentials }],
    mirrors: [],
    offline: false,
    allow: undefined,
    deny: [],
    serverNames: [],
  };
}
