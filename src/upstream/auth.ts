import type { Repository } from "../oci/reference.ts";
import { attempt, type AttemptOptions, type Learned } from "./attempt.ts";
import type { Clock } from "../concurrency/clock.ts";
import { CredentialError, type CredentialSource } from "./credentials/source.ts";
import { type Credentials, fingerprint } from "./credentials.ts";
import type { Exchange, HttpRequest } from "./transport.ts";
import { UpstreamError } from "./upstream.ts";

/** What authentication needs to know and to reach. */
export interface AuthOptions extends AttemptOptions {
  /** Asked for each request, by the repository's name as clients know it. `undefined`: anonymous. It is not closed. */
  readonly credentials: CredentialSource | undefined;
}

/**
 * Adds authentication to requests to the registry (protocol: distribution, docs/spec/auth).
 *
 * A repository's token, or Basic where that worked before, is sent at once. Otherwise, or when a token is refused, the
 * request goes out bare, as an expired token can change the challenge (nvcr.io), and the 401's challenge is answered
 * once. Where there are credentials, a bare 403 or 404 is looked into as well: the registry may hide what is there from
 * who is not logged in. A 401 or 403 after that is an answer and not tried again: token servers give tokens of less
 * scope than asked. Only where the credentials themselves are refused, and their source has others then, is all that
 * done once more with those: ECR says 403 when they have expired.
 *
 * @returns an exchange that gives a 401 or 403 back where the registry, or its token server, grants nothing. It throws
 *   `UpstreamError` "token" where the source has no credentials to give.
 */
export function authenticating(options: AuthOptions): Exchange {
  const { credentials: source } = options;
  const { host } = options.upstream;
  return async (request) => {
    const credentials = await getCredentials(host, source, request);
    const first = await attempt(options, request, credentials);
    if (!first.refused || credentials === undefined || source === undefined) return first.response;
    source.refused(credentials);
    const renewed = await getCredentials(host, source, request);
    if (fingerprint(renewed) === fingerprint(credentials)) return first.response;
    first.response.body.discard();
    return (await attempt(options, request, renewed)).response;
  };
}

async function getCredentials(
  host: string,
  source: CredentialSource | undefined,
  request: HttpRequest,
): Promise<Credentials | undefined> {
  try {
    // The request was made for a name that was parsed.
    return await source?.get(request.repository as Repository, request.signal);
  } catch (error) {
    request.signal.throwIfAborted();
    if (error instanceof CredentialError) {
      throw new UpstreamError(host, "token", `no credentials: ${error.message}`, { cause: error });
    }
    throw error;
  }
}

/** Where a redirect leads, and by which ways. */
export interface OtherRegistriesOptions {
  /** The registry that redirects. */
  readonly upstream: URL;
  readonly clock: Clock;
  readonly learned: Learned;
  /** To what the registry leads to, without redirects. */
  readonly exchange: Exchange;
  /** The same with retries, for token servers of the other registry's own site. */
  readonly tokenExchange: Exchange;
  /** To public addresses only, for the others. */
  readonly foreignExchange: Exchange;
}

/**
 * Answers the challenges of other registries that a redirect leads to (Scarf, in front of lscr.io and others), as those
 * of a registry that is not configured: with a token for anybody, and with nothing of the registry that redirects. What
 * wants more than that has its 401 given back.
 *
 * It stands below the redirects, so that the token goes no further than the host it is for.
 */
export function answeringOthers(options: OtherRegistriesOptions): Exchange {
  const { clock, exchange, learned, upstream } = options;
  // So that the upstream's own headers are not sent where a challenge leads back to it.
  const led =
    (by: Exchange): Exchange =>
    (request) =>
      by({ ...request, crossedOrigin: true });
  const common = {
    prefix: "",
    realmHosts: [],
    challenge: undefined,
    learned,
    clock,
    registry: exchange,
    exchange: led(options.tokenExchange),
    foreignExchange: led(options.foreignExchange),
  };
  return async (request) => {
    const { crossedOrigin, kind, url } = request;
    if (crossedOrigin !== true || kind === "token" || url.origin === upstream.origin) return exchange(request);
    const other = { ...common, upstream: new URL(url.origin) };
    const asked = { ...request, repository: repositoryOf(url) ?? request.repository };
    return (await attempt(other, asked, undefined)).response;
  };
}

/** The repository that a registry's URL is about, by its name there. */
function repositoryOf(url: URL): string | undefined {
  return /\/v2\/(.+)\/(?:manifests|blobs|tags|referrers)\/[^/]+$/.exec(url.pathname)?.[1];
}
