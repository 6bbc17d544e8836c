import { siteOf } from "./site.ts";

/**
 * How a token server may be asked, by where it is:
 *
 * - `trusted`: it may be sent the upstream's credentials.
 * - `anonymous`: on the upstream's own host but at another port; asked without credentials.
 * - `foreign`: of another site; asked without credentials, over https, and only at a public address.
 * - `refused`: not asked at all.
 */
export type RealmTrust = "trusted" | "anonymous" | "foreign" | "refused";

/**
 * Whether a realm may be sent the upstream's credentials (CVE-2026-33540): its scheme is https, or the upstream's own
 * is plain http as well, and it is of the upstream's site: the same host name or the same registrable domain, at any
 * port. Names without a registrable domain (`localhost`, single labels, public suffixes) and IP addresses are a site
 * of their own, host and port together. Realms that are configured are trusted wherever they are, but not by http
 * where the upstream has https.
 */
export function mayReceiveCredentials(realm: URL, upstream: URL, realmHosts: readonly string[] = []): boolean {
  const schemes = realm.protocol === "https:" || (realm.protocol === "http:" && upstream.protocol === "http:");
  if (!schemes || realm.username !== "" || realm.password !== "") return false;
  if (isListedRealm(realm, realmHosts)) return true;
  const site = siteOf(hostnameOf(realm));
  const upstreamSite = siteOf(hostnameOf(upstream));
  if (site === undefined || upstreamSite === undefined) {
    return hostnameOf(realm) === hostnameOf(upstream) && portOf(realm) === portOf(upstream);
  }
  return site === upstreamSite;
}

/**
 * Decides how to ask a realm that an upstream named; the same for each redirect of a token request.
 *
 * @param realmHosts As of `isListedRealm`.
 */
export function judgeRealm(realm: URL, upstream: URL, realmHosts: readonly string[] = []): RealmTrust {
  if (mayReceiveCredentials(realm, upstream, realmHosts)) return "trusted";
  const downgrade = realm.protocol !== "https:" && upstream.protocol !== "http:";
  if (!/^https?:$/.test(realm.protocol) || downgrade || realm.username !== "" || realm.password !== "") {
    return "refused";
  }
  if (hostnameOf(realm) === hostnameOf(upstream)) {
    return "anonymous";
  }
  return realm.protocol === "https:" ? "foreign" : "refused";
}

/**
 * Whether a realm's host is among those that are configured for its upstream: `host`, which means the scheme's own
 * port, or `host:port`, in any case of letters.
 */
export function isListedRealm(realm: URL, realmHosts: readonly string[]): boolean {
  return realmHosts.some((entry) => {
    const listed = /[/?#@\\\s]/.test(entry) ? null : URL.parse(`${realm.protocol}//${entry}`);
    return listed !== null && hostnameOf(listed) === hostnameOf(realm) && portOf(listed) === portOf(realm);
  });
}

function hostnameOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
}

function portOf(url: URL): string {
  return url.port === "" ? (url.protocol === "https:" ? "443" : "80") : url.port;
}
