import { acrCloudOf, isGcpHost, parseEcrHost } from "../oci/provider-hosts.ts";
import type { CredentialConfig } from "./credential-schema.ts";

interface Wanted {
  readonly fits: (host: string) => boolean;
  readonly example: string;
}

/** The hosts that a cloud provider's credentials are for. They are good for more than one registry. */
const hosts: Readonly<Partial<Record<CredentialConfig["kind"], Wanted>>> = {
  ecr: {
    fits: (host) => parseEcrHost(host) !== undefined,
    example: "<account>.dkr.ecr.<region>.amazonaws.com or public.ecr.aws",
  },
  gcp: { fits: isGcpHost, example: "<location>-docker.pkg.dev or gcr.io" },
  acr: { fits: (host) => acrCloudOf(host) !== undefined, example: "<name>.azurecr.io" },
};

/** Why an account cannot be used with a registry; `undefined`: it can. */
export function findMisplacement(account: CredentialConfig, host: string, tls: boolean): string | undefined {
  const wanted = hosts[account.kind];
  if (wanted === undefined) {
    return undefined;
  }
  if (!wanted.fits(host)) {
    return `${account.kind} credentials are for hosts such as ${wanted.example}, not for ${host}`;
  }
  return tls ? undefined : `${account.kind} credentials need \`tls: true\``;
}
