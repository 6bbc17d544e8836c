import type { Bucket } from "../bucket/bucket.ts";
import { forEachOf } from "../concurrency/for-each-of.ts";
import type { Digest } from "../oci/digest.ts";
import type { Namespace } from "../oci/reference.ts";
import { limitReached } from "../registry/bookkeeping.ts";
import { chargedBytes, type Ledger } from "../ledger/ledger.ts";
import type { Content } from "../registry/content.ts";
import type { Reservation, Space } from "../registry/space.ts";
import type { BufferPool } from "../store/buffers.ts";
import type { ForeignReader } from "../store/foreign-folder.ts";
import type { HashPool } from "../store/hashing.ts";
import type { RepositoryId } from "../store/layout.ts";
import { type DatedObject, type Key, type OpenObject, StoreError } from "../store/object-store.ts";
import type { EarlierManifest } from "./adopt-layout.ts";
import { DigestSet } from "../oci/digest-set.ts";
import type { Step } from "./job.ts";

/** What adopting works with. */
export interface AdoptTools {
  readonly content: Pick<Content, "manifest" | "storeManifest" | "tag" | "setTag" | "link" | "statBlob" | "commitBlob">;
  readonly ledger: Pick<Ledger, "holders" | "rebuild">;
  /** Where blobs go that the folder does not take; `undefined`: they are left. */
  readonly bucket: Pick<Bucket, "has" | "putContent"> | undefined;
  readonly space: Pick<Space, "reserve" | "hasSpareRoom">;
  readonly hashes: HashPool;
  readonly pool: BufferPool;
  /** The folder of staging files. */
  readonly spoolFolder: string;
  readonly maxObjectBytes: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /**
   * The repository that a manifest of the earlier system belongs to here.
   *
   * @throws {OciError} it is not mirrored.
   */
  place(manifest: Pick<EarlierManifest, "namespace" | "repository">): Placed;
}

/** A repository into which something is adopted. */
export interface Placed extends RepositoryId {
  /** Whether its upstream is a configured one. */
  readonly trusted: boolean;
  /** Whether it may be pulled from here, by `allow` and `deny`. */
  readonly isPermitted: boolean;
}

/** How something is adopted. */
export interface AdoptOptions {
  readonly source: ForeignReader;
  /** Nothing is stored. Blobs are not read, either: whether their digests are right is not known then. */
  readonly dryRun: boolean;
}

/** Why an object was left where it is. */
export type Skipped =
  /** Not a key of the earlier system. */
  | "misnamed"
  /** A manifest whose registry or repository is not mirrored here. */
  | "not mirrored"
  /** A manifest of a repository that `allow` or `deny` keeps from being served here. */
  | "denied"
  /** It ends too early, as its writer was interrupted. */
  | "torn"
  /** Not an envelope. */
  | "malformed"
  /** A blob that is larger than manifests say. */
  | "wrong size"
  | "wrong digest"
  /** Its bytes cannot be used as a manifest. */
  | "not a manifest"
  /** A blob that no manifest lists of a repository of a configured registry: it is not known whose it is. */
  | "of no manifest"
  | "too large"
  | "no room"
  | "unreadable";

/** What became of an object of the earlier system. */
export type Adopted = "adopted" | "already there" | Skipped;

/** What the steps of one adoption share. */
export class Adoption {
  readonly tools: AdoptTools;
  readonly dryRun: boolean;
  /** What the survey has found. */
  readonly found: { manifests: number; blobBytes: number } = { manifests: 0, blobBytes: 0 };
  readonly #source: ForeignReader;
  /** What manifests list that a dry run has not stored. */
  readonly #listed = new Map<Namespace, DigestSet>();
  /** The room that it has given away. */
  readonly #planned = new Map<Namespace, Reservation>();

  constructor(tools: AdoptTools, { source, dryRun }: AdoptOptions) {
    this.tools = tools;
    this.#source = source;
    this.dryRun = dryRun;
  }

  /** The step, whose questions to the source are given up when it is to stop. */
  interruptible(step: Step): Step {
    return {
      ...step,
      run: async (progress, signal) => {
        const interrupt = (): void => void this.#source.interrupt?.();
        signal.addEventListener("abort", interrupt);
        try {
          await step.run(progress, signal);
        } finally {
          signal.removeEventListener("abort", interrupt);
        }
      },
    };
  }

  /** All objects below a prefix; of folders that cannot be read it is told. */
  async *walk(
    prefix: Key,
    signal: AbortSignal,
    onUnreadable: () => void = () => undefined,
  ): AsyncGenerator<DatedObject> {
    for await (const object of this.#source.list(prefix, { onUnreadable })) {
      signal.throwIfAborted();
      yield object;
    }
  }

  /** Does something with all objects below a prefix: several at a time where the source is far away. */
  forEach(prefix: Key, signal: AbortSignal, work: (object: DatedObject) => Promise<void>): Promise<void> {
    return forEachOf(this.walk(prefix, signal), this.#source.atOnce ?? 1, work);
  }

  /** Does something with the opened source of an object, and closes it. `unreadable` where it cannot be read, or is gone. */
  async withSource<T>(key: Key, work: (object: OpenObject) => Promise<T>): Promise<T | "unreadable"> {
    let object: OpenObject | undefined;
    try {
      object = await this.#source.get(key).catch(throwUnreadable);
      if (object === undefined) return "unreadable";
      const opened = object;
      return await work({
        sizeBytes: opened.sizeBytes,
        version: opened.version,
        read: (span) => reading(opened, span),
        close: () => opened.close(),
      });
    } catch (error) {
      if (error instanceof SourceUnreadable) return "unreadable";
      throw error;
    } finally {
      await object?.close();
    }
  }

  /** Whether there is room for an object, and for records besides, without anything's having to go. */
  hasRoom(namespace: Namespace, sizeBytes: number, records: number): boolean {
    const bytes = chargedBytes(sizeBytes) + records * chargedBytes(0);
    if (!this.tools.space.hasSpareRoom(namespace, bytes)) return false;
    if (this.dryRun) this.#plan(namespace, bytes);
    return true;
  }

  /** Has a dry run remember what a repository of a namespace has. */
  list(namespace: Namespace, digests: readonly Digest[]): void {
    if (!this.dryRun) return;
    const listed = this.#listed.get(namespace) ?? new DigestSet();
    this.#listed.set(namespace, listed);
    for (const digest of digests) listed.add(digest);
  }

  /** A namespace that has a digest, of those that a dry run remembers. */
  listedIn(digest: Digest): Namespace | undefined {
    return this.#listed.entries().find(([, listed]) => listed.has(digest))?.[0];
  }

  /** Does something that stores; `no room` where the storage's limit does not let it in. */
  async storing(work: () => Promise<Adopted>): Promise<Adopted> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof StoreError && error.code === limitReached) return "no room";
      throw error;
    }
  }

  /** Gives back the room that a dry run has planned with. */
  end(): void {
    for (const room of this.#planned.values()) room.release();
    this.#planned.clear();
  }

  #plan(namespace: Namespace, bytes: number): void {
    const room = this.#planned.get(namespace);
    if (room?.grow(bytes) === true) return;
    const more = room === undefined ? this.tools.space.reserve(namespace, bytes) : undefined;
    if (more !== undefined) this.#planned.set(namespace, more);
  }
}

/** The source could not be read, which says nothing of the storage. */
class SourceUnreadable extends Error {
  override readonly name = "SourceUnreadable";
}

function throwUnreadable(error: unknown): never {
  if (error instanceof StoreError) throw new SourceUnreadable("the source could not be read", { cause: error });
  throw error;
}

async function* reading(object: OpenObject, span: Parameters<OpenObject["read"]>[0]): AsyncGenerator<Uint8Array> {
  const chunks = object.read(span)[Symbol.asyncIterator]();
  try {
    for (;;) {
      const chunk = await chunks.next().catch(throwUnreadable);
      if (chunk.done === true) return;
      yield chunk.value;
    }
  } finally {
    await chunks.return?.();
  }
}
