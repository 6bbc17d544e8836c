import type { Descriptor } from "../oci/descriptor.ts";
import type { Algorithm, Digest } from "../oci/digest.ts";
import type { Manifest } from "../oci/manifest.ts";
import type { Reference, Repository, Tag } from "../oci/reference.ts";
import type { Asker } from "../concurrency/interest.ts";
import type { Page } from "../store/content-records.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { Key } from "../store/object-store.ts";

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
   * The file of the storage's folder that holds these bytes, complete, as its path below that; `undefined` where there is
   * none, or where the bytes are checked on their way. It may be removed once this is closed.
   */
  readonly file?: Key | undefined;
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

/** A registry that has some of what it offers in a cache. */
export interface Caching {
  /** A blob that it would give out without asking anybody, where it is one. The caller closes it. */
  cachedBlob(repository: Repository, digest: Digest): Promise<BlobContent | undefined>;
}

/** A registry that knows another place where its blobs are to be had. */
export interface Redirecting {
  /**
   * The address at which a client can have a blob that the repository is known to contain, without anything of ours, for
   * a while; whoever has it can. `undefined`: here only, or nowhere.
   */
  blobLocation(repository: Repository, digest: Digest): Promise<string | undefined>;
}

/** An upload session as it is now. */
export interface UploadState {
  /** Its name: safe in a path, and only good for its repository. */
  readonly session: string;
  readonly receivedBytes: number;
}

/** Bytes of an upload as a client sends them. */
export interface UploadChunk {
  /** Where they belong, by `Content-Range`; without it at the end. */
  readonly start: number | undefined;
  /** How many there are, where the client says so. */
  readonly sizeBytes: number | undefined;
  /** A chunk is valid until the next one is asked for. */
  readonly bytes: AsyncIterable<Uint8Array>;
}

/** A chunk does not begin where the upload has ended so far: nothing of it was stored. */
export class OutOfOrder extends Error {
  override readonly name = "OutOfOrder";
  readonly state: UploadState;

  constructor(state: UploadState) {
    super(`the upload goes on at byte ${state.receivedBytes}`);
    this.state = state;
  }
}

/** Whether what a reference stands for now, `undefined` for nothing, is what the client wants to change (RFC 9110 §13.1). */
export type PushCondition = (current: Digest | undefined) => boolean;

/** A manifest as a client sends it. */
export interface ManifestPush {
  readonly bytes: Buffer;
  readonly contentType: string | undefined;
  /** What it is to be called besides (distribution-spec, end-7b). */
  readonly tags: readonly Tag[];
  readonly condition: PushCondition;
}

/** A manifest that was stored. */
export interface PushedManifest {
  readonly digest: Digest;
  /** The tags of `ManifestPush` that stand for it now. */
  readonly tags: readonly Tag[];
  readonly subject: Digest | undefined;
}

/**
 * What can be pushed to a namespace. What resolves is durable. What is refused throws `OciError`: UNSUPPORTED for what is
 * switched off, DENIED or CONFLICT for what a rule forbids, PRECONDITION_FAILED where a condition does not hold; what fails
 * throws `StoreError`.
 */
export interface PushRegistry {
  /** Opens an upload; nothing is stored before bytes come. */
  openUpload(repository: Repository, algorithm: Algorithm): Promise<UploadState>;
  /** @throws {OciError} BLOB_UPLOAD_UNKNOWN, as do the following. */
  upload(repository: Repository, session: string): Promise<UploadState>;
  /** Adds to an upload. @throws {OutOfOrder} */
  addToUpload(repository: Repository, session: string, chunk: UploadChunk): Promise<UploadState>;
  /**
   * Makes an upload, with a last chunk perhaps, a blob of the repository. Again with the same digest it is done already.
   *
   * @throws {OutOfOrder}
   * @throws {OciError} DIGEST_INVALID: what was received does not have the digest; the upload has ended.
   */
  finishUpload(repository: Repository, session: string, digest: Digest, chunk: UploadChunk | undefined): Promise<void>;
  cancelUpload(repository: Repository, session: string): Promise<void>;
  /**
   * Takes a blob over from another repository, or without one from any that is hosted and known to have it; false where
   * that is not possible, for whatever reason: also where another registry than this one would have to get it first.
   */
  mountBlob(repository: Repository, digest: Digest, from: MountSource | undefined): Promise<boolean>;
  /** Stores a manifest under a tag or its digest. */
  putManifest(repository: Repository, reference: Reference, manifest: ManifestPush): Promise<PushedManifest>;
  /** Removes a tag, or a manifest with its tags; false where there is none. */
  deleteManifest(repository: Repository, reference: Reference, condition: PushCondition): Promise<boolean>;
  /** Removes a blob from the repository; false where it has none. */
  deleteBlob(repository: Repository, digest: Digest): Promise<boolean>;
  /** Names of repositories in their order, behind `after`; `limit` at most, and whether there are more. */
  repositories(after: string | undefined, limit: number): Promise<{ names: readonly Repository[]; isLast: boolean }>;
}

/** A repository that a blob is to be taken over from. */
export interface MountSource extends RepositoryId {
  readonly registry: Registry;
}

/** What a namespace offers: who wants more than to pull asks what is there. */
export type Registry = PullRegistry &
  Partial<Warmable> &
  Partial<Caching> &
  Partial<Redirecting> & { readonly push?: PushRegistry };
