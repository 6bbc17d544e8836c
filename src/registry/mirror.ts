import { Blobs } from "./blobs.ts";
import { Listings } from "./listings.ts";
import { Manifests } from "./manifests.ts";
import type { MirrorTools } from "./mirror-tools.ts";
import type { PullRegistry } from "./registry.ts";

/** The registry of one namespace: the cache, topped up from its upstream. It holds nothing that must be closed. */
export function createMirror(tools: MirrorTools): PullRegistry {
  const manifests = new Manifests(tools);
  const blobs = new Blobs(tools);
  const listings = new Listings(tools, manifests);
  return {
    resolve: (repository, reference) => manifests.resolve(repository, reference),
    manifest: (repository, reference) => manifests.manifest(repository, reference),
    statBlob: (repository, digest) => blobs.stat(repository, digest),
    openBlob: (repository, digest) => blobs.open(repository, digest),
    tags: (repository, query) => listings.tags(repository, query),
    referrers: (repository, subject, query) => listings.referrers(repository, subject, query),
  };
}
