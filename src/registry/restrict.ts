import { OciError } from "../oci/errors.ts";
import type { Repository } from "../oci/reference.ts";
import type { PullRegistry } from "./registry.ts";

/**
 * The same registry, of which only the repositories that `permits` lets through can be pulled from: one gate before
 * every question, also for what is cached.
 */
export function restrict(registry: PullRegistry, permits: (repository: Repository) => boolean): PullRegistry {
  async function gate<T>(repository: Repository, question: () => Promise<T>): Promise<T> {
    if (!permits(repository)) throw new OciError("DENIED", `the mirror's policy does not allow ${repository}`);
    return question();
  }
  return {
    resolve: (repository, reference) => gate(repository, () => registry.resolve(repository, reference)),
    manifest: (repository, reference) => gate(repository, () => registry.manifest(repository, reference)),
    statBlob: (repository, digest) => gate(repository, () => registry.statBlob(repository, digest)),
    openBlob: (repository, digest) => gate(repository, () => registry.openBlob(repository, digest)),
    storeBlob: (repository, digest, received) =>
      gate(repository, () => registry.storeBlob(repository, digest, received)),
    tags: (repository, query) => gate(repository, () => registry.tags(repository, query)),
    referrers: (repository, subject, query) => gate(repository, () => registry.referrers(repository, subject, query)),
  };
}
