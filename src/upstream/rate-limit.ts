import type { Clock } from "../concurrency/clock.ts";
import type { Budget, RateLimit } from "./budget.ts";
import { fingerprint } from "./credentials.ts";
import { askedRestSeconds } from "./rest.ts";
import type { Exchange } from "./transport.ts";
import { UpstreamError } from "./upstream.ts";

/**
 * Obeys `Retry-After` of 429 and 503 (RFC 9110 §10.2.3), per host and credentials: until it has passed, nothing is sent
 * there on behalf of these. It stands below the retries and the queue, so that what waits there is held off as well.
 * Every answer of the registry itself is read for what is left.
 *
 * @returns an exchange that throws `UpstreamError` "rate-limited" with the remaining seconds, without a request.
 */
export function obeyingLimits(exchange: Exchange, upstream: URL, budget: Budget, clock: Clock): Exchange {
  return async (request) => {
    const { host } = request.url;
    const account = request.identity ?? fingerprint(undefined);
    const retryAfterSeconds = budget.heldSeconds(host, account);
    if (retryAfterSeconds > 0) {
      const message = `${host} is to be left alone for another ${retryAfterSeconds} s`;
      throw new UpstreamError(upstream.host, "rate-limited", message, { retryAfterSeconds });
    }
    const response = await exchange(request);
    // What else it was redirected to has limits of its own, or pretends to.
    if (request.url.origin === upstream.origin && request.crossedOrigin !== true) {
      const limit = parseRateLimit((name) => response.header(name));
      if (limit !== undefined) budget.note(account, limit);
      if (response.status === 429) budget.exhaust(account);
    }
    if (response.status === 429 || response.status === 503) {
      const seconds = askedRestSeconds(response, clock.now()) ?? 0;
      if (seconds > 0) budget.hold(host, account, seconds);
    }
    return response;
  };
}

/**
 * Reads `ratelimit-limit` and `ratelimit-remaining` (`100;w=21600`; of a list the first item); a window is a day at most.
 *
 * @param header A header by its lower-case name.
 * @returns `undefined`: neither of the two numbers is there, or can be read. Unlimited accounts have none.
 */
export function parseRateLimit(header: (name: string) => string | undefined): RateLimit | undefined {
  const limit = parseItem(header("ratelimit-limit"));
  const remaining = parseItem(header("ratelimit-remaining"));
  if (limit === undefined && remaining === undefined) return undefined;
  return {
    limit: limit?.count,
    remaining: remaining?.count,
    windowSeconds: remaining?.windowSeconds ?? limit?.windowSeconds,
  };
}

/** No window counts as longer, whatever is said: tags are not checked in it while little is left. */
const longestWindowSeconds = 86_400;
const item = /^[ \t]*([0-9]{1,15})[ \t]*((?:;[^,;]*)*)(?:,|$)/;
const window = /;[ \t]*w=([0-9]{1,9})[ \t]*(?:;|$)/;

function parseItem(text: string | undefined): { count: number; windowSeconds: number | undefined } | undefined {
  const [, count, parameters] = item.exec(text ?? "") ?? [];
  if (count === undefined) return undefined;
  const seconds = Number(window.exec(parameters ?? "")?.[1]);
  return { count: Number(count), windowSeconds: seconds > 0 ? Math.min(seconds, longestWindowSeconds) : undefined };
}
