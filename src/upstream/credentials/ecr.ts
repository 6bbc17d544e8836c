import type { Clock } from "../../concurrency/clock.ts";
import type { Credentials } from "../credentials.ts";
import { type AwsKeys, signAwsRequest } from "./aws-signature.ts";
import { parseEcrHost } from "../../oci/provider-hosts.ts";
import type { FetchJson } from "./fetch-json.ts";
import { type Lease, RenewingSource } from "./renewing.ts";
import { CredentialError, type CredentialSource, type ProblemListener } from "./source.ts";

/** How Amazon ECR is logged in to. */
export interface EcrOptions {
  /** The registry: `<account>.dkr.ecr.<region>.amazonaws.com` or another of its names, or `public.ecr.aws`. */
  readonly host: string;
  readonly clock: Clock;
  /** For the public registry, whose API the client library does not have. */
  readonly fetchJson: FetchJson;
  /** The profile of AWS's own files; without it, the default chain. */
  readonly profile?: string | undefined;
  /** A role to take on (`sts:AssumeRole`) with what the chain gives. */
  readonly roleArn?: string | undefined;
  readonly externalId?: string | undefined;
  /** Where the API is, in place of the region's own endpoint: a VPC endpoint. */
  readonly endpoint?: string | undefined;
  /** The keys, in place of AWS's chain. */
  readonly keys?: (() => Promise<AwsKeys>) | undefined;
  readonly random?: (() => number) | undefined;
  readonly onProblem?: ProblemListener | undefined;
}

interface AuthorizationData {
  readonly authorizationToken?: unknown;
  readonly expiresAt?: unknown;
}

/** The only region that answers for the public registry. */
const publicRegion = "us-east-1";
const publicEndpoint = "https://api.ecr-public.us-east-1.amazonaws.com/";
/** What ECR documents; its answer says it, too. */
const lifetimeMs = 12 * 60 * 60_000;

/**
 * A source that gets its credentials from ECR's GetAuthorizationToken, which are good for 12 hours. Who asks is found by
 * AWS's default chain: environment, shared files, web identity (IRSA), EKS Pod Identity, ECS, EC2. The client library is
 * loaded when credentials are asked for, and the chain is gone through anew each time, as its files may have changed.
 *
 * @throws {CredentialError} The host is not one of ECR.
 */
export function createEcr(options: EcrOptions): CredentialSource {
  const { host, clock, random, onProblem } = options;
  const name = `ECR credentials for ${host}`;
  const registry = parseEcrHost(host);
  if (registry === undefined) {
    throw new CredentialError(name, "expected <account>.dkr.ecr.<region>.amazonaws.com, or public.ecr.aws");
  }
  const fetch = async (signal: AbortSignal): Promise<Lease> => {
    const data =
      registry.kind === "public"
        ? await askPublic(name, options, signal)
        : await askPrivate(registry.region, registry.fips, options, signal);
    const expiresAt = data?.expiresAt instanceof Date ? data.expiresAt.getTime() : clock.now() + lifetimeMs;
    return { credentials: decodeToken(name, data?.authorizationToken), expiresAt };
  };
  return new RenewingSource({ name, clock, fetch, random, onProblem });
}

async function askPrivate(
  region: string,
  fips: boolean,
  options: EcrOptions,
  signal: AbortSignal,
): Promise<AuthorizationData | undefined> {
  const { ECRClient, GetAuthorizationTokenCommand } = await import("@aws-sdk/client-ecr");
  const { endpoint } = options;
  const client = new ECRClient({
    region,
    useFipsEndpoint: fips,
    credentials: await findKeys(region, options),
    ...(endpoint === undefined ? {} : { endpoint }),
  });
  try {
    const answer = await client.send(new GetAuthorizationTokenCommand({}), { abortSignal: signal });
    return answer.authorizationData?.[0];
  } finally {
    client.destroy();
  }
}

/** The public registry's API, by hand: it is one request, and a whole package for it would be too much. */
async function askPublic(
  name: string,
  options: EcrOptions,
  signal: AbortSignal,
): Promise<AuthorizationData | undefined> {
  const url = new URL(options.endpoint ?? publicEndpoint);
  const keys = await (await findKeys(publicRegion, options))();
  const body = "{}";
  const headers = {
    "content-type": "application/x-amz-json-1.1",
    "x-amz-target": "SpencerFrontendService.GetAuthorizationToken",
  };
  const scope = { region: publicRegion, service: "ecr-public" };
  const signed = signAwsRequest({ url, headers, body }, keys, scope, options.clock.now());
  const answer = await options.fetchJson({ method: "POST", url, headers: signed, body }, signal);
  if (answer.status !== 200) {
    throw new CredentialError(name, `GetAuthorizationToken failed with status ${answer.status}`);
  }
  const { authorizationData } = (answer.body ?? {}) as { authorizationData?: AuthorizationData };
  const seconds = authorizationData?.expiresAt;
  return typeof seconds === "number"
    ? { ...authorizationData, expiresAt: new Date(seconds * 1000) }
    : authorizationData;
}

async function findKeys(region: string, options: EcrOptions): Promise<() => Promise<AwsKeys>> {
  const { profile, roleArn, externalId } = options;
  if (options.keys !== undefined) return options.keys;
  const { fromNodeProviderChain, fromTemporaryCredentials } = await import("@aws-sdk/credential-providers");
  const clientConfig = { region };
  const chain = fromNodeProviderChain({
    ignoreCache: true,
    clientConfig,
    ...(profile === undefined ? {} : { profile }),
  });
  if (roleArn === undefined) return () => chain();
  const assume = fromTemporaryCredentials({
    masterCredentials: chain,
    clientConfig,
    params: {
      RoleArn: roleArn,
      RoleSessionName: "entrepot",
      ...(externalId === undefined ? {} : { ExternalId: externalId }),
    },
  });
  return () => assume();
}

/** Reads base64 of `AWS:<password>`. */
function decodeToken(name: string, token: unknown): Credentials {
  const text = typeof token === "string" ? Buffer.from(token, "base64").toString("utf8") : "";
  const colon = text.indexOf(":");
  if (colon < 1) throw new CredentialError(name, "the answer of GetAuthorizationToken holds no token");
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}
