import { algorithmOf, type Digest, digestOf } from "../oci/digest.ts";
import { isManifestMediaType, maxManifestBytes } from "../oci/manifest.ts";
import type { Pin } from "../oci/pin.ts";
import { turnToRead } from "../concurrency/turn.ts";
import { readManifest } from "../registry/manifest-bytes.ts";
import { isLink, isTagRecord } from "../store/content-records.ts";
import { blobKey, linkKey, parseKey, type Place, repositoriesPrefix, type RepositoryId } from "../store/layout.ts";
import type { Key, ObjectStore } from "../store/object-store.ts";
import { readRecord } from "../store/read-record.ts";
import { readWhole } from "../store/read-whole.ts";
import { KeyFilter } from "./key-filter.ts";

/**
 * The keys of all that pins keep in a bucket, as in a folder: of a repository all that it holds; of a tag, and of a
 * digest, what manifests refer to. The store is asked itself: what cannot be read now must not count as absent.
 *
 * @throws {StoreError} it could not be told.
 */
export async function findPinned(store: ObjectStore, pins: readonly Pin[], signal: AbortSignal): Promise<KeyFilter> {
  const pinned = new KeyFilter();
  if (pins.length === 0) return pinned;
  const walked = new Set<Key>();
  const keep = async (id: RepositoryId, digest: Digest): Promise<void> => {
    signal.throwIfAborted();
    const link = linkKey(id, digest);
    pinned.add(link);
    pinned.add(blobKey(digest));
    if (walked.has(link)) return;
    walked.add(link);
    for (const child of await childrenOf(store, id, digest)) {
      if (isManifestMediaType(child.mediaType)) {
        await keep(id, child.digest);
      } else {
        pinned.add(linkKey(id, child.digest));
        pinned.add(blobKey(child.digest));
      }
    }
  };
  for await (const { key } of store.list(repositoriesPrefix)) {
    signal.throwIfAborted();
    const place = parseKey(key);
    if (place === undefined || place.kind === "content") continue;
    for (const pin of pins) {
      if (!pin.matches(pinnableOf(place))) continue;
      pinned.add(key);
      if (place.kind === "link") {
        if (pin.of === "digest") await keep(place.id, place.digest);
        else pinned.add(blobKey(place.digest));
      } else if (place.kind === "tag" && pin.of === "tags") {
        const record = await readRecord(store, key, isTagRecord);
        if (record !== undefined) await keep(place.id, record.digest);
      }
    }
  }
  return pinned;
}

function pinnableOf(place: Exclude<Place, { readonly kind: "content" }>): Parameters<Pin["matches"]>[0] {
  switch (place.kind) {
    case "tag":
      return { ...place.id, tag: place.tag };
    case "link":
      return { ...place.id, digest: place.digest };
    case "page":
      return place.id;
  }
}

/** What a manifest of a repository refers to; nothing where there is none, or it is damaged. */
async function childrenOf(
  store: ObjectStore,
  id: RepositoryId,
  digest: Digest,
): Promise<readonly { readonly mediaType: string; readonly digest: Digest }[]> {
  const link = await readRecord(store, linkKey(id, digest), isLink);
  if (link === undefined || link.role === "blob") return [];
  const object = await store.get(blobKey(digest));
  const bytes = object && (await readWhole(object, maxManifestBytes));
  if (bytes === undefined || digestOf(bytes, algorithmOf(digest)) !== digest) return [];
  await turnToRead(bytes);
  return readManifest(bytes, link.mediaType)?.children ?? [];
}
