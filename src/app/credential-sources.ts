import type { CredentialConfig } from "../config/credential-schema.ts";
import type { EndpointConfig } from "../config/endpoint-schema.ts";
import type { Clock } from "../concurrency/clock.ts";
import { createAcr } from "../upstream/credentials/acr.ts";
import { createByPattern } from "../upstream/credentials/by-pattern.ts";
import { DockerConfigSource } from "../upstream/credentials/docker-config.ts";
import { createEcr } from "../upstream/credentials/ecr.ts";
import type { FetchJson } from "../upstream/credentials/fetch-json.ts";
import { createFixed } from "../upstream/credentials/fixed.ts";
import { createGcp } from "../upstream/credentials/gcp.ts";
import { createPasswordFile } from "../upstream/credentials/password-file.ts";
import type { Budget } from "../upstream/budget.ts";
import { Rotation } from "../upstream/credentials/rotation.ts";
import type { CredentialSource, ProblemListener } from "../upstream/credentials/source.ts";

/** What sources of credentials need besides their settings. */
export interface CredentialTools {
  readonly clock: Clock;
  /** What is left of each account's rate limit. */
  readonly budget: Pick<Budget, "remaining">;
  /** Asks the clouds' APIs that have no client library. */
  readonly fetchJson: FetchJson;
  readonly onProblem?: ProblemListener | undefined;
}

/**
 * Where a registry's credentials come from, by its settings; `undefined`: it is asked anonymously. Nothing is read or
 * asked before the first request. Who asked for the source closes it.
 */
export function createCredentials(endpoint: EndpointConfig, tools: CredentialTools): CredentialSource | undefined {
  const { accounts, host, repositoryCredentials } = endpoint;
  const otherwise = accounts.length === 0 ? undefined : createAccounts(accounts, host, tools);
  if (repositoryCredentials.length === 0) {
    return otherwise;
  }
  const entries = repositoryCredentials.map(({ match, accounts: own }) => {
    return { match, source: own.length === 0 ? createFixed(undefined) : createAccounts(own, host, tools) };
  });
  return createByPattern(entries, otherwise);
}

function createAccounts(accounts: readonly CredentialConfig[], host: string, tools: CredentialTools): CredentialSource {
  const sources = accounts.map((account) => createAccount(account, host, tools));
  const [only] = sources;
  return only !== undefined && sources.length === 1
    ? only
    : new Rotation(sources, tools.budget, tools.clock, tools.onProblem);
}

function createAccount(account: CredentialConfig, host: string, tools: CredentialTools): CredentialSource {
  const { clock, fetchJson, onProblem } = tools;
  switch (account.kind) {
    case "password":
      return createFixed(account);
    case "password-file":
      return createPasswordFile({ username: account.username, path: account.passwordFile, clock, onProblem });
    case "docker-config":
      return new DockerConfigSource({ path: account.path, host, clock, onProblem });
    case "ecr": {
      const { profile, roleArn, externalId, endpoint } = account;
      return createEcr({ host, profile, roleArn, externalId, endpoint, clock, fetchJson, onProblem });
    }
    case "gcp":
      return createGcp({ host, keyFile: account.keyFile, clock, onProblem });
    case "acr": {
      const { clientId, tenantId } = account;
      return createAcr({ host, clientId, tenantId, clock, fetchJson, onProblem });
    }
  }
}
