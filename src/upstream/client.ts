import type { Dispatcher } from "undici";
import type { Repository } from "../oci/reference.ts";
import { RegistryClient } from "./registry-client.ts";
import { createLearned } from "./attempt.ts";
import { answeringOthers, authenticating } from "./auth.ts";
import { openBlob, statBlob } from "./blobs.ts";
import { type Clock, systemClock } from "../concurrency/clock.ts";
import { Budget } from "./budget.ts";
import { parseBase } from "./connection-pools.ts";
import type { CredentialSource } from "./credentials/source.ts";
import { type Limiter, QueueFull } from "../concurrency/limiter.ts";
import { fetchManifest, resolveManifest } from "./manifests.ts";
import { fetchReferrers, fetchTags } from "./pages.ts";
import { obeyingLimits } from "./rate-limit.ts";
import { isListedRealm } from "./realm.ts";
import { followRedirects } from "./redirects.ts";
import { RegistryChallenge } from "./registry-challenge.ts";
import { retrying } from "./retry.ts";
import { siteOf } from "./site.ts";
import { createExchange, type Exchange, type HttpResponse, type UpstreamObserver } from "./transport.ts";
import { type Upstream, UpstreamError } from "./upstream.ts";

/** How many requests may wait for one of an upstream's slots; more are refused, as they would be answered too late. */
export const maxWaiting = 1_024;
/** When who was refused for that may ask again. */
const busySeconds = 5;

/** One upstream's settings. */
export interface UpstreamOptions {
  /** `host` or `host:port`. */
  readonly host: string;
  /** False: plain http. */
  readonly tls: boolean;
  readonly userAgent: string;
  /** `undefined`: anonymous. The upstream does not close it. */
  readonly credentials: CredentialSource | undefined;
  /** The slots of requests to the registry and its token servers, each of which holds one until its body has ended. */
  readonly limiter: Limiter;
  /** Further tries before the first byte, for failures that may pass. */
  readonly retries: number;
  readonly observer: UpstreamObserver;
  /** For the upstream itself, and for `realmHosts`. `close` closes it, unless it is shared. */
  readonly dispatcher: Dispatcher;
  /** For the targets of redirects, and for token servers of the upstream's own site; closed with `dispatcher`. */
  readonly redirectDispatcher: Dispatcher;
  /** Whether others use the two dispatchers as well. Default: false. */
  readonly sharedDispatcher?: boolean | undefined;
  /** For token servers of other sites, which are asked without credentials. It is never closed here. */
  readonly publicDispatcher: Dispatcher;
  /**
   * Further headers for the upstream's own origin, never sent anywhere else. None is one that a request has by itself
   * or that is about the connection.
   */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** A project of the registry in which everything is looked for: `cache` makes `library/a` `cache/library/a` there. */
  readonly pathPrefix?: Repository | undefined;
  /** Hosts (`host` or `host:port`) of token servers of other sites that may be sent the credentials. */
  readonly realmHosts?: readonly string[] | undefined;
  /**
   * How much is remembered of each kind: how one logs in to repositories, and tokens. Default: 256.
   */
  readonly remembered?: number | undefined;
  /** The book of its limits, where others want to read it as well. */
  readonly budget?: Budget | undefined;
  readonly clock?: Clock | undefined;
}

/** How many repositories' ways and tokens are remembered, where nothing else is said. */
const usuallyRemembered = 256;

/**
 * A client of one registry. Nothing is sent before the first call.
 *
 * @throws {UpstreamError} "refused": `host` is not a host with an optional port.
 */
export function createUpstream(options: UpstreamOptions): Upstream {
  const { clock = systemClock, credentials, dispatcher, observer, redirectDispatcher, retries, userAgent } = options;
  const base = parseBase(options);
  const { host } = base;
  const prefix = options.pathPrefix === undefined ? "" : `${options.pathPrefix}/`;
  const { headers = {}, realmHosts = [], remembered = usuallyRemembered } = options;
  const own = { origin: base.origin, headers };
  const budget = options.budget ?? new Budget(clock);

  const connectBy = (by: Dispatcher): Exchange =>
    obeyingLimits(createExchange({ host, dispatcher: by, userAgent, observer, clock, own }), base, budget, clock);
  const direct = connectBy(dispatcher);
  const elsewhere = connectBy(redirectDispatcher);
  const exchange: Exchange = (request) => {
    const { url, kind } = request;
    const isOwn = url.origin === base.origin || (kind === "token" && isListedRealm(url, realmHosts));
    return (isOwn ? direct : elsewhere)(request);
  };
  const again = { retries, clock };
  const limited = (by: Exchange): Exchange => retrying(limiting(by, options.limiter, base), again);
  const publicly = connectBy(options.publicDispatcher);
  const others = answeringOthers({
    upstream: base,
    clock,
    learned: createLearned(clock, remembered),
    exchange,
    // Who is led there holds a slot.
    tokenExchange: retrying(elsewhere, again),
    foreignExchange: retrying(publicly, again),
  });
  const redirected = followRedirects(others);
  const authenticated = authenticating({
    upstream: base,
    prefix,
    realmHosts,
    clock,
    credentials,
    learned: createLearned(clock, remembered),
    challenge: new RegistryChallenge(base, retrying(redirected, again), clock),
    exchange: limited(exchange),
    foreignExchange: limited(publicly),
    registry: limited(redirected),
  });
  const registry = new RegistryClient(base, prefix, authenticated, clock);
  return {
    resolve: (...question) => resolveManifest(registry, ...question),
    manifest: (...question) => fetchManifest(registry, ...question),
    blob: (...question) => openBlob(registry, ...question),
    statBlob: (...question) => statBlob(registry, ...question),
    tags: (...question) => fetchTags(registry, ...question),
    referrers: (...question) => fetchReferrers(registry, ...question),
    close: async () => {
      if (options.sharedDispatcher !== true) {
        await Promise.all([dispatcher.destroy(), redirectDispatcher.destroy()]);
      }
    },
  };
}

/**
 * Holds a slot from before the request until the response's body has ended, redirects included. Who shares the limiter
 * has a party for each site of `upstream`s: whoever makes up hosts below a name of his own is one.
 *
 * @returns an exchange that also throws `UpstreamError` "busy".
 */
export function limiting(exchange: Exchange, limiter: Limiter, upstream: URL): Exchange {
  const party = siteOf(upstream.hostname) ?? upstream.host;
  const { host } = upstream;
  return async (request) => {
    const { interest, kind, signal } = request;
    const queue = { key: `${kind} ${request.url.host}/${request.repository}`, bulk: kind === "blob", party };
    let response: HttpResponse | undefined;
    const giveUp = (): void => response?.body.abandon(new UpstreamError(host, "timeout", "others wait for its place"));
    const release = await limiter.acquire(queue, signal, { giveUp, interest }).catch((error: unknown) => {
      if (!(error instanceof QueueFull)) throw error;
      throw new UpstreamError(host, "busy", error.message, { retryAfterSeconds: busySeconds });
    });
    try {
      response = await exchange(request);
      response.body.onClose(release);
      return response;
    } catch (error) {
      release();
      throw error;
    }
  };
}
