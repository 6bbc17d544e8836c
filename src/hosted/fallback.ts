import type { PullRegistry, Registry } from "../registry/registry.ts";

/**
 * A hosted registry that stands before another one under the same name: what was pushed here comes first, and what was not
 * is the other one's. Lists are those of the one that has the repository, or the subject, so that a page's successor is a
 * page of the same list.
 */
export function fallBackOn(hosted: Registry, other: Registry): Registry {
  const pulls: PullRegistry = {
    resolve: async (...question) => (await hosted.resolve(...question)) ?? other.resolve(...question),
    manifest: async (...question) => (await hosted.manifest(...question)) ?? other.manifest(...question),
    // Who pushes asks this, and does not send what there is: in the other one it would not be this repository's.
    statBlob: (...question) => hosted.statBlob(...question),
    openBlob: async (...question) => (await hosted.openBlob(...question)) ?? other.openBlob(...question),
    tags: async (...question) => (await hosted.tags(...question)) ?? other.tags(...question),
    referrers: async (repository, subject, ...rest) => {
      const own = await hosted.resolve(repository, subject);
      return (own === undefined ? other : hosted).referrers(repository, subject, ...rest);
    },
  };
  return { ...hosted, ...pulls, ...(other.storeBlob && { storeBlob: other.storeBlob.bind(other) }) };
}
