import { acrCloudOf } from "../../oci/provider-hosts.ts";
import type { Clock } from "../../concurrency/clock.ts";
import type { FetchJson } from "./fetch-json.ts";
import { RenewingSource } from "./renewing.ts";
import { CredentialError, type CredentialSource, type ProblemListener } from "./source.ts";

/** How Azure Container Registry is logged in to. */
export interface AcrOptions {
  /** The registry, with or without a port: `<name>.azurecr.io`. */
  readonly host: string;
  readonly clock: Clock;
  /** Exchanges Entra ID's token at the registry. */
  readonly fetchJson: FetchJson;
  /** The managed identity to use, where there are several; or that of the workload identity. */
  readonly clientId?: string | undefined;
  readonly tenantId?: string | undefined;
  /** Asks Entra ID for an access token, in place of the client library. */
  readonly askToken?: ((audience: string, signal: AbortSignal) => Promise<string>) | undefined;
  readonly random?: (() => number) | undefined;
  readonly onProblem?: ProblemListener | undefined;
}

/** Whom Entra ID's token is for: the registry's own audience, or where that is not known, Resource Manager's. */
const audiences: Readonly<Record<string, string>> = {
  io: "https://containerregistry.azure.net",
  cn: "https://management.chinacloudapi.cn",
  us: "https://management.usgovcloudapi.net",
};
/** For a refresh token that does not say; the registry's live for three hours. */
const unknownLifetimeMs = 60 * 60_000;

/**
 * A source that exchanges an access token of Entra ID for the registry's refresh token, which it gives as an identity
 * token. Who asks is found by Azure's default chain: a service principal in the environment, workload identity, managed
 * identity. The client library is loaded when credentials are asked for.
 *
 * @throws {CredentialError} The host is not one of Azure's: the token is good for other registries as well.
 */
export function createAcr(options: AcrOptions): CredentialSource {
  const { host, clock, fetchJson, tenantId, random, onProblem } = options;
  const name = `ACR credentials for ${host}`;
  const audience = audiences[acrCloudOf(host) ?? ""];
  if (audience === undefined) throw new CredentialError(name, "expected <name>.azurecr.io");
  const askToken = options.askToken ?? ((wanted, signal) => askAzure(name, wanted, options, signal));
  return new RenewingSource({
    name,
    clock,
    random,
    onProblem,
    async fetch(signal) {
      const token = await askToken(audience, signal);
      const form = new URLSearchParams({
        grant_type: "access_token",
        service: host.replace(/:\d+$/, ""),
        access_token: token,
      });
      if (tenantId !== undefined) {
        form.set("tenant", tenantId);
      }
      const url = new URL(`https://${host}/oauth2/exchange`);
      const headers = { accept: "application/json", "content-type": "application/x-www-form-urlencoded" };
      const answer = await fetchJson({ method: "POST", url, headers, body: form.toString() }, signal);
      if (answer.status !== 200) {
        throw new CredentialError(name, `the exchange of the token failed with status ${answer.status}`);
      }
      const { refresh_token: refreshToken } = (answer.body ?? {}) as { refresh_token?: unknown };
      if (typeof refreshToken !== "string" || refreshToken === "") {
        throw new CredentialError(name, "the exchange of the token gave no refresh token");
      }
      return {
        credentials: { username: "<token>", password: refreshToken },
        expiresAt: readExpiry(refreshToken) ?? clock.now() + unknownLifetimeMs,
      };
    },
  });
}

async function askAzure(name: string, audience: string, options: AcrOptions, signal: AbortSignal): Promise<string> {
  const { DefaultAzureCredential } = await import("@azure/identity");
  const { clientId, tenantId } = options;
  const credential = new DefaultAzureCredential({
    ...(clientId === undefined ? {} : { managedIdentityClientId: clientId, workloadIdentityClientId: clientId }),
    ...(tenantId === undefined ? {} : { tenantId }),
  });
  const token = await credential.getToken(`${audience}/.default`, { abortSignal: signal });
  if (token === null) throw new CredentialError(name, "Entra ID gave no token");
  return token.token;
}

/** The moment (milliseconds since 1970) at which a JSON Web Token ends by its own account (RFC 7519 §4.1.4). */
function readExpiry(token: string): number | undefined {
  try {
    const payload: unknown = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8"));
    const { exp } = (payload ?? {}) as { exp?: unknown };
    return typeof exp === "number" ? exp * 1000 : undefined;
  } catch {
    // It is no such token; it need not be one.
    return undefined;
  }
}
