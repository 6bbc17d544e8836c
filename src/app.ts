import { availableParallelism } from "node:os";
import type { DestinationStream } from "pino";
import type { Config, ListenAddress, UpstreamConfig, UpstreamDefaults } from "./config/schema.ts";
import { createHandler } from "./http/handler.ts";
import type { Health } from "./http/probes.ts";
import { type Address, listen, type RunningServer } from "./http/server.ts";
import { createLogger, type Logger } from "./observe/log.ts";
import { createMetrics } from "./observe/metrics.ts";
import { type Namespace, parseNamespace, type Repository } from "./oci/reference.ts";
import { Background } from "./registry/background.ts";
import { Content } from "./registry/content.ts";
import { Fills } from "./registry/fills.ts";
import { createMirror } from "./registry/mirror.ts";
import { canonicalNamespace, matchNamespaces, Namespaces } from "./registry/namespaces.ts";
import type { PullRegistry } from "./registry/registry.ts";
import { restrict } from "./registry/restrict.ts";
import { BufferPool } from "./store/buffers.ts";
import { FilesystemStore } from "./store/filesystem.ts";
import { HashPool } from "./store/hashing.ts";
import { meterStore } from "./store/metered.ts";
import { StoreError } from "./store/object-store.ts";
import type { Upstream } from "./upstream/upstream.ts";
import { rememberAbsences } from "./upstream/absences.ts";
import { parseRepositoryPattern } from "./upstream/credentials/repository-pattern.ts";
import { Breaker } from "./upstream/breaker.ts";
import { createObservers } from "./observers.ts";
import { Upstreams, type UpstreamsOptions } from "./upstreams.ts";

const staleWaitMs = 3_000;

/** A running mirror. */
export interface App {
  /** Where it listens, the main listener first: `http://127.0.0.1:8080`. */
  readonly addresses: readonly string[];
  readonly log: Logger;
  /** Resolves when no blob is being fetched and nothing waits to be stored. */
  idle(): Promise<void>;
  /**
   * Stops: not ready at once, no new connections; running answers and fills may end within the configured time, then
   * they are cut. Resolves when nothing is left open.
   */
  close(): Promise<void>;
}

/** What the configuration does not say; all but the version and `onLogFailure` is for tests. */
export interface AppOptions extends UpstreamsOptions {
  readonly now?: () => number;
  readonly logDestination?: DestinationStream;
  /** Told when lines of the log are lost, as its disk is full or its reader gone. */
  readonly onLogFailure?: (error: Error) => void;
  readonly staleWaitMs?: number;
}

/**
 * Starts a mirror: opens the storage, then listens. No upstream is asked.
 *
 * @throws {RootError} the storage's folder is in use, or is not one of ours; and the system's error for an address that
 *   cannot be listened at.
 */
export async function startApp(config: Config, options: AppOptions): Promise<App> {
  const { logDestination: destination, onLogFailure: onFailure } = options;
  const log = await createLogger({
    ...config.log,
    ...(destination !== undefined && { destination }),
    ...(onFailure !== undefined && { onFailure }),
  });
  try {
    return await start(config, options, log);
  } catch (error) {
    log.flush();
    throw error;
  }
}

async function start(config: Config, options: AppOptions, log: Logger): Promise<App> {
  const metrics = createMetrics(options.version);
  const pool = new BufferPool();
  const files = await FilesystemStore.open(config.storage.root, pool);
  if (files.unwritable !== undefined) {
    log.error({ err: files.unwritable }, "the storage cannot be written: content is passed on but not cached");
  }
  const now = options.now ?? Date.now;
  const reserves = new Map(config.upstreams.map(({ namespace, rateLimitReserve }) => [namespace, rateLimitReserve]));
  const observers = createObservers({ metrics, log, now, reserves });
  const store = meterStore(files, observers.store);
  const content = new Content(store);
  const hashes = new HashPool(Math.max(1, Math.min(4, availableParallelism() - 1)));
  const stopping = new AbortController();
  const background = new Background((error) => {
    if (!stopping.signal.aborted) log.error({ err: error }, "an answer was not cached");
  });
  const fills = new Fills({ content, hashes, pool, spoolFolder: files.temporaryPath, observer: observers.fills });
  const upstreams = new Upstreams(
    config,
    {
      onCredentialProblem: (namespace, problem) => log.warn({ namespace, err: problem }, "credentials are not renewed"),
      ...options,
    },
    observers,
  );
  const breakers = new Map<string, Breaker>();
  const mirror = (
    upstream: Upstream,
    settings: UpstreamDefaults,
    namespace: Namespace,
    trusted: boolean,
  ): PullRegistry => {
    const breaker = new Breaker(now, observers.breaker(namespace));
    if (trusted) breakers.set(namespace, breaker);
    return createMirror({
      namespace,
      upstream: rememberAbsences(breaker.guard(upstream), settings.negativeTtlMs, now),
      breaker,
      quota: observers.quota(namespace),
      trusted,
      content,
      fills,
      hashes,
      background,
      policy: { ...settings, ttlMs: settings.manifestInvalidationMs },
      retries: settings.retries,
      staleWaitMs: options.staleWaitMs ?? staleWaitMs,
      checkDigest: config.checkCacheDigest,
      now,
      signal: stopping.signal,
    });
  };
  const namespaces = new Namespaces({
    rules: {
      ofServerName: serverNames(config.upstreams),
      defaultNamespace: canonicalNamespace(parseNamespace(config.defaultNamespace)),
      emptyNamespace: canonicalNamespace(parseNamespace(config.defaultUpstreamNamespace)),
    },
    listed: new Map(
      config.upstreams.map((settings) => {
        const namespace = canonicalNamespace(parseNamespace(settings.namespace));
        const registry = mirror(upstreams.listed(settings), settings, namespace, true);
        return [namespace, restrict(registry, repositoryRule(settings))];
      }),
    ),
    allowsUnlisted: matchNamespaces(config.allowUnlisted),
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
    details: () => ({
      version: options.version,
      fills: fills.size,
      upstreams: Object.fromEntries(
        [...breakers].map(([namespace, { state }]) => [
          namespace,
          { state, rateLimit: observers.quota(namespace).state },
        ]),
      ),
    }),
  };
  let draining = false;
  const servers: RunningServer[] = [];
  const idle = async (): Promise<void> => {
    await fills.idle();
    await background.idle();
  };
  const close = async (): Promise<void> => {
    draining = true;
    const deadline = AbortSignal.timeout(config.shutdownTimeoutMs);
    const [main, ...others] = servers;
    await main?.drain(deadline);
    await Promise.race([idle(), aborted(deadline)]);
    // Last, so that it tells until the end that the process is not ready.
    await Promise.all(others.map((server) => server.drain(deadline)));
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
  return { addresses: servers.map((server) => server.address), log, idle, close };
}

/** Whether a repository may be pulled from: `deny` beats `allow`, and without `allow` all are. */
function repositoryRule({ allow, deny }: UpstreamConfig): (repository: Repository) => boolean {
  const denied = deny.map(parseRepositoryPattern);
  const allowed = allow?.map(parseRepositoryPattern);
  return (repository) =>
    !denied.some((pattern) => pattern.matches(repository)) &&
    (allowed?.some((pattern) => pattern.matches(repository)) ?? true);
}

function serverNames(upstreams: readonly UpstreamConfig[]): (host: string) => Namespace | undefined {
  const names = new Map(
    upstreams.flatMap(({ namespace, serverNames: hosts }) =>
      hosts.map((host) => [host.toLowerCase(), canonicalNamespace(parseNamespace(namespace))] as const),
    ),
  );
  return (host) => names.get(host);
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
