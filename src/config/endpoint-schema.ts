import * as z from "zod";
import { parseHost } from "./address.ts";
import {
  accountsSettings,
  type AccountsValues,
  type CredentialConfig,
  credentialSettings,
  readAccounts,
  accountsValues,
} from "./credential-schema.ts";
import { filePath, hiddenText, list, secret, text, yesOrNo } from "./fields.ts";
import { checkHeaders } from "./header-fields.ts";
import { addProblem } from "./problems.ts";
import { findMisplacement, isOfProvider } from "./provider-schema.ts";
import { hideProxy, parseProxySetting } from "./proxy.ts";
import { parsePathPrefix } from "./repository-names.ts";
import { assembled, type Kind, optional, type Report, required, setting, showAll, type Values } from "./setting.ts";

/** Docker Hub's registry: what `docker.io` is asked at. */
const dockerHubHost = "registry-1.docker.io";

const host = text((value) => {
  const read = parseHost(value);
  return read === "docker.io" ? dockerHubHost : read;
});

const headers: Kind<Readonly<Record<string, string>>> = {
  schema: z.record(z.string(), secret((value) => value).schema).superRefine((values, context) => {
    for (const problem of checkHeaders(values)) {
      addProblem(context, problem);
    }
  }),
  show: (values) => Object.fromEntries(Object.keys(values).map((name) => [name, hiddenText])),
};

/** The proxy of a registry. */
export const proxy: Kind<string> = text(parseProxySetting, {
  show: (value) => hideProxy(value, hiddenText),
  isSecret: true,
  hasVariables: true,
});

/** The keys that an upstream and its mirrors share; `proxy` has other defaults in each. */
export const endpointSettings = {
  host: required("host", host).about(
    "The registry that is asked: `host[:port]`, without scheme or path. `docker.io`, which is no registry, stands for `registry-1.docker.io`.",
  ),
  tls: setting("tls", yesOrNo, true).about("Whether the registry is asked over HTTPS."),
  acceptInvalidCerts: setting("accept_invalid_certs", yesOrNo, false).about(
    "Whether any certificate of the registry is taken, unchecked.",
  ),
  caFile: optional("ca_file", filePath).about(
    "A PEM file of certificates to trust besides the built-in ones. Null for none.",
  ),
  clientCert: optional("client_cert", filePath).about(
    "A PEM file with the certificate to show to the registry; together with `client_key`. Null for none.",
  ),
  clientKey: optional("client_key", filePath).about(
    "A PEM file with the certificate's key, not encrypted; together with `client_cert`. Null for none.",
  ),
  ...credentialSettings,
  /** Sent to the registry's own origin. */
  headers: setting("headers", headers, {}).about(
    "Further headers that the registry is sent, and nobody else. Their values are kept secret.",
  ),
  pathPrefix: optional("path_prefix", text(parsePathPrefix)).about(
    "A project of the registry in which everything is looked for: with `cache`, `library/alpine` is `cache/library/alpine` there. Null for none.",
  ),
  realmHosts: setting("realm_hosts", list(text(parseHost)), []).about(
    "Token servers (`host[:port]`) that may be sent the credentials, besides those of the registry's own domain.",
  ),
  allowPrivateRedirects: setting("allow_private_redirects", yesOrNo, false).about(
    "Whether a registry at public addresses may lead to private ones by its redirects and token servers. One that is at private addresses itself may.",
  ),
};

type EndpointValues = Values<typeof endpointSettings>;

/** A registry that is asked: where it is, and how it is reached and logged in to. */
export interface EndpointConfig extends Omit<EndpointValues, keyof AccountsValues> {
  /** None: anonymous. Several: used in turn, by what is left of their rate limits. */
  readonly accounts: readonly CredentialConfig[];
  /**
   * The URL of an HTTP proxy, which may hold a user and a password; `none` for a direct connection; `undefined` stands
   * for what the environment says (`Config.proxyEnvironment`).
   */
  readonly proxy: string | undefined;
}

/** Puts an endpoint together from its values. */
export function readEndpoint<V extends EndpointValues>(
  values: V,
  report: Report,
): Omit<V, keyof AccountsValues> & { readonly accounts: readonly CredentialConfig[] } {
  const { clientCert, clientKey } = values;
  if ((clientCert === undefined) !== (clientKey === undefined)) {
    const [alone, missing] = clientCert === undefined ? ["client_key", "client_cert"] : ["client_cert", "client_key"];
    report({ path: [alone], message: `needs a ${missing} with it` });
  }
  const accounts = readAccounts(values, report);
  const places = [
    ...accounts.map((account, index) => ({
      account,
      path: values.accounts === undefined ? ["credentials"] : ["accounts", index, "credentials"],
    })),
    ...values.repositoryCredentials.flatMap(({ accounts: some }, index) =>
      some.map((account) => ({ account, path: ["credentials_by_repository", index] })),
    ),
  ];
  for (const { path, account } of places) {
    const message = isOfProvider(account) ? findMisplacement(account.kind, values.host, values.tls) : undefined;
    if (message !== undefined) report({ path, message });
  }
  const others = Object.entries(values).filter(([name]) => !(name in accountsSettings));
  return { ...(Object.fromEntries(others) as Omit<V, keyof AccountsValues>), accounts };
}

/** The values that stand for an endpoint in the file. */
export function endpointValues<E extends Pick<EndpointConfig, "accounts">>(
  endpoint: E,
): Omit<E, "accounts"> & Partial<AccountsValues> {
  const { accounts, ...rest } = endpoint;
  return { ...rest, ...(accounts.length === 0 ? anonymous : accountsValues(accounts)) };
}

const anonymous = { username: undefined, password: undefined };

const mirrorSettings = {
  ...endpointSettings,
  proxy: optional("proxy", proxy).about("As the upstream's `proxy`, which holds where this is null."),
};

const mirrorMapping: z.ZodType<EndpointConfig> = assembled(mirrorSettings, readEndpoint);

/** One entry of `mirrors`. Where its proxy is `undefined`, it is the upstream's. */
export const mirror: Kind<EndpointConfig> = {
  schema: z.union([host.schema.transform((name) => mirrorMapping.parse({ host: name })), mirrorMapping], {
    error: "expected a host such as mirror.example.com, or a mapping with `host`",
  }),
  show: (endpoint) => showAll(mirrorSettings, endpointValues(endpoint)),
  settings: mirrorSettings,
};
