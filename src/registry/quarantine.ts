import type { Digest } from "../oci/digest.ts";
import type { ObjectInfo, ObjectStore } from "../store/object-store.ts";
import { blobKey, quarantineKey, quarantinePrefix } from "./layout.ts";

/** What damaged content may take of the disk in all, in bytes: it does not count against the store's limit. */
const maxQuarantineBytes = 1024 * 1024 * 1024;

/**
 * Moves damaged content away, so that somebody can look at what has become of it. The oldest goes for good when there is
 * too much of it.
 */
export async function quarantine(store: ObjectStore, digest: Digest): Promise<void> {
  if (!(await store.move(blobKey(digest), quarantineKey(digest)))) return;
  const kept: ObjectInfo[] = [];
  for await (const object of store.list(quarantinePrefix)) kept.push(object);
  let bytes = 0;
  for (const { key, sizeBytes } of kept.toSorted((a, b) => b.usedAt - a.usedAt)) {
    bytes += sizeBytes;
    if (bytes > maxQuarantineBytes) await store.delete(key);
  }
}
