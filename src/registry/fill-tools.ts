import type { Digest } from "../oci/digest.ts";
import type { BufferPool } from "../store/buffers.ts";
import type { HashPool } from "../store/hashing.ts";
import type { Repository } from "../oci/reference.ts";
import type { Ask, Upstream, UpstreamBlob } from "../upstream/upstream.ts";
import type { Content } from "./content.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { Space } from "./space.ts";

/** What fills work with; the same for all of a process. */
export interface FillTools {
  readonly content: Content;
  readonly hashes: HashPool;
  readonly pool: BufferPool;
  readonly space: Pick<Space, "reserve" | "acquire">;
  /** Larger blobs are passed on without being stored. */
  readonly maxObjectBytes: number;
  /** The folder of the staging files. */
  readonly spoolFolder: string;
  readonly observer: FillObserver;
}

/** Told how fills go; for metrics and the log. */
export interface FillObserver {
  started(namespace: string): void;
  received(namespace: string, bytes: number): void;
  /** The upstream's connection broke; the fill goes on from `offset`. */
  resumed(id: RepositoryId, digest: Digest, offset: number, error: Error): void;
  /** `error` says why it failed, or why it was verified but not stored. */
  ended(id: RepositoryId, digest: Digest, outcome: FillOutcome, error: Error | undefined): void;
}

/** `abandoned`: all who wanted it had left while it waited for its turn. */
export type FillOutcome = "committed" | "unstored" | "absent" | "reused" | "abandoned" | "failed";

/** Whence a blob's bytes come: an upstream, or whoever else has them or is about to. */
export interface BlobSource {
  /** The bytes from an offset on; see `Upstream.blob`. `undefined`: it does not have the blob. A body that breaks throws `UpstreamError`. */
  open(from: { readonly offset: number; readonly sizeBytes?: number }, by: Ask): Promise<UpstreamBlob | undefined>;
  /** Whether any of it came from a bucket so far (`UpstreamBlob.origin`). */
  readonly isFromBucket?: boolean;
  /** Who sends it now, where that is not the registry itself. */
  readonly origin?: UpstreamBlob["origin"];
}

/** An upstream as the source of a blob. */
export class UpstreamSource implements BlobSource {
  readonly #open: BlobSource["open"];
  #isFromBucket = false;
  #origin: UpstreamBlob["origin"];

  constructor(upstream: Pick<Upstream, "blob">, repository: Repository, digest: Digest) {
    this.#open = (from, by) => upstream.blob(repository, digest, from, by);
  }

  get isFromBucket(): boolean {
    return this.#isFromBucket;
  }

  get origin(): UpstreamBlob["origin"] {
    return this.#origin;
  }

  async open(...question: Parameters<BlobSource["open"]>): Promise<UpstreamBlob | undefined> {
    const blob = await this.#open(...question);
    this.#isFromBucket ||= blob?.origin === "bucket";
    this.#origin = blob?.origin;
    return blob;
  }
}

/** What to fetch, from whom. */
export interface FillRequest {
  readonly id: RepositoryId;
  readonly digest: Digest;
  readonly source: BlobSource;
  /** Whether the source's word counts (`MirrorTools.trusted`). */
  readonly trusted: boolean;
  /**
   * What the repository's manifests say of the blob's size; used where the upstream does not tell it. Where nothing says
   * that it is a blob, it may be a manifest.
   */
  readonly expectedBytes: number | undefined;
  /**
   * Asks the content store once more whether it has the blob for this repository, link and all: else the bytes are to
   * prove the right to them. An earlier fill may have ended between the caller's look-up and this fill's start:
   *   1. the caller finds nothing stored, 2. the other fill commits and goes, 3. the caller starts this one.
   */
  readonly isStored: () => Promise<boolean>;
  /** How often in a row the source's connection may break without progress. */
  readonly retries: number;
}

/**
 * What a fill's readers may do:
 * - `starting`: wait for `opened`.
 * - `streaming`: read what has arrived, all but the last bytes of their answer.
 * - `verified`: read everything; the digest is right. The store does not have it yet, and need never have it.
 * - `committed`: the same; new readers find it in the store.
 * - `failed`: nothing more; the bytes were wrong or did not come.
 */
export type FillState = "starting" | "streaming" | "verified" | "committed" | "failed";
