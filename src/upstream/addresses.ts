import { lookup as systemLookup, type LookupAddress, type LookupOptions } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import ipaddr from "ipaddr.js";

/** A name look-up that gives all addresses of a name: `dns.lookup` with `all: true`, or a test's own. */
export type Lookup = (
  hostname: string,
  options: LookupOptions & { readonly all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** A connection that must not be made. The message names the host that was asked for, not what it resolves to. */
export class RefusedAddressError extends Error {
  override readonly name = "RefusedAddressError";
}

const globalUnicast = ipaddr.IPv6.parseCIDR("2000::/3");

/**
 * Whether an address belongs to the public internet: global unicast, and in none of the special ranges (private,
 * loopback, link-local and with it cloud metadata, carrier NAT, multicast, documentation, benchmarking, and the ranges
 * that carry an IPv4 address to a translator or tunnel: NAT64, 6to4, Teredo). An IPv4-mapped address counts as the
 * IPv4 address in it. What cannot be read as an address is not public.
 */
export function isPublicAddress(address: string): boolean {
  if (isIP(address) === 0) {
    return false;
  }
  const parsed = ipaddr.process(address);
  // The special ranges leave holes in IPv6 (::127.0.0.1, for one); all that is handed out lies in 2000::/3.
  return parsed.range() === "unicast" && (parsed instanceof ipaddr.IPv4 || parsed.match(globalUnicast));
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
  const hostname = target.hostname.replace(/^\[(.*)\]$/, "$1");
  if (target.protocol !== "https:") {
    return new RefusedAddressError(`${hostname} may be reached by https only`);
  }
  if (target.port !== "" && target.port !== "443") {
    return new RefusedAddressError(`${hostname} may be reached at port 443 only`);
  }
  if (isIP(hostname) !== 0) {
    return new RefusedAddressError("an address in the place of a host name may not be reached");
  }
  return undefined;
}

/**
 * A look-up for the connector that refuses a name when any of its addresses is not public. As the connector connects
 * to exactly these addresses, a name that changes its answer afterwards (DNS rebinding) gains nothing.
 */
export function guardLookup(lookup: Lookup = systemLookup): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      const [first] = addresses ?? [];
      if (error !== null) {
        callback(error, []);
      } else if (first === undefined || !addresses.every(({ address }) => isPublicAddress(address))) {
        callback(new RefusedAddressError(`${hostname} has an address that may not be reached`), []);
      } else if (options.all === true) {
        callback(null, addresses);
      } else {
        callback(null, first.address, first.family);
      }
    });
  };
}

/** Turns a look-up that gives all addresses into one for a connector, without any check. */
export function plainLookup(lookup: Lookup): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      const [first] = addresses ?? [];
      if (error !== null || options.all === true) {
        callback(error, addresses ?? []);
      } else {
        callback(null, first?.address ?? "", first?.family);
      }
    });
  };
}
