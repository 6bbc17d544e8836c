import type { Namespace } from "../oci/reference.ts";
import { parseCanonicalNamespace } from "./address.ts";
import { ConfigError, ValueError } from "./config-error.ts";
import { credentialsSchema, type PasswordPair } from "./credential-schema.ts";
import { check, formatPath } from "./problems.ts";
import type { Config } from "./file-schema.ts";
import type { UpstreamConfig } from "./upstream-schema.ts";
import { impliedUpstream } from "./upstream-schema.ts";

/** What to log in with, by namespace. */
export type CredentialMap = ReadonlyMap<Namespace, PasswordPair>;

/**
 * Reads the JSON of `--upstream-credentials`: `{"docker.io": {"username": "…", "password": "…"}}`.
 *
 * @param label Where the text comes from, for messages.
 * @throws {ConfigError} Its messages never quote a value.
 */
export function readCredentials(label: string, json: string): CredentialMap {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    // The parser's own message quotes the text.
    throw new ConfigError([`${label}: not valid JSON; expected {"docker.io": {"username": "…", "password": "…"}}`]);
  }
  const checked = check(credentialsSchema, value);
  if ("problems" in checked) {
    throw new ConfigError(
      checked.problems.map(({ path, message }) => {
        return `${label}: ${path.length === 0 ? "" : `${formatPath(path)}: `}${message}`;
      }),
    );
  }
  const credentials = new Map<Namespace, PasswordPair>();
  for (const [name, pair] of Object.entries(checked.value)) {
    const namespace = readNamespace(label, name);
    if (credentials.has(namespace)) {
      throw new ConfigError([`${label}: ${namespace} is there twice, under two of its names`]);
    }
    credentials.set(namespace, pair);
  }
  return credentials;
}

function readNamespace(label: string, name: string): Namespace {
  try {
    return parseCanonicalNamespace(name);
  } catch (error) {
    throw error instanceof ValueError ? new ConfigError([`${label}: ${error.message}`]) : error;
  }
}

/**
 * Gives upstreams an account, in place of all those of the file but the ones for some repositories. A namespace that is
 * not listed becomes so.
 */
export function addCredentials(config: Config, credentials: CredentialMap): Config {
  const known = config.upstreams.map((upstream): UpstreamConfig => {
    const pair = credentials.get(upstream.namespace);
    return pair === undefined ? upstream : { ...upstream, accounts: [{ kind: "password", ...pair }] };
  });
  const listed = new Set(known.map((upstream) => upstream.namespace));
  const added = [...credentials]
    .filter(([namespace]) => !listed.has(namespace))
    .map(([namespace, pair]) => impliedUpstream(namespace, pair, config.upstreamDefaults));
  return { ...config, upstreams: [...known, ...added] };
}
