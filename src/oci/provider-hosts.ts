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

/** Whether a host, with or without a port, is a registry of Google's. */
export function isGcpHost(host: string): boolean {
  return /^(?:[a-z0-9-]+\.)*(?:gcr\.io|pkg\.dev)(?::\d+)?$/.test(host);
}

/** Which of Azure's clouds a registry's host, with or without a port, is in; `undefined`: it is none of Azure's. */
export function acrCloudOf(host: string): "io" | "cn" | "us" | undefined {
  const [, cloud] = /^[a-z0-9]{5,50}(?:-[a-z0-9]+)?\.azurecr\.(io|cn|us)(?::\d+)?$/.exec(host) ?? [];
  return cloud as "io" | "cn" | "us" | undefined;
}
