/** A registry of Amazon's, as its host name tells. */
export type EcrHost =
  | { readonly kind: "public" }
  | { readonly kind: "private"; readonly account: string; readonly region: string; readonly fips: boolean };

const privateHost =
  /^(?<account>\d{12})\.dkr[.-]ecr(?<fips>-fips)?\.(?<region>[a-z0-9-]+)\.(?:amazonaws\.(?:com|com\.cn|eu)|on\.aws|on\.amazonwebservices\.com\.cn)$/;

/** Reads a registry's host, with or without a port; `undefined`: it is none of Amazon's. */
export function parseEcrHost(host: string): EcrHost | undefined {
  const name = host.replace(/:\d+$/, "");
  if (name === "public.ecr.aws" || name === "ecr-public.aws.com") return { kind: "public" };
  const { account, fips, region } = privateHost.exec(name)?.groups ?? {};
  return account === undefined || region === undefined
    ? undefined
    : { kind: "private", account, region, fips: fips !== undefined };
}
