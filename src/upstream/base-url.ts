import { UpstreamError } from "./upstream.ts";

/**
 * The URL of a registry's root.
 *
 * @throws {UpstreamError} "refused": `host` is not a host with an optional port.
 */
export function parseBase({ host, tls }: { readonly host: string; readonly tls: boolean }): URL {
  const base = URL.parse(`${tls ? "https" : "http"}://${host}/`);
  if (base === null || /[/?#@\\\s]/.test(host)) {
    throw new UpstreamError(host, "refused", "not a host name with an optional port");
  }
  return base;
}
