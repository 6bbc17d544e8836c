import type { Config } from "../config/file-schema.ts";
import { Catalog } from "../hosted/catalog.ts";
import type { CollectTools } from "../jobs/collect.ts";
import type { PinList } from "../jobs/pin-list.ts";
import { isObject } from "../oci/document.ts";
import { parsePin } from "../oci/pin.ts";
import type { BucketStore } from "../store/bucket-store.ts";
import { hostedStateKey } from "../store/hosted-layout.ts";
import { Lease } from "../store/lease.ts";
import { unsafeLacks } from "../store/s3-probe.ts";
import type { OpenHosted } from "./hosted.ts";

/** Whoever collects renews its lease all the time. */
const leaseMs = 2 * 60_000;

/** How what is hosted is collected here. */
export interface OpenCollection {
  /** What a pass works with, as of now. */
  tools(): CollectTools;
  /** When a pass last succeeded, of whichever instance has the store. */
  recall(): Promise<number | undefined>;
  remember(endedAt: number): Promise<void>;
}

/** Makes the collection of what is hosted; `undefined` where nothing is. Nothing is asked of the store before a pass. */
export function openCollection(
  config: Config,
  { repositories, bytes, store }: OpenHosted,
  {
    bucket,
    pins,
    monotonic,
  }: { readonly bucket: BucketStore | undefined; readonly pins: PinList; readonly monotonic: () => number },
): OpenCollection | undefined {
  if (config.hosted.length === 0) return undefined;
  const lease = bucket && new Lease({ store: bucket, key: hostedStateKey("collection"), ttlMs: leaseMs, monotonic });
  const key = hostedStateKey("collected");
  const ends = new Catalog({ store, isRecord: isEnd, maxInMemory: 1, maxAgeMs: 0, monotonic });
  return {
    tools() {
      const pinned = pins.all.map((pattern) => parsePin(pattern));
      return {
        store,
        repositories,
        bytes,
        namespaces: config.hosted,
        graceMs: config.collection.graceMs,
        isPinned: (id, tag) => pinned.some((pin) => pin.matches({ ...id, tag })),
        monotonic,
        lease,
        assertSafe: bucket && (() => assertSafe(bucket)),
      };
    },
    recall: async () => (await ends.get(key))?.record.endedAt,
    remember: async (endedAt) => void (await ends.change(key, () => ({ set: { endedAt } }))),
  };
}

/** @throws {Error} the bucket may remove something in the moment in which somebody relies on it. */
async function assertSafe(bucket: BucketStore): Promise<void> {
  const lacks = (await bucket.probe()).lacks.filter((each) => unsafeLacks.has(each));
  if (lacks.length > 0) throw new Error(`it is not safe to collect in this bucket: ${lacks.join("; ")}`);
}

function isEnd(value: unknown): value is { readonly endedAt: number } {
  return isObject(value) && typeof value["endedAt"] === "number";
}
