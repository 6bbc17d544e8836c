import type { Clock } from "../concurrency/clock.ts";
import type { Config } from "../config/file-schema.ts";
import type { BucketStore } from "../bucket/bucket.ts";
import { Evictor } from "../jobs/evict.ts";
import { PinList } from "../jobs/pin-list.ts";
import { createMaintenance, type Maintenance } from "./maintenance.ts";
import { createMirrors, type Mirrors, type MirrorsOptions } from "./mirrors.ts";
import type { Observers } from "./observers.ts";
import { parsePin } from "../oci/pin.ts";
import { stateKey } from "../store/layout.ts";
import { Records, unaccounted } from "../registry/records.ts";
import { openBucketStore } from "./bucket-store.ts";
import { openStorage, type Storage, type Tier } from "./storage.ts";
import { retain, type RetentionReport } from "../bucket/retention.ts";
import { RetentionRuns } from "../bucket/retention-runs.ts";
import { systemClock } from "../concurrency/clock.ts";
import type { Tag } from "../oci/reference.ts";
import { Lease } from "../store/lease.ts";
import type { Key } from "../store/object-store.ts";
import type { RepositoryId } from "../store/layout.ts";

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
  readonly clock: Pick<Clock, "now" | "monotonic">;
  readonly observers: Observers;
  /** Told of what fails outside of requests and jobs. */
  readonly onError: (error: unknown) => void;
  /** How long content that no repository holds is left alone by a scrub, where nobody pulls meanwhile. */
  readonly scrubGraceMs?: number | undefined;
}

const dayMs = 24 * 3_600_000;
const retentionLeaseKey = "retention/lease" as Key;
/** Longer than clocks differ, and than it takes all to write down what they use. */
const retentionLeaseMs = 3_600_000;

/** What was used, stored or linked within the last minutes is not removed, so that a pull can be completed. */
const graceMs = 5 * 60_000;

/** Everything but the listeners: the storage, the mirrors on it, and the work that keeps it in order. */
export interface Engine {
  readonly storage: Storage;
  readonly mirrors: Mirrors;
  readonly maintenance: Maintenance;
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
export async function startEngine(
  config: Config,
  options: EngineOptions,
  { clock, observers, onError, scrubGraceMs }: EngineTools,
): Promise<Engine> {
  const { now, monotonic } = clock;
  const bucketStore = options.bucketStore ?? (await openBucketStore(config.storage.s3));
  const storage = await openStorage(config, { clock, observers, bucketStore, followedBytes: options.followedBytes });
  const { space, ledger, content, fills } = storage;
  const pins = await openPins(config, storage, onError);
  const mirrors = createMirrors(config, options, clock, storage, observers);
  const retention = storage.tier && createRetention(config, storage.tier, pins, clock, observers);
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
  const close = async (): Promise<void> => {
    // First what fills the storage; the storage last.
    const reason = new Error("the process is stopping");
    await fills.close(reason);
    await evictor.close();
    await mirrors.close(reason);
    await retention?.close();
    await storage.close();
  };
  let maintenance: Maintenance;
  try {
    maintenance = createMaintenance(config, {
      storage,
      mirrors,
      evictor,
      pins,
      observer: observers.jobs,
      now,
      scrubGraceMs,
      random: options.random,
      onError,
    });
  } catch (error) {
    await close();
    throw error;
  }
  return {
    storage,
    mirrors,
    maintenance,
    retention,
    async idle() {
      await fills.idle();
      await mirrors.idle();
      await storage.tier?.copies.idle();
    },
    async close() {
      // Before all the rest, which its jobs use.
      await maintenance.close();
      await close();
    },
  };
}

/** What keeps the bucket within its limits, where it has some. */
function createRetention(
  config: Config,
  { store, bucket, usage }: Tier,
  pins: PinList,
  { now, monotonic }: Pick<Clock, "now" | "monotonic">,
  observers: Observers,
): RetentionRuns {
  const { maxAgeMs = Infinity, maxBytes = Infinity } = config.storage.s3 ?? {};
  const limits = { maxAgeDays: Math.ceil(maxAgeMs / dayMs), maxBytes };
  const lease = new Lease({ store, key: retentionLeaseKey, ttlMs: retentionLeaseMs, now });
  const run = (signal: AbortSignal): Promise<RetentionReport | undefined> => {
    const parsed = pins.all.map((pattern) => parsePin(pattern));
    const isPinned = (id: RepositoryId, tag: Tag): boolean => parsed.some((pin) => pin.matches({ ...id, tag }));
    return retain({ store, bucket, limits, lease, isPinned, now }, signal);
  };
  const isLimited = maxAgeMs !== Infinity || maxBytes !== Infinity;
  return new RetentionRuns({
    usage,
    retain: isLimited ? run : undefined,
    clock: { ...systemClock, now, monotonic },
    observer: observers.retention,
  });
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

function isPatterns(value: unknown): value is { readonly patterns: readonly string[] } {
  if (typeof value !== "object" || value === null || !("patterns" in value)) return false;
  return Array.isArray(value.patterns) && value.patterns.every((pattern) => typeof pattern === "string");
}
