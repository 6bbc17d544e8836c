import type { Challenge } from "../oci/challenge.ts";
import { type Credentials, isIdentityToken } from "./credentials.ts";
import { judgeRealm } from "./realm.ts";
import { challengesOf, type RegistryChallenge } from "./registry-challenge.ts";
import type { TokenRequest } from "./tokens.ts";
import type { HttpRequest, HttpResponse } from "./transport.ts";
import { UpstreamError } from "./upstream.ts";

/** What a challenge asks for, as far as we can give it. */
export type Demand =
  | { readonly scheme: "basic"; readonly credentials: Credentials }
  | { readonly scheme: "bearer"; readonly request: TokenRequest };

/** What there is to meet a challenge with. */
export interface DemandOptions {
  readonly upstream: URL;
  /** Hosts of token servers that are configured for this upstream. */
  readonly realmHosts: readonly string[];
  /** What the registry's names of repositories begin with: empty, or with a slash at its end. */
  readonly prefix: string;
  readonly credentials: Credentials | undefined;
  /** Asked where a response has no challenge of its own. */
  readonly challenge: RegistryChallenge | undefined;
}

/**
 * What the response wants of us. The challenge of the request itself counts; where it has none (gcr.io), or none that
 * the credentials are of use for, that of `/v2/`, but for its scope, which is a placeholder on ghcr.io.
 *
 * @returns `undefined`: nothing that we could give.
 * @throws {UpstreamError} "token": a token is wanted, but from a server that may not be asked. As `RegistryChallenge`.
 */
export async function readDemand(
  response: HttpResponse,
  request: HttpRequest,
  options: DemandOptions,
): Promise<Demand | undefined> {
  const challenges = challengesOf(response);
  const demand = chooseDemand(challenges, request, true, options);
  if (demand !== undefined || (challenges.length > 0 && options.credentials === undefined)) return demand;
  return chooseDemand((await options.challenge?.get(request)) ?? [], request, false, options);
}

/** Bearer comes first, unless Basic is the only way for the credentials to be of use. */
function chooseDemand(
  challenges: readonly Challenge[],
  request: HttpRequest,
  trustScope: boolean,
  options: DemandOptions,
): Demand | undefined {
  const { credentials, upstream, realmHosts } = options;
  const bearers = challenges.flatMap(({ scheme, parameters }) => {
    const realm = scheme === "bearer" ? URL.parse(parameters.get("realm") ?? "") : null;
    return realm === null ? [] : [{ realm, parameters, trust: judgeRealm(realm, upstream, realmHosts) }];
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
  const name = `${options.prefix}${request.repository}`;
  return {
    scheme: "bearer",
    request: {
      realm: bearer.realm,
      service: service === "" ? undefined : service,
      scopes: scopesOf(trustScope ? bearer.parameters.get("scope") : undefined, name),
      credentials: bearer.trust === "trusted" ? credentials : undefined,
      identity: request.identity,
      repository: request.repository,
    },
  };
}

/** The challenge's own scopes, without any right but pulling; our own idea of them where it has none. */
function scopesOf(scope: string | undefined, repository: string): string[] {
  const scopes = (scope ?? "").split(" ").filter((part) => part !== "");
  if (scopes.length === 0) return [`repository:${repository}:pull`];
  return scopes.map((part) => {
    const colon = part.lastIndexOf(":");
    const actions = part.slice(colon + 1).split(",");
    return part.startsWith("repository") && actions.includes("pull") ? `${part.slice(0, colon)}:pull` : part;
  });
}
