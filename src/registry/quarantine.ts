import type { Digest } from "../oci/digest.ts";
import type { ObjectInfo, ObjectStore } from "../store/object-store.ts";
import { blobKey, quarantineKey, quarantinePrefix } from "./layout.ts";

/** What damaged content may take of the disk in all, in bytes: it does not count against the store's limit. */
const maxQuarantineBytes = 1024 * 1024 * 1024;

/** Moves damaged content away, so that somebody can look at what has become of it; false where there is none. */
export async function putAside(store: ObjectStore, digest: Digest): Promise<boolean> {
  return store.move(blobKey(digest), quarantineKey(digest));
}

/**
 * Removes the oldest of what was put aside while it is too much in all; `newest` goes last. What cannot be removed is
 * left to the next time: the failing operation has told of it.
 */
export async function boundQuarantine(store: ObjectStore, newest: Digest): Promise<void> {
  const kept: ObjectInfo[] = [];
  try {
    for await (const object of store.list(quarantinePrefix)) kept.push(object);
    const age = (object: ObjectInfo): number => (object.key === quarantineKey(newest) ? Infinity : object.usedAt);
    let bytes = 0;
    for (const { key, sizeBytes } of kept.toSorted((a, b) => (age(b) > age(a) ? 1 : -1))) {
      bytes += sizeBytes;
      if (bytes > maxQuarantineBytes) await store.delete(key);
    }
  } catch {
    return;
  }
}
