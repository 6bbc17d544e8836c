import type { Digest } from "../oci/digest.ts";
import { isDigestReference, type Reference, type Repository } from "../oci/reference.ts";
import { BlobStandings } from "./blob-standings.ts";
import { Blobs } from "./blobs.ts";
import { Listings } from "./listings.ts";
import { Manifests } from "./manifests.ts";
import type { MirrorTools } from "./mirror-tools.ts";
import { Prefetch } from "./prefetch.ts";
import type { Answer, Caching, PullRegistry, Warmable } from "./registry.ts";
import { Tags } from "./tags.ts";

/**
 * The registry of one namespace: the cache, topped up from its upstream. It holds nothing that must be closed. Whatever
 * is answered counts as a use, by which it is decided what stays in the cache.
 */
export function createMirror(tools: MirrorTools): PullRegistry & Warmable & Caching {
  const standings = new BlobStandings(tools);
  const manifests = new Manifests(tools, standings);
  const tags = new Tags(tools, manifests);
  const blobs = new Blobs(tools, standings);
  const listings = new Listings(tools, tags);
  const prefetch = tools.prefetch ? new Prefetch(tools, (...blob) => blobs.store(...blob)) : undefined;
  const { namespace, noteUse } = tools;
  const noteManifest = (repository: Repository, reference: Reference, digest: Digest): void =>
    isDigestReference(reference)
      ? noteUse({ namespace, repository }, digest)
      : noteUse({ namespace, repository }, digest, reference);
  const noteBlob = <T>(repository: Repository, digest: Digest, answer: Answer<T> | undefined): typeof answer => {
    if (answer !== undefined) noteUse({ namespace, repository }, digest);
    return answer;
  };
  return {
    resolve: async (repository, reference, asker) => {
      const id = { namespace, repository };
      const answer = isDigestReference(reference)
        ? await manifests.describe(id, reference, asker)
        : await tags.resolve(id, reference, asker);
      if (answer !== undefined) noteManifest(repository, reference, answer.value.digest);
      return answer;
    },
    manifest: async (repository, reference, asker) => {
      const id = { namespace, repository };
      const byDigest = isDigestReference(reference);
      const answer = byDigest ? await manifests.get(id, reference, asker) : await tags.manifest(id, reference, asker);
      if (answer === undefined) return undefined;
      if (byDigest) tags.noteManifest(id, reference);
      noteManifest(repository, reference, answer.value.descriptor.digest);
      prefetch?.begin(repository, answer.value);
      return answer;
    },
    statBlob: async (repository, digest, asker) =>
      noteBlob(repository, digest, await blobs.stat(repository, digest, asker)),
    openBlob: async (repository, digest, asker) =>
      noteBlob(repository, digest, await blobs.open(repository, digest, asker)),
    cachedBlob: (repository, digest) => blobs.cached(repository, digest),
    storeBlob: async (repository, digest, received) =>
      noteBlob(repository, digest, await blobs.store(repository, digest, received)),
    tags: (repository, query, asker) => listings.tags(repository, query, asker),
    referrers: (repository, subject, query, asker) => listings.referrers(repository, subject, query, asker),
  };
}
