import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import type { Manifest } from "../oci/manifest.ts";
import type { Reference, Repository } from "../oci/reference.ts";
import type { Asker } from "../concurrency/interest.ts";
import type { Page } from "../store/content-records.ts";

/** How the cache took part in an answer (RFC 9211). Data; `http/reply` writes the `Cache-Status` field. */
export interface CacheStatus {
  /** Answered from the cache without the upstream. */
  readonly hit: boolean;
  /** Why the upstream was asked: nothing cached, what was cached is stale, or the cache was passed by. */
  readonly forward?: "uri-miss" | "stale" | "bypass";
  /** The upstream's status, where it gave one. */
  readonly forwardStatus?: number;
  /** The answer goes into the cache. */
  readonly stored?: boolean;
  /** The answer came from a request to the upstream that another client had begun. */
  readonly collapsed?: boolean;
  /** Who answered in the upstream's place. */
  readonly origin?: "bucket" | "replica";
  /** Set when a stale answer stands in for an upstream that failed: why. */
  readonly staleReason?: string;
}

/** A value and how the cache took part in it. */
export interface Answer<T> {
  readonly value: T;
  readonly cache: CacheStatus;
}

/** A manifest's exact bytes, and what they say: they are parsed once. */
export interface ManifestContent {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
  readonly parsed: Manifest;
}

/** What is known of a blob that is there. */
export interface BlobInfo {
  /** The whole blob's size; `undefined` when it comes from an upstream that does not say, and nothing else knows. */
  readonly sizeBytes: number | undefined;
}

/** A blob that is ready to be read. Who got it must `close` it, once. */
export interface BlobContent extends BlobInfo {
  /**
   * The bytes of `span` (`undefined`: all), as they arrive. A chunk is valid until the next one is asked for. The last
   * bytes come only when the whole blob's digest is known to be right; otherwise the iteration throws before them.
   */
  read(
    span: { readonly start: number; readonly end: number } | undefined,
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/**
 * What can be pulled from a namespace. `undefined` is "there is no such thing". What fails throws `UpstreamError`
 * (nothing cached could stand in for it), `StoreError` or `OciError`.
 *
 * What waits for its turn at the upstream for askers alone who have left is given up, and throws `Abandoned`; what has
 * been sent goes on. Without an `asker`, who asks stays.
 */
export interface PullRegistry {
  /** A manifest's descriptor, without its bytes (HEAD). */
  resolve(repository: Repository, reference: Reference, asker?: Asker): Promise<Answer<Descriptor> | undefined>;
  /** A manifest (GET). */
  manifest(repository: Repository, reference: Reference, asker?: Asker): Promise<Answer<ManifestContent> | undefined>;
  /** What is known of a blob (HEAD). */
  statBlob(repository: Repository, digest: Digest, asker?: Asker): Promise<Answer<BlobInfo> | undefined>;
  /** A blob (GET). The caller closes it. */
  openBlob(repository: Repository, digest: Digest, asker?: Asker): Promise<Answer<BlobContent> | undefined>;
  /** A page of tags. */
  tags(repository: Repository, query: string, asker?: Asker): Promise<Answer<Page> | undefined>;
  /** A page of referrers; `undefined` where the upstream does not say, so that clients look for themselves. */
  referrers(repository: Repository, subject: Digest, query: string, asker?: Asker): Promise<Answer<Page> | undefined>;
}

/** A registry that gets what it offers from elsewhere, and can get it beforehand. */
export interface Warmable {
  /**
   * Sees to it that a blob is stored, without anybody's reading it; resolves with its size when it is. `received` is told
   * of bytes as they come, a few times a second. Throws also where it could be had, and could not be stored.
   */
  storeBlob(
    repository: Repository,
    digest: Digest,
    received?: (bytes: number) => void,
  ): Promise<Answer<number> | undefined>;
}

/** A registry that knows another place where its blobs are to be had. */
export interface Redirecting {
  /**
   * The address at which a client can have a blob that the repository is known to contain, without anything of ours, for
   * a while; whoever has it can. `undefined`: here only, or nowhere.
   */
  blobLocation(repository: Repository, digest: Digest): Promise<string | undefined>;
}

/** What a namespace offers: who wants more than to pull asks what is there. */
export type Registry = PullRegistry & Partial<Warmable> & Partial<Redirecting>;
