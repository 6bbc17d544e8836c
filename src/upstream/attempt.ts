import { hash } from "node:crypto";
import type { LRUCache } from "lru-cache";
import { boundedMap } from "../concurrency/bounded-map.ts";
import type { Clock } from "../concurrency/clock.ts";
import { type Credentials, fingerprint, formatBasic } from "./credentials.ts";
import { type Demand, readDemand } from "./demand.ts";
import { isChallenge, type RegistryChallenge } from "./registry-challenge.ts";
import { TextCache } from "./text-cache.ts";
import { fetchToken, type TokenClientOptions, type TokenRequest } from "./tokens.ts";
import type { Exchange, HttpRequest, HttpResponse } from "./transport.ts";

/** A registry that is asked with certain credentials. */
export interface AttemptOptions extends TokenClientOptions {
  /** What the registry's names of repositories begin with: empty, or with a slash at its end. */
  readonly prefix: string;
  readonly registry: Exchange;
  /** What the registry as a whole wants; `undefined`: only what it says of the request itself counts. */
  readonly challenge: RegistryChallenge | undefined;
  readonly learned: Learned;
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
  return { ways: boundedMap(maxRemembered), tokens: new TextCache(clock, maxRemembered) };
}

/** A request on its way, with what there is to log in with. */
interface Trial {
  readonly options: AttemptOptions;
  /** With the identity of the credentials. */
  readonly request: HttpRequest;
  readonly credentials: Credentials | undefined;
  /** Under which the way that worked is remembered. */
  readonly wayKey: string;
}

/** Sends a request with these credentials, or a token made of them, as far as they are asked for. */
export async function attempt(
  options: AttemptOptions,
  asked: HttpRequest,
  credentials: Credentials | undefined,
): Promise<Attempt> {
  const identity = fingerprint(credentials);
  const wayKey = keyOf(identity, options.upstream.origin, asked.repository);
  const trial: Trial = { options, request: { ...asked, identity }, credentials, wayKey };
  return (await sendByKnownWay(trial)) ?? (await answerChallenge(trial, await send(trial, undefined)));
}

/** Sends it as it worked the last time; `undefined`: no way is known, or not any more. */
async function sendByKnownWay(trial: Trial): Promise<Attempt | undefined> {
  const { options, credentials, wayKey } = trial;
  const { ways, tokens } = options.learned;
  const way = ways.get(wayKey);
  if (way?.scheme === "basic" && credentials !== undefined) {
    const known = await sendBasic(trial, credentials);
    if (isChallenge(known.response)) ways.delete(wayKey);
    return known;
  }
  if (way?.scheme !== "bearer") return undefined;
  const token = tokens.peek(way.key);
  if (token === undefined) return undefined;
  const response = await send(trial, `Bearer ${token}`);
  if (!isChallenge(response)) return { response, refused: false };
  ways.delete(wayKey);
  tokens.drop(way.key, token);
  response.body.discard();
  return undefined;
}

/** Gives the answer to a bare request back, or meets its challenge, once. */
async function answerChallenge(trial: Trial, bare: HttpResponse): Promise<Attempt> {
  const { options, request, credentials } = trial;
  const unmet: Attempt = { response: bare, refused: false };
  const hides = credentials !== undefined && mayHide(bare);
  if (!isChallenge(bare) && !hides) return unmet;
  // Before anything else is asked: the body holds a slot of the limiter. The status is still there to be given back.
  bare.body.discard();
  const demand = await readDemand(bare, request, { ...options, credentials });
  if (demand === undefined || (hides && !usesCredentials(demand))) return unmet;
  let isMet = false;
  try {
    const answered = await (demand.scheme === "basic"
      ? meetBasic(trial, demand.credentials)
      : meetBearer(trial, demand.request, bare));
    isMet = !answered.refused && !isChallenge(answered.response);
    return answered;
  } finally {
    if (!isMet) options.challenge?.forget(request.identity);
  }
}

async function meetBasic(trial: Trial, credentials: Credentials): Promise<Attempt> {
  const answered = await sendBasic(trial, credentials);
  if (!answered.refused) trial.options.learned.ways.set(trial.wayKey, { scheme: "basic" });
  return answered;
}

async function meetBearer(trial: Trial, wanted: TokenRequest, bare: HttpResponse): Promise<Attempt> {
  const { options, request, wayKey } = trial;
  const { ways, tokens } = options.learned;
  const key = keyOf(request.identity, wanted.realm.href, wanted.service, wanted.scopes);
  const token = await tokens.get(key, (signal) => fetchToken(wanted, options, signal), request.signal);
  if (token === undefined) return { response: bare, refused: wanted.credentials !== undefined };
  ways.set(wayKey, { scheme: "bearer", key });
  return { response: await send(trial, `Bearer ${token}`), refused: false };
}

async function sendBasic(trial: Trial, credentials: Credentials): Promise<Attempt> {
  const response = await send(trial, formatBasic(credentials));
  return { response, refused: isRefusal(response) };
}

function send({ options, request }: Trial, authorization: string | undefined): Promise<HttpResponse> {
  return options.registry({ ...request, headers: { ...request.headers, authorization } });
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
