import { getDomain } from "tldts";
import { isAddress } from "./addresses.ts";

/**
 * Where a provider gives each customer a name of its own under one that the public suffix list does not have as a
 * suffix. Without these, a customer's registry could name another one's host as its token server, and be sent the
 * credentials there. `*` stands for one label.
 */
const registrySuffixes: readonly string[] = [
  // Azure Container Registry, with the national clouds: <registry>.azurecr.io
  "azurecr.io",
  "azurecr.cn",
  "azurecr.us",
  // Amazon ECR: <account>.dkr.ecr.<region>.amazonaws.com. Names under amazonaws.com belong to customers' own servers
  // as well (VPC endpoint services, for one).
  "dkr.ecr.*.amazonaws.com",
  "dkr.ecr-fips.*.amazonaws.com",
  "dkr.ecr.*.amazonaws.com.cn",
  "dkr-ecr.*.on.aws",
  "dkr-ecr-fips.*.on.aws",
  // JFrog's cloud: <customer>.jfrog.io
  "jfrog.io",
];

const suffixPatterns = registrySuffixes.map((suffix) => {
  const labels = suffix.split(".").map((label) => (label === "*" ? "[^.]+" : RegExp.escape(label)));
  return new RegExp(`(?:^|\\.)([^.]+\\.${labels.join("\\.")})$`);
});

/**
 * The site that a host name belongs to: its registrable domain by the public suffix list, the list's private part
 * included, or a customer's name at a registry provider.
 *
 * @param hostname In lower case, without brackets and port.
 * @returns `undefined`: it is of no site but its own (an address, `localhost`, a single label, a suffix itself).
 */
export function siteOf(hostname: string): string | undefined {
  if (isAddress(hostname)) return undefined;
  for (const pattern of suffixPatterns) {
    const site = pattern.exec(hostname)?.[1];
    if (site !== undefined) return site;
  }
  return getDomain(hostname, { allowPrivateDomains: true }) ?? undefined;
}
