/** A key that was made by `store/layout`: `/`-separated, each part safe as a file name. */
export type Key = string & { readonly __brand: "Key" };

/**
 * What `put` stores: bytes, or a finished file. A file is consumed: the store moves it where it can, else copies and
 * removes it; after a failed `put` the file may still be there and belongs to the caller.
 */
export type Source = Uint8Array | { readonly path: string; readonly size: number };

/** The part of an object to read: `end` is exclusive, and neither may pass the object's size. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * An object opened for reading.
 *
 * It goes on being readable when the object is deleted or replaced meanwhile. Who got it must `close` it, once, after
 * the last `read` iterator has ended; `close` never rejects.
 */
export interface OpenObject {
  readonly sizeBytes: number;
  /**
   * The bytes of `span` in order, exactly, or an error. **A chunk is valid only until the next one is asked for**: the
   * memory is used again. Leaving the loop early releases what the iterator holds.
   */
  read(span: Span): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/** What is known of an object without reading it. */
export interface ObjectInfo {
  readonly key: Key;
  readonly sizeBytes: number;
  /**
   * The newest time that the storage itself keeps of the object, in milliseconds since 1970: when it was written, or
   * read where that is noted. Coarse: by a day or more where reads are noted rarely or never. `move` keeps it.
   */
  readonly usedAt: number;
}

/** The part of an object store that changes nothing. What holds for `ObjectStore` holds here. */
export interface ObjectReader {
  head(key: Key): Promise<ObjectInfo | undefined>;
  get(key: Key): Promise<OpenObject | undefined>;
  /**
   * All objects whose key starts with `prefix` (whole parts: `a/b` lists `a/b/c`, not `a/bc`), in no order. What comes
   * or goes meanwhile may be listed or not; everything else is, once. What cannot be looked up below `prefix` is told to
   * `onUnreadable` and left out; without that the listing fails.
   */
  list(prefix: Key, onUnreadable?: (error: StoreError) => void): AsyncIterable<ObjectInfo>;
}

/**
 * Where bytes live, by key. One contract suite (`test/contract/object-store`) proves each driver.
 *
 * - Absent is `undefined`. A throw (`StoreError`) means "could not tell", and is never to be taken for absence.
 * - `put` is atomic: a reader sees the old object, the new one or none, never a part. A failed `put` leaves nothing.
 *   When it resolves the object outlives a power failure, unless `durable` was false: then a power failure may lose
 *   it or leave it empty, so only content that is checked when it is read may be written so.
 * - Two `put`s to one key: one of them wins, whole.
 */
export interface ObjectStore extends ObjectReader {
  put(key: Key, source: Source, options?: { durable?: boolean }): Promise<void>;
  /**
   * Gives an object another key, where it replaces what is there; false where there is nothing at `from`. Atomic as
   * `put` is. When it resolves, the object outlives a power failure at its new key if it would have at the old one.
   */
  move(from: Key, to: Key): Promise<boolean>;
  /** Removes an object; absent is fine. Resolves when its space is free, but for readers that have it open. */
  delete(key: Key): Promise<void>;
  close(): Promise<void>;
}

/** The store could not do what it was asked, for another reason than absence. `cause` says why. */
export class StoreError extends Error {
  override readonly name = "StoreError";
  /** The system's error code (`ENOSPC`, `EACCES`, …), where it gave one. */
  readonly code: string | undefined;

  constructor(message: string, cause: unknown) {
    super(message, { cause });
    this.code = codeOf(cause);
  }
}

/** The system's code for an error (`ENOENT`, …), where it has one. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** What was thrown, as an error. */
export function errorOf(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
