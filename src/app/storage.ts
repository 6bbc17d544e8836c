import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Clock } from "../concurrency/clock.ts";
import type { Config } from "../config/file-schema.ts";
import type { UpstreamConfig } from "../config/upstream-schema.ts";
import type { Observers } from "./observers.ts";
import type { Digest } from "../oci/digest.ts";
import type { Namespace } from "../oci/reference.ts";
import { keepBooks } from "../registry/bookkeeping.ts";
import { Content, isBlobLink, type Link } from "../registry/content.ts";
import type { ManifestContent } from "../registry/registry.ts";
import { Fills } from "../registry/fills.ts";
import { openLedger } from "../ledger/client.ts";
import type { Ledger } from "../ledger/ledger.ts";
import { Space } from "../registry/space.ts";
import { Bucket } from "../bucket/bucket.ts";
import { Copies } from "../bucket/copies.ts";
import { BucketPurge } from "../bucket/purge.ts";
import { Usage } from "../bucket/usage.ts";
import { BucketUpkeep } from "../bucket/upkeep.ts";
import { HostedFiles, hostedRoom } from "../hosted/hosted-files.ts";
import { BufferPool } from "../store/buffers.ts";
import { FilesystemStore } from "../store/filesystem.ts";
import { HashPool } from "../store/hashing.ts";
import { meterMoves, meterStore } from "../store/metered.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { BucketStore } from "../store/bucket-store.ts";
import type { ObjectStore } from "../store/object-store.ts";

const ledgerName = "ledger";
/** The share of the limit that nothing is promised of: what is written down of a change comes besides the change. */
const slackShare = 1 / 64;
const mostSlackBytes = 16 * 1024 * 1024;

/** What a namespace's settings say of space. */
export type SpaceSettings = Pick<
  UpstreamConfig,
  "maxBytes" | "blobInvalidationMs" | "manifestInvalidationMs" | "offline"
>;

/** What the storage works with. */
export interface StorageTools {
  readonly clock: Clock;
  readonly observers: Observers;
  /** What is behind the folder. */
  readonly bucketStore: BucketStore | undefined;
  /** As of `CopiesOptions`. */
  readonly followedBytes: number | undefined;
}

/** What is behind the folder, what sees to it that everything is there, and what keeps it in order. */
export interface Tier {
  readonly store: BucketStore;
  readonly bucket: Bucket;
  readonly copies: Copies;
  readonly purge: BucketPurge;
  readonly usage: Usage;
  readonly upkeep: BucketUpkeep;
}

/** The storage's folder, and all that works on it. */
export interface Storage {
  /** The folder itself. */
  readonly files: FilesystemStore;
  /** What is in it, with failures counted. */
  readonly store: ObjectStore;
  /** What is hosted in it, where there is no bucket. */
  readonly hostedFiles: HostedFiles;
  readonly content: Content;
  readonly hashes: HashPool;
  readonly pool: BufferPool;
  readonly fills: Fills;
  readonly ledger: Ledger;
  readonly space: Space;
  readonly tier: Tier | undefined;
  /** What a namespace's entry says of space, or the defaults where it has none. */
  settings(namespace: Namespace): SpaceSettings;
  /** Ends fills, writes what is pending and gives the folder back. */
  close(): Promise<void>;
}

/**
 * Opens the storage; how much lies in it does not matter for how long that takes. What is behind the folder is the
 * storage's own from here on, and closed with it, also where it cannot be opened.
 *
 * @throws {RootError} the folder is in use, or is not one of ours.
 */
export async function openStorage(config: Config, tools: StorageTools): Promise<Storage> {
  const { clock, observers, bucketStore } = tools;
  const { storage } = config;
  const { now, monotonic } = clock;
  const pool = new BufferPool();
  const files = await FilesystemStore.open(storage.root, pool).catch(async (error: unknown) => {
    await bucketStore?.close();
    throw error;
  });
  const store = meterStore(files, observers.store);
  const { maxSize, minFree, highWatermark, lowWatermark } = storage;
  const maxBytes = maxSize?.kind === "bytes" ? maxSize.bytes : undefined;
  const ledger = openLedger({
    path: join(storage.root, `${ledgerName}.sqlite`),
    root: storage.root,
    maxBytes,
    observer: observers.ledger,
    now,
  });
  const settings = namespaceSettings(config);
  let othersBytes = 0;
  const space = new Space({
    limits: {
      maxSize,
      minFree,
      highWatermark,
      lowWatermark,
      namespaceMaxBytes: (namespace) => settings(namespace).maxBytes,
    },
    totals: () => ledger.totals,
    volume: async () => {
      othersBytes = await files.measureOthers((name) => name.startsWith(`${ledgerName}.`));
      return files.volume();
    },
    monotonic,
  });
  const hostedFiles = new HostedFiles(files, space);
  const books = keepBooks(ledger, space, { now, monotonic });
  const tier =
    bucketStore &&
    openTier(bucketStore, store, tools, (id, digest) =>
      Promise.all([content.link(id, digest), content.manifest(id, digest)]),
    );
  const content: Content = new Content(
    tier?.copies.watch(store) ?? store,
    books,
    undefined,
    observers.damaged,
    meterMoves(files, observers.store),
  );
  space.countBesides(() => ({
    ...ledger.overhead,
    quarantineBytes: content.quarantine.bytes,
    hostedBytes: hostedFiles.bytes ?? 0,
    othersBytes,
    slackBytes: Math.min(mostSlackBytes, Math.floor((maxBytes ?? Infinity) * slackShare)),
  }));
  const hashes = new HashPool(Math.max(1, Math.min(4, availableParallelism() - 1)));
  const fills = new Fills({
    content,
    hashes,
    pool,
    space,
    maxObjectBytes: storage.maxObjectBytes ?? Infinity,
    spoolFolder: files.temporaryPath,
    observer: observers.fills,
  });
  // Until it is done, what is hosted counts as far as the volume is concerned.
  void hostedFiles.count().catch((error: unknown) => observers.uncached(error));
  await space.refresh();
  await content.quarantine.refresh();
  return {
    files,
    store,
    hostedFiles,
    content,
    hashes,
    pool,
    fills,
    ledger,
    space,
    tier,
    settings,
    async close() {
      await fills.close(new Error("the process is stopping"));
      tier?.upkeep.stop();
      await tier?.copies.close();
      await bucketStore?.close();
      await Promise.all([ledger.close(), hashes.close()]);
      await store.close();
    },
  };
}

function openTier(
  store: BucketStore,
  folder: ObjectStore,
  { clock, observers, followedBytes }: StorageTools,
  inFolder: (id: RepositoryId, digest: Digest) => Promise<[Link | undefined, ManifestContent | undefined]>,
): Tier {
  const { now, monotonic } = clock;
  const { bucket: bucketObserver, copies: observer, upkeep, uncopied: onError } = observers;
  const bucket = new Bucket({ store, observer: bucketObserver, monotonic });
  const usage = new Usage({
    store,
    now,
    children: async (id, digest) => {
      const [known, stored] = await inFolder(id, digest);
      const link = known ?? (await bucket.link(id, digest));
      if (link !== undefined && isBlobLink(link)) return [];
      const manifest = stored ?? (await bucket.manifest(id, digest));
      return manifest === undefined && bucket.isFailing ? undefined : (manifest?.parsed.children ?? []);
    },
    onError,
  });
  const noteUse = usage.note.bind(usage);
  const copies = new Copies({ bucket, listed: store, folder, clock, observer, followedBytes, noteUse, onError });
  return {
    store,
    bucket,
    copies,
    usage,
    purge: new BucketPurge({ store, bucket, copies }),
    upkeep: new BucketUpkeep({ store, clock, observer: upkeep }),
  };
}

function namespaceSettings(config: Config): Storage["settings"] {
  const unlisted = { ...config.upstreamDefaults, offline: false };
  const listed = new Map<Namespace, SpaceSettings>([
    ...config.upstreams.map((settings): [Namespace, SpaceSettings] => [settings.namespace, settings]),
    [hostedRoom, { ...unlisted, maxBytes: undefined }],
  ]);
  return (namespace) => listed.get(namespace) ?? unlisted;
}
