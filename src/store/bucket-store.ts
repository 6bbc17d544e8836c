import type { DatedStore, Key, Version } from "./object-store.ts";

/**
 * A store that several instances have in common: it takes content while that is still on its way. Times are by the
 * server's clock, which is the only one that all instances share.
 */
export interface BucketStore extends DatedStore {
  /**
   * Stores what `bytes` yields, once that has ended; where it throws, that is thrown, and nothing is left. A chunk is
   * valid until the next one is asked for.
   */
  upload(
    key: Key,
    bytes: AsyncIterable<Uint8Array>,
    options: { readonly sizeBytes?: number; readonly signal: AbortSignal },
  ): Promise<Version>;
  /**
   * Finds out what the server can do; `lacks` has a sentence for each thing that it cannot.
   *
   * @throws {StoreError} the bucket cannot be used.
   */
  probe(): Promise<{ readonly lacks: readonly string[] }>;
  /**
   * Ends uploads that nobody goes on with, of which nothing was heard for so long, and removes what is left of probes as
   * long ago.
   *
   * @returns how many uploads there were.
   * @throws {StoreError}
   */
  sweepUploads(olderThanMs: number): Promise<number>;
  /**
   * A URL with which anybody may GET the object, also in ranges, for a while: as long as is asked for, or as long as the
   * credentials last that sign it.
   *
   * @throws {StoreError} there are no credentials.
   */
  presign(key: Key, options: { readonly expiresInSeconds: number }): Promise<string>;
}
