import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { isLimited } from "../bucket/judge.ts";
import { leaseKey, readLast, retain } from "../bucket/retention.ts";
import { RetentionRuns } from "../bucket/retention-runs.ts";
import { readPins, SharedPins } from "../bucket/shared-pins.ts";
import type { Clock } from "../concurrency/clock.ts";
import type { Config } from "../config/file-schema.ts";
import type { PinList } from "../jobs/pin-list.ts";
import { isObject } from "../oci/document.ts";
import { parsePin } from "../oci/pin.ts";
import { Records, unaccounted } from "../registry/records.ts";
import { stateKey } from "../store/layout.ts";
import { Lease } from "../store/lease.ts";
import type { Observers } from "./observers.ts";
import type { Storage, Tier } from "./storage.ts";

const dayMs = 24 * 3_600_000;
/** Longer than anything takes that is done between two renewals. */
const leaseMs = 10 * 60_000;

/** What retention works with, besides the storage. */
export interface RetentionTools {
  readonly pins: PinList;
  readonly clock: Clock;
  readonly observers: Observers;
}

/** What keeps the bucket within its limits, where it has some, and tells the others what is used and pinned here. */
export async function openRetention(
  config: Config,
  storage: Storage,
  { store, bucket, usage }: Tier,
  { pins, clock, observers }: RetentionTools,
): Promise<RetentionRuns> {
  const { monotonic } = clock;
  const { maxAgeMs = Infinity, maxBytes = Infinity } = config.storage.s3 ?? {};
  const limits = { maxAgeDays: Math.ceil(maxAgeMs / dayMs), maxBytes };
  const options = {
    store,
    bucket,
    limits,
    lease: new Lease({ store, key: leaseKey, ttlMs: leaseMs, monotonic }),
    // What was pinned here a moment ago need not have been told.
    pins: async (time: number) => [...(await readPins(store, time)), ...pins.all.map((pattern) => parsePin(pattern))],
    by: hostname(),
    monotonic,
    onRemoved: () => observers.retention.removed(),
  };
  return new RetentionRuns({
    usage,
    pins: new SharedPins({
      store,
      instance: await nameInstance(storage),
      patterns: () => (pins.isWhole ? pins.all : undefined),
      monotonic,
    }),
    isLimited: isLimited(limits),
    retain: (run, signal) => retain(options, run, signal),
    readLast: () => readLast(store),
    clock,
    observer: observers.retention,
  });
}

/** The name of this instance, which its folder keeps. */
async function nameInstance({ store }: Storage): Promise<string> {
  const records = new Records(store, { isRecord: isNamed, maxInMemory: 0 });
  const key = stateKey("instance");
  const kept = await records.get(key).catch(() => undefined);
  const name = kept?.name ?? randomUUID();
  // Where the folder cannot be written, it is another instance the next time.
  if (kept === undefined) await records.set(key, { name }, true, unaccounted).catch(() => undefined);
  return name;
}

function isNamed(value: unknown): value is { readonly name: string } {
  return isObject(value) && typeof value["name"] === "string" && /^[\w-]{1,64}$/.test(value["name"]);
}
