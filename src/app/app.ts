import type { DestinationStream } from "pino";
import { type AdminToken, readAdminToken } from "./admin-token.ts";
import { ConfigError } from "../config/config-error.ts";
import type { Config } from "../config/file-schema.ts";
import type { ListenAddress } from "../config/address.ts";
import { type Engine, type EngineOptions, startEngine } from "./engine.ts";
import { createAdminHandler } from "../http/admin-handler.ts";
import { createHandler } from "../http/handler.ts";
import { createPeerHandler } from "../http/peers.ts";
import type { Health } from "../http/probes.ts";
import type { Address } from "../http/listening.ts";
import { listen, type RunningServer } from "../http/server.ts";
import { watchStorage } from "../http/storage-state.ts";
import { createLogger, type Logger, type LogOptions } from "../observe/log.ts";
import { createMetrics, type Metrics } from "../observe/metrics.ts";
import type { Administration } from "../jobs/administration.ts";
import { createObservers } from "./observers.ts";
import { urlToAdvertise } from "./replicas.ts";
import { hasFormat } from "../store/root.ts";
import { type Clock, systemClock } from "../concurrency/clock.ts";
import type { Tier } from "./storage.ts";

/** Of less, the ledger and the folders of a few repositories leave nothing for content. */
const smallestBytes = 4 * 1024 * 1024;

/** A running mirror. */
export interface App {
  /** Where it listens, the main listener first: `http://127.0.0.1:8080`. */
  readonly addresses: readonly string[];
  readonly log: Logger;
  /** Resolves when no blob is being fetched and nothing waits to be stored. */
  idle(): Promise<void>;
  /**
   * Stops: not ready at once; after the configured delay no new connections; running answers and fills may end within the
   * configured time, then they are cut. Resolves when nothing is left open.
   */
  close(): Promise<void>;
}

/** What the configuration does not say; all but the version and `onLogFailure` is for tests. */
export interface AppOptions extends EngineOptions {
  readonly now?: () => number;
  readonly monotonic?: () => number;
  readonly wait?: Clock["wait"];
  readonly logDestination?: DestinationStream;
  /** Told when lines of the log are lost, as its disk is full or its reader gone. */
  readonly onLogFailure?: (error: Error) => void;
}

/** The parts of a program that works on a storage, with its log. */
interface Program {
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly engine: Engine;
  readonly clock: Clock;
}

/**
 * Starts a mirror: opens the storage, then listens. No upstream is asked.
 *
 * @throws {RootError} the storage's folder is in use, or is not one of ours; and the system's error for an address that
 *   cannot be listened at.
 * @throws {ConfigError} the administration's token cannot be read.
 */
export async function startApp(config: Config, options: AppOptions): Promise<App> {
  const token = await readAdminToken(config);
  return withLog(config.log, options, (log) => serve(config, options, log, token));
}

/** How a storage is opened to work on it. */
export interface OfflineOptions extends AppOptions {
  /** Whether the folder must be a storage already; otherwise it becomes one. */
  readonly mustExist?: boolean;
}

/** A storage that is worked on without a mirror's running on it. */
export interface Offline {
  readonly administration: Administration;
  close(): Promise<void>;
}

/**
 * Opens the storage to work on it, without listening. Upstreams are asked where the work needs them. Warnings and worse
 * are logged, to standard error, as whoever asked for the work is shown the rest.
 *
 * @throws {RootError} the storage's folder is in use, or is not one of ours.
 * @throws {ConfigError} it is no storage, and must be one; then nothing was written.
 */
export async function openOffline(config: Config, options: OfflineOptions): Promise<Offline> {
  const { root } = config.storage;
  if (options.mustExist === true && !(await hasFormat(root))) {
    throw new ConfigError([`${root} is no storage of entrepot: it has no file "format"`]);
  }
  const level = /^(?:trace|debug|info)$/.test(config.log.level) ? "warn" : config.log.level;
  return withLog({ ...config.log, level, fileDescriptor: 2 }, options, async (log) => {
    // Nobody pulls meanwhile: what no repository holds is not about to be linked.
    const { engine } = await openProgram(config, options, log, 0);
    return {
      administration: engine.maintenance.administration,
      async close() {
        await engine.idle();
        await engine.close();
        log.flush();
      },
    };
  });
}

async function withLog<T>(settings: LogOptions, options: AppOptions, work: (log: Logger) => Promise<T>): Promise<T> {
  const { logDestination: destination, onLogFailure: onFailure } = options;
  const log = await createLogger({ ...settings, destination, onFailure });
  try {
    return await work(log);
  } catch (error) {
    log.flush();
    throw error;
  }
}

/** @param scrubGraceMs How long content that no repository holds is left alone by a scrub; else as long as by pulls. */
async function openProgram(config: Config, options: AppOptions, log: Logger, scrubGraceMs?: number): Promise<Program> {
  const metrics = createMetrics(options.version);
  const { now, monotonic, wait } = { ...systemClock, ...options };
  const clock: Clock = { now, monotonic, wait };
  const namespaces = new Set<string>(
    [...config.upstreams, ...config.hosted, ...config.layouts].map(({ namespace }) => namespace),
  );
  const engine = await startEngine(config, options, {
    clock,
    observers: createObservers({ metrics, log, monotonic, namespaces }),
    onError: (error) => log.error({ err: error }, "maintenance failed"),
    scrubGraceMs,
  });
  const { unwritable } = engine.storage.files;
  const { maxSize } = config.storage;
  if (maxSize?.kind === "bytes" && maxSize.bytes < smallestBytes) {
    log.warn({ maxBytes: maxSize.bytes }, "max_size is too small for a cache: hardly anything can be stored");
  }
  const { s3 } = config.storage;
  if (s3 !== undefined) {
    const { bucket, endpoint, region, prefix } = s3;
    log.info({ bucket, endpoint, region, prefix }, "a bucket is behind the folder");
  }
  if (unwritable !== undefined) {
    log.error({ err: unwritable }, "the storage cannot be written: content is passed on but not cached");
  }
  return { log, metrics, engine, clock };
}

async function serve(config: Config, options: AppOptions, log: Logger, token: AdminToken | undefined): Promise<App> {
  const { metrics, engine, clock } = await openProgram(config, options, log);
  const { storage, mirrors, maintenance } = engine;
  showStorage(metrics, engine);
  let draining = false;
  const storageState = watchStorage(() => storage.files.probe());
  const health: Health = {
    reasonsAgainst: () => (draining ? ["the process is stopping"] : []),
    details: async () => ({
      version: options.version,
      storage: await storageState(),
      ...(storage.tier && { bucket: bucketState(storage.tier) }),
      fills: storage.fills.size,
      upstreams: Object.fromEntries(
        [...mirrors.upstreams].map(([namespace, { breaker, budget }]) => [
          namespace,
          { state: breaker.state, rateLimit: budget.state },
        ]),
      ),
    }),
  };
  const servers: RunningServer[] = [];
  const leave = async (): Promise<void> => {
    draining = true;
    for (const server of servers) server.leave();
    if (config.shutdownDelayMs > 0) await clock.wait(config.shutdownDelayMs, new AbortController().signal);
  };
  const close = async (): Promise<void> => {
    const deadline = AbortSignal.timeout(config.shutdownTimeoutMs);
    // First, as who follows a job keeps a listener from draining.
    await maintenance.close();
    const [main, ...others] = servers;
    await main?.drain(deadline);
    await Promise.race([engine.idle(), aborted(deadline)]);
    // Last, so that it tells until the end that the process is not ready.
    await Promise.all(others.map((server) => server.drain(deadline)));
    await engine.close();
  };
  const handler = createHandler(mirrors.namespaces, config.accelRedirect);
  const { rules } = mirrors.namespaces;
  const { adminListen } = config;
  const admin = createAdminHandler({
    administration: maintenance.administration,
    rules,
    token,
    host: adminListen?.kind === "tcp" ? adminListen.host : undefined,
    version: options.version,
  });
  try {
    const probes = { health, metrics, admin: adminListen === undefined };
    // Without a token everybody could remove what is cached.
    const open = { handler, ...(token !== undefined && { admin }), probes, log, metrics };
    servers.push(await listen(toAddress(config.listen), open));
    if (adminListen !== undefined) {
      const adminProbes = { health, metrics, admin: true };
      servers.push(
        await listen(toAddress(adminListen), { handler: undefined, admin, probes: adminProbes, log, metrics }),
      );
    }
    if (config.replicas !== undefined && engine.replicas !== undefined) {
      const { advertise, listen: address } = config.replicas;
      const { sharing, guard, board } = engine.replicas;
      const { content, fills } = storage;
      const peers = createPeerHandler({ guard, sharing, fills, content, now: clock.now });
      const peerProbes = { health, metrics, admin: false };
      const server = await listen(toAddress(address), { handler: peers, probes: peerProbes, log, metrics });
      servers.push(server);
      board.start(urlToAdvertise(advertise, server.address));
    }
  } catch (error) {
    await close();
    throw error;
  }
  maintenance.start();
  storage.tier?.copies.start();
  storage.tier?.upkeep.start();
  engine.retention?.start();
  return {
    addresses: servers.map((server) => server.address),
    log,
    idle: () => engine.idle(),
    close: () => leave().then(close),
  };
}

/** Shows how full the storage is, whenever somebody looks at the metrics. */
function showStorage(metrics: Metrics, { storage, mirrors, retention }: Engine): void {
  metrics.onRender(() => {
    const { usedBytes, reservedBytes, besides, limitBytes, volume } = storage.space.state;
    metrics.storageBytes.set({ kind: "used" }, usedBytes);
    metrics.storageBytes.set({ kind: "reserved" }, reservedBytes);
    metrics.storageBytes.set({ kind: "ledger" }, besides.ledgerBytes);
    metrics.storageBytes.set({ kind: "folders" }, besides.foldersBytes);
    metrics.storageBytes.set({ kind: "quarantine" }, besides.quarantineBytes);
    metrics.storageBytes.set({ kind: "hosted" }, besides.hostedBytes);
    metrics.storageBytes.set({ kind: "other" }, besides.othersBytes + besides.slackBytes);
    metrics.storageLimit.set(limitBytes);
    if (volume !== undefined) metrics.volumeFree.set(volume.freeBytes);
    metrics.bucketWaiting.set(storage.tier?.copies.waiting ?? 0);
    if (retention?.last !== undefined) {
      const { bytes, removedBytes, at } = retention.last;
      metrics.bucketBytes.set(bytes - removedBytes);
      metrics.bucketRetained.set(at / 1_000);
    }
    for (const namespace of mirrors.upstreams.keys()) {
      metrics.namespaceBytes.set({ namespace }, storage.ledger.totals?.namespaces.get(namespace) ?? 0);
    }
  });
}

/** How the bucket does, for people. */
function bucketState({ bucket, copies }: Tier): object {
  return { state: bucket.isFailing ? "failing" : "working", waitingObjects: copies.waiting, behind: copies.isBehind };
}

function toAddress(address: ListenAddress): Address {
  return address.kind === "unix" ? { path: address.path } : { host: address.host || undefined, port: address.port };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
