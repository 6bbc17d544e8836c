import { hash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Clock } from "../concurrency/clock.ts";
import { type Credentials, fingerprint, formatBasic } from "./credentials.ts";
import { type Demand, readDemand } from "./demand.ts";
import { isChallenge, type RegistryChallenge } from "./registry-challenge.ts";
import { createTextCache, type TextCache } from "./text-cache.ts";
import { fetchToken, type TokenClientOptions } from "./tokens.ts";
import type { Exchange, HttpRequest, HttpResponse } from "./transport.ts";

/** A registry that is asked with certain credentials. */
export interface AttemptOptions extends TokenClientOptions {
  /** What the registry's names of repositories begin with: empty, or with a slash at its end. */
  readonly prefix: string;
  readonly registry: Exchange;
  /** What the registry as a whole wants; `undefined`: only what it says of the request itself counts. */
  readonly challenge: RegistryChallenge | undefined;
}

/** How a request went with certain credentials. */
export interface Attempt {
  readonly response: HttpResponse;
  /** Whether the credentials themselves, rather than a token made of them, were answered with 401 or 403. */
  readonly refused: boolean;
}

/** What worked for a repository the last time. */
type Way = { readonly scheme: "basic" } | { readonly scheme: "bearer"; readonly key: string };

/** What was learned of authentication, of any number of registries together. */
export interface Learned {
  readonly ways: LRUCache<string, Way>;
  readonly tokens: TextCache;
}

/**
 * Nothing learned yet.
 *
 * @param maxRemembered Of how many repositories, and how many tokens; the longest unused go first.
 */
export function createLearned(clock: Clock, maxRemembered: number): Learned {
  return { ways: new LRUCache({ max: maxRemembered }), tokens: createTextCache(clock, maxRemembered) };
}

/** Sends a request with these credentials, or a token made of them, as far as they are asked for. */
export async function attempt(
  options: AttemptOptions,
  { ways, tokens }: Learned,
  asked: HttpRequest,
  credentials: Credentials | undefined,
): Promise<Attempt> {
  const identity = fingerprint(credentials);
  const request: HttpRequest = { ...asked, identity };
  const send = (authorization: string | undefined): Promise<HttpResponse> =>
    options.registry({ ...request, headers: { ...request.headers, authorization } });
  const sendBasic = async (basic: Credentials): Promise<Attempt> => {
    const response = await send(formatBasic(basic));
    return { response, refused: isRefusal(response) };
  };
  const meet = async (demand: Demand, bare: HttpResponse): Promise<Attempt> => {
    if (demand.scheme === "basic") {
      const answered = await sendBasic(demand.credentials);
      if (!answered.refused) {
        ways.set(wayKey, { scheme: "basic" });
      }
      return answered;
    }
    const { realm, scopes, service } = demand.request;
    const key = keyOf(identity, realm.href, service, scopes);
    const fetched = await tokens.get(key, (own) => fetchToken(demand.request, options, own), request.signal);
    if (fetched === undefined) {
      return { response: bare, refused: demand.request.credentials !== undefined };
    }
    ways.set(wayKey, { scheme: "bearer", key });
    return { response: await send(`Bearer ${fetched}`), refused: false };
  };

  const wayKey = keyOf(identity, options.upstream.origin, request.repository);
  const way = ways.get(wayKey);
  if (way?.scheme === "basic" && credentials !== undefined) {
    const known = await sendBasic(credentials);
    if (isChallenge(known.response)) {
      ways.delete(wayKey);
    }
    return known;
  }
  const token = way?.scheme === "bearer" ? tokens.peek(way.key) : undefined;
  let response = await send(token === undefined ? undefined : `Bearer ${token}`);
  if (token !== undefined && way?.scheme === "bearer") {
    if (!isChallenge(response)) {
      return { response, refused: false };
    }
    ways.delete(wayKey);
    tokens.drop(way.key, token);
    response.body.discard();
    response = await send(undefined);
  }
  const hides = credentials !== undefined && mayHide(response);
  if (!isChallenge(response) && !hides) {
    return { response, refused: false };
  }
  // Before anything else is asked: the body holds a slot of the limiter. The status is still there to be given back.
  response.body.discard();
  const demand = await readDemand(response, request, { ...options, credentials });
  if (demand === undefined || (hides && !usesCredentials(demand))) {
    return { response, refused: false };
  }
  let isMet = false;
  try {
    const answered = await meet(demand, response);
    isMet = !answered.refused && !isChallenge(answered.response);
    return answered;
  } finally {
    if (!isMet) {
      options.challenge?.forget(identity);
    }
  }
}

/**
 * Whether what is there may have been kept from somebody who is not logged in: GitHub Packages and Artifactory answer
 * so, and tell of a login at `/v2/` only (containerd#3291).
 */
function mayHide(response: HttpResponse): boolean {
  return (response.status === 404 || response.status === 403) && !response.crossedOrigin;
}

function usesCredentials(demand: Demand): boolean {
  return demand.scheme === "basic" || demand.request.credentials !== undefined;
}

/** A 401 or 403 of the registry itself, and not of what it redirected to. */
function isRefusal(response: HttpResponse): boolean {
  return (response.status === 401 || response.status === 403) && !response.crossedOrigin;
}

/** A key of fixed length: a challenge, and with it what it names, may be long. */
function keyOf(...parts: readonly unknown[]): string {
  return hash("sha256", JSON.stringify(parts), "base64");
}
