import { DocumentError, type Json, parseDocument } from "../oci/document.ts";
import { type Credentials, formatBasic, isIdentityToken } from "./credentials.ts";
import { withoutQuery, toStatusError } from "./failures.ts";
import type { Clock } from "../concurrency/clock.ts";
import { judgeRealm } from "./realm.ts";
import { isRedirect, maxRedirects, redirectTarget } from "./redirects.ts";
import type { PassingText } from "./text-cache.ts";
import type { Exchange, HttpRequest, HttpResponse } from "./transport.ts";
import { UpstreamError } from "./upstream.ts";

/** What a Bearer challenge asks us to get a token for. */
export interface TokenRequest {
  readonly realm: URL;
  readonly service: string | undefined;
  /** Each goes into a parameter of its own: some servers read only the first of a list. */
  readonly scopes: readonly string[];
  readonly credentials: Credentials | undefined;
  /** As of `HttpRequest`. */
  readonly identity: string | undefined;
  /** For the account of requests only. */
  readonly repository: string;
}

/** How token servers are reached. */
export interface TokenClientOptions {
  readonly upstream: URL;
  /** Hosts of token servers that are configured for this upstream. */
  readonly realmHosts: readonly string[];
  readonly clock: Clock;
  /** To the upstream's own site, and to configured token servers: without redirects, with retries. */
  readonly exchange: Exchange;
  /** To other sites: as `exchange`, but to public addresses only. */
  readonly foreignExchange: Exchange;
}

const clientId = "entrepot";
const maxTokenBodyBytes = 1024 * 1024;
const maxTokenNames = 1_000;
/** The lifetime of a token that does not state one (distribution, "Token Authentication Specification"). */
const defaultLifetimeSeconds = 60;

/**
 * Fetches a token (protocol: distribution, docs/spec/auth): by GET, with Basic where there are credentials; by POST with an
 * identity token, and where a server has no GET.
 *
 * @returns `undefined`: the server grants nothing. 401 and 403 are ghcr.io's answer for an absent repository, and 400
 *   is quay.io's for a name that it does not like.
 * @throws {UpstreamError} "token", whatever the reason: a realm that may not be asked, no answer, another status, or
 *   an answer without a token; but for "busy", as `limiting`. The signal's reason after an abort.
 */
export async function fetchToken(
  request: TokenRequest,
  options: TokenClientOptions,
  signal: AbortSignal,
): Promise<PassingText | undefined> {
  const { host } = options.upstream;
  try {
    const trusted = judgeRealm(request.realm, options.upstream, options.realmHosts) === "trusted";
    const credentials = trusted ? request.credentials : undefined;
    const prefersPost = credentials !== undefined && isIdentityToken(credentials);
    let response = await (prefersPost ? post(request, credentials, options, signal) : get(request, options, signal));
    if (!prefersPost && credentials !== undefined && [404, 405].includes(response.status)) {
      response.body.discard();
      response = await post(request, credentials, options, signal);
    }
    if (response.status === 200) return parseToken(host, response.url, await response.body.read(maxTokenBodyBytes));
    response.body.discard();
    if ([400, 401, 403].includes(response.status)) return undefined;
    throw toStatusError(response, options.clock.now());
  } catch (error) {
    signal.throwIfAborted();
    throw toTokenError(host, request.realm, error);
  }
}

async function get(request: TokenRequest, options: TokenClientOptions, signal: AbortSignal): Promise<HttpResponse> {
  const query = [
    ...(request.service === undefined ? [] : [`service=${encodeURIComponent(request.service)}`]),
    ...request.scopes.map((scope) => `scope=${encodeURIComponent(scope)}`),
  ].join("&");
  let url = new URL(request.realm);
  url.hash = "";
  // The realm's own query stays as it is, to the letter.
  url.search = [url.search.slice(1), query].filter((part) => part !== "").join("&");
  const { host } = options.upstream;
  for (let hops = 0; hops <= maxRedirects; hops++) {
    const trust = judgeRealm(url, options.upstream, options.realmHosts);
    if (trust === "refused") {
      throw new UpstreamError(host, "token", `the token server ${url.host} is not one that may be asked`);
    }
    const exchange = trust === "foreign" ? options.foreignExchange : options.exchange;
    const { credentials } = request;
    const maySend = trust === "trusted" && credentials !== undefined && !isIdentityToken(credentials);
    const authorization = maySend ? formatBasic(credentials) : undefined;
    const response = await exchange({
      ...about(request),
      signal,
      method: "GET",
      url,
      headers: { accept: "application/json", authorization },
    });
    if (!isRedirect(response.status)) return response;
    response.body.discard();
    url = redirectTarget(response);
  }
  throw new UpstreamError(host, "token", `${withoutQuery(request.realm)}: the redirects do not end`);
}

/** The realm must be trusted: the body is the credentials. That is why no redirect is followed either. */
async function post(
  request: TokenRequest,
  credentials: Credentials,
  options: TokenClientOptions,
  signal: AbortSignal,
): Promise<HttpResponse> {
  const { realm, scopes, service } = request;
  const form = new URLSearchParams(
    isIdentityToken(credentials)
      ? { grant_type: "refresh_token", refresh_token: credentials.password }
      : { grant_type: "password", username: credentials.username, password: credentials.password },
  );
  form.set("client_id", clientId);
  if (service !== undefined) {
    form.set("service", service);
  }
  if (scopes.length > 0) {
    form.set("scope", scopes.join(" "));
  }
  return options.exchange({
    ...about(request),
    signal,
    method: "POST",
    url: realm,
    headers: { accept: "application/json", "content-type": "application/x-www-form-urlencoded" },
    body: form.toString(),
  });
}

function about({ repository, identity }: TokenRequest): Pick<HttpRequest, "kind" | "repository" | "identity"> {
  return { kind: "token", repository, identity };
}

function parseToken(host: string, url: URL, bytes: Buffer): PassingText {
  const unusable = new UpstreamError(host, "token", `${withoutQuery(url)}: the answer holds no usable token`);
  let fields: Json;
  try {
    ({ fields } = parseDocument(bytes, maxTokenNames));
  } catch (error) {
    if (!(error instanceof DocumentError)) throw error;
    throw unusable;
  }
  const value = [fields.token, fields.access_token].find((field) => typeof field === "string" && field !== "");
  // It becomes part of a header.
  if (typeof value !== "string" || !/^[\x21-\x7e]+$/.test(value)) throw unusable;
  const lifetimeSeconds = Number(fields.expires_in);
  return { value, lifetimeSeconds: lifetimeSeconds > 0 ? lifetimeSeconds : defaultLifetimeSeconds };
}

function toTokenError(host: string, realm: URL, error: unknown): UpstreamError {
  if (error instanceof UpstreamError && (error.failure === "token" || error.failure === "busy")) return error;
  const { status, retryAfterSeconds } = error instanceof UpstreamError ? error : {};
  return new UpstreamError(host, "token", `the token server ${realm.host} could not be asked`, {
    cause: error,
    status,
    retryAfterSeconds,
  });
}
