import type { Dispatcher } from "undici";
import { createDispatcher, type DispatcherOptions } from "./dispatcher.ts";
import { createRedirectGuard, OwnPlace } from "./guard.ts";
import { UpstreamError } from "./upstream.ts";

/** How the connections of one configured upstream are made. */
export interface ConnectionOptions extends Omit<DispatcherOptions, "guard" | "own"> {
  /** `host` or `host:port`. */
  readonly host: string;
  /** False: plain http. */
  readonly tls: boolean;
  /**
   * Whether the upstream may lead to any address. Default: false, only to public ones, and to such as it has itself
   * (see `createRedirectGuard`).
   */
  readonly allowPrivateRedirects?: boolean | undefined;
}

/** The connections of one upstream. */
export interface Connections {
  /** To the upstream itself, and to token servers that are configured for it: wherever they are. */
  readonly dispatcher: Dispatcher;
  /** To what it leads to: the targets of redirects, and token servers at other hosts. */
  readonly redirectDispatcher: Dispatcher;
}

/**
 * Makes the two pools. The client's certificate is shown to the upstream itself only.
 *
 * @throws {UpstreamError} "refused": `host` is not a host with an optional port. As `createDispatcher`.
 */
export function createConnections(options: ConnectionOptions): Connections {
  const own = new OwnPlace(parseBase(options));
  const guard = options.allowPrivateRedirects === true ? undefined : createRedirectGuard(own);
  return {
    dispatcher: createDispatcher({ ...options, own }),
    redirectDispatcher: createDispatcher({ ...options, guard, clientCert: undefined, clientKey: undefined }),
  };
}

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
