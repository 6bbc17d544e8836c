/** A key that was made by `store/layout`: `/`-separated, each part safe as a file name. */
export type Key = string & { readonly __brand: "Key" };

/** Which of the objects that a key has had: opaque, and another one whenever the object is another one. */
export type Version = string & { readonly __brand: "Version" };

/** What has to be at a key for a write to be done: an object of this version, or nothing. */
export type Condition = Version | "absent";

/**
 * A finished staging file. Whoever stores it leaves it readable: `open` works until its owner gives it up, whatever is
 * stored from it, and how often. Only a store in the same file system may take the file at `path` to itself.
 */
export interface Staged {
  readonly path: string;
  readonly sizeBytes: number;
  /** Its bytes; who opens it closes it. */
  open(): Promise<OpenObject>;
}

/** What `put` stores. */
export type Source = Uint8Array | Staged;

/** How many bytes a source has. */
export function sizeOf(source: Source): number {
  return source instanceof Uint8Array ? source.length : source.sizeBytes;
}

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
  /** Where it is a file of a folder: its path below that. */
  readonly file?: Key;
  readonly version: Version;
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
  readonly version: Version;
}

/** An object of which it is known when it was written. */
export interface DatedObject extends ObjectInfo {
  /** By the clock of where it lies: milliseconds since 1970, 0 where that does not say. */
  readonly writtenAt: number;
}

/** How a listing is made. */
export interface ListOptions {
  /** Only keys behind this one are listed. */
  readonly after?: Key;
  /** Told of what cannot be looked up below the prefix, which is left out then. Without it the listing fails. */
  readonly onUnreadable?: (error: StoreError) => void;
}

/** The part of an object store that changes nothing. What holds for `ObjectStore` holds here. */
export interface ObjectReader {
  head(key: Key): Promise<ObjectInfo | undefined>;
  get(key: Key): Promise<OpenObject | undefined>;
  /**
   * All objects whose key starts with `prefix` (whole parts: `a/b` lists `a/b/c`, not `a/bc`), in the order of their
   * keys. What comes or goes meanwhile may be listed or not; everything else is, once.
   */
  list(prefix: Key, options?: ListOptions): AsyncIterable<ObjectInfo>;
}

/** How an object is written. */
export interface PutOptions {
  /** False where a power failure may lose it or leave it empty, as it is checked when it is read. */
  readonly durable?: boolean;
  /** What has to be there, in the moment in which the new object takes its place. */
  readonly if?: Condition;
}

/**
 * Where bytes live, by key. One contract suite (`test/contract/object-store`) proves each driver.
 *
 * - Absent is `undefined`. A throw (`StoreError`) means "could not tell", and is never to be taken for absence.
 * - `put` is atomic: a reader sees the old object, the new one or none, never a part. A failed `put` leaves nothing.
 *   When it resolves the object outlives a power failure, unless it need not be `durable`.
 * - Of two `put`s to one key one wins, whole; of two that have the same condition only one is done.
 */
export interface ObjectStore extends ObjectReader {
  /**
   * Stores an object.
   *
   * @returns its version.
   * @throws {PreconditionFailed} what has to be there is not.
   */
  put(key: Key, source: Source, options?: PutOptions): Promise<Version>;
  /**
   * Removes an object; absent is fine, unless there is a condition. Resolves when its space is free, but for readers
   * that have it open.
   *
   * @throws {PreconditionFailed} what has to be there is not.
   */
  delete(key: Key, options?: { readonly if?: Version }): Promise<void>;
  close(): Promise<void>;
}

/** A store that tells how old its objects are. */
export interface DatedStore extends ObjectStore {
  head(key: Key): Promise<DatedObject | undefined>;
  list(prefix: Key, options?: ListOptions): AsyncIterable<DatedObject>;
  /** Now, by the clock that `writtenAt` goes by. */
  now(): number;
}

/** There is another object than a write expected, or one where it expected none: nothing was done. */
export class PreconditionFailed extends Error {
  override readonly name = "PreconditionFailed";

  constructor(key: Key) {
    super(`another object has the key ${key} by now`);
  }
}

/**
 * Removes an object, unless it is another one by now. Where the store ignores conditions it goes all the same.
 *
 * @returns whether it was there to be removed.
 * @throws what fails.
 */
export async function deleteUnchanged(
  store: Pick<ObjectStore, "delete">,
  key: Key,
  version: Version,
): Promise<boolean> {
  try {
    await store.delete(key, { if: version });
    return true;
  } catch (error) {
    if (error instanceof PreconditionFailed) return false;
    throw error;
  }
}

/** @throws {PreconditionFailed} `found` is not what has to be there. */
export function assertCondition(key: Key, found: ObjectInfo | undefined, condition: Condition | undefined): void {
  if (condition !== undefined && (found?.version ?? "absent") !== condition) throw new PreconditionFailed(key);
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
