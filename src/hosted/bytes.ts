import type { Algorithm, Digest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import type { OpenObject, Version } from "../store/object-store.ts";

/** Content as a listing tells of it. */
export interface ListedContent {
  readonly digest: Digest;
  /** Another one whenever it was renewed. */
  readonly version: Version;
  /** When it was stored or renewed last, by the clock of `now`. */
  readonly writtenAt: number;
}

/** Content that is stored. */
export interface StoredContent extends ListedContent {
  readonly sizeBytes: number;
}

/** What is stored of an upload that is not finished. */
export interface StoredUpload {
  readonly session: string;
  readonly receivedBytes: number;
  /** When bytes came last, by the clock of `now`. */
  readonly writtenAt: number;
}

/** Bytes of an upload, as they come. */
export interface UploadBytes {
  /** A chunk is valid until the next one is asked for. */
  readonly bytes: AsyncIterable<Uint8Array>;
  /** Where the client says how many there are. */
  readonly sizeBytes: number | undefined;
  /** Aborts where they are not wanted any more: another request goes on with the upload, or the process ends. */
  readonly signal: AbortSignal;
}

/**
 * The bytes of what is hosted, by digest, whoever they belong to: durable before a promise is kept, and never evicted. One
 * contract suite (`test/contract/hosted-bytes`) proves each driver.
 *
 * What is stored stays while it is *young*: nothing removes what was stored or renewed within the grace of the
 * collection. Who relies on content that is there already (a mount, a push of what another repository has) renews it
 * first. Whatever is verified is verified before it can be had.
 */
export interface HostedBytes {
  /** Whether a digest's content is stored; what its bytes are missing of counts as absent. */
  stat(digest: Digest): Promise<StoredContent | undefined>;
  /** The content of a digest. The caller closes it. */
  open(digest: Digest): Promise<OpenObject | undefined>;
  /**
   * A URL with which anybody may GET the content, for so long; `undefined` where there is none.
   *
   * @throws {StoreError}
   */
  location?(digest: Digest, expiresInSeconds: number): Promise<string | undefined>;
  /**
   * Stores a small document that has its digest, durably, or renews it where it is stored.
   *
   * @throws {StoreError} also where there is no room.
   */
  put(digest: Digest, bytes: Uint8Array): Promise<void>;
  /** Sees to it that content is younger than `maxAgeMs`; false where it is not stored. */
  renew(digest: Digest, maxAgeMs: number): Promise<boolean>;
  /**
   * All that is stored, in any order; perhaps also what is being removed. In a bucket its size is another request for each,
   * so a listing does not tell it.
   */
  list(): AsyncIterable<ListedContent>;
  /** Removes content as it was listed; false where it was renewed since, or is gone. */
  remove(content: ListedContent): Promise<boolean>;

  /** What is stored of an upload; `undefined`: nothing, as of one that has ended. */
  received(session: string): Promise<StoredUpload | undefined>;
  /**
   * Adds bytes at the end of an upload; resolves when they are stored. Where their source fails, or `signal` aborts, what
   * has come is kept and the failure is thrown. What concerns one upload is done one after the other here; where another
   * instance takes an upload over, the earlier one fails and adds nothing any more.
   *
   * @param algorithm What the digest will be of, as far as is known.
   * @returns how many bytes there are now.
   * @throws {TakenOver} so does `commit`.
   * @throws {StoreError} also where there is no room.
   */
  append(session: string, algorithm: Algorithm, chunk: UploadBytes): Promise<number>;
  /**
   * Makes what was received the content of a digest, durably, or renews what is stored of it; the upload has ended then.
   * Takes seconds at most, however much it is, unless the digest is of another algorithm than was told. Of an upload of
   * which nothing is stored nothing was received: so a commit that is repeated has the digest of no bytes.
   *
   * @returns its size; `undefined` where it does not have the digest: then nothing is stored, and the upload has ended.
   * @throws {StoreError} the upload is as it was.
   */
  commit(session: string, digest: Digest): Promise<number | undefined>;
  /** Removes what was received of an upload; absent is fine. */
  drop(session: string): Promise<void>;
  /** All uploads of which something is stored. */
  uploads(): AsyncIterable<StoredUpload>;

  /**
   * Removes bytes that nothing names, and that were written so long ago. Where a server lets two writers win at once, or who
   * lost an upload dies, there may be some.
   *
   * @returns how many objects there were.
   * @throws {StoreError}
   */
  sweep?(olderThanMs: number): Promise<number>;

  /** Now, by the clock of all times here. */
  now(): number;
  /** Bytes that were not finished stay where the driver can keep them. */
  close(): Promise<void>;
}

/** Another instance goes on with an upload, which is no more this one's to add to, to end or to drop. */
export class TakenOver extends OciError {
  constructor() {
    super("BLOB_UPLOAD_INVALID", "another request goes on with this upload");
  }
}
