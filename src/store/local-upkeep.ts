import type { DatedObject, Key, ListOptions, ObjectReader } from "./object-store.ts";

/** An object that is a file of this machine. */
export interface StoredFile extends DatedObject {
  /**
   * The newest time that the file system keeps of it, in milliseconds since 1970: when it was written, or read where
   * that is noted. Coarse: by a day or more where reads are noted rarely or never. `move` keeps it.
   */
  readonly usedAt: number;
}

/** The objects of a folder. */
export interface FileReader extends ObjectReader {
  head(key: Key): Promise<StoredFile | undefined>;
  list(prefix: Key, options?: ListOptions): AsyncIterable<StoredFile>;
}

/** What was removed, in whole files, and their sizes. */
export interface Removed {
  readonly count: number;
  readonly bytes: number;
}

/**
 * What a store in a folder of this machine needs to be kept in order, beside what it holds. Other stores have nothing
 * of the kind, and whoever only stores and reads objects needs none of it.
 */
export interface LocalUpkeep {
  /** The objects for who looks after them: what it reads does not count as used. */
  readonly caretaker: FileReader;
  /** Where staging files belong: the same file system as the objects, so that `put` can move them. */
  readonly temporaryPath: string;
  /** Why the folder cannot be written, as of the last attempt. */
  readonly unwritable: Error | undefined;
  /** What an earlier process had left unfinished, and was removed at the start. */
  readonly swept: Removed;
  /**
   * Gives an object another key, where it replaces what is there; false where there is nothing at `from`. Atomic as
   * `put` is. When it resolves, the object outlives a power failure at its new key if it would have at the old one.
   *
   * @throws {StoreError} it could not be moved.
   */
  move(from: Key, to: Key): Promise<boolean>;
  /**
   * Makes an object as young as if it were written now, and another version; false where there is none.
   *
   * @throws {StoreError} it could not be done.
   */
  renew(key: Key): Promise<boolean>;
  /**
   * Removes the folders below `prefix`, not itself, that hold nothing, the deepest first; a `put` meanwhile makes those
   * that it needs again. A dry run only finds them.
   *
   * @returns how many were removed; in a dry run, how many there are.
   * @throws {StoreError} a folder could not be listed or removed.
   */
  removeEmptyFolders(prefix: Key, options?: { readonly dryRun?: boolean }): Promise<number>;
  /**
   * Removes the files in the temporary folder that were last written more than `olderThanMs` milliseconds ago: what
   * failed removals left. It must be longer than a fill may wait for its upstream. A dry run only finds them.
   *
   * @throws {StoreError} the folder could not be read, or a file not removed.
   */
  removeLeftovers(olderThanMs: number, options?: { readonly dryRun?: boolean }): Promise<Removed>;
  /**
   * What lies in the folder besides what can be listed in it, in bytes: files of the folder itself (but those that
   * `isCounted` names, which are counted elsewhere), what the program remembers, and what an earlier process has left.
   *
   * @throws {StoreError} it could not be looked up.
   */
  measureOthers(isCounted: (name: string) => boolean): Promise<number>;
  /**
   * The size of the volume that the folder is on, and what is free of it for users without privileges, in bytes.
   *
   * @throws {StoreError} the system does not tell.
   */
  volume(): Promise<{ readonly totalBytes: number; readonly freeBytes: number }>;
  /** Whether a small file can be written now; throws `StoreError` where it cannot. */
  probe(): Promise<void>;
}
