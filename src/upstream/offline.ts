import { type Upstream, UpstreamError } from "./upstream.ts";

/** The upstream of a namespace that lives from its cache alone: every question fails at once, and nothing is sent. */
export function createOfflineUpstream(host: string): Upstream {
  const refuse = async (): Promise<never> => {
    throw new UpstreamError(host, "offline", "it is set to be never asked");
  };
  return {
    resolve: refuse,
    manifest: refuse,
    blob: refuse,
    statBlob: refuse,
    tags: refuse,
    referrers: refuse,
    close: async () => undefined,
  };
}
