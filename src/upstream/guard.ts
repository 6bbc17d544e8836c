import { parse } from "tldts";
import {
  type AddressScope,
  bareHostname,
  isAddress,
  isPublicAddress,
  RefusedAddressError,
  refusalOf,
  scopeOf,
} from "./addresses.ts";

/** What a connection is asked for. */
export interface Target {
  readonly protocol: string;
  readonly hostname: string;
  readonly port: string;
}

/** Decides what a pool of connections may reach. */
export interface ConnectionGuard {
  /**
   * Why a request may not be sent there, by its URL alone.
   *
   * @param proxied Whether a proxy may make the connection, and with it the look-up: then only the name can be judged.
   */
  refusalOf(target: Target, proxied: boolean): RefusedAddressError | undefined;
  /** Whether an address that a name has may be connected to. */
  mayReach(address: string): boolean;
}

/** For namespaces that nobody configured: https at port 443 of names whose addresses are all public. */
export const publicGuard: ConnectionGuard = {
  refusalOf: (target, proxied) => refusalOf(target) ?? (proxied ? refusalOfName(target.hostname) : undefined),
  mayReach: isPublicAddress,
};

/** Where an upstream itself is. */
export class OwnPlace {
  /** Whether its host is a name of the public DNS. */
  readonly hasPublicName: boolean;
  readonly #host: string;
  #scope: AddressScope;

  constructor(upstream: URL) {
    const hostname = bareHostname(upstream.hostname);
    this.#host = upstream.host;
    this.hasPublicName = isPublicName(hostname);
    this.#scope = isAddress(hostname) ? scopeOf(hostname) : "public";
  }

  /** By the address of its latest connection; before that, and behind a proxy, by its host as it is configured. */
  get scope(): AddressScope {
    return this.#scope;
  }

  /**
   * Notes the address that a connection to `host` (with its port, where that is not the scheme's) was made to, after
   * the TLS handshake where there is one. Only the upstream's own host counts: not a token server that is configured
   * for it, as what that may be near to is no business of redirects.
   */
  note(host: string, address: string): void {
    if (host === this.#host) this.#scope = scopeOf(address);
  }
}

/**
 * For what a configured upstream leads to: redirects, and token servers at other hosts. They may be public, or as near
 * to us as the upstream itself is: a private one may lead to private addresses, one on this machine to this machine as
 * well. Link-local addresses, and with them cloud metadata, are never reached.
 */
export function createRedirectGuard(own: Pick<OwnPlace, "scope" | "hasPublicName">): ConnectionGuard {
  const mayReach = (address: string): boolean => {
    const scope = scopeOf(address);
    switch (scope) {
      case "public":
        return true;
      case "private":
        return own.scope === "private" || own.scope === "loopback";
      case "loopback":
        return own.scope === "loopback";
      case "special":
        return false;
    }
  };
  return {
    mayReach,
    refusalOf(target, proxied) {
      const hostname = bareHostname(target.hostname);
      if (isAddress(hostname)) {
        return mayReach(hostname)
          ? undefined
          : new RefusedAddressError(`the upstream may not lead to the address ${hostname}`);
      }
      return proxied && own.hasPublicName ? refusalOfName(hostname) : undefined;
    },
  };
}

function refusalOfName(hostname: string): RefusedAddressError | undefined {
  return isPublicName(hostname) ? undefined : new RefusedAddressError(`${hostname} is no name of the public DNS`);
}

/**
 * Whether a host without a port is a name under a suffix of the public DNS: no address (also none in disguise, as 10.1
 * or 0x7f.1), and not `localhost`, `.local`, `.internal`, `home.arpa` or a single label.
 */
export function isPublicName(host: string): boolean {
  if (/[:[]/.test(host) || isAddress(host)) return false;
  const { domain, isIcann, isPrivate, isIp } = parse(host, { allowPrivateDomains: true });
  const top = /([^.]*)\.?$/.exec(host)?.[1] ?? "";
  return isIp === false && domain !== null && (isIcann || isPrivate) === true && /^[a-z]/i.test(top) && top !== "arpa";
}
