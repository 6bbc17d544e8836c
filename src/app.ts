import { availableParallelism } from "node:os";
import type { DestinationStream } from "pino";
import type { Config, ListenAddress, UpstreamConfig, UpstreamDefaults } from "./config/schema.ts";
import { createHandler } from "./http/handler.ts";
import type { Health } from "./http/probes.ts";
import { type Address, listen, type RunningServer } from "./http/server.ts";
import { createLogger, type Logger } from "./observe/log.ts";
import { createMetrics, type Metrics } from "./observe/metrics.ts";
import { type Namespace, parseNamespace } from "./oci/reference.ts";
import { Background } from "./registry/background.ts";
import { Content } from "./registry/content.ts";
import type { FillObserver } from "./registry/fill.ts";
import { Fills } from "./registry/fills.ts";
import { createMirror } from "./registry/mirror.ts";
import { canonicalNamespace, Namespaces } from "./registry/namespaces.ts";
import { Outage } from "./registry/outage.ts";
import type { PullRegistry } from "./registry/registry.ts";
import { BufferPool } from "./store/buffers.ts";
import { FilesystemStore } from "./store/filesystem.ts";
import { HashPool } from "./store/hashing.ts";
import { meterStore } from "./store/metered.ts";
import { StoreError } from "./store/object-store.ts";
import type { Lookup } from "./upstream/addresses.ts";
import { createUpstream, type UpstreamOptions } from "./upstream/client.ts";
import { createDispatcher } from "./upstream/dispatcher.ts";
import type { Upstream } from "./upstream/upstream.ts";

const staleWaitMs = 3_000;

/** A running mirror. */
export interface App {
  /** Where it listens, the main listener first: `http://127.0.0.1:8080`. */
  readonly addresses: readonly string[];
  readonly log: Logger;
  /**
   * Stops: not ready at once, no new connections; running answers and fills may end within the configured time, then
   * they are cut. Resolves when nothing is left open.
   */
  close(): Promise<void>;
}

/** What tests put in place of the real thing. */
export interface AppOptions {
  readonly version: string;
  readonly now?: () => number;
  /** How unlisted namespaces' names are resolved. */
  readonly lookup?: Lookup;
  /** Certificates that are trusted for unlisted namespaces. */
  readonly ca?: string;
  readonly logDestination?: DestinationStream;
  readonly staleWaitMs?: number;
}

/**
 * Starts a mirror: opens the storage, then listens. No upstream is asked.
 *
 * @throws {RootError} the storage's folder is in use, or is not one of ours; and the system's error for an address that
 *   cannot be listened at.
 */
export async function startApp(config: Config, options: AppOptions): Promise<App> {
  const destination = options.logDestination === undefined ? {} : { destination: options.logDestination };
  const log = await createLogger({ ...config.log, ...destination });
  const metrics = createMetrics(options.version);
  const pool = new BufferPool();
  const files = await FilesystemStore.open(config.storage.root, pool);
  if (files.unwritable !== undefined) {
    log.error({ err: files.unwritable }, "the storage cannot be written: content is passed on but not cached");
  }
  const store = meterStore(files, (operation, error) => {
    metrics.storageErrors.inc({ operation, code: error.code ?? "other" });
  });
  const content = new Content(store);
  const hashes = new HashPool(Math.max(1, Math.min(4, availableParallelism() - 1)));
  const stopping = new AbortController();
  const background = new Background((error) => {
    if (!stopping.signal.aborted) log.error({ err: error }, "an answer was not cached");
  });
  const labels = new Set(config.upstreams.map((upstream) => upstream.namespace));
  const label = (namespace: string): string => (labels.has(namespace) ? namespace : "other");
  const fills = new Fills({
    content,
    hashes,
    pool,
    spoolFolder: files.temporaryPath,
    observer: observeFills(metrics, log, label),
  });
  const upstreams = new Upstreams(config, options, { metrics, log, label });
  const mirror = (upstream: Upstream, settings: UpstreamDefaults, namespace: Namespace, trusted: boolean): PullRegistry =>
    createMirror({
      namespace,
      upstream,
      trusted,
      content,
      fills,
      hashes,
      background,
      outage: upstreams.outage(namespace),
      policy: { ttlMs: settings.manifestInvalidationMs, staleIfErrorMs: settings.staleIfErrorMs },
      retries: settings.retries,
      staleWaitMs: options.staleWaitMs ?? staleWaitMs,
      checkDigest: config.checkCacheDigest,
      now: options.now ?? Date.now,
      signal: stopping.signal,
    });
  const namespaces = new Namespaces({
    rules: {
      ofServerName: serverNames(config),
      defaultNamespace: canonicalNamespace(parseNamespace(config.defaultNamespace)),
      emptyNamespace: canonicalNamespace(parseNamespace(config.defaultUpstreamNamespace)),
    },
    listed: new Map(
      config.upstreams.map((settings) => {
        const namespace = canonicalNamespace(parseNamespace(settings.namespace));
        return [namespace, mirror(upstreams.listed(settings), settings, namespace, true)];
      }),
    ),
    allowsUnlisted: unlistedRule(config.allowUnlisted),
    openUnlisted: (namespace) => mirror(upstreams.unlisted(namespace), config.upstreamDefaults, namespace, false),
  });
  const health: Health = {
    async reasonsAgainst() {
      if (stopping.signal.aborted || draining) return ["the process is stopping"];
      try {
        await files.probe();
        return [];
      } catch (error) {
        return [error instanceof StoreError ? `${error.message} (${error.code ?? "unknown"})` : String(error)];
      }
    },
    details: () => ({ version: options.version, fills: fills.size, namespaces: [...labels] }),
  };
  let draining = false;
  const servers: RunningServer[] = [];
  const close = async (): Promise<void> => {
    draining = true;
    const deadline = AbortSignal.timeout(config.shutdownTimeoutMs);
    await Promise.all(servers.map((server) => server.drain(deadline)));
    await Promise.race([fills.idle(), aborted(deadline)]);
    const reason = new Error("the process is stopping");
    await fills.close(reason);
    stopping.abort(reason);
    await background.idle();
    await Promise.all([upstreams.close(), hashes.close(), store.close()]);
  };
  const handler = createHandler(namespaces);
  const admin = config.adminListen;
  try {
    const probes = { health, metrics, admin: admin === undefined };
    servers.push(await listen(toAddress(config.listen), { handler, probes, log, metrics }));
    if (admin !== undefined) {
      const adminProbes = { health, metrics, admin: true };
      servers.push(await listen(toAddress(admin), { handler: undefined, probes: adminProbes, log, metrics }));
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { addresses: servers.map((server) => server.address), log, close };
}

/** Makes the clients of upstreams, and closes them. */
class Upstreams {
  readonly #config: Config;
  readonly #options: AppOptions;
  readonly #observe: Observation;
  readonly #open: Upstream[] = [];
  readonly #public: ReturnType<typeof createDispatcher>;

  constructor(config: Config, options: AppOptions, observe: Observation) {
    this.#config = config;
    this.#options = options;
    this.#observe = observe;
    this.#public = createDispatcher({
      ...config.upstreamDefaults,
      onlyPublic: true,
      acceptInvalidCerts: false,
      ...(options.lookup !== undefined && { lookup: options.lookup }),
      ...(options.ca !== undefined && { ca: options.ca }),
    });
  }

  listed(settings: UpstreamConfig): Upstream {
    const dispatcher = createDispatcher({ ...settings, onlyPublic: false });
    const upstream = createUpstream({ ...this.#common(settings, settings.namespace), ...settings, dispatcher, userAgent: this.#userAgent(settings) });
    this.#open.push(upstream);
    return upstream;
  }

  /** The client of a namespace that is not configured: it shares its connections with the others of that kind. */
  unlisted(namespace: Namespace): Upstream {
    const defaults = this.#config.upstreamDefaults;
    return createUpstream({
      ...this.#common(defaults, namespace),
      ...defaults,
      host: namespace,
      tls: true,
      acceptInvalidCerts: false,
      credentials: undefined,
      userAgent: this.#userAgent(defaults),
      dispatcher: this.#public,
      sharedDispatcher: true,
    });
  }

  outage(namespace: Namespace): Outage {
    const { log } = this.#observe;
    return new Outage(this.#options.now ?? Date.now, (error) => {
      log.warn({ namespace, failure: error.failure, status: error.status, err: error }, "the upstream failed");
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#open.map((upstream) => upstream.close()));
    await this.#public.close();
  }

  #common(_settings: UpstreamDefaults, namespace: string): Pick<UpstreamOptions, "observer" | "publicDispatcher"> {
    const { metrics, label } = this.#observe;
    return {
      publicDispatcher: this.#public,
      observer: {
        request: ({ kind, status, durationMs }) => {
          const labels = { namespace: label(namespace), kind };
          metrics.upstreamRequests.inc({ ...labels, status: status ?? "error" });
          metrics.upstreamSeconds.observe(labels, durationMs / 1000);
        },
      },
    };
  }

  #userAgent(settings: UpstreamDefaults): string {
    return settings.userAgent ?? `entrepot/${this.#options.version}`;
  }
}

interface Observation {
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly label: (namespace: string) => string;
}

function observeFills(metrics: Metrics, log: Logger, label: (namespace: string) => string): FillObserver {
  return {
    started: (namespace) => metrics.fillsActive.inc({ namespace: label(namespace) }),
    received: (namespace, bytes) => metrics.fillBytes.inc({ namespace: label(namespace) }, bytes),
    resumed: (id, digest, offset, error) => {
      metrics.fillResumes.inc({ namespace: label(id.namespace) });
      log.info({ ...id, digest, offset, err: error }, "the upstream's connection broke; the fill goes on");
    },
    ended: (id, digest, outcome, error) => {
      const namespace = label(id.namespace);
      metrics.fillsActive.dec({ namespace });
      metrics.fills.inc({ namespace, outcome });
      if (error === undefined) return;
      const what = outcome === "unstored" ? "the blob was passed on but not stored" : "the fill failed";
      log.warn({ ...id, digest, outcome, err: error }, what);
    },
  };
}

function serverNames(config: Config): (host: string) => Namespace | undefined {
  const names = new Map(
    config.upstreams.flatMap(({ namespace, serverNames: hosts }) =>
      hosts.map((host) => [host.toLowerCase(), canonicalNamespace(parseNamespace(namespace))] as const),
    ),
  );
  return (host) => names.get(host);
}

/** A pattern's `*` stands for any run of characters. */
function unlistedRule(allowed: Config["allowUnlisted"]): (namespace: Namespace) => boolean {
  if (typeof allowed === "boolean") return () => allowed;
  const patterns = allowed.map((pattern) => {
    const source = pattern.toLowerCase().split("*").map(RegExp.escape).join(".*");
    return new RegExp(`^${source}$`);
  });
  return (namespace) => patterns.some((pattern) => pattern.test(namespace));
}

function toAddress(address: ListenAddress): Address {
  return address.kind === "unix" ? { path: address.path } : { host: address.host, port: address.port };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
