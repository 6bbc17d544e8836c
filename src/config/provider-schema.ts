import * as z from "zod";
import { acrCloudOf, isGcpHost, parseEcrHost } from "../oci/provider-hosts.ts";
import { ValueError } from "./config-error.ts";
import { filePath, fitting, text } from "./fields.ts";
import { suggest } from "./problems.ts";
import { assembled, givenOf, type Kind, omissible, required, type Settings, showAll, type Values } from "./setting.ts";

const word = text(fitting(/^[\x21-\x7e]{1,2048}$/, "must be printable ASCII text without spaces"));

const endpoint = text((value) => {
  const url = URL.parse(value);
  // What is sent there is signed with the account's key, and what comes back is a password.
  if (url?.protocol !== "https:" || url.username !== "" || url.password !== "") {
    throw new ValueError("expected a URL that begins with https://");
  }
  return value;
});

const settingsOf = {
  ecr: {
    profile: omissible("profile", word).about(
      "`ecr`: the profile of AWS's own files. Without it, AWS's default chain.",
    ),
    roleArn: omissible("role_arn", word).about("`ecr`: a role to take on."),
    externalId: omissible("external_id", word).about("`ecr`: the external ID that the role asks for."),
    endpoint: omissible("endpoint", endpoint).about(
      "`ecr`: the URL of the API, such as a VPC endpoint, in place of the region's own.",
    ),
  },
  gcp: {
    keyFile: omissible("key_file", filePath).about(
      "`gcp`: a service account's key, or a configuration of workload identity federation. Without it, Application Default Credentials.",
    ),
  },
  acr: {
    clientId: omissible("client_id", word).about("`acr`: the managed identity to use, where there are several."),
    tenantId: omissible("tenant_id", word).about("`acr`: the tenant of the identity."),
  },
};

/** A cloud provider whose registries have credentials of its own. */
export type Provider = keyof typeof settingsOf;
const providers = Object.keys(settingsOf) as Provider[];

/** Credentials of a cloud provider. What is not set is not there. */
export type ProviderConfig = {
  [Kind in Provider]: { readonly kind: Kind } & {
    readonly [Name in keyof (typeof settingsOf)[Kind]]?: NonNullable<Values<(typeof settingsOf)[Kind]>[Name]>;
  };
}[Provider];

const name: Kind<Provider> = {
  schema: z.enum(providers, {
    error({ input }) {
      const near = typeof input === "string" ? suggest(input, providers) : undefined;
      return `expected one of ${providers.join(", ")}${near === undefined ? "" : `; did you mean "${near}"?`}`;
    },
  }),
  show: (value) => value,
};

const type = required("type", name).about(
  "Whose credentials: `ecr` for Amazon ECR, `gcp` for Google's Artifact Registry and Container Registry, `acr` for Azure Container Registry.",
);

const settings = { type, ...settingsOf.ecr, ...settingsOf.gcp, ...settingsOf.acr };

const mappingSchema = assembled(settings, ({ type: kind }, report, keys): ProviderConfig => {
  const own: Settings = settingsOf[kind];
  const isOf = (key: string, settings: Settings): boolean => Object.values(settings).some((each) => each.key === key);
  for (const key of Object.keys(keys).filter((each) => each !== "type" && !isOf(each, own))) {
    const owner = providers.find((candidate) => isOf(key, settingsOf[candidate]));
    report({ path: [key], message: `belongs to ${owner}, not to ${kind}` });
  }
  return { kind, ...givenOf(own, keys) };
});

/** The setting `credentials`: a provider's name, or a mapping that says more. */
export const provider: Kind<ProviderConfig> = {
  schema: z.union([name.schema.transform((kind): ProviderConfig => ({ kind })), mappingSchema], {
    error: `expected one of ${providers.join(", ")}, or a mapping`,
  }),
  settings,
  show: ({ kind, ...values }) => showAll(settings, { type: kind, ...values }),
};

/** Whether an account is of a provider. */
export function isOfProvider(account: { readonly kind: string }): account is ProviderConfig {
  return account.kind in settingsOf;
}

interface Wanted {
  readonly fits: (host: string) => boolean;
  readonly example: string;
}

/** The hosts that a cloud provider's credentials are for. They are good for more than one registry. */
const hosts: Readonly<Record<Provider, Wanted>> = {
  ecr: {
    fits: (host) => parseEcrHost(host) !== undefined,
    example: "<account>.dkr.ecr.<region>.amazonaws.com or public.ecr.aws",
  },
  gcp: { fits: isGcpHost, example: "<location>-docker.pkg.dev or gcr.io" },
  acr: { fits: (host) => acrCloudOf(host) !== undefined, example: "<name>.azurecr.io" },
};

/** Why an account of a provider cannot be used with a registry; `undefined`: it can. */
export function findMisplacement(kind: Provider, host: string, tls: boolean): string | undefined {
  const { fits, example } = hosts[kind];
  if (!fits(host)) return `${kind} credentials are for hosts such as ${example}, not for ${host}`;
  return tls ? undefined : `${kind} credentials need \`tls: true\``;
}
