import type { Digest } from "../oci/digest.ts";
import type { Namespace, Repository } from "../oci/reference.ts";
import { type Content, isBlobLink } from "../registry/content.ts";
import type { Redirecting } from "../registry/registry.ts";
import { blobKey } from "../store/layout.ts";
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
}

/**
 * Where a namespace's blobs are to be had: only what the repository is known to contain, and the bucket to have. What
 * cannot be told is served as ever.
 */
export function redirectBlobs({ mode, bucket, namespace, content, presign }: RedirectOptions): Partial<Redirecting> {
  if (mode === "never") return {};
  const locate = async (repository: Repository, digest: Digest): Promise<string | undefined> => {
    const id = { namespace, repository };
    const link = (await content.link(id, digest)) ?? (await bucket.link(id, digest));
    if (link === undefined || !isBlobLink(link)) return undefined;
    if (mode === "cold" && (await content.statBlob(digest))?.sizeBytes === link.sizeBytes) return undefined;
    return (await bucket.hasNow(digest, link.sizeBytes)) ? presign(blobKey(digest)) : undefined;
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
