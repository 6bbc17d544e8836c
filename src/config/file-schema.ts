import * as z from "zod";
import type { NamePattern } from "../oci/name-pattern.ts";
import {
  formatListen,
  type ListenAddress,
  parseListen,
  parseCanonicalNamespace,
  parseUnlistedPattern,
} from "./address.ts";
import { choice, filePath, fitting, list, pattern, secret, text, timeout, yesOrNo } from "./fields.ts";
import { noProxies, type ProxyEnvironment } from "./proxy.ts";
import {
  assembled,
  keysWithVariables,
  type Kind,
  omissible,
  optional,
  type Report,
  section,
  setting,
  showAll,
  type Values,
} from "./setting.ts";
import { collection, hosted, type HostedConfig } from "./hosted-schema.ts";
import { layout } from "./layout-schema.ts";
import { replicas } from "./replicas-schema.ts";
import { storage, verify } from "./storage-schema.ts";
import {
  completeUpstream,
  impliedUpstream,
  upstream,
  type UpstreamConfig,
  upstreamDefaults,
} from "./upstream-schema.ts";
import { warm } from "./warm-schema.ts";

const listen: Kind<ListenAddress> = text(parseListen, { show: formatListen });
const listenForm = "`host:port`, `[v6]:port`, `:port` for all addresses, or `unix:/path`; port 0 is any free one";

const unlistedNames = list(pattern(parseUnlistedPattern));
const unlisted: Kind<boolean | readonly NamePattern[]> = {
  schema: z.union([z.boolean(), unlistedNames.schema], {
    error: "expected true, false or a list of names such as quay.io or *.example.com",
  }),
  show: (value) => (typeof value === "boolean" ? value : unlistedNames.show(value)),
};

/** Reads the token of the administration API, as a header can carry it. */
export const parseAdminToken: (text: string) => string = fitting(
  /^[\x21-\x7e]{16,}$/,
  "must be at least 16 printable ASCII characters, without spaces",
);

const parseInternalPath = fitting(
  /^\/(?:[A-Za-z0-9_-][A-Za-z0-9._-]*\/)+$/,
  "expected a location of nginx, with a slash at each end, such as /internal/",
);

const logSettings = {
  level: setting("level", choice(["trace", "debug", "info", "warn", "error", "silent"]), "info")
    .about("The least important lines that are written.")
    .flag("--log-level <level>", "trace, debug, info, warn, error or silent"),
  format: setting("format", choice(["json", "pretty"]), "json")
    .about("`json`: one JSON object a line. `pretty`: for reading at a terminal.")
    .flag("--log-format <format>", "json or pretty"),
};

/** The one description of the configuration file. */
export const fileSettings = {
  listen: setting("listen", listen, "127.0.0.1:8080")
    .about(`Where clients connect: ${listenForm}.`)
    .flag("--listen <address>", "where clients connect: host:port, [v6]:port, :port or unix:/path"),
  /** Where metrics, the probes' details and administration live, when they are not to be on `listen`. */
  adminListen: omissible("admin_listen", listen)
    .about(
      "A second address, of the same form: when it is set, metrics and the probes' details are served there and not at `listen`, and so is the administration API.",
    )
    .flag(
      "--admin-listen <address>",
      "second address, which then has the metrics, the probes' details and the administration",
    ),
  adminToken: optional("admin_token", secret(parseAdminToken)).about(
    "A secret of at least 16 printable characters. With it, the administration API is served at `listen` too, to whoever presents it (`Authorization: Bearer …`), and it is required at `admin_listen`. Null for none.",
  ),
  adminTokenFile: optional("admin_token_file", filePath)
    .about("A file that holds the token, in place of `admin_token`. Null for none.")
    .flag(
      "--admin-token-file <file>",
      "file with the token of the administration API, which is then served at --listen, too",
    ),
  defaultNamespace: setting("default_namespace", text(parseCanonicalNamespace), "docker.io")
    .about("The namespace of a request that names none by `?ns=`, its `Host` header or its path.")
    .flag("--default-namespace <namespace>", "registry that a request without namespace is for"),
  defaultUpstreamNamespace: setting("default_upstream_namespace", text(parseCanonicalNamespace), "docker.io")
    .about("The namespace of a request whose `?ns=` is there but empty.")
    .flag("--default-upstream-namespace <namespace>", "registry that a request with an empty ?ns= is for"),
  checkCacheDigest: setting("check_cache_digest", yesOrNo, false)
    .about(
      "Whether a cached blob is hashed each time it is served. The last bytes of one that has changed on disk are never sent; it is removed, and fetched anew by the next request.",
    )
    .flag("--check-cache-digest", "hash each cached blob while it is served"),
  accelRedirect: optional("accel_redirect", text(parseInternalPath)).about(
    "Where an nginx in front of this has the storage's folder, as an `internal` location such as `/internal/`: stored blobs are then sent by that nginx (docs/nginx.md) to clients that come through it. With `check_cache_digest`, only what is hosted is. Null for none.",
  ),
  storage: setting("storage", storage, {}).about("Where the content is kept, and how much of it."),
  replicas: optional("replicas", replicas).about(
    "How several instances on one bucket act as one: each thing is fetched by one of them, and the others have it from that one. Needs `storage.type: s3`. Null for instances that share the bucket alone.",
  ),
  verify: setting("verify", verify, {}).about("How what is stored is checked against its digests in the background."),
  warm: setting("warm", warm, {}).about("Images that are pulled into the cache on a schedule."),
  upstreams: setting("upstreams", list(upstream), [])
    .about(
      "The registries that are mirrored, each namespace once. `docker.io` at `registry-1.docker.io` is added where the list lacks it.",
    )
    .flag(
      "--upstream-config-file <file>",
      "YAML or JSON file with the list of upstreams, in place of the list in --config",
      { isSource: true },
    )
    .flag(
      "--upstream-credentials <json>",
      'credentials by namespace, {"docker.io": {"username": "…", "password": "…"}}, over those of the files; others can see a flag, so prefer the variable',
      { isSource: true },
    ),
  upstreamDefaults: setting("upstream_defaults", upstreamDefaults, {}).about(
    "What upstreams have where their entry does not say otherwise, and what unlisted namespaces have.",
  ),
  hosted: setting("hosted", list(hosted), []).about(
    "Namespaces whose repositories are pushed to, and lie in the storage alone: nothing of them is ever evicted.",
  ),
  layouts: setting("layouts", list(layout), []).about(
    "Namespaces of image layouts that other programs have put into a folder or a bucket: they are served where they lie.",
  ),
  collection: setting("collection", collection, {}).about(
    "How what nothing refers to is removed from the hosted namespaces: manifests without a tag, and blobs of no manifest.",
  ),
  allowUnlisted: setting("allow_unlisted", unlisted, true).about(
    "Whether a namespace that is not among `upstreams` is mirrored, as `https://<namespace>`: `true`, `false`, or a list of names; `*.example.com` stands for every name below example.com. Only public addresses are ever reached so.",
  ),
  log: setting("log", section(logSettings), {}).about("The log, on standard output."),
  shutdownDelayMs: setting("shutdown_delay", timeout(0), "0s").about(
    "How long requests are answered as before after SIGTERM or SIGINT, while `/readyz` says that the process is stopping and each answer ends its connection: what sends clients here needs a while to notice.",
  ),
  shutdownTimeoutMs: setting("shutdown_timeout", timeout(0), "30s").about(
    "How long running responses may take to finish after that.",
  ),
};

/** The keys whose texts may hold variables; besides these, all of `headers`. */
export const interpolatedKeys: ReadonlySet<string> = new Set(keysWithVariables(fileSettings));

type FileValues = Values<typeof fileSettings>;

/** The configuration as the program uses it: checked, with every default filled in. */
export interface Config extends Omit<FileValues, "upstreams"> {
  /** Each namespace once; docker.io is always among them. */
  readonly upstreams: readonly UpstreamConfig[];
  readonly proxyEnvironment: ProxyEnvironment;
}

/** The schema of the configuration file. The environment's proxies are not in it. */
export const fileSchema: z.ZodType<Config> = assembled(fileSettings, (values, report): Config => {
  reportConflicts(values, report);
  const { upstreamDefaults: defaults } = values;
  const upstreams = values.upstreams.map((entry) => completeUpstream(entry, defaults));
  const hub = upstreams.some(({ namespace }) => namespace === "docker.io")
    ? []
    : [impliedUpstream("docker.io", undefined, defaults)];
  return { ...values, upstreams: [...hub, ...upstreams], proxyEnvironment: noProxies };
});

/** Writes a configuration by the keys of the file, with secrets hidden. */
export function showConfig(config: Config): object {
  return showAll(fileSettings, config);
}

/** Namespaces and hosts that stand for two things. */
function reportTwins({ upstreams, hosted: own, layouts }: FileValues, report: Report): void {
  const owners = new Map<string, string>();
  for (const [list, entries] of Object.entries({ upstreams, hosted: own, layouts })) {
    const namespaces = new Map<string, number>();
    for (const [index, { namespace, serverNames }] of entries.entries()) {
      const first = namespaces.get(namespace);
      if (first !== undefined) {
        report({ path: [list, index, "namespace"], message: `${namespace} is listed already, as ${list}[${first}]` });
      }
      namespaces.set(namespace, first ?? index);
      for (const [position, name] of serverNames.entries()) {
        const owner = owners.get(name);
        if (owner !== undefined) {
          report({ path: [list, index, "server_names", position], message: `${name} stands for ${owner} already` });
        }
        owners.set(name, owner ?? namespace);
      }
    }
  }
  const mirrored = new Set(["docker.io", ...upstreams.map(({ namespace }) => namespace)]);
  for (const [index, entry] of own.entries()) reportFallback(entry, mirrored, ["hosted", index], report);
  const others = new Map([...mirrored].map((namespace) => [namespace, "mirrored"]));
  for (const { namespace } of own) others.set(namespace, "hosted");
  for (const [index, { namespace }] of layouts.entries()) {
    const use = others.get(namespace);
    if (use === undefined) continue;
    report({ path: ["layouts", index, "namespace"], message: `${namespace} is ${use}: take another name` });
  }
}

function reportFallback(
  { namespace, fallback }: HostedConfig,
  mirrored: ReadonlySet<string>,
  path: readonly (string | number)[],
  report: Report,
): void {
  if (fallback !== undefined && !mirrored.has(fallback)) {
    report({ path: [...path, "fallback"], message: `${fallback} is not among the upstreams: add it there` });
  } else if (fallback !== namespace && mirrored.has(namespace)) {
    const message = `${namespace} is mirrored: take another name, or set fallback: ${namespace} to stand before it`;
    report({ path: [...path, "namespace"], message });
  }
}

/** What is right by itself but not together. */
function reportConflicts(values: FileValues, report: Report): void {
  const { listen: address, adminListen, adminToken, adminTokenFile } = values;
  reportTwins(values, report);
  if (values.replicas !== undefined && values.storage.type !== "s3") {
    report({ path: ["replicas"], message: "needs a bucket that all replicas have: `storage.type: s3`" });
  }
  if (adminToken !== undefined && adminTokenFile !== undefined) {
    report({ path: ["admin_token_file"], message: "not together with `admin_token`" });
  }
  const anyPort = address.kind === "tcp" && address.port === 0;
  if (adminListen !== undefined && !anyPort && formatListen(adminListen) === formatListen(address)) {
    report({ path: ["admin_listen"], message: "must be another address than listen" });
  }
}
