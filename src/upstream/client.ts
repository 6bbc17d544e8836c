import type { Dispatcher } from "undici";
import { createAsk, type Registry } from "./ask.ts";
import { authenticating } from "./auth.ts";
import { openBlob, statBlob } from "./blobs.ts";
import { type Clock, systemClock } from "./clock.ts";
import type { Credentials } from "./credentials.ts";
import { createDispatcher } from "./dispatcher.ts";
import { createLimiter, type Limiter } from "./limiter.ts";
import { fetchManifest, resolveManifest } from "./manifests.ts";
import { listReferrers, listTags } from "./pages.ts";
import { followRedirects } from "./redirects.ts";
import { retrying } from "./retry.ts";
import { createExchange, type Exchange, type UpstreamObserver } from "./transport.ts";
import { type Upstream, UpstreamError } from "./upstream.ts";

/** One upstream's settings. All times are in milliseconds. */
export interface UpstreamOptions {
  /** `host` or `host:port`. */
  readonly host: string;
  /** False: plain http. */
  readonly tls: boolean;
  readonly acceptInvalidCerts: boolean;
  readonly userAgent: string;
  readonly credentials: Credentials | undefined;
  /** How many requests to the registry run at once, each until its body has ended. */
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  readonly headerTimeoutMs: number;
  readonly idleTimeoutMs: number;
  /** Further tries before the first byte, for failures that may pass. */
  readonly retries: number;
  readonly observer: UpstreamObserver;
  /** Made by `createDispatcher` with these certificates and time-outs. `close` closes it, unless it is shared. */
  readonly dispatcher: Dispatcher;
  /** Whether others use the dispatcher as well. Default: false. */
  readonly sharedDispatcher?: boolean;
  /**
   * For token servers of other sites, which are asked without credentials. Default: one that connects to public
   * addresses only, made when it is needed and closed with the upstream. One that is given here is never closed.
   */
  readonly publicDispatcher?: Dispatcher;
  readonly clock?: Clock;
}

/**
 * A client of one registry. Nothing is sent before the first call.
 *
 * @throws {UpstreamError} "refused": `host` is not a host with an optional port.
 */
export function createUpstream(options: UpstreamOptions): Upstream {
  const { clock = systemClock, dispatcher, observer, retries, userAgent } = options;
  const base = parseBase(options);
  const { host } = base;
  const publicExchange = createPublicExchange(host, options);
  const exchange = createExchange({ host, dispatcher, userAgent, observer });
  const redirected = followRedirects(host, exchange);
  const authenticated = authenticating({
    upstream: base,
    clock,
    credentials: options.credentials,
    exchange: retrying(exchange, { retries, clock }),
    foreignExchange: retrying(publicExchange.exchange, { retries, clock }),
    registry: retrying(limiting(redirected, createLimiter(options.maxConnections)), { retries, clock }),
    unlimited: retrying(redirected, { retries, clock }),
  });
  const registry: Registry = { host, ask: createAsk(base, authenticated, clock) };
  return {
    resolve: (repository, reference, signal) => resolveManifest(registry, repository, reference, signal),
    manifest: (repository, reference, signal) => fetchManifest(registry, repository, reference, signal),
    blob: (repository, digest, from, signal) => openBlob(registry, repository, digest, from, signal),
    statBlob: (repository, digest, signal) => statBlob(registry, repository, digest, signal),
    tags: (repository, query, signal) => listTags(registry, repository, query, signal),
    referrers: (repository, subject, query, signal) => listReferrers(registry, repository, subject, query, signal),
    close: async () => {
      await Promise.all([publicExchange.close(), options.sharedDispatcher === true ? undefined : dispatcher.close()]);
    },
  };
}

/** Holds a slot from before the request until the response's body has ended, redirects included. */
export function limiting(exchange: Exchange, limiter: Limiter): Exchange {
  return async (request, signal) => {
    const queue = { key: `${request.kind} ${request.repository}`, bulk: request.kind === "blob" };
    const release = await limiter.acquire(queue, signal);
    try {
      const response = await exchange(request, signal);
      if (response.body.closed) {
        release();
      } else {
        response.body.once("close", release);
      }
      return response;
    } catch (error) {
      release();
      throw error;
    }
  };
}

function parseBase({ host, tls }: UpstreamOptions): URL {
  const base = URL.parse(`${tls ? "https" : "http"}://${host}/`);
  if (base === null || /[/?#@\\\s]/.test(host)) {
    throw new UpstreamError(host, "refused", "not a host name with an optional port");
  }
  return base;
}

/** Most upstreams never need it, so its connections are set up at its first use. */
function createPublicExchange(
  host: string,
  options: UpstreamOptions,
): { readonly exchange: Exchange; close(): Promise<void> } {
  const { observer, publicDispatcher, userAgent } = options;
  let own: Dispatcher | undefined;
  return {
    exchange: (request, signal) => {
      const dispatcher =
        publicDispatcher ?? (own ??= createDispatcher({ ...options, acceptInvalidCerts: false, onlyPublic: true }));
      return createExchange({ host, dispatcher, userAgent, observer })(request, signal);
    },
    close: async () => {
      await own?.close();
    },
  };
}
