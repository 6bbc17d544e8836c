import type { CredentialConfig } from "./credential-schema.ts";

/** The hosts that a cloud provider's credentials are for. They are good for more than one registry. */
const hosts: Readonly<Partial<Record<CredentialConfig["kind"], { readonly names: RegExp; readonly example: string }>>> =
  {
    ecr: {
      names:
        /^(?:public\.ecr\.aws|ecr-public\.aws\.com|\d{12}\.dkr[.-]ecr(?:-fips)?\.[a-z0-9-]+\.(?:amazonaws\.(?:com|com\.cn|eu)|on\.aws|on\.amazonwebservices\.com\.cn))$/,
      example: "<account>.dkr.ecr.<region>.amazonaws.com or public.ecr.aws",
    },
    gcp: { names: /^(?:[a-z0-9-]+\.)*(?:gcr\.io|pkg\.dev)$/, example: "<location>-docker.pkg.dev or gcr.io" },
    acr: { names: /^[a-z0-9]{5,50}(?:-[a-z0-9]+)?\.azurecr\.(?:io|cn|us)$/, example: "<name>.azurecr.io" },
  };

/** Why an account cannot be used with a registry; `undefined`: it can. */
export function findMisplacement(account: CredentialConfig, host: string, tls: boolean): string | undefined {
  const wanted = hosts[account.kind];
  if (wanted === undefined) {
    return undefined;
  }
  if (!wanted.names.test(host.replace(/:\d+$/, ""))) {
    return `${account.kind} credentials are for hosts such as ${wanted.example}, not for ${host}`;
  }
  return tls ? undefined : `${account.kind} credentials need \`tls: true\``;
}
