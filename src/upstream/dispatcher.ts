import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";
import type * as undici from "undici";
import { guardLookup, type NameLookup } from "./addresses.ts";
import { acceptContinue } from "./continue.ts";
import type { ConnectionGuard, OwnPlace } from "./guard.ts";
import { type OpenOrigin, Origins } from "./origins.ts";
import { buildConnector, EnvHttpProxyAgent, Pool } from "./undici.ts";

/** By which proxies requests go out (the meaning of `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`); empty is none. */
export interface ProxySettings {
  /** For http URLs, and for https ones where `https` is empty. A URL; a user and password in it go to the proxy. */
  readonly http?: string;
  /** For https URLs, through a tunnel (CONNECT). */
  readonly https?: string;
  /** Hosts that are reached directly, separated by commas: `host`, `host:port`, `.suffix`, `*.suffix`, or `*`. */
  readonly noProxy?: string;
}

/** How long is waited for a server, in milliseconds. */
export interface Timeouts {
  /** The time for the name look-up, the connection and the TLS handshake together. */
  readonly connectTimeoutMs: number;
  /** The time from a request until its response's headers are complete. */
  readonly headerTimeoutMs: number;
  /** The longest time without a byte of a body that somebody is waiting for. */
  readonly idleTimeoutMs: number;
}

/** How connections are made. */
export interface DispatcherOptions {
  readonly timeouts: Timeouts;
  readonly acceptInvalidCerts: boolean;
  /** Resolves names; the system's own when it is left out. */
  readonly lookup?: NameLookup | undefined;
  /** Certificates (PEM) to trust besides the built-in ones. */
  readonly ca?: string | Buffer | undefined;
  /** A certificate (PEM) to show to the server, and its key. */
  readonly clientCert?: string | Buffer | undefined;
  readonly clientKey?: string | Buffer | undefined;
  readonly proxy?: ProxySettings | undefined;
  /** What may be reached; anything, where it is left out. */
  readonly guard?: ConnectionGuard | undefined;
  /** Told of the host and the address of each connection that was made without a proxy. */
  readonly own?: OwnPlace | undefined;
}

/** How long a connection without a request is kept. */
const keepAliveMs = 30_000;
/** The longest headers of a response: policies and signed URLs of 16 KiB and more are in use (quay#3303). */
const maxHeaderBytes = 128 * 1024;

/**
 * Makes a pool of connections. It limits no number of connections that are in use: the limiter of each upstream does.
 *
 * HTTP/1.1 only: a blob gets a connection of its own, with the kernel's flow control, and a slot of the limiter is one
 * connection. Who makes a dispatcher closes it, or leaves that to the upstream that owns it.
 *
 * With a proxy, names are looked up there: of a guard only what it says of the name is left.
 *
 * @throws {Error} by OpenSSL: a certificate or key that cannot be read, or a key that is not the certificate's.
 */
export function createDispatcher(options: DispatcherOptions): undici.Dispatcher {
  const { guard, proxy } = options;
  const tls = tlsOptions(options);
  const connect = createConnector(options, tls);
  const isProxied = proxy !== undefined && Boolean(proxy.http || proxy.https);
  const directly: OpenOrigin = (origin, add) => {
    const pool = createPool(origin, options, connect);
    add(pool);
    return pool;
  };
  const open = isProxied ? throughProxy(proxy, options, tls, connect) : directly;
  return new Origins(open, (origin) => guard?.refusalOf(new URL(origin), isProxied));
}

function throughProxy(
  proxy: ProxySettings,
  options: DispatcherOptions,
  tls: undici.buildConnector.BuildOptions,
  connect: undici.buildConnector.connector,
): OpenOrigin {
  return (_origin, add) => {
    // The proxy's own pools have neither our time-outs nor our keep-alive where these do not say so.
    const makePool = (origin: string | URL, own: object): undici.Pool =>
      createPool(origin, options, "connect" in own ? (own.connect as undici.buildConnector.connector) : connect);
    return new EnvHttpProxyAgent({
      connect,
      requestTls: tls,
      proxyTls: { timeout: options.timeouts.connectTimeoutMs, allowH2: false },
      factory: (origin: string | URL, own: object) => {
        const pool = makePool(origin, own);
        add(pool);
        return pool;
      },
      clientFactory: makePool,
      // What is undefined would be read from the process's environment.
      httpProxy: proxy.http ?? "",
      httpsProxy: proxy.https ?? "",
      noProxy: proxy.noProxy ?? "",
    });
  };
}

function createPool(
  origin: string | URL,
  options: DispatcherOptions,
  connect: undici.buildConnector.connector,
): undici.Pool {
  return new Pool(origin, {
    allowH2: false,
    headersTimeout: options.timeouts.headerTimeoutMs,
    bodyTimeout: options.timeouts.idleTimeoutMs,
    keepAliveTimeout: keepAliveMs,
    keepAliveMaxTimeout: keepAliveMs,
    maxHeaderSize: maxHeaderBytes,
    connect: (target, callback) =>
      connect(target, (...result) => {
        const [error, socket] = result;
        if (error === null) {
          acceptContinue(socket);
        }
        callback(...result);
      }),
  });
}

function createConnector(
  options: DispatcherOptions,
  tls: undici.buildConnector.BuildOptions,
): undici.buildConnector.connector {
  const { guard, lookup, own } = options;
  const mayReach = (address: string): boolean => guard === undefined || guard.mayReach(address);
  const isPlain = guard === undefined && lookup === undefined;
  const connect = buildConnector({ ...tls, ...(!isPlain && { lookup: guardLookup(lookup, mayReach) }) });
  return (target, callback) =>
    connect(target, (...result) => {
      const [, socket] = result;
      if (socket?.remoteAddress !== undefined) {
        own?.note(target.host ?? "", socket.remoteAddress);
      }
      callback(...result);
    });
}

function tlsOptions(options: DispatcherOptions): undici.buildConnector.BuildOptions {
  const secureContext = createContext(options);
  return {
    allowH2: false,
    rejectUnauthorized: !options.acceptInvalidCerts,
    timeout: options.timeouts.connectTimeoutMs,
    ...(secureContext !== undefined && { secureContext }),
  };
}

/** Made once: to read the built-in certificates anew costs milliseconds, and would be done for each connection. */
function createContext({ ca, clientCert, clientKey }: DispatcherOptions): SecureContext | undefined {
  if (ca === undefined && clientCert === undefined && clientKey === undefined) return undefined;
  return createSecureContext({
    ...(ca !== undefined && ca.length > 0 && { ca: [...getCACertificates("default"), ca] }),
    ...(clientCert !== undefined && { cert: clientCert }),
    ...(clientKey !== undefined && { key: clientKey }),
  });
}
