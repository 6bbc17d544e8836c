import { invalid } from "./failures.ts";
import type { Exchange, HttpRequest, HttpResponse } from "./transport.ts";

/** More hops than any registry makes. */
export const maxRedirects = 5;

const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Whether a response sends us elsewhere. */
export function isRedirect(status: number): boolean {
  return redirectStatuses.has(status);
}

/**
 * Follows the redirects of a GET or HEAD. Once one leads to another scheme, host or port, `Authorization` stays behind
 * for the rest of the way: it would leak the token, and a store with signed URLs refuses requests that carry one.
 *
 * A 303 for referrers is given back as it is: ghcr.io sends its web site that way.
 */
export function followRedirects(exchange: Exchange): Exchange {
  return async (first) => {
    let request: HttpRequest = first;
    let crossedOrigin = false;
    const seen = new Set<string>();
    for (;;) {
      seen.add(request.url.href);
      const response = await exchange(request);
      if (!isRedirect(response.status) || (first.kind === "referrers" && response.status === 303)) {
        return { ...response, crossedOrigin };
      }
      response.body.discard();
      const target = redirectTarget(response);
      // registry.k8s.io drops the query, and with it where a listing goes on.
      if ((first.kind === "tags" || first.kind === "referrers") && target.search === "") {
        target.search = first.url.search;
      }
      if (seen.has(target.href) || seen.size > maxRedirects) {
        throw invalid({ upstream: response.upstream, url: first.url }, "the redirects do not end");
      }
      crossedOrigin ||= target.origin !== request.url.origin;
      const headers = crossedOrigin ? { accept: first.headers.accept, range: first.headers.range } : first.headers;
      request = { ...first, url: target, headers, crossedOrigin };
    }
  };
}

/**
 * Where a redirect leads, as an absolute URL without fragment and user.
 *
 * @throws {UpstreamError} "invalid": there is no usable Location, or it leads from https to something else.
 */
export function redirectTarget(response: HttpResponse): URL {
  const location = response.header("location");
  const target = location === undefined ? null : URL.parse(location, response.url);
  if (target === null || !/^https?:$/.test(target.protocol)) {
    throw invalid(response, `a redirect (${response.status}) without a usable Location`);
  }
  if (response.url.protocol === "https:" && target.protocol !== "https:") {
    throw invalid(response, "a redirect from https to http is not followed");
  }
  target.hash = "";
  target.username = "";
  target.password = "";
  return target;
}
