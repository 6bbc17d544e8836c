import { isGcpHost } from "../../oci/provider-hosts.ts";
import { readFile } from "node:fs/promises";
import type { AuthClient, AwsClientOptions, IdentityPoolClientOptions } from "google-auth-library";
import type { Clock } from "../../concurrency/clock.ts";
import { RenewingSource } from "./renewing.ts";
import { CredentialError, type CredentialSource, parseJson, type ProblemListener, readText } from "./source.ts";

/** How Google's registries are logged in to. */
export interface GcpOptions {
  /** The registry, with or without a port: `<location>-docker.pkg.dev`, `gcr.io` or below it. */
  readonly host: string;
  readonly clock: Clock;
  /**
   * A credential file: a service account's key, or a configuration of workload identity federation. Without it,
   * Application Default Credentials: GOOGLE_APPLICATION_CREDENTIALS, gcloud's own file, the metadata server.
   */
  readonly keyFile?: string | undefined;
  /** Asks for an access token, in place of the client library. */
  readonly askToken?: ((signal: AbortSignal) => Promise<GcpToken>) | undefined;
  readonly random?: (() => number) | undefined;
  readonly onProblem?: ProblemListener | undefined;
}

/** An access token of Google's. */
export interface GcpToken {
  readonly token: string | null | undefined;
  /** Milliseconds since 1970. */
  readonly expiresAt: number | null | undefined;
}

const scope = "https://www.googleapis.com/auth/cloud-platform";
/** For a token that does not say; Google's live for an hour. */
const unknownLifetimeMs = 5 * 60_000;

/**
 * A source that gives Google's access tokens, as the user `oauth2accesstoken`. They live for an hour. The client
 * library is loaded when credentials are asked for, and made anew each time, as its files may have changed.
 *
 * @throws {CredentialError} The host is not one of Google's: the token is good for all that the account may do.
 */
export function createGcp(options: GcpOptions): CredentialSource {
  const { host, clock, keyFile, random, onProblem } = options;
  const name = `Google credentials for ${host}`;
  if (!isGcpHost(host)) {
    throw new CredentialError(name, "expected <location>-docker.pkg.dev, gcr.io or a host below it");
  }
  const askToken = options.askToken ?? (() => askGoogle(name, keyFile));
  return new RenewingSource({
    name,
    clock,
    random,
    onProblem,
    async fetch(signal) {
      const { token, expiresAt } = await askToken(signal);
      if (token === null || token === undefined || token === "") {
        throw new CredentialError(name, "no access token was given");
      }
      return {
        credentials: { username: "oauth2accesstoken", password: token },
        expiresAt: expiresAt ?? clock.now() + unknownLifetimeMs,
      };
    },
  });
}

async function askGoogle(name: string, keyFile: string | undefined): Promise<GcpToken> {
  const client = await (keyFile === undefined ? findClient() : createClient(name, keyFile));
  const { token } = await client.getAccessToken();
  return { token, expiresAt: client.credentials.expiry_date };
}

async function findClient(): Promise<AuthClient> {
  const { GoogleAuth } = await import("google-auth-library");
  return new GoogleAuth({ scopes: [scope] }).getClient();
}

/** The client for a credential file; only for types of which the library needs nothing but the file. */
async function createClient(name: string, path: string): Promise<AuthClient> {
  const { AwsClient, IdentityPoolClient, JWT } = await import("google-auth-library");
  const key = parseKey(name, path, readText(`${name}: the file ${path}`, await readFile(path)));
  if (key.type === "service_account" && typeof key.client_email === "string" && typeof key.private_key === "string") {
    return new JWT({ email: key.client_email, key: key.private_key, scopes: [scope] });
  }
  if (key.type === "external_account" && typeof key.credential_source === "object" && key.credential_source !== null) {
    // AWS's credential sources are those with an `environment_id` (AIP-4117).
    const client =
      "environment_id" in key.credential_source
        ? new AwsClient(key as unknown as AwsClientOptions)
        : new IdentityPoolClient(key as unknown as IdentityPoolClientOptions);
    client.scopes = [scope];
    return client;
  }
  throw new CredentialError(
    name,
    `the file ${path} is no service account's key and no external account's configuration`,
  );
}

function parseKey(name: string, path: string, text: string): Readonly<Record<string, unknown>> {
  const key = parseJson(name, text, `the file ${path} is not valid JSON`);
  return typeof key === "object" && key !== null ? (key as Record<string, unknown>) : {};
}
