import { LRUCache } from "lru-cache";
import { type Challenge, parseChallenges } from "../oci/challenge.ts";
import { discard } from "./body.ts";
import { type Credentials, fingerprint, formatBasic, isIdentityToken } from "./credentials.ts";
import { judgeRealm } from "./realm.ts";
import { createTokenCache, type TokenCache } from "./token-cache.ts";
import { fetchToken, type TokenClientOptions, type TokenRequest } from "./tokens.ts";
import type { Exchange, HttpRequest, HttpResponse } from "./transport.ts";
import { UpstreamError } from "./upstream.ts";

/** What authentication needs to know and to reach. */
export interface AuthOptions extends TokenClientOptions {
  readonly credentials: Credentials | undefined;
  /** The registry, with redirects, retries and the limiter. */
  readonly registry: Exchange;
  /** The same without the limiter, for questions about authentication alone. */
  readonly unlimited: Exchange;
}

/** How many repositories' tokens are remembered for an upstream. */
const maxRemembered = 256;

/** What worked for a repository the last time. */
type Way = { readonly scheme: "basic" } | { readonly scheme: "bearer"; readonly key: string };

/** What a challenge asks for, as far as we can give it. */
type Demand =
  | { readonly scheme: "basic"; readonly credentials: Credentials }
  | { readonly scheme: "bearer"; readonly request: TokenRequest };

/**
 * Adds authentication to requests to the registry (protocol: distribution, docs/spec/auth).
 *
 * A repository's token, or Basic where that worked before, is sent at once. Otherwise, or when a token is refused, the
 * request goes out bare, as an expired token can change the challenge (nvcr.io), and the 401's challenge is answered
 * once. A 401 or 403 after that is an answer and not tried again: token servers give tokens of less scope than asked.
 *
 * @returns an exchange that gives a 401 or 403 back where the registry, or its token server, grants nothing.
 */
export function authenticating(options: AuthOptions): Exchange {
  const { credentials, registry } = options;
  const tokens = createTokenCache(options.clock, maxRemembered);
  const ways = new LRUCache<string, Way>({ max: maxRemembered });
  const identity = fingerprint(credentials);

  return async (request, signal) => {
    const send = (authorization: string | undefined): Promise<HttpResponse> =>
      registry({ ...request, headers: { ...request.headers, authorization } }, signal);

    const way = ways.get(request.repository);
    const known = knownAuthorization(way, tokens, credentials);
    let response = await send(known);
    if (known !== undefined && isChallenge(response)) {
      ways.delete(request.repository);
      if (way?.scheme !== "bearer") {
        return response;
      }
      tokens.drop(way.key, known.slice("Bearer ".length));
      discard(response);
      response = await send(undefined);
    }
    if (!isChallenge(response)) {
      return response;
    }
    // Before the token is asked for: the body holds a slot of the limiter. The status is still there to be given back.
    discard(response);
    const demand = await readDemand(response, request, options, signal);
    if (demand === undefined) {
      return response;
    }
    if (demand.scheme === "basic") {
      ways.set(request.repository, { scheme: "basic" });
      return send(formatBasic(demand.credentials));
    }
    const { realm, scopes, service } = demand.request;
    const key = JSON.stringify([identity, realm.href, service, scopes]);
    const token = await tokens.get(key, (own) => fetchToken(demand.request, options, own), signal);
    if (token === undefined) {
      return response;
    }
    ways.set(request.repository, { scheme: "bearer", key });
    return send(`Bearer ${token}`);
  };
}

/** A 401 of the registry itself; one of a redirect's target gets nothing of ours. */
function isChallenge(response: HttpResponse): boolean {
  return response.status === 401 && !response.crossedOrigin;
}

function knownAuthorization(
  way: Way | undefined,
  tokens: TokenCache,
  credentials: Credentials | undefined,
): string | undefined {
  if (way?.scheme === "basic") {
    return credentials === undefined ? undefined : formatBasic(credentials);
  }
  const token = way === undefined ? undefined : tokens.peek(way.key);
  return token === undefined ? undefined : `Bearer ${token}`;
}

/**
 * What the 401 wants of us. The challenge of the request itself counts; where it has none (gcr.io), that of `/v2/`, but
 * for its scope, which is a placeholder on ghcr.io.
 *
 * @returns `undefined`: nothing that we could give.
 * @throws {UpstreamError} "token": a token is wanted, but from a server that may not be asked.
 */
async function readDemand(
  response: HttpResponse,
  request: HttpRequest,
  options: AuthOptions,
  signal: AbortSignal,
): Promise<Demand | undefined> {
  const { repository } = request;
  const challenges = challengesOf(response);
  if (challenges.length > 0) {
    return chooseDemand(challenges, repository, true, options);
  }
  const url = new URL("/v2/", options.upstream);
  const ping = await options.unlimited({ kind: "token", method: "GET", repository, url, headers: {} }, signal);
  discard(ping);
  return isChallenge(ping) ? chooseDemand(challengesOf(ping), repository, false, options) : undefined;
}

/** Bearer comes first, unless Basic is the only way for the credentials to be of use. */
function chooseDemand(
  challenges: readonly Challenge[],
  repository: string,
  trustScope: boolean,
  options: AuthOptions,
): Demand | undefined {
  const { credentials, upstream } = options;
  const bearers = challenges.flatMap(({ scheme, parameters }) => {
    const realm = scheme === "bearer" ? URL.parse(parameters.get("realm") ?? "") : null;
    return realm === null ? [] : [{ realm, parameters, trust: judgeRealm(realm, upstream) }];
  });
  const bearer = bearers.find(({ trust }) => trust === "trusted") ?? bearers.find(({ trust }) => trust !== "refused");
  const hasBasic = challenges.some(({ scheme }) => scheme === "basic");
  if (hasBasic && bearer?.trust !== "trusted" && credentials !== undefined && !isIdentityToken(credentials)) {
    return { scheme: "basic", credentials };
  }
  if (bearer === undefined) {
    if (bearers[0] !== undefined) {
      const message = `the token server ${bearers[0].realm.host} is not one that may be asked`;
      throw new UpstreamError(upstream.host, "token", message);
    }
    return undefined;
  }
  const service = bearer.parameters.get("service");
  return {
    scheme: "bearer",
    request: {
      realm: bearer.realm,
      service: service === "" ? undefined : service,
      scopes: scopesOf(trustScope ? bearer.parameters.get("scope") : undefined, repository),
      credentials,
      repository,
    },
  };
}

/** The challenge's own scopes, without any right but pulling; our own idea of them where it has none. */
function scopesOf(scope: string | undefined, repository: string): string[] {
  const scopes = (scope ?? "").split(" ").filter((part) => part !== "");
  if (scopes.length === 0) {
    return [`repository:${repository}:pull`];
  }
  return scopes.map((part) => {
    const colon = part.lastIndexOf(":");
    const actions = part.slice(colon + 1).split(",");
    return part.startsWith("repository") && actions.includes("pull") ? `${part.slice(0, colon)}:pull` : part;
  });
}

function challengesOf(response: HttpResponse): Challenge[] {
  return parseChallenges(response.header("www-authenticate") ?? "");
}
