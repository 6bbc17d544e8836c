import { isDigestReference } from "../oci/reference.ts";
import { Blobs } from "./blobs.ts";
import { Listings } from "./listings.ts";
import { Manifests } from "./manifests.ts";
import type { MirrorTools } from "./mirror-tools.ts";
import type { PullRegistry } from "./registry.ts";
import { Tags } from "./tags.ts";

/** The registry of one namespace: the cache, topped up from its upstream. It holds nothing that must be closed. */
export function createMirror(tools: MirrorTools): PullRegistry {
  const manifests = new Manifests(tools);
  const tags = new Tags(tools, manifests);
  const blobs = new Blobs(tools);
  const listings = new Listings(tools, tags);
  const { namespace } = tools;
  return {
    resolve: (repository, reference) =>
      isDigestReference(reference)
        ? manifests.describe({ namespace, repository }, reference)
        : tags.resolve({ namespace, repository }, reference),
    manifest: async (repository, reference) => {
      const id = { namespace, repository };
      if (!isDigestReference(reference)) return tags.manifest(id, reference);
      const answer = await manifests.get(id, reference);
      if (answer !== undefined) tags.noteManifest(id, reference);
      return answer;
    },
    statBlob: (repository, digest) => blobs.stat(repository, digest),
    openBlob: (repository, digest) => blobs.open(repository, digest),
    tags: (repository, query) => listings.tags(repository, query),
    referrers: (repository, subject, query) => listings.referrers(repository, subject, query),
  };
}
