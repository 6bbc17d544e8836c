import type { Digest } from "../oci/digest.ts";
import type { Namespace, Repository } from "../oci/reference.ts";
import { type Content, isBlobLink } from "../registry/content.ts";
import type { Redirecting } from "../registry/registry.ts";
import type { BucketStore } from "../store/bucket-store.ts";
import { blobKey, type RepositoryId } from "../store/layout.ts";
import { StoreError } from "../store/object-store.ts";
import type { Bucket } from "./bucket.ts";

/** Which blobs clients are sent to the bucket for: none, all, or those that the folder does not have. */
export type RedirectMode = "never" | "always" | "cold";

/** How long a URL may be used to begin reading an object. */
const signedSeconds = 5 * 60;

/** What redirecting works with. */
export interface RedirectOptions {
  readonly mode: RedirectMode;
  readonly bucket: Bucket;
  readonly namespace: Namespace;
  readonly content: Pick<Content, "link" | "statBlob">;
  readonly store: Pick<BucketStore, "presign">;
  /** Told of what a client is sent to the bucket for. */
  readonly noteUse: (id: RepositoryId, digest: Digest) => void;
}

/**
 * Where a namespace's blobs are to be had: only what the repository is known to contain, and the bucket to have. What
 * cannot be told is served as ever.
 */
export function redirectBlobs(options: RedirectOptions): Partial<Redirecting> {
  const { mode, bucket, store, namespace, content, noteUse } = options;
  if (mode === "never") return {};
  const locate = async (repository: Repository, digest: Digest): Promise<string | undefined> => {
    const id = { namespace, repository };
    const link = (await content.link(id, digest)) ?? (await bucket.link(id, digest));
    if (link === undefined || !isBlobLink(link)) return undefined;
    if (mode === "cold" && (await content.statBlob(digest))?.sizeBytes === link.sizeBytes) return undefined;
    if (!(await bucket.hasNow(digest, link.sizeBytes))) return undefined;
    noteUse(id, digest);
    return store.presign(blobKey(digest), { expiresInSeconds: signedSeconds });
  };
  return {
    blobLocation: async (repository, digest) => {
      try {
        return await locate(repository, digest);
      } catch (error) {
        if (error instanceof StoreError) return undefined;
        throw error;
      }
    },
  };
}
