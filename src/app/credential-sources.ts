import type { CredentialConfig } from "../config/credential-schema.ts";
import type { EndpointConfig } from "../config/endpoint-schema.ts";
import type { Clock } from "../concurrency/clock.ts";
import { createAcr } from "../upstream/credentials/acr.ts";
import { createByPattern } from "../upstream/credentials/by-pattern.ts";
import { createDockerConfig } from "../upstream/credentials/docker-config.ts";
import { createEcr } from "../upstream/credentials/ecr.ts";
import type { FetchJson } from "../upstream/credentials/fetch-json.ts";
import { createFixed } from "../upstream/credentials/fixed.ts";
import { createGcp } from "../upstream/credentials/gcp.ts";
import { createPasswordFile } from "../upstream/credentials/password-file.ts";
import type { Budget } from "../upstream/budget.ts";
import { createRotation } from "../upstream/credentials/rotation.ts";
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
    return { match, source: own.length === 0 ? anonymous : createAccounts(own, host, tools) };
  });
  return createByPattern(entries, otherwise);
}

/** For repositories that are asked for without credentials although others are not. */
const anonymous: CredentialSource = {
  async get(_repository, signal) {
    signal.throwIfAborted();
    return undefined;
  },
  refused() {},
  close() {},
};

function createAccounts(accounts: readonly CredentialConfig[], host: string, tools: CredentialTools): CredentialSource {
  const sources = accounts.map((account) => createAccount(account, host, tools));
  const [only] = sources;
  return only !== undefined && sources.length === 1 ? only : createRotation(sources, tools.budget, tools);
}

function createAccount(account: CredentialConfig, host: string, tools: CredentialTools): CredentialSource {
  switch (account.kind) {
    case "password":
      return createFixed(account);
    case "password-file":
      return createPasswordFile({ ...tools, username: account.username, path: account.passwordFile });
    case "docker-config":
      return createDockerConfig({ ...tools, host, path: account.path });
    case "ecr": {
      const { endpoint, ...rest } = account;
      return createEcr({ ...tools, host, ...rest, endpoint: endpoint === undefined ? undefined : new URL(endpoint) });
    }
    case "gcp":
      return createGcp({ ...tools, host, ...account });
    case "acr":
      return createAcr({ ...tools, host, ...account });
  }
}
