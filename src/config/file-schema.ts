import * as z from "zod";
import { formatListen, parseListen, parseNamespace, parseUnlistedPattern } from "./address.ts";
import { parseAdminToken } from "./admin-token.ts";
import { parseFilePath, text, timeout } from "./fields.ts";
import { noProxies } from "./proxy.ts";
import type { Config } from "./schema.ts";
import { storageSchema, verifySchema } from "./storage-schema.ts";
import { completeUpstream, impliedUpstream, upstreamDefaultsSchema, upstreamSchema } from "./upstream-schema.ts";
import { warmSchema } from "./warm-schema.ts";

const listenForm = "`host:port`, `[v6]:port` or `unix:/path`; port 0 is any free one";

const logSchema = z.strictObject({
  level: z.enum(["trace", "debug", "info", "warn", "error", "silent"]).prefault("info").meta({
    description: "The least important lines that are written.",
  }),
  format: z.enum(["json", "pretty"]).prefault("json").meta({
    description: "`json`: one JSON object a line. `pretty`: for reading at a terminal.",
  }),
});

/**
 * The one description of the configuration file: its keys, their defaults, their meaning, and what is refused. The
 * environment's proxies are not in it.
 */
export const fileSchema: z.ZodType<Config> = z
  .strictObject({
    listen: text(parseListen)
      .prefault("127.0.0.1:8080")
      .meta({ description: `Where clients connect: ${listenForm}.` }),
    admin_listen: text(parseListen).optional().meta({
      description:
        "A second address, of the same form: when it is set, metrics and the probes' details are served there and not at `listen`, and so is the administration API.",
    }),
    admin_token: text(parseAdminToken).nullable().optional().meta({
      description:
        "A secret of at least 16 printable characters. With it, the administration API is served at `listen` too, to whoever presents it (`Authorization: Bearer …`), and it is required at `admin_listen`. Null for none.",
    }),
    admin_token_file: text(parseFilePath).nullable().optional().meta({
      description: "A file that holds the token, in place of `admin_token`. Null for none.",
    }),
    default_namespace: text(parseNamespace).prefault("docker.io").meta({
      description: "The namespace of a request that names none by `?ns=`, its `Host` header or its path.",
    }),
    default_upstream_namespace: text(parseNamespace).prefault("docker.io").meta({
      description: "The namespace of a request whose `?ns=` is there but empty.",
    }),
    check_cache_digest: z.boolean().prefault(false).meta({
      description:
        "Whether a cached blob is hashed each time it is served. The last bytes of one that has changed on disk are never sent; it is removed, and fetched anew by the next request.",
    }),
    storage: storageSchema.prefault({}).meta({ description: "Where the content is kept, and how much of it." }),
    verify: verifySchema.prefault({}).meta({
      description: "How what is stored is checked against its digests in the background.",
    }),
    warm: warmSchema.prefault({}).meta({ description: "Images that are pulled into the cache on a schedule." }),
    upstreams: z.array(upstreamSchema).prefault([]).meta({
      description:
        "The registries that are mirrored, each namespace once. `docker.io` at `registry-1.docker.io` is added where the list lacks it.",
    }),
    upstream_defaults: upstreamDefaultsSchema.prefault({}).meta({
      description: "What upstreams have where their entry does not say otherwise, and what unlisted namespaces have.",
    }),
    allow_unlisted: z
      .union([z.boolean(), z.array(text(parseUnlistedPattern))], {
        error: "expected true, false or a list of names such as quay.io or *.example.com",
      })
      .prefault(true)
      .meta({
        description:
          "Whether a namespace that is not among `upstreams` is mirrored, as `https://<namespace>`: `true`, `false`, or a list of names; `*.example.com` stands for every name below example.com. Only public addresses are ever reached so.",
      }),
    log: logSchema.prefault({}).meta({ description: "The log, on standard output." }),
    shutdown_timeout: timeout("How long running responses may take to finish after SIGTERM or SIGINT.", 0).prefault(
      "30s",
    ),
  })
  .transform((keys, context): Config => {
    const config: Config = {
      listen: keys.listen,
      adminListen: keys.admin_listen,
      defaultNamespace: keys.default_namespace,
      defaultUpstreamNamespace: keys.default_upstream_namespace,
      checkCacheDigest: keys.check_cache_digest,
      storage: keys.storage,
      verify: keys.verify,
      warm: keys.warm,
      adminToken: keys.admin_token ?? undefined,
      adminTokenFile: keys.admin_token_file ?? undefined,
      upstreams: keys.upstreams.map((entry) => completeUpstream(entry, keys.upstream_defaults)),
      upstreamDefaults: keys.upstream_defaults,
      allowUnlisted: keys.allow_unlisted,
      proxyEnvironment: noProxies,
      log: keys.log,
      shutdownTimeoutMs: keys.shutdown_timeout,
    };
    for (const { path, message } of findConflicts(config)) {
      context.addIssue({ code: "custom", path, message });
    }
    return addDockerHub(config);
  });

interface Conflict {
  readonly path: (string | number)[];
  readonly message: string;
}

/** What is right by itself but not together. */
function findConflicts(config: Config): Conflict[] {
  const conflicts: Conflict[] = [];
  const namespaces = new Map<string, number>();
  const serverNames = new Map<string, string>();
  for (const [index, { namespace, serverNames: names }] of config.upstreams.entries()) {
    const first = namespaces.get(namespace);
    if (first !== undefined) {
      const message = `${namespace} is listed already, as upstreams[${first}]`;
      conflicts.push({ path: ["upstreams", index, "namespace"], message });
    }
    namespaces.set(namespace, first ?? index);
    for (const [position, name] of names.entries()) {
      const owner = serverNames.get(name);
      if (owner !== undefined) {
        const message = `${name} stands for ${owner} already`;
        conflicts.push({ path: ["upstreams", index, "server_names", position], message });
      }
      serverNames.set(name, owner ?? namespace);
    }
  }
  const { listen, adminListen, adminToken, adminTokenFile } = config;
  if (adminToken !== undefined && adminTokenFile !== undefined) {
    conflicts.push({ path: ["admin_token_file"], message: "not together with `admin_token`" });
  }
  const anyPort = listen.kind === "tcp" && listen.port === 0;
  if (adminListen !== undefined && !anyPort && formatListen(adminListen) === formatListen(listen)) {
    conflicts.push({ path: ["admin_listen"], message: "must be another address than listen" });
  }
  return conflicts;
}

function addDockerHub(config: Config): Config {
  if (config.upstreams.some((upstream) => upstream.namespace === "docker.io")) {
    return config;
  }
  return {
    ...config,
    upstreams: [impliedUpstream("docker.io", undefined, config.upstreamDefaults), ...config.upstreams],
  };
}
