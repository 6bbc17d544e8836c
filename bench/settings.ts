const MiB = 1024 * 1024;

/** How much is measured, and how often. */
export interface Settings {
  /** The blob of the warm throughput, and the larger one of the memory scenario. */
  readonly largeBytes: number;
  /** The smaller blob of the memory scenario. */
  readonly smallBytes: number;
  readonly throughputRounds: number;
  readonly streams: number;
  readonly manifestRounds: number;
  readonly manifestSeconds: number;
  readonly manifestConnections: number;
  /** The layers of the image that is pulled cold. */
  readonly layerBytes: readonly number[];
  readonly pullRounds: number;
  readonly firstByteBlobs: number;
  readonly firstByteBytes: number;
  readonly herdClients: number;
  readonly herdBytes: number;
  readonly herdRounds: number;
  /** docker-registry fetches the blob once per client, which takes long. */
  readonly registryHerdRounds: number;
  readonly slowClients: number;
  readonly slowBytesPerSecond: number;
  readonly slowSeconds: number;
  readonly startRounds: number;
  /** How often resident memory is looked at anew, and how often two blobs are pulled again before the last look. */
  readonly residentRounds: number;
  readonly warmPulls: number;
  /** How often a tag is asked for that has to be checked, and the layers of its image. */
  readonly revalidations: number;
  readonly revalidatedLayers: number;
  /** The store in which eviction runs, of whose blobs `evictedObjects` go at most. */
  readonly evictionBlobs: number;
  /** The blobs of the large store, what is evicted from it, and what it is asked for each second meanwhile. */
  readonly storeBlobs: number;
  readonly evictedObjects: number;
  readonly storeRequestsPerSecond: number;
  /** How long the large store is asked where nothing else says how long. */
  readonly storeSeconds: number;
  /** How often a mirror with a bucket is measured beside one without. */
  readonly bucketRounds: number;
  /** What is uploaded to a bucket at once, and how often that is looked at. */
  readonly uploadedBlobs: number;
  readonly uploadedBytes: number;
  readonly uploadRounds: number;
  /** What is pushed: the parts of the large blob, the small images, and how often. */
  readonly pushedPartBytes: number;
  readonly pushedImages: number;
  readonly pushRounds: number;
  /** What the upstream sends on one connection, in bytes per second, in the scenarios that are cold. */
  readonly upstreamBytesPerSecond: number;
}

/** What a result is published from. */
export const fullSettings: Settings = {
  largeBytes: 1024 * MiB,
  smallBytes: 256 * MiB,
  throughputRounds: 9,
  streams: 8,
  manifestRounds: 5,
  manifestSeconds: 5,
  manifestConnections: 16,
  layerBytes: [128 * MiB, 64 * MiB, 32 * MiB, 8 * MiB, MiB],
  pullRounds: 5,
  firstByteBlobs: 21,
  firstByteBytes: 4 * MiB,
  herdClients: 40,
  herdBytes: 64 * MiB,
  herdRounds: 5,
  registryHerdRounds: 2,
  slowClients: 500,
  slowBytesPerSecond: 100_000,
  slowSeconds: 8,
  startRounds: 11,
  residentRounds: 3,
  warmPulls: 20,
  revalidations: 41,
  revalidatedLayers: 100,
  evictionBlobs: 20_000,
  storeBlobs: 1_000_000,
  evictedObjects: 10_000,
  storeRequestsPerSecond: 500,
  storeSeconds: 20,
  bucketRounds: 7,
  uploadedBlobs: 8,
  uploadedBytes: 1024 * MiB,
  uploadRounds: 1,
  pushedPartBytes: 64 * MiB,
  pushedImages: 100,
  pushRounds: 5,
  upstreamBytesPerSecond: 50_000_000,
};

/** Shows that every scenario works; its numbers say little. */
export const quickSettings: Settings = {
  ...fullSettings,
  largeBytes: 128 * MiB,
  smallBytes: 32 * MiB,
  throughputRounds: 2,
  manifestRounds: 1,
  manifestSeconds: 1,
  layerBytes: [16 * MiB, 8 * MiB, MiB],
  pullRounds: 1,
  firstByteBlobs: 3,
  firstByteBytes: MiB,
  herdBytes: 8 * MiB,
  herdRounds: 1,
  registryHerdRounds: 1,
  slowClients: 100,
  slowSeconds: 2,
  startRounds: 3,
  residentRounds: 1,
  warmPulls: 4,
  revalidations: 5,
  evictionBlobs: 5_000,
  storeBlobs: 50_000,
  evictedObjects: 2_000,
  storeSeconds: 4,
  bucketRounds: 1,
  uploadedBytes: 64 * MiB,
  pushedPartBytes: 32 * MiB,
  pushedImages: 20,
  pushRounds: 1,
};
