import * as z from "zod";
import { ValueError } from "./config-error.ts";
import { parseFilePath, text } from "./fields.ts";
import { suggest } from "./messages.ts";
import type { CredentialConfig } from "./schema.ts";

function parseWord(value: string): string {
  if (!/^[\x21-\x7e]{1,2048}$/.test(value)) {
    throw new ValueError("must be printable ASCII text without spaces");
  }
  return value;
}

function parseEndpoint(value: string): string {
  const url = URL.parse(value);
  // What is sent there is signed with the account's key, and what comes back is a password.
  if (url?.protocol !== "https:" || url.username !== "" || url.password !== "") {
    throw new ValueError("expected a URL that begins with https://");
  }
  return value;
}

const providers = ["ecr", "gcp", "acr"] as const;
/** A cloud provider that has credentials. */
export type Provider = (typeof providers)[number];

/** The keys that belong to one provider alone. */
const providerKeys: Readonly<Record<Provider, readonly string[]>> = {
  ecr: ["profile", "role_arn", "external_id", "endpoint"],
  gcp: ["key_file"],
  acr: ["client_id", "tenant_id"],
};

const provider = z.enum(providers, {
  error({ input }) {
    const near = typeof input === "string" ? suggest(input, providers) : undefined;
    return `expected one of ${providers.join(", ")}${near === undefined ? "" : `; did you mean "${near}"?`}`;
  },
});

/** What the mapping `credentials` holds. */
export interface ProviderKeys {
  readonly type: Provider;
  readonly profile?: string | undefined;
  readonly role_arn?: string | undefined;
  readonly external_id?: string | undefined;
  readonly endpoint?: string | undefined;
  readonly key_file?: string | undefined;
  readonly client_id?: string | undefined;
  readonly tenant_id?: string | undefined;
}

const setting = (parse: (value: string) => string, description: string): z.ZodType<string | undefined> =>
  text(parse).optional().meta({ description });

const mappingSchema: z.ZodType<ProviderKeys> = z
  .strictObject({
    type: provider.meta({
      description:
        "Whose credentials: `ecr` for Amazon ECR, `gcp` for Google's Artifact Registry and Container Registry, `acr` for Azure Container Registry.",
    }),
    profile: setting(parseWord, "`ecr`: the profile of AWS's own files. Without it, AWS's default chain."),
    role_arn: setting(parseWord, "`ecr`: a role to take on."),
    external_id: setting(parseWord, "`ecr`: the external ID that the role asks for."),
    endpoint: setting(
      parseEndpoint,
      "`ecr`: the URL of the API, such as a VPC endpoint, in place of the region's own.",
    ),
    key_file: setting(
      parseFilePath,
      "`gcp`: a service account's key, or a configuration of workload identity federation. Without it, Application Default Credentials.",
    ),
    client_id: setting(parseWord, "`acr`: the managed identity to use, where there are several."),
    tenant_id: setting(parseWord, "`acr`: the tenant of the identity."),
  })
  .superRefine((keys, context) => {
    const strangers = Object.keys(keys).filter((key) => key !== "type" && !providerKeys[keys.type].includes(key));
    for (const key of strangers) {
      const owner = providers.find((candidate) => providerKeys[candidate].includes(key));
      context.addIssue({ code: "custom", path: [key], message: `belongs to ${owner}, not to ${keys.type}` });
    }
  });

/** The schema of `credentials`: a provider's name, or a mapping that says more. */
export const providerSetting: z.ZodType<Provider | ProviderKeys> = z.union([provider, mappingSchema], {
  error: `expected one of ${providers.join(", ")}, or a mapping`,
});

/** What `credentials` stands for. */
export function readProvider(given: Provider | ProviderKeys): CredentialConfig {
  const keys = typeof given === "string" ? { type: given } : given;
  switch (keys.type) {
    case "ecr":
      return {
        kind: "ecr",
        ...(keys.profile !== undefined && { profile: keys.profile }),
        ...(keys.role_arn !== undefined && { roleArn: keys.role_arn }),
        ...(keys.external_id !== undefined && { externalId: keys.external_id }),
        ...(keys.endpoint !== undefined && { endpoint: keys.endpoint }),
      };
    case "gcp":
      return { kind: "gcp", ...(keys.key_file !== undefined && { keyFile: keys.key_file }) };
    case "acr":
      return {
        kind: "acr",
        ...(keys.client_id !== undefined && { clientId: keys.client_id }),
        ...(keys.tenant_id !== undefined && { tenantId: keys.tenant_id }),
      };
  }
}
