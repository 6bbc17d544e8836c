import type { Repository } from "../oci/reference.ts";
import { discard } from "./body.ts";
import type { Clock } from "../concurrency/clock.ts";
import { toStatusError } from "./failures.ts";
import type { Interest } from "../concurrency/interest.ts";
import type { Exchange, HttpRequest, HttpResponse, RequestHeaders, RequestKind } from "./transport.ts";

/** A question to a repository of the registry. */
export interface Question {
  readonly kind: Exclude<RequestKind, "token">;
  readonly method: "GET" | "HEAD";
  readonly repository: Repository;
  /** What follows the repository's name in the path: `manifests/latest`. */
  readonly resource: string;
  /** Without `?`. */
  readonly query?: string;
  readonly headers: RequestHeaders;
  /** As of `HttpRequest`. */
  readonly interest?: Interest | undefined;
  /** Answers, besides a 200, that the asker wants to see itself. */
  readonly wants?: (response: HttpResponse) => boolean;
}

/**
 * Asks the registry. `undefined`: it says that there is no such thing, with 404 or 410.
 *
 * @throws {UpstreamError} for all other answers but a 200 and those that the asker wants.
 */
export type Ask = (question: Question, signal: AbortSignal) => Promise<HttpResponse | undefined>;

/** What the operations of the client share. */
export interface Registry {
  /** Host and port, for errors. */
  readonly host: string;
  readonly ask: Ask;
  readonly clock: Clock;
  /** Until when no HEAD is sent, as they are refused; by `clock.monotonic`. */
  readonly heads: { sparedUntil: number };
}

/**
 * Denied is 401 and 403, as authentication is over by now; and 400, ECR's answer to names that it does not like. A
 * store that a blob was redirected to knows of no access rights: there they mean that the signed URL was bad, and say
 * nothing about the blob.
 */
export function createAsk(options: {
  readonly base: URL;
  /** What the registry's names of repositories begin with: empty, or with a slash at its end. */
  readonly prefix: string;
  readonly exchange: Exchange;
  readonly clock: Clock;
}): Ask {
  const { base, prefix, exchange, clock } = options;
  return async (question, signal) => {
    const { kind, method, repository, headers, interest } = question;
    const url = new URL(`/v2/${prefix}${repository}/${question.resource}`, base);
    url.search = question.query ?? "";
    const request: HttpRequest = { kind, method, repository, url, headers, interest };
    const response = await exchange(request, signal);
    const { status } = response;
    if (status === 200 || question.wants?.(response) === true) {
      return response;
    }
    discard(response);
    if (status === 404 || status === 410) {
      return undefined;
    }
    const denies = (status === 400 || status === 401 || status === 403) && !(kind === "blob" && response.crossedOrigin);
    throw toStatusError(base.host, response, clock.now(), denies);
  };
}
