import { parseHost, parseCanonicalNamespace } from "./address.ts";
import { ValueError } from "./config-error.ts";
import type { PasswordPair } from "./credential-schema.ts";
import {
  type EndpointConfig,
  endpointSettings,
  mirror,
  proxy,
  readEndpoint,
  endpointValues,
} from "./endpoint-schema.ts";
import {
  choice,
  count,
  duration,
  durationOrForever,
  fitting,
  list,
  pattern,
  share,
  sizeOrNone,
  text,
  timeout,
  yesOrNo,
} from "./fields.ts";
import { parseRepositoryPattern } from "./repository-names.ts";
import {
  assembled,
  givenOf,
  type Kind,
  type Keys,
  optional,
  type Report,
  required,
  section,
  type Setting,
  setting,
  showAll,
  type Values,
} from "./setting.ts";

const parseUserAgent = fitting(
  /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/,
  "must be printable ASCII text without spaces around it; leave the key out for the default",
);

function parseServerName(value: string): string {
  if (value.includes(":") || value.includes("/") || value.includes("@")) {
    throw new ValueError("expected a host name without port, such as hub.example.com");
  }
  return parseHost(value);
}

/** The keys of `upstream_defaults`, which an upstream's entry may leave to these. */
const defaultsSettings = {
  userAgent: optional("user_agent", text(parseUserAgent), null).about(
    "The `User-Agent` that the upstream is sent; null for `entrepot/<version>`.",
  ),
  /** As of `EndpointConfig`. */
  proxy: optional("proxy", proxy, null).about(
    "The HTTP proxy that the upstream is asked through: a URL such as `http://user:password@proxy.example.com:3128`, or `none` for a direct connection. Null for what `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say in the environment.",
  ),
  manifestInvalidationMs: setting("manifest_invalidation_time", duration, "10m").about(
    "How long a tag is served without asking the upstream. After it, one HEAD request asks whether the tag has moved. `0s` asks every time. What is pulled by digest is never asked for again. A manifest that nobody uses is removed after this time or `blob_invalidation_time`, whichever is longer.",
  ),
  blobInvalidationMs: setting("blob_invalidation_time", durationOrForever, "14d").about(
    "How long a blob that nobody uses is kept: a duration, or `forever`. Any GET or HEAD request counts as use, also of the image's manifest.",
  ),
  staleIfErrorMs: setting("stale_if_error", durationOrForever, "forever").about(
    "How long after the upstream last confirmed a tag it may still be served while the upstream fails: a duration, or `forever`.",
  ),
  staleWhileRevalidateMs: setting("stale_while_revalidate", durationOrForever, "0s").about(
    "How long after `manifest_invalidation_time` a tag is still served at once, while the upstream is asked in the background: a duration, or `forever`. `0s` waits for the upstream's answer.",
  ),
  keepDeleted: setting("keep_deleted", yesOrNo, true).about(
    "Whether a cached tag is still served, marked as stale, after the upstream said that it is gone; otherwise it is gone here, too.",
  ),
  negativeTtlMs: setting("negative_ttl", duration, "30s").about(
    "How long it is remembered that the upstream does not have something (a 404; never a refusal or a failure). `0s` asks every time.",
  ),
  rateLimitReserve: setting("rate_limit_reserve", share, "10%").about(
    "The share of the upstream's rate limit that is kept for what is not cached: when less is left, tags are served without asking for as long as the limit's window lasts. `0%` keeps nothing.",
  ),
  maxConnections: setting("max_connections", count(1, 10_000), 32).about(
    "Connections to the upstream at one time; further requests wait in a queue.",
  ),
  connectTimeoutMs: setting("connect_timeout", timeout(1), "10s").about(
    "How long making a connection may take, TLS included.",
  ),
  headerTimeoutMs: setting("header_timeout", timeout(1), "20s").about(
    "How long the upstream may take to begin its answer.",
  ),
  idleTimeoutMs: setting("idle_timeout", timeout(1), "30s").about("How long the upstream may pause within a body."),
  retries: setting("retries", count(0, 100), 3).about(
    "Tries after the first one that bring no progress, before a request is given up.",
  ),
  maxBytes: setting("max_size", sizeOrNone, "none").about(
    "What the namespace may take of the storage. A blob that it shares with other namespaces counts fully. `none` or null for no limit but the storage's.",
  ),
  prefetch: setting("prefetch", choice(["none", "platform"]), "none").about(
    "What is fetched at once when a client pulls an image's manifest: with `platform` all blobs of that image, before the client asks for them one by one; with `none` nothing.",
  ),
};

/** What an upstream has where its entry does not say otherwise, and what every unlisted namespace has. */
export interface UpstreamDefaults extends Values<typeof defaultsSettings> {}

/** The mapping `upstream_defaults`. */
export const upstreamDefaults: Kind<UpstreamDefaults> = section(defaultsSettings);

const patternForm =
  "`*` stands for anything within a part of the name, `**` for anything: `library/*`, `team/**`. Docker Hub's own images are in `library/`.";

/** In lower case. */
export const serverNames: Setting<readonly string[]> = setting("server_names", list(text(parseServerName)), []).about(
  "`Host` headers that mean this namespace, without port: a request that is sent to the mirror under such a name, and has no `?ns=`, is for this namespace.",
);

const ownSettings = {
  mirrors: setting("mirrors", list(mirror), []).about(
    "Registries with the same content that are tried first, in this order; the upstream itself comes last. Each is a host, or a mapping.",
  ),
  offline: setting("offline", yesOrNo, false).about(
    "Whether the upstream and its mirrors are never asked, so that only what is cached is served.",
  ),
  allow: optional("allow", list(pattern(parseRepositoryPattern))).about(
    `The only repositories that are served; null for all. ${patternForm}`,
  ),
  deny: setting("deny", list(pattern(parseRepositoryPattern)), []).about(
    "Repositories that are not served, even if `allow` has them; of the same form.",
  ),
  serverNames,
};

const entrySettings = {
  /** Unique among the upstreams. */
  namespace: required("namespace", text(parseCanonicalNamespace)).about(
    "The name by which clients know the registry (`?ns=`, or the first part of a path). `index.docker.io` and `registry-1.docker.io` are `docker.io`.",
  ),
  ...endpointSettings,
  ...ownSettings,
};

/** One upstream, with every default filled in. */
export interface UpstreamConfig
  extends
    Omit<EndpointConfig, "proxy">,
    Omit<Values<typeof entrySettings>, keyof typeof endpointSettings>,
    UpstreamDefaults {}

/** An upstream's entry as it was read; what it leaves out comes from the defaults. */
export type UpstreamEntry = Omit<UpstreamConfig, keyof UpstreamDefaults> & Partial<UpstreamDefaults>;

/** One entry of `upstreams`; it is written with its defaults. */
export const upstream: Kind<UpstreamEntry> = {
  schema: assembled(entrySettings, readUpstream, defaultsSettings),
  show: (entry) => showAll({ ...entrySettings, ...defaultsSettings }, endpointValues(entry)),
  settings: { ...entrySettings, ...defaultsSettings },
};

function readUpstream(values: Values<typeof entrySettings>, report: Report, keys: Keys): UpstreamEntry {
  const { namespace } = values;
  const patterns = [
    ...(values.allow ?? []).map((rule, index) => ({ path: ["allow", index], text: rule.text })),
    ...values.deny.map((rule, index) => ({ path: ["deny", index], text: rule.text })),
    ...values.repositoryCredentials.map(({ match }, index) => {
      return { path: ["credentials_by_repository", index, "match"], text: match.text };
    }),
  ];
  for (const { path, text: written } of patterns.filter((each) => each.text.startsWith(`${namespace}/`))) {
    const message = `leave the namespace out: write "${written.slice(namespace.length + 1)}"`;
    report({ path, message });
  }
  return { ...readEndpoint(values, report), ...givenOf(defaultsSettings, keys) };
}

/** Fills in what an entry leaves out. */
export function completeUpstream(entry: UpstreamEntry, defaults: UpstreamDefaults): UpstreamConfig {
  const complete = { ...defaults, ...entry };
  const mirrors = entry.mirrors.map((each) => ({ ...each, proxy: each.proxy ?? complete.proxy }));
  return { ...complete, mirrors };
}

/** An upstream at a namespace that no entry describes: HTTPS, at the namespace's own host. */
export function impliedUpstream(
  namespace: string,
  credentials: PasswordPair | undefined,
  defaults: UpstreamDefaults,
): UpstreamConfig {
  const accounts = credentials === undefined ? [] : [{ kind: "password" as const, ...credentials }];
  return { ...completeUpstream(upstream.schema.parse({ namespace, host: namespace }), defaults), accounts };
}
