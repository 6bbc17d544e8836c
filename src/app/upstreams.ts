import { readFileSync } from "node:fs";
import { ConfigError } from "../config/config-error.ts";
import { explainReading } from "../config/named-files.ts";
import type { Config } from "../config/file-schema.ts";
import type { EndpointConfig } from "../config/endpoint-schema.ts";
import type { ProxyEnvironment } from "../config/proxy.ts";
import type { UpstreamConfig, UpstreamDefaults } from "../config/upstream-schema.ts";
import { createCredentials } from "./credential-sources.ts";
import type { Namespace } from "../oci/reference.ts";
import type { Observers } from "./observers.ts";
import { Budget } from "../upstream/budget.ts";
import type { NameLookup } from "../upstream/addresses.ts";
import { createUpstream, maxWaiting } from "../upstream/client.ts";
import { systemClock } from "../concurrency/clock.ts";
import { createConnections } from "../upstream/connection-pools.ts";
import { createFetchJson, type FetchJson } from "../upstream/credentials/fetch-json.ts";
import type { CredentialSource } from "../upstream/credentials/source.ts";
import { createDispatcher, type ProxySettings } from "../upstream/dispatcher.ts";
import { Failover } from "../upstream/failover.ts";
import { publicGuard } from "../upstream/guard.ts";
import { Limiter } from "../concurrency/limiter.ts";
import { createOfflineUpstream } from "../upstream/offline.ts";
import { createPublicLookup } from "../upstream/public-lookup.ts";
import type { Upstream } from "../upstream/upstream.ts";

/** So many sites at least it takes to hold all connections to namespaces that are not configured. */
const publicParties = 4;
/**
 * For how long a blob may hold one of them that somebody else waits for, in milliseconds: it goes on by `Range`, at the
 * end of the queue. Most blobs are done by then, and to ask again costs little beside it.
 */
const publicBulkMs = 2 * 60_000;

/** What the configuration does not say. */
export interface UpstreamsOptions {
  readonly version: string;
  /** How names are resolved. Default: as the system does it; those of unlisted namespaces by `createPublicLookup`. */
  readonly lookup?: NameLookup;
  /** Certificates (PEM) that are trusted for unlisted namespaces, besides the built-in ones. */
  readonly ca?: string;
}

/** How much each client of a namespace that is not configured remembers of tokens and of limits: there may be many. */
const unlistedRemembered = 16;

/** The clients of all upstreams, as the configuration wants them. */
export class Upstreams {
  readonly #defaults: UpstreamDefaults;
  readonly #proxies: ProxyEnvironment;
  readonly #options: UpstreamsOptions;
  readonly #observers: Observers;
  readonly #open: Upstream[] = [];
  readonly #sources: CredentialSource[] = [];
  readonly #dispatchers: ReturnType<typeof createDispatcher>[] = [];
  /** The connections of all namespaces that are not configured, and of token servers of other sites. */
  readonly #public: ReturnType<typeof createDispatcher>;
  /** All namespaces that are not configured together: clients can name as many as they like. */
  readonly #publicLimiter: Limiter;

  constructor(config: Config, options: UpstreamsOptions, observers: Observers) {
    this.#defaults = config.upstreamDefaults;
    this.#proxies = config.proxyEnvironment;
    this.#options = options;
    this.#observers = observers;
    this.#public = createDispatcher({
      timeouts: config.upstreamDefaults,
      guard: publicGuard,
      acceptInvalidCerts: false,
      lookup: options.lookup ?? createPublicLookup(),
      ca: options.ca,
      proxy: toProxySettings(config.upstreamDefaults.proxy, config.proxyEnvironment),
    });
    this.#dispatchers.push(this.#public);
    const { maxConnections } = config.upstreamDefaults;
    this.#publicLimiter = new Limiter(maxConnections, {
      partySlots: Math.max(1, Math.floor(maxConnections / publicParties)),
      maxWaiting,
      bulkMs: publicBulkMs,
    });
  }

  /**
   * The client of a configured upstream; it may be anywhere. Of several hosts, only what the upstream itself says of its
   * limits goes into the budget, as those of its mirrors are others.
   *
   * @throws {ConfigError} A certificate's or key's file cannot be read.
   */
  listed(settings: UpstreamConfig, budget: Budget): Upstream {
    if (settings.offline) {
      return createOfflineUpstream(settings.host);
    }
    const own = this.#client(settings, settings, budget, settings.retries);
    // The next host is a mirror's second try.
    const mirrors = settings.mirrors.map((mirror) => this.#client(mirror, settings, new Budget(systemClock), 0));
    const upstream = mirrors.length === 0 ? own : new Failover(mirrors, own, systemClock);
    this.#open.push(upstream);
    return upstream;
  }

  /** The client of a namespace that is not configured, over public addresses only; there is nothing to close. */
  unlisted(namespace: Namespace, budget: Budget): Upstream {
    return createUpstream({
      host: namespace,
      tls: true,
      userAgent: this.#userAgent(this.#defaults),
      credentials: undefined,
      retries: this.#defaults.retries,
      limiter: this.#publicLimiter,
      remembered: unlistedRemembered,
      observer: this.#observers.upstream(namespace),
      budget,
      dispatcher: this.#public,
      redirectDispatcher: this.#public,
      publicDispatcher: this.#public,
      sharedDispatcher: true,
    });
  }

  /**
   * Gives back all connections, and closes the sources of credentials. Nobody may be waiting for an upstream any more:
   * what still runs, a body that nobody wants for example, is cut.
   */
  async close(): Promise<void> {
    for (const source of this.#sources) {
      source.close();
    }
    await Promise.all(this.#open.map((upstream) => upstream.close()));
    await Promise.all(this.#dispatchers.map((dispatcher) => dispatcher.destroy()));
  }

  #client(endpoint: EndpointConfig, settings: UpstreamConfig, budget: Budget, retries: number): Upstream {
    const { namespace, maxConnections } = settings;
    const { headers, host, pathPrefix, realmHosts, tls } = endpoint;
    const { dispatcher, redirectDispatcher } = createConnections({
      host,
      tls,
      acceptInvalidCerts: endpoint.acceptInvalidCerts,
      allowPrivateRedirects: endpoint.allowPrivateRedirects,
      timeouts: settings,
      lookup: this.#options.lookup,
      proxy: toProxySettings(endpoint.proxy, this.#proxies),
      ca: readNamedFile(namespace, "ca_file", endpoint.caFile),
      clientCert: readNamedFile(namespace, "client_cert", endpoint.clientCert),
      clientKey: readNamedFile(namespace, "client_key", endpoint.clientKey),
    });
    return createUpstream({
      host,
      tls,
      userAgent: this.#userAgent(settings),
      headers,
      pathPrefix,
      realmHosts,
      credentials: this.#source(endpoint, settings, budget),
      retries,
      limiter: new Limiter(maxConnections, { maxWaiting }),
      observer: this.#observers.upstream(namespace),
      budget,
      dispatcher,
      redirectDispatcher,
      publicDispatcher: this.#public,
    });
  }

  #source(endpoint: EndpointConfig, settings: UpstreamConfig, budget: Budget): CredentialSource | undefined {
    const source = createCredentials(endpoint, {
      clock: systemClock,
      budget,
      fetchJson: this.#cloudFetch(endpoint, settings),
      onProblem: this.#observers.credentials(settings.namespace),
    });
    if (source !== undefined) {
      this.#sources.push(source);
    }
    return source;
  }

  /** Asks a cloud's API over connections of its own. */
  #cloudFetch(endpoint: EndpointConfig, settings: UpstreamConfig): FetchJson {
    const dispatcher = createDispatcher({
      acceptInvalidCerts: false,
      timeouts: settings,
      lookup: this.#options.lookup,
      proxy: toProxySettings(endpoint.proxy, this.#proxies),
    });
    this.#dispatchers.push(dispatcher);
    return createFetchJson(dispatcher);
  }

  #userAgent({ userAgent }: UpstreamDefaults): string {
    return userAgent ?? `entrepot/${this.#options.version}`;
  }
}

/** What the setting `proxy` comes to. A proxy of the configuration is for all hosts, whatever `NO_PROXY` says. */
export function toProxySettings(proxy: string | undefined, environment: ProxyEnvironment): ProxySettings | undefined {
  if (proxy === "none") {
    return undefined;
  }
  const { http = "", https = "", noProxy = "" } = environment;
  return proxy === undefined ? { http, https, noProxy } : { http: proxy, https: proxy };
}

function readNamedFile(namespace: string, key: string, path: string | undefined): Buffer | undefined {
  if (path === undefined) {
    return undefined;
  }
  try {
    return readFileSync(path);
  } catch (error) {
    throw new ConfigError([`${key} of ${namespace}: ${path} cannot be used: ${explainReading(error)}`]);
  }
}
