import * as z from "zod";
import { parseHost } from "./address.ts";
import { addProblem, credentialKeys, type CredentialKeys, readAccounts } from "./credential-schema.ts";
import { parseFilePath, type Shape, text } from "./fields.ts";
import { checkHeaders } from "./header-fields.ts";
import type { Problem } from "./messages.ts";
import { findMisplacement } from "./provider-hosts.ts";
import { parseProxySetting } from "./proxy.ts";
import { parsePathPrefix } from "./repository-names.ts";
import type { CredentialConfig, EndpointConfig } from "./schema.ts";

/** Docker Hub's registry: what `docker.io` is asked at. */
export const dockerHubHost = "registry-1.docker.io";

function parseEndpointHost(value: string): string {
  const host = parseHost(value);
  return host === "docker.io" ? dockerHubHost : host;
}

/** Headers with their values. */
const headersSchema = z.record(z.string(), z.string()).superRefine((headers, context) => {
  for (const problem of checkHeaders(headers)) {
    addProblem(context, problem);
  }
});

/** The setting `proxy`, nullable. */
export const proxySchema: z.ZodNullable<z.ZodType<string, string>> = text(parseProxySetting).nullable();

/** What the keys hold that an upstream and its mirrors share. */
export interface EndpointKeys extends CredentialKeys {
  readonly host: string;
  readonly tls: boolean;
  readonly accept_invalid_certs: boolean;
  readonly ca_file: string | null | undefined;
  readonly client_cert: string | null | undefined;
  readonly client_key: string | null | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly path_prefix: string | null | undefined;
  readonly realm_hosts: readonly string[];
  readonly allow_private_redirects: boolean;
}

/** The keys that an upstream and its mirrors share; `proxy` has other defaults in each. */
export const endpointKeys: Shape<EndpointKeys> = {
  host: text(parseEndpointHost).meta({
    description:
      "The registry that is asked: `host[:port]`, without scheme or path. `docker.io`, which is no registry, stands for `registry-1.docker.io`.",
  }),
  tls: z.boolean().prefault(true).meta({ description: "Whether the registry is asked over HTTPS." }),
  accept_invalid_certs: z
    .boolean()
    .prefault(false)
    .meta({ description: "Whether any certificate of the registry is taken, unchecked." }),
  ca_file: text(parseFilePath).nullable().optional().meta({
    description: "A PEM file of certificates to trust besides the built-in ones. Null for none.",
  }),
  client_cert: text(parseFilePath).nullable().optional().meta({
    description: "A PEM file with the certificate to show to the registry; together with `client_key`. Null for none.",
  }),
  client_key: text(parseFilePath).nullable().optional().meta({
    description: "A PEM file with the certificate's key, not encrypted; together with `client_cert`. Null for none.",
  }),
  ...credentialKeys,
  headers: headersSchema.prefault({}).meta({
    description: "Further headers that the registry is sent, and nobody else. Their values are kept secret.",
  }),
  path_prefix: text(parsePathPrefix).nullable().optional().meta({
    description:
      "A project of the registry in which everything is looked for: with `cache`, `library/alpine` is `cache/library/alpine` there. Null for none.",
  }),
  realm_hosts: z.array(text(parseHost)).prefault([]).meta({
    description:
      "Token servers (`host[:port]`) that may be sent the credentials, besides those of the registry's own domain.",
  }),
  allow_private_redirects: z.boolean().prefault(false).meta({
    description:
      "Whether a registry at public addresses may lead to private ones by its redirects and token servers. One that is at private addresses itself may.",
  }),
};

/** An endpoint as it was read; its proxy may come from elsewhere. */
export type EndpointEntry = Omit<EndpointConfig, "proxy">;

/** Puts an endpoint together from its keys. What it gives after a problem is of no use. */
export function readEndpoint(keys: EndpointKeys, report: (problem: Problem) => void): EndpointEntry {
  const { client_cert: clientCert, client_key: clientKey } = keys;
  if (typeof clientCert !== typeof clientKey && (clientCert ?? clientKey ?? undefined) !== undefined) {
    const [alone, missing] = clientKey ? ["client_key", "client_cert"] : ["client_cert", "client_key"];
    report({ path: [alone], message: `needs a ${missing} with it` });
  }
  const accounts = readAccounts(keys, report);
  for (const { path, account } of placesOf(keys, accounts)) {
    const message = findMisplacement(account, keys.host, keys.tls);
    if (message !== undefined) {
      report({ path, message });
    }
  }
  return {
    host: keys.host,
    tls: keys.tls,
    acceptInvalidCerts: keys.accept_invalid_certs,
    caFile: keys.ca_file ?? undefined,
    clientCert: clientCert ?? undefined,
    clientKey: clientKey ?? undefined,
    accounts,
    repositoryCredentials: keys.credentials_by_repository,
    headers: keys.headers,
    pathPrefix: keys.path_prefix ?? undefined,
    realmHosts: keys.realm_hosts,
    allowPrivateRedirects: keys.allow_private_redirects,
  };
}

interface Placed {
  readonly path: Problem["path"];
  readonly account: CredentialConfig;
}

function placesOf(keys: CredentialKeys, accounts: readonly CredentialConfig[]): Placed[] {
  const own = accounts.map((account, index): Placed => {
    return { path: keys.accounts ? ["accounts", index, "credentials"] : ["credentials"], account };
  });
  const others = keys.credentials_by_repository.flatMap(({ accounts: some }, index) =>
    some.map((account): Placed => ({ path: ["credentials_by_repository", index], account })),
  );
  return [...own, ...others];
}

/** What an endpoint is that nothing is said of but its host: HTTPS, anonymous. */
export function plainEndpoint(host: string): EndpointEntry {
  return {
    host,
    tls: true,
    acceptInvalidCerts: false,
    caFile: undefined,
    clientCert: undefined,
    clientKey: undefined,
    accounts: [],
    repositoryCredentials: [],
    headers: {},
    pathPrefix: undefined,
    realmHosts: [],
    allowPrivateRedirects: false,
  };
}

const mirrorMapping = z
  .strictObject({
    ...endpointKeys,
    proxy: proxySchema.optional().meta({ description: "As the upstream's `proxy`, which holds where this is null." }),
  })
  .transform((keys, context): EndpointConfig => {
    const endpoint = readEndpoint(keys, (problem) => addProblem(context, problem));
    return { ...endpoint, proxy: keys.proxy ?? undefined };
  });

const mirrorHost = text(parseEndpointHost).transform((host): EndpointConfig => {
  return { ...plainEndpoint(host), proxy: undefined };
});

/** The schema of one entry of `mirrors`. Where its proxy is `undefined`, it is the upstream's. */
export const mirrorSchema: z.ZodType<EndpointConfig> = z.union([mirrorHost, mirrorMapping], {
  error: "expected a host such as mirror.example.com, or a mapping with `host`",
});
