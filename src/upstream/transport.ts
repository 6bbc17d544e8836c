import type { Dispatcher } from "undici";
import type { Clock } from "../concurrency/clock.ts";
import { announcedLength, Body } from "./body.ts";
import { withoutQuery, invalid, toUpstreamError } from "./failures.ts";
import type { Ask } from "./upstream.ts";

/** What a request is for, as it is counted. `token`: all that belongs to authentication. */
export type RequestKind = "manifest" | "blob" | "tags" | "referrers" | "token";

/** Learns of every HTTP exchange, redirect hops included. It must not throw. */
export interface UpstreamObserver {
  /**
   * An exchange has its response's headers, or failed. `host` is the host that was spoken to: the registry's, a token
   * server's, or that of a redirect's target, which the registry chooses, so their number is not bounded.
   */
  request(event: {
    readonly host: string;
    readonly kind: RequestKind;
    readonly method: string;
    /** `undefined`: there was no answer. */
    readonly status: number | undefined;
    /** Until the headers were there. */
    readonly durationMs: number;
  }): void;
}

/** The only headers that are ever sent, besides those that every request has and those that are configured. */
export interface RequestHeaders {
  readonly accept?: string | undefined;
  readonly authorization?: string | undefined;
  readonly "content-type"?: string | undefined;
  readonly range?: string | undefined;
}

/** One HTTP request, as data. While it waits for a slot for nobody, it is given up. */
export interface HttpRequest extends Ask {
  readonly kind: RequestKind;
  readonly method: "GET" | "HEAD" | "POST";
  /** What it is about; requests of one repository and kind queue up together. */
  readonly repository: string;
  readonly url: URL;
  readonly headers: RequestHeaders;
  readonly body?: string;
  /** The `fingerprint` of the credentials on whose behalf it is sent, also where they do not go along. */
  readonly identity?: string | undefined;
  /** Whether a redirect has led to another origin on the way here, even if it has led back since. */
  readonly crossedOrigin?: boolean;
}

/** A response whose headers are here. */
export interface HttpResponse {
  /** Host and port of the upstream that was asked, for errors. */
  readonly upstream: string;
  readonly status: number;
  /** Where it came from: the last hop's URL. */
  readonly url: URL;
  /** Whether a redirect led to another scheme, host or port on the way. */
  readonly crossedOrigin: boolean;
  readonly body: Body;
  /** A header by its lower-case name; lines that were sent apart are joined with `, `. */
  header(name: string): string | undefined;
}

/**
 * Sends a request. It rejects with `UpstreamError`, or with the reason of its signal, which stays bound to the body.
 * Each layer above (redirects, limits, retries, authentication) takes and gives one.
 */
export type Exchange = (request: HttpRequest) => Promise<HttpResponse>;

/** More informational answers (1xx) than any server sends: each starts the wait for the headers anew. */
const maxInformational = 16;

/** The lowest layer: one request, one response, no interpretation. */
export function createExchange(options: {
  readonly host: string;
  readonly dispatcher: Dispatcher;
  readonly userAgent: string;
  readonly observer: UpstreamObserver;
  readonly clock: Clock;
  /** Sent to their origin alone, and not when a redirect has led there from another one. */
  readonly own?: { readonly origin: string; readonly headers: Readonly<Record<string, string>> };
}): Exchange {
  const { clock, dispatcher, host, observer, own, userAgent } = options;
  return async (request) => {
    const { kind, method, signal, url } = request;
    signal.throwIfAborted();
    const startedAt = performance.now();
    const observe = (status: number | undefined): void =>
      observer.request({ host: url.host, kind, method, status, durationMs: performance.now() - startedAt });
    let informational = 0;
    const onInfo = (): void => {
      if (++informational <= maxInformational) return;
      throw invalid({ upstream: host, url }, "there is no end to its 1xx");
    };
    try {
      const { statusCode, headers, body } = await dispatcher.request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        headers: {
          ...(own?.origin === url.origin && request.crossedOrigin !== true ? own.headers : {}),
          ...sentHeaders(request.headers, userAgent),
        },
        body: request.body ?? null,
        signal,
        onInfo,
        // Without it the connection is closed after every HEAD.
        reset: false,
      });
      observe(statusCode);
      const header = (name: string): string | undefined => {
        const value = headers[name];
        return Array.isArray(value) ? value.join(", ") : value;
      };
      return {
        upstream: host,
        status: statusCode,
        url,
        crossedOrigin: false,
        body: new Body(body, { upstream: host, url, announcedBytes: announcedLength({ header }), signal, clock }),
        header,
      };
    } catch (error) {
      observe(undefined);
      signal.throwIfAborted();
      throw toUpstreamError(host, `${method} ${withoutQuery(url)}`, error);
    }
  };
}

function sentHeaders(headers: RequestHeaders, userAgent: string): Record<string, string> {
  const sent: Record<string, string> = { "user-agent": userAgent, "accept-encoding": "identity" };
  for (const name of ["accept", "authorization", "content-type", "range"] as const) {
    const value = headers[name];
    if (value !== undefined) {
      sent[name] = value;
    }
  }
  return sent;
}
