import { lookup as systemLookup, type LookupAddress, type LookupOptions } from "node:dns";
import { isIP, isIPv4, isIPv6, type LookupFunction } from "node:net";
import ipaddr from "ipaddr.js";

/** A name look-up that gives all addresses of a name: `dns.lookup` with `all: true`, or a test's own. */
export type NameLookup = (
  hostname: string,
  options: LookupOptions & { readonly all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** A connection that must not be made. The message names the host that was asked for, not what it resolves to. */
export class RefusedAddressError extends Error {
  override readonly name = "RefusedAddressError";
}

/**
 * Where an address leads:
 *
 * - `public`: the internet.
 * - `private`: a network behind the same border as we (RFC 1918, unique local, carrier NAT).
 * - `loopback`: this machine.
 * - `special`: all else, link-local and cloud metadata, multicast, documentation and reserved ranges, tunnels.
 */
export type AddressScope = "public" | "private" | "loopback" | "special";

const globalUnicast = ipaddr.IPv6.parseCIDR("2000::/3");
const privateRanges: ReadonlySet<string> = new Set(["private", "uniqueLocal", "carrierGradeNat"]);
/** Metadata and management services of clouds that lie in ranges of other use: Alibaba, Azure, AWS, Google. */
const metadataAddresses: ReadonlySet<string> = new Set([
  "100.100.100.200",
  "168.63.129.16",
  "fd00:ec2::254",
  "fd20:ce::254",
]);

/**
 * Judges an address. One that carries an IPv4 address to a translator (IPv4-mapped, NAT64 by the well-known prefix,
 * RFC 6052) counts as that address; what cannot be read as an address is `special`.
 */
export function scopeOf(address: string): AddressScope {
  if (isIP(address) === 0) return "special";
  let parsed = ipaddr.process(address);
  if (parsed instanceof ipaddr.IPv6 && parsed.range() === "rfc6052") {
    parsed = new ipaddr.IPv4(parsed.toByteArray().slice(12));
  }
  const range = parsed.range();
  if (metadataAddresses.has(parsed.toString())) return "special";
  if (range === "loopback") return "loopback";
  if (privateRanges.has(range)) return "private";
  // The special ranges leave holes in IPv6 (::127.0.0.1, for one); all that is handed out lies in 2000::/3.
  const isGlobal = parsed instanceof ipaddr.IPv4 || parsed.match(globalUnicast);
  return range === "unicast" && isGlobal ? "public" : "special";
}

/** Whether a host, without brackets, is an address. Names do not wait for Node's pattern of IPv6, which takes 10 ms once. */
export function isAddress(host: string): boolean {
  return isIPv4(host) || (host.includes(":") && isIPv6(host));
}

/** Whether an address belongs to the public internet (see `scopeOf`). */
export function isPublicAddress(address: string): boolean {
  return scopeOf(address) === "public";
}

/**
 * Why a connection may not be made on behalf of a namespace that nobody configured, before any name is resolved:
 * only https, only port 443, only names.
 *
 * @returns `undefined`: it may be tried; the addresses are checked by `guardLookup`.
 */
export function refusalOf(target: {
  readonly protocol: string;
  readonly hostname: string;
  readonly port: string;
}): RefusedAddressError | undefined {
  const hostname = bareHostname(target.hostname);
  if (target.protocol !== "https:") return new RefusedAddressError(`${hostname} may be reached by https only`);
  if (target.port !== "" && target.port !== "443") {
    return new RefusedAddressError(`${hostname} may be reached at port 443 only`);
  }
  if (isAddress(hostname)) return new RefusedAddressError("an address in the place of a host name may not be reached");
  return undefined;
}

/** A URL's host name without the brackets of an IPv6 address. */
export function bareHostname(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}

/**
 * A look-up for the connector that refuses a name when it has no address, or any that may not be reached. As the
 * connector connects to exactly these addresses, a name that changes its answer afterwards (DNS rebinding) gains
 * nothing.
 */
export function guardLookup(
  lookup: NameLookup = systemLookup,
  mayReach: (address: string) => boolean = isPublicAddress,
): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      const [first] = addresses ?? [];
      if (error !== null) {
        callback(error, []);
      } else if (first === undefined || !addresses.every(({ address }) => mayReach(address))) {
        callback(new RefusedAddressError(`${hostname} has an address that may not be reached`), []);
      } else if (options.all === true) {
        callback(null, addresses);
      } else {
        callback(null, first.address, first.family);
      }
    });
  };
}
