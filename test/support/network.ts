/*
 * Imported for its effect: from then on this process connects to nobody but itself. A connection to another address
 * than loopback, or the look-up of another name than localhost, throws where it is tried, and makes the process end
 * with a failure even when that error was caught.
 */
import dns, { type LookupOptions } from "node:dns";
import { syncBuiltinESMExports } from "node:module";
import { isIP, Socket, type LookupFunction } from "node:net";

/** A test tried to reach the outside. */
export class OutsideConnection extends Error {
  override readonly name = "OutsideConnection";

  constructor(target: string) {
    super(`a test tried to reach ${target}; tests talk to 127.0.0.1 only`);
  }
}

interface Target {
  readonly path?: string;
  readonly host?: string;
  lookup?: LookupFunction;
}

const prototype = Socket.prototype as { connect: (...parameters: unknown[]) => Socket };
const { connect } = prototype;
const { lookup } = dns;
const { lookup: lookupPromise } = dns.promises;

prototype.connect = function (this: Socket, ...parameters: unknown[]): Socket {
  // `net.connect` hands over its normalised parameters as one array: [options, callback].
  const [first, second]: unknown[] = Array.isArray(parameters[0]) ? parameters[0] : parameters;
  if (typeof first === "object" && first !== null) {
    checkTarget(first);
  } else if (typeof second === "string") {
    checkTarget({ host: second });
  }
  return Reflect.apply(connect, this, parameters);
};

dns.lookup = ((name: string, ...rest: unknown[]): unknown => {
  checkName(name);
  return Reflect.apply(lookup, dns, [name, ...rest]);
}) as typeof lookup;

dns.promises.lookup = (async (name: string, options: LookupOptions): Promise<unknown> => {
  checkName(name);
  return lookupPromise(name, options);
}) as typeof lookupPromise;

for (const method of ["resolve4", "resolve6"] as const) {
  const { prototype: resolver } = dns.promises.Resolver;
  const resolve = resolver[method] as (...parameters: unknown[]) => unknown;
  resolver[method] = function (this: dns.promises.Resolver, name: string, ...rest: unknown[]): unknown {
    for (const server of this.getServers()) {
      checkAddress(server.replace(/^\[?(.*?)\]?(?::\d+)?$/, "$1"));
    }
    return Reflect.apply(resolve, this, [name, ...rest]);
  } as (typeof resolver)[typeof method];
}

syncBuiltinESMExports();

function checkTarget(target: Target): void {
  const { path, host = "localhost", lookup: ownLookup } = target;
  if (path !== undefined && path !== null) {
    return;
  }
  if (isIP(host) !== 0) {
    checkAddress(host);
  } else if (ownLookup === undefined) {
    checkName(host);
  } else if (!guarded.has(ownLookup)) {
    target.lookup = guard(ownLookup);
  }
}

const guarded = new WeakSet<LookupFunction>();

/** A test may answer look-ups itself, as long as the answer is loopback. */
function guard(ownLookup: LookupFunction): LookupFunction {
  const checked: LookupFunction = (name, options, callback) => {
    ownLookup(name, options, (error, address, family) => {
      for (const each of Array.isArray(address) ? address.map((entry) => entry.address) : [address]) {
        if (error === null && isOutside(each)) {
          callback(fail(each), "", 0);
          return;
        }
      }
      callback(error, address, family);
    });
  };
  guarded.add(checked);
  return checked;
}

function checkAddress(address: string): void {
  if (isOutside(address)) {
    throw fail(address);
  }
}

function checkName(name: string): void {
  if (isIP(name) === 0 && name !== "localhost") {
    throw fail(name);
  }
}

function isOutside(address: string): boolean {
  return !/^(?:127\.|::1$|::ffff:127\.)/.test(address);
}

function fail(target: string): OutsideConnection {
  process.exitCode = 1;
  return new OutsideConnection(target);
}
