import { Evictor, type EvictTools, type Retention, type Shortage } from "../../../src/jobs/evict.ts";
import type { StepProgress } from "../../../src/jobs/job.ts";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import type { Namespace, Repository, Tag } from "../../../src/oci/reference.ts";
import type { Bookkeeping } from "../../../src/registry/bookkeeping.ts";
import { Content } from "../../../src/registry/content.ts";
import { blobKey, formatPlace, linkKey, type RepositoryId, tagKey } from "../../../src/store/layout.ts";
import { LedgerDatabase } from "../../../src/ledger/database.ts";
import { chargedBytes, type LedgerChange, type LedgerQueries, type Totals } from "../../../src/ledger/ledger.ts";
import type { Query } from "../../../src/ledger/messages.ts";
import { type Reservation, Space } from "../../../src/registry/space.ts";
import type { Volume } from "../../../src/registry/volume-watch.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import { endlessSpace } from "../../support/books.ts";
import { never } from "../../support/event-loop.ts";
import type { Key, ObjectStore } from "../../../src/store/object-store.ts";
import { storeWith } from "../../support/object-stores.ts";

const mostQuestions = 1_000;

/** What everything that is stored is counted in. */
export const block: number = chargedBytes(0);

/** A repository by its full name: `docker.io/library/alpine`. */
export function repository(name: string): RepositoryId {
  const slash = name.indexOf("/");
  return { namespace: name.slice(0, slash) as Namespace, repository: name.slice(slash + 1) as Repository };
}

/** How an object is stored: content and link, one block each unless `blocks` says more for the content. */
export interface Stored {
  readonly at: number;
  readonly blocks?: number;
  readonly tag?: string;
  /** What it refers to, by name. */
  readonly children?: readonly string[];
}

/** A store with its ledger and its limits, and the evictor that keeps it below them. */
export interface EvictWorld {
  readonly evictor: Evictor;
  readonly content: Content;
  /** The deleted keys in order. */
  readonly deleted: Key[];
  readonly shortages: Shortage[];
  readonly failures: unknown[];
  /** What was asked, in order: the volume, and the ledger's questions that take long. */
  readonly asked: ("candidates" | "pinnedBytes" | "volume")[];
  /** Charged bytes freed, as the observer was told. */
  readonly freed: () => number;
  readonly totals: () => Totals | undefined;
  /** Has the ledger not know, and know again, what lies in the store. */
  doubt(): void;
  believe(): void;
  now: number;
  /** By how much of `now` the time was set, forward or back, without any passing. */
  setMs: number;
  volume: Volume;
  limitBlocks: number;
  namespaceBlocks: Map<string, number>;
  retention: (namespace: Namespace) => Retention;
  pins: readonly string[];
  readonly filling: Set<Digest>;
  /** Uses that were noted and that no answer has seen. */
  readonly pending: Set<string>;
  /** Called before each answer about candidates is given, and before each deletion. */
  onCandidates: () => void;
  onDelete: (key: Key) => Promise<void>;
  /** Stores a digest in a repository. Its name stands for its content. */
  add(id: RepositoryId, name: string, stored: Stored): Promise<Digest>;
  /** Tells the ledger. */
  tell(...changes: LedgerChange[]): void;
  /** Whether a repository still has it. */
  has(id: RepositoryId, name: string): Promise<boolean>;
  /** Those of the names that are still there. */
  left(id: RepositoryId, names: readonly string[]): Promise<string[]>;
}

/** The digest of the content that has a name. */
export function named(name: string): Digest {
  return digestOf(Buffer.from(name));
}

/** `count` blobs of two blocks, used at 1, 2, 3 …; their names. */
export async function addBlobs(world: EvictWorld, count: number, id: RepositoryId): Promise<string[]> {
  const names = Array.from({ length: count }, (_, index) => `${id.repository} ${index + 1}`);
  for (const [index, name] of names.entries()) await world.add(id, name, { at: index + 1 });
  return names;
}

/** Runs all steps of the job; what they count, by step. */
export async function runSteps(world: EvictWorld, dryRun: boolean): Promise<Record<string, Record<string, number>>> {
  const all: Record<string, Record<string, number>> = {};
  for (const step of world.evictor.steps({ dryRun })) {
    const counts: Record<string, number> = {};
    const progress: StepProgress = {
      count: (what, by = 1) => {
        counts[what] = (counts[what] ?? 0) + by;
      },
      total: () => undefined,
      advance: () => undefined,
      note: () => undefined,
    };
    await step.run(progress, never());
    all[step.name] = counts;
  }
  return all;
}

/** Makes a world without content; its limit is as many blocks, of which eviction goes down to half. */
export function createEvictWorld(limitBlocks: number, graceMs = 0): EvictWorld {
  const memory = new MemoryStore();
  const database = new LedgerDatabase(":memory:");
  database.endScan();
  const ask = <Name extends keyof LedgerQueries>(name: Name, parameters: Parameters<LedgerQueries[Name]>): unknown =>
    database.ask({ name, parameters } as Query);
  const totals = (): Totals | undefined => {
    const known = database.totals;
    return known && { bytes: known.bytes, namespaces: new Map(known.namespaces) };
  };
  const deleted: Key[] = [];
  const store: ObjectStore = storeWith(memory, {
    delete: async (key) => {
      await world.onDelete(key);
      await memory.delete(key);
      deleted.push(key);
    },
  });
  const space = new Space({
    limits: {
      get maxSize() {
        return { kind: "bytes" as const, bytes: world.limitBlocks * block };
      },
      minFree: { kind: "bytes", bytes: 0 },
      highWatermark: 0.9,
      lowWatermark: 0.5,
      namespaceMaxBytes: (namespace) => {
        const blocks = world.namespaceBlocks.get(namespace);
        return blocks === undefined ? undefined : blocks * block;
      },
    },
    totals,
    volume: async () => {
      world.asked.push("volume");
      return world.volume;
    },
    monotonic: () => world.now - world.setMs,
  });
  const holding: LedgerQueries["holding"] = async (id, digest) =>
    ask("holding", [id, digest]) as Awaited<ReturnType<LedgerQueries["holding"]>>;
  const tell = (...changes: LedgerChange[]): void => void database.apply(changes);
  const books: Bookkeeping = {
    admit: async (_namespace, change) => tell(change),
    reserve: async (namespace, sizeBytes) =>
      endlessSpace.acquire(namespace, sizeBytes, never()) as Promise<Reservation>,
    hasRoom: () => true,
    quarantineBytes: () => Infinity,
    note: async (change) => tell(change),
    holding,
    isHeld: async (digest) => (ask("holders", [digest]) as readonly RepositoryId[]).length > 0,
    now: () => world.now,
    monotonic: () => world.now - world.setMs,
  };
  const content = new Content(store, books, undefined, undefined, memory);
  let freedBytes = 0;
  const pendingKey = (id: RepositoryId, digest: Digest): string => linkKey(id, digest);
  const tools: EvictTools = {
    space,
    content,
    ledger: {
      get totals() {
        return totals();
      },
      candidates: async (query) => {
        world.asked.push("candidates");
        // A run that never ends would let nothing else happen.
        if (world.asked.length > mostQuestions) throw new Error("it is asked again and again");
        const answer = ask("candidates", [query]) as Awaited<ReturnType<LedgerQueries["candidates"]>>;
        world.onCandidates();
        return answer;
      },
      holding,
      isUsePending: (id, digest) => world.pending.has(pendingKey(id, digest)),
      pinnedBytes: async (pins) => {
        world.asked.push("pinnedBytes");
        return ask("pinnedBytes", [pins]) as number;
      },
      use: (id, digest) => tell({ kind: "use", id, digest, at: world.now }),
    },
    fills: { isFilling: (digest) => world.filling.has(digest) },
    retention: (namespace) => world.retention(namespace),
    pins: () => world.pins,
    graceMs,
    now: () => world.now,
    monotonic: () => world.now - world.setMs,
    observer: {
      removed: ({ freesBytes }) => {
        freedBytes += freesBytes;
      },
      stuck: (shortage) => world.shortages.push(shortage),
      failed: (error) => world.failures.push(error),
    },
  };
  const world: EvictWorld = {
    evictor: new Evictor(tools),
    content,
    deleted,
    shortages: [],
    failures: [],
    asked: [],
    freed: () => freedBytes,
    totals,
    doubt: () => database.doubt(),
    believe: () => database.endScan(),
    now: 1_000_000,
    setMs: 0,
    volume: { totalBytes: 1e12, freeBytes: 1e12 },
    limitBlocks,
    namespaceBlocks: new Map(),
    retention: () => ({ idleMs: Infinity, keeps: false }),
    pins: [],
    filling: new Set(),
    pending: new Set(),
    onCandidates: () => undefined,
    onDelete: async () => undefined,
    async add(id, name, { at, blocks = 1, tag, children }) {
      const digest = named(name);
      const sizeBytes = blocks * block;
      await memory.put(blobKey(digest), Buffer.alloc(sizeBytes));
      await memory.put(linkKey(id, digest), Buffer.from(JSON.stringify({ mediaType: "a/b", sizeBytes })));
      tell({ kind: "content", digest, sizeBytes, at }, { kind: "link", id, digest, at });
      if (children !== undefined) tell({ kind: "children", digest, children: children.map(named) });
      if (tag !== undefined) {
        const record = { digest, mediaType: "a/b", size: sizeBytes, checkedAt: at };
        await memory.put(tagKey(id, tag as Tag), Buffer.from(JSON.stringify(record)));
        tell({ kind: "tag", id, tag: tag as Tag, digest, at });
      }
      return digest;
    },
    tell,
    has: async (id, name) =>
      (await memory.head(formatPlace({ kind: "link", id, digest: named(name) }))) !== undefined &&
      (await memory.head(blobKey(named(name)))) !== undefined,
    async left(id, names) {
      const there: string[] = [];
      for (const name of names) if (await world.has(id, name)) there.push(name);
      return there;
    },
  };
  return world;
}
