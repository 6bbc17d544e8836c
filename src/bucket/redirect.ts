import type { Digest } from "../oci/digest.ts";
import type { Namespace, Repository } from "../oci/reference.ts";
import { type Content, isBlobLink } from "../registry/content.ts";
import type { Redirecting } from "../registry/registry.ts";
import { blobKey, type RepositoryId } from "../store/layout.ts";
import { type Key, StoreError } from "../store/object-store.ts";
import type { Bucket } from "./bucket.ts";

/** Which blobs clients are sent to the bucket for: none, all, or those that the folder does not have. */
export type RedirectMode = "never" | "always" | "cold";

/** What redirecting works with. */
export interface RedirectOptions {
  readonly mode: RedirectMode;
  readonly bucket: Bucket;
  readonly namespace: Namespace;
  readonly content: Pick<Content, "link" | "statBlob">;
  /** An address at which an object can be read for a while by whoever has it. */
  readonly presign: (key: Key) => Promise<string>;
  /** Told of what a client is sent to the bucket for. */
  readonly noteUse: (id: RepositoryId, digest: Digest) => void;
}

/**
 * Where a namespace's blobs are to be had: only what the repository is known to contain, and the bucket to have. What
 * cannot be told is served as ever.
 */
export function redirectBlobs(options: RedirectOptions): Partial<Redirecting> {
  const { mode, bucket, namespace, content, presign, noteUse } = options;
  if (mode === "never") return {};
  const locate = async (repository: Repository, digest: Digest): Promise<string | undefined> => {
    const id = { namespace, repository };
    const link = (await content.link(id, digest)) ?? (await bucket.link(id, digest));
    if (link === undefined || !isBlobLink(link)) return undefined;
    if (mode === "cold" && (await content.statBlob(digest))?.sizeBytes === link.sizeBytes) return undefined;
    if (!(await bucket.hasNow(digest, link.sizeBytes))) return undefined;
    noteUse(id, digest);
    return presign(blobKey(digest));
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
