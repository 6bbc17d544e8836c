import { Writable } from "node:stream";
import { dockerHub, parseNamespace } from "../../src/oci/reference.ts";
import { type App, type AppOptions, startApp } from "../../src/app/app.ts";
import type { HostedConfig } from "../../src/config/hosted-schema.ts";
import type { Config } from "../../src/config/file-schema.ts";
import type { UpstreamConfig, UpstreamDefaults } from "../../src/config/upstream-schema.ts";
import { request, type RequestOptions, type WholeResponse } from "./http.ts";
import { createTemporaryDirectory } from "./temporary.ts";

/** Settings that make tests quick: short time-outs, no rest between tries that matters. */
export const quickDefaults: UpstreamDefaults = {
  userAgent: undefined,
  proxy: undefined,
  manifestInvalidationMs: 600_000,
  blobInvalidationMs: 14 * 24 * 3_600_000,
  staleIfErrorMs: Infinity,
  staleWhileRevalidateMs: 0,
  keepDeleted: true,
  negativeTtlMs: 0,
  rateLimitReserve: 0,
  maxConnections: 32,
  connectTimeoutMs: 2_000,
  headerTimeoutMs: 2_000,
  idleTimeoutMs: 2_000,
  retries: 1,
  maxBytes: undefined,
  prefetch: "none",
};

/** A mirror of an upstream (`mirrors`) with no settings but the host that is still to be named. */
export const plainMirror: Omit<UpstreamConfig["mirrors"][number], "host"> = {
  tls: false,
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

/** A hosted namespace `apps` in which everything is allowed. */
export const plainHosted: HostedConfig = {
  namespace: parseNamespace("apps"),
  fallback: undefined,
  repositories: undefined,
  immutableTags: [],
  sparseManifests: false,
  deletes: { tags: true, manifests: true, blobs: true },
  retention: [],
  maxManifestBytes: 4 * 1024 * 1024,
  maxChunkBytes: undefined,
  maxBlobBytes: undefined,
  quotaBytes: undefined,
  expiryMs: 24 * 3_600_000,
  serverNames: [],
};

/** How an upstream differs from the usual one. */
type UpstreamSettings = Partial<Omit<UpstreamConfig, "namespace">> & {
  readonly namespace: string;
  readonly host: string;
};

/** How a mirror for a test differs from the usual one. */
export interface MirrorOptions extends Partial<Omit<AppOptions, "version">> {
  readonly config?: Partial<Config>;
  /** Settings of the storage. */
  readonly storage?: Partial<Config["storage"]>;
  /** Settings of the upstream docker.io. */
  readonly upstream?: Partial<UpstreamConfig>;
  /** More upstreams. */
  readonly others?: readonly UpstreamSettings[];
  /** The storage's folder, in place of a temporary one that is removed at the end. */
  readonly root?: string;
}

/** A mirror that runs in the test's process, on a free port. */
export interface Mirror extends AsyncDisposable {
  readonly url: string;
  readonly root: string;
  readonly app: App;
  /** The log's lines so far, parsed. */
  log(): Record<string, unknown>[];
  /**
   * Resolves with the first line that has these fields, at once where it was written already. Rejects when none has
   * come in ten seconds: a test that waited for ever would take all others with it.
   */
  logged(fields: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>>;
  /** Asks the mirror. */
  get(path: string, options?: RequestOptions): Promise<WholeResponse>;
  /** A metric's value; 0 where it has none yet. */
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
  close(): Promise<void>;
}

/** The configuration of a mirror of `host` as docker.io, with its storage in `root`. */
export function mirrorConfig(
  host: string,
  root: string,
  options: Pick<MirrorOptions, "config" | "storage" | "upstream" | "others"> = {},
): Config {
  const listed = (settings: UpstreamSettings): UpstreamConfig => ({
    ...quickDefaults,
    tls: false,
    acceptInvalidCerts: false,
    caFile: undefined,
    clientCert: undefined,
    clientKey: undefined,
    accounts: [],
    repositoryCredentials: [],
    headers: {},
    pathPrefix: undefined,
    realmHosts: [],
    allowPrivateRedirects: false,
    mirrors: [],
    offline: false,
    allow: undefined,
    deny: [],
    serverNames: [],
    ...settings,
    namespace: parseNamespace(settings.namespace),
  });
  return {
    listen: { kind: "tcp", host: "127.0.0.1", port: 0 },
    adminListen: undefined,
    defaultNamespace: dockerHub,
    defaultUpstreamNamespace: dockerHub,
    checkCacheDigest: false,
    accelRedirect: undefined,
    storage: {
      type: "filesystem",
      root,
      maxSize: undefined,
      minFree: { kind: "bytes", bytes: 0 },
      highWatermark: 0.95,
      lowWatermark: 0.9,
      maxObjectBytes: undefined,
      pins: [],
      s3: undefined,
      ...options.storage,
    },
    replicas: undefined,
    verify: { intervalMs: Infinity, bytesPerSecond: 50 * 1024 * 1024 },
    warm: { images: [], file: undefined, platforms: [], intervalMs: 6 * 3_600_000, parallel: 4 },
    adminToken: undefined,
    adminTokenFile: undefined,
    upstreams: [listed({ namespace: "docker.io", host, ...options.upstream }), ...(options.others ?? []).map(listed)],
    upstreamDefaults: quickDefaults,
    hosted: [],
    layouts: [],
    collection: { intervalMs: Infinity, graceMs: 2 * 3_600_000 },
    allowUnlisted: true,
    proxyEnvironment: { http: undefined, https: undefined, noProxy: undefined },
    log: { level: "trace", format: "json" },
    shutdownDelayMs: 0,
    shutdownTimeoutMs: 5_000,
    ...options.config,
  };
}

/** Starts a mirror of `host` as docker.io. */
export async function startMirror(host: string, options: MirrorOptions = {}): Promise<Mirror> {
  const folder = options.root === undefined ? await createTemporaryDirectory() : undefined;
  const root = options.root ?? `${folder?.path}/root`;
  const lines: Record<string, unknown>[] = [];
  const awaited = new Set<() => void>();
  const logDestination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString("utf8").split("\n").filter(Boolean)) {
        lines.push(JSON.parse(line) as Record<string, unknown>);
      }
      for (const look of awaited) look();
      done();
    },
  });
  // The rest is for the program.
  const {
    config: _config,
    storage: _storage,
    upstream: _upstream,
    others: _others,
    root: _root,
    ...appOptions
  } = options;
  const app = await startApp(mirrorConfig(host, root, options), {
    version: "0.0.0-test",
    logDestination,
    // One clock for both, unless a test sets the time while something waits.
    ...(appOptions.now !== undefined && { monotonic: appOptions.now }),
    ...appOptions,
  });
  const [url = ""] = app.addresses;
  let closed = false;
  const close = async (): Promise<void> => {
    if (closed) return;
    closed = true;
    await app.close();
  };
  return {
    url,
    root,
    app,
    log: () => [...lines],
    logged(fields) {
      const { promise, resolve, reject } = Promise.withResolvers<Record<string, unknown>>();
      const late = setTimeout(() => {
        awaited.delete(look);
        reject(
          new Error(`no line has ${JSON.stringify(fields)}: ${lines.map((line) => JSON.stringify(line)).join("\n")}`),
        );
      }, 10_000);
      const look = (): void => {
        const found = lines.find((line) => Object.entries(fields).every(([field, value]) => line[field] === value));
        if (found === undefined) return;
        awaited.delete(look);
        clearTimeout(late);
        resolve(found);
      };
      awaited.add(look);
      look();
      return promise;
    },
    get: (path, requestOptions) => request(`${url}${path}`, { target: path, ...requestOptions }),
    async metric(name, labels = {}) {
      const { body } = await request(`${app.addresses.at(-1)}/metrics`);
      for (const line of body.toString("utf8").split("\n")) {
        const matched = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
        const wanted = Object.entries(labels).every(([label, value]) => matched?.[2]?.includes(`${label}="${value}"`));
        if (matched?.[1] === name && wanted) return Number(matched[3]);
      }
      return 0;
    },
    close,
    async [Symbol.asyncDispose]() {
      await close();
      await folder?.[Symbol.asyncDispose]();
    },
  };
}
