import type { BucketStore } from "../store/bucket-store.ts";
import type { Clock } from "../concurrency/clock.ts";
import type { Config } from "../config/file-schema.ts";
import { Evictor } from "../jobs/evict.ts";
import { PinList } from "../jobs/pin-list.ts";
import { createMaintenance, type Maintenance } from "./maintenance.ts";
import { createMirrors, type Mirrors, type MirrorsOptions } from "./mirrors.ts";
import type { Observers } from "./observers.ts";
import { isPatterns, parsePin } from "../oci/pin.ts";
import { stateKey } from "../store/layout.ts";
import { Records, unaccounted } from "../registry/records.ts";
import { openBucketStore } from "./bucket-store.ts";
import { openRetention } from "./bucket-retention.ts";
import { openStorage, type Storage } from "./storage.ts";
import type { RetentionRuns } from "../bucket/retention-runs.ts";
import { openCollection } from "./collection.ts";
import { openHosted, type OpenHosted } from "./hosted.ts";
import { openLayouts } from "./layouts.ts";
import { openReplicas, type Replicas } from "./replicas.ts";

/** What the configuration does not say; all but the version is for tests. */
export interface EngineOptions extends MirrorsOptions {
  readonly graceMs?: number;
  /** In place of the configured bucket. */
  readonly bucketStore?: BucketStore;
  /** How large a blob is that is copied to the bucket on its way. */
  readonly followedBytes?: number;
  /** From 0 to 1: how late jobs begin that the configuration wants. */
  readonly random?: () => number;
}

/** What everything is timed by, and whom it tells. */
export interface EngineTools {
  readonly clock: Clock;
  readonly observers: Observers;
  /** Told of what fails outside of requests and jobs. */
  readonly onError: (error: unknown) => void;
  /** How long content that no repository holds is left alone by a scrub, where nobody pulls meanwhile. */
  readonly scrubGraceMs?: number | undefined;
}

/** What was used, stored or linked within the last minutes is not removed, so that a pull can be completed. */
const graceMs = 5 * 60_000;

/** Everything but the listeners: the storage, the mirrors on it, and the work that keeps it in order. */
export interface Engine {
  readonly storage: Storage;
  readonly mirrors: Mirrors;
  readonly hosted: OpenHosted;
  readonly maintenance: Maintenance;
  /** Where it is one of several. */
  readonly replicas: Replicas | undefined;
  /** Where there is a bucket. */
  readonly retention: RetentionRuns | undefined;
  /** Resolves when no blob is being fetched and nothing waits to be stored. */
  idle(): Promise<void>;
  /** Ends everything; what still runs is cut. */
  close(): Promise<void>;
}

/**
 * Opens the storage and makes the mirrors on it. No upstream is asked, and no job begins.
 *
 * @throws {RootError} the storage's folder is in use, or is not one of ours.
 * @throws {ConfigError} the bucket's certificates cannot be read.
 */
export async function startEngine(config: Config, options: EngineOptions, tools: EngineTools): Promise<Engine> {
  const { clock, observers } = tools;
  const { s3 } = config.storage;
  const bucketStore = options.bucketStore ?? (s3 && (await openBucketStore(s3)));
  const storage = await openStorage(config, { clock, observers, bucketStore, followedBytes: options.followedBytes });
  try {
    return await startOn(storage, config, options, tools);
  } catch (error) {
    await storage.close();
    throw error;
  }
}

/** The engine on an open storage, which it closes with itself; where this fails, who opened it does. */
async function startOn(
  storage: Storage,
  config: Config,
  options: EngineOptions,
  { clock, observers, onError, scrubGraceMs }: EngineTools,
): Promise<Engine> {
  const { now, monotonic } = clock;
  const { space, ledger, content, fills } = storage;
  const layouts = await openLayouts(config, storage, { clock, observers });
  const pins = await openPins(config, storage, onError);
  const replicas =
    config.replicas &&
    storage.tier &&
    (await openReplicas(config.replicas, storage.tier, {
      clock,
      observers,
      folder: storage.store,
      upstreams: () => mirrors.upstreams,
      obey: (order) => maintenance.administration.obey(order),
    }));
  const hosted = openHosted(config, storage, { clock, observers });
  const others = { hosted: hosted.registries, layouts: layouts.registries };
  const mirrors = createMirrors(config, options, clock, storage, observers, others, replicas?.sharing);
  const retention = storage.tier && (await openRetention(config, storage, storage.tier, { pins, clock, observers }));
  const evictor = new Evictor({
    space,
    ledger,
    content,
    fills,
    retention: (namespace) => {
      const { blobInvalidationMs, manifestInvalidationMs, offline } = storage.settings(namespace);
      return {
        idleMs: Math.max(blobInvalidationMs, manifestInvalidationMs),
        // While an upstream fails, what it gave is not to be had again.
        keeps: offline || mirrors.upstreams.get(namespace)?.breaker.failing() !== undefined,
      };
    },
    pins: () => pins.all,
    graceMs: options.graceMs ?? graceMs,
    now,
    monotonic,
    observer: observers.evictor,
  });
  space.relieveBy(evictor);
  const closeWork = async (): Promise<void> => {
    // First what fills the storage.
    const reason = new Error("the process is stopping");
    await fills.close(reason);
    await hosted.close();
    await layouts.close();
    // While the bucket can be told.
    await replicas?.close();
    await evictor.close();
    await mirrors.close(reason);
    await retention?.close();
  };
  let maintenance: Maintenance;
  try {
    const bucket = storage.tier?.store;
    maintenance = createMaintenance(config, {
      storage,
      collection: openCollection(config, hosted, { bucket, pins, monotonic }),
      mirrors,
      evictor,
      retention,
      pins,
      observer: observers.jobs,
      replicas: replicas && (() => replicas.report()),
      tellOthers: replicas && ((order) => replicas.tellOthers(order)),
      now,
      scrubGraceMs,
      random: options.random,
      onError,
    });
  } catch (error) {
    await closeWork();
    throw error;
  }
  return {
    storage,
    mirrors,
    hosted,
    maintenance,
    replicas,
    retention,
    async idle() {
      await fills.idle();
      await mirrors.idle();
      await storage.tier?.copies.idle();
    },
    async close() {
      // Before all the rest, which its jobs use.
      await maintenance.close();
      await closeWork();
      await storage.close();
    },
  };
}

async function openPins(
  config: Config,
  { store, files }: Storage,
  onError: (error: unknown) => void,
): Promise<PinList> {
  const records = new Records(store, { isRecord: isPatterns, maxInMemory: 0 });
  const key = stateKey("pins");
  const damagedKey = stateKey("pins-damaged");
  return PinList.open({
    configured: config.storage.pins,
    parse: (text) => parsePin(text).pattern,
    load: async () => {
      const record = await records.get(key);
      // What is there and cannot be read as a list somebody may still want to mend.
      if (record === undefined && (await store.head(key)) !== undefined && (await files.move(key, damagedKey))) {
        onError(new Error(`the pins that were added are lost: ${key} is damaged, and is ${damagedKey} now`));
      }
      return record?.patterns ?? [];
    },
    save: (patterns) => records.set(key, { patterns }, true, unaccounted),
    onError,
  });
}
