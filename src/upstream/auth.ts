import { LRUCache } from "lru-cache";
import type { Repository } from "../oci/reference.ts";
import { discard } from "./body.ts";
import { CredentialError, type CredentialSource } from "./credentials/source.ts";
import { type Credentials, fingerprint, formatBasic } from "./credentials.ts";
import { isChallenge, readDemand } from "./demand.ts";
import { createTokenCache } from "./token-cache.ts";
import { fetchToken, type TokenClientOptions } from "./tokens.ts";
import type { Exchange, HttpRequest, HttpResponse } from "./transport.ts";
import { UpstreamError } from "./upstream.ts";

/** What authentication needs to know and to reach. */
export interface AuthOptions extends TokenClientOptions {
  /** Asked for each request, by the repository's name as clients know it. `undefined`: anonymous. It is not closed. */
  readonly credentials: CredentialSource | undefined;
  /** What the registry's names of repositories begin with: empty, or with a slash at its end. */
  readonly prefix: string;
  /** The registry, with redirects, retries and the limiter. */
  readonly registry: Exchange;
  /** The same without the limiter, for questions about authentication alone. */
  readonly unlimited: Exchange;
}

/** How many repositories' tokens are remembered for an upstream. */
const maxRemembered = 256;

/** What worked for a repository the last time. */
type Way = { readonly scheme: "basic" } | { readonly scheme: "bearer"; readonly key: string };

/** How a request went with certain credentials. */
interface Attempt {
  readonly response: HttpResponse;
  /** Whether the credentials themselves, rather than a token made of them, were answered with 401 or 403. */
  readonly refused: boolean;
}

/**
 * Adds authentication to requests to the registry (protocol: distribution, docs/spec/auth).
 *
 * A repository's token, or Basic where that worked before, is sent at once. Otherwise, or when a token is refused, the
 * request goes out bare, as an expired token can change the challenge (nvcr.io), and the 401's challenge is answered
 * once. A 401 or 403 after that is an answer and not tried again: token servers give tokens of less scope than asked.
 * Only where the credentials themselves are refused, and their source has others then, is all that done once more with
 * those: ECR says 403 when they have expired.
 *
 * @returns an exchange that gives a 401 or 403 back where the registry, or its token server, grants nothing. It throws
 *   `UpstreamError` "token" where the source has no credentials to give.
 */
export function authenticating(options: AuthOptions): Exchange {
  const attempt = createAttempts(options);
  const source = options.credentials;
  const { host } = options.upstream;
  return async (request, signal) => {
    const credentials = await getCredentials(host, source, request, signal);
    const first = await attempt(request, credentials, signal);
    if (!first.refused || credentials === undefined || source === undefined) {
      return first.response;
    }
    source.refused(credentials);
    const renewed = await getCredentials(host, source, request, signal);
    if (fingerprint(renewed) === fingerprint(credentials)) {
      return first.response;
    }
    discard(first.response);
    return (await attempt(request, renewed, signal)).response;
  };
}

async function getCredentials(
  host: string,
  source: CredentialSource | undefined,
  request: HttpRequest,
  signal: AbortSignal,
): Promise<Credentials | undefined> {
  try {
    // The request was made for a name that was parsed.
    return await source?.get(request.repository as Repository, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof CredentialError) {
      throw new UpstreamError(host, "token", `no credentials: ${error.message}`, { cause: error });
    }
    throw error;
  }
}

function createAttempts(
  options: AuthOptions,
): (request: HttpRequest, credentials: Credentials | undefined, signal: AbortSignal) => Promise<Attempt> {
  const { registry } = options;
  const tokens = createTokenCache(options.clock, maxRemembered);
  const ways = new LRUCache<string, Way>({ max: maxRemembered });

  return async (asked, credentials, signal) => {
    const identity = fingerprint(credentials);
    const request: HttpRequest = { ...asked, identity };
    const send = (authorization: string | undefined): Promise<HttpResponse> =>
      registry({ ...request, headers: { ...request.headers, authorization } }, signal);
    const sendBasic = async (basic: Credentials): Promise<Attempt> => {
      const response = await send(formatBasic(basic));
      return { response, refused: isRefusal(response) };
    };

    const wayKey = `${identity} ${request.repository}`;
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
    if (token !== undefined && way?.scheme === "bearer" && isChallenge(response)) {
      ways.delete(wayKey);
      tokens.drop(way.key, token);
      discard(response);
      response = await send(undefined);
    }
    if (!isChallenge(response)) {
      return { response, refused: false };
    }
    // Before the token is asked for: the body holds a slot of the limiter. The status is still there to be given back.
    discard(response);
    const demand = await readDemand(response, request, { ...options, credentials }, signal);
    if (demand === undefined) {
      return { response, refused: false };
    }
    if (demand.scheme === "basic") {
      ways.set(wayKey, { scheme: "basic" });
      return sendBasic(demand.credentials);
    }
    const { realm, scopes, service } = demand.request;
    const key = JSON.stringify([identity, realm.href, service, scopes]);
    const fetched = await tokens.get(key, (own) => fetchToken(demand.request, options, own), signal);
    if (fetched === undefined) {
      return { response, refused: demand.request.credentials !== undefined };
    }
    ways.set(wayKey, { scheme: "bearer", key });
    return { response: await send(`Bearer ${fetched}`), refused: false };
  };
}

/** A 401 or 403 of the registry itself, and not of what it redirected to. */
function isRefusal(response: HttpResponse): boolean {
  return (response.status === 401 || response.status === 403) && !response.crossedOrigin;
}
