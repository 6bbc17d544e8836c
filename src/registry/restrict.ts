import { OciError } from "../oci/errors.ts";
import type { Repository } from "../oci/reference.ts";
import type { Registry } from "./registry.ts";

/**
 * The same registry, of which only the repositories that `permits` lets through can be pulled from: one gate before
 * every question, also for what is cached.
 */
export function restrict(registry: Registry, permits: (repository: Repository) => boolean): Registry {
  const gate =
    <Rest extends readonly unknown[], T>(question: (repository: Repository, ...rest: Rest) => Promise<T>) =>
    async (repository: Repository, ...rest: Rest): Promise<T> => {
      if (!permits(repository)) throw new OciError("DENIED", `the mirror's policy does not allow ${repository}`);
      return question(repository, ...rest);
    };
  const storeBlob = registry.storeBlob?.bind(registry);
  const cachedBlob = registry.cachedBlob?.bind(registry);
  const blobLocation = registry.blobLocation?.bind(registry);
  return {
    resolve: gate((...question) => registry.resolve(...question)),
    manifest: gate((...question) => registry.manifest(...question)),
    statBlob: gate((...question) => registry.statBlob(...question)),
    openBlob: gate((...question) => registry.openBlob(...question)),
    tags: gate((...question) => registry.tags(...question)),
    referrers: gate((...question) => registry.referrers(...question)),
    ...(storeBlob !== undefined && { storeBlob: gate(storeBlob) }),
    ...(cachedBlob !== undefined && { cachedBlob: gate(cachedBlob) }),
    ...(blobLocation !== undefined && { blobLocation: gate(blobLocation) }),
  };
}
