import { type LookupAddress } from "node:dns";
import { Resolver } from "node:dns/promises";
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { callbackify } from "node:util";
import type { NameLookup } from "./addresses.ts";

/** How long a look-up may take, with all that it tries. */
const lookupMs = 5_000;
const tryMs = 2_000;
/** As many run at once; more fail at once, in a way that may pass. */
const maxLookups = 128;

/** Where names are looked up; the system's places where it is not said. */
export interface PublicLookupOptions {
  /** Name servers, as `address:port`. */
  readonly servers?: readonly string[] | undefined;
  /** A file as of hosts(5). */
  readonly hostsFile?: string | undefined;
}

/**
 * A look-up for names that anybody can make up. It asks the name servers of resolv.conf itself, after /etc/hosts, and
 * not by `getaddrinfo` (`dns.lookup`): that waits in one of libuv's threads, of which two look names up, for as long as
 * the system's resolver likes, and cannot be called off. Two names whose servers never answer would so keep every
 * configured registry from being reached.
 */
export function createPublicLookup(options: PublicLookupOptions = {}): NameLookup {
  let running = 0;
  const begin = callbackify((hostname: string) => look(hostname, options).finally(() => running--));
  return (hostname, _options, callback) => {
    if (running >= maxLookups) {
      callback(Object.assign(new Error("too many names are looked up"), { code: "EAI_AGAIN" }), []);
      return;
    }
    running++;
    begin(hostname, callback);
  };
}

async function look(
  hostname: string,
  { servers, hostsFile = "/etc/hosts" }: PublicLookupOptions,
): Promise<LookupAddress[]> {
  const fixed = addressesIn(await readFile(hostsFile, "utf8").catch(() => ""), hostname);
  if (fixed.length > 0) return fixed.map(toLookupAddress);
  // One for each look-up: it reads resolv.conf, which may have changed, and is called off alone.
  const resolver = new Resolver({ timeout: tryMs, tries: 2 });
  if (servers !== undefined) {
    resolver.setServers(servers);
  }
  const late = setTimeout(() => resolver.cancel(), lookupMs);
  try {
    const [four, six] = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)]);
    const found = [four, six].flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
    if (found.length === 0 && four.status === "rejected") throw four.reason;
    return found.map(toLookupAddress);
  } finally {
    clearTimeout(late);
  }
}

/** What a hosts file says of a name. */
function addressesIn(hosts: string, name: string): string[] {
  // It may be long, and seldom says anything.
  if (!hosts.toLowerCase().includes(name)) return [];
  return hosts.split("\n").flatMap((line) => {
    const [address = "", ...names] = line.replace(/#.*/, "").trim().toLowerCase().split(/\s+/);
    return isIP(address) !== 0 && names.includes(name) ? [address] : [];
  });
}

function toLookupAddress(address: string): LookupAddress {
  return { address, family: isIP(address) };
}
