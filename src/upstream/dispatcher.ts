import { Agent, buildConnector, type Dispatcher } from "undici";
import { guardLookup, type Lookup, plainLookup, refusalOf } from "./addresses.ts";

/** How connections are made. All times are in milliseconds. */
export interface DispatcherOptions {
  /** For namespaces that nobody configured: https at port 443 of names whose addresses are all public, else refused. */
  readonly onlyPublic: boolean;
  readonly acceptInvalidCerts: boolean;
  /** The time for the name look-up, the connection and the TLS handshake together. */
  readonly connectTimeoutMs: number;
  /** The time from a request until its response's headers are complete. */
  readonly headerTimeoutMs: number;
  /** The longest time without a byte of a body that somebody is waiting for. */
  readonly idleTimeoutMs: number;
  /** Resolves names; the system's own when it is left out. */
  readonly lookup?: Lookup;
  /** Certificates (PEM) to trust in place of the built-in ones. */
  readonly ca?: string | Buffer;
}

/** How long a connection without a request is kept. */
const keepAliveMs = 30_000;

/**
 * Makes the pool of connections for one configured upstream with whatever it redirects to, or, with `onlyPublic`, the
 * one that all unlisted namespaces share. It limits no number of connections: the limiter of each upstream does.
 *
 * HTTP/1.1 only: a blob gets a connection of its own, with the kernel's flow control, and a slot of the limiter is one
 * connection. Who makes a dispatcher closes it, or leaves that to the upstream that owns it.
 */
export function createDispatcher(options: DispatcherOptions): Dispatcher {
  const { onlyPublic, lookup } = options;
  const connect = buildConnector({
    allowH2: false,
    rejectUnauthorized: !options.acceptInvalidCerts,
    timeout: options.connectTimeoutMs,
    ...(options.ca === undefined ? {} : { ca: options.ca }),
    ...(onlyPublic ? { lookup: guardLookup(lookup) } : lookup === undefined ? {} : { lookup: plainLookup(lookup) }),
  });
  return new Agent({
    allowH2: false,
    connect: (target, callback) => {
      const refusal = onlyPublic ? refusalOf(target) : undefined;
      if (refusal === undefined) {
        connect(target, callback);
      } else {
        callback(refusal, null);
      }
    },
    headersTimeout: options.headerTimeoutMs,
    bodyTimeout: options.idleTimeoutMs,
    keepAliveTimeout: keepAliveMs,
    keepAliveMaxTimeout: keepAliveMs,
  });
}
