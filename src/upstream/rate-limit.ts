/** What a registry says of the requests that are left (Docker Hub's headers; there is no specification). */
export interface RateLimit {
  /** How many requests a window has; `undefined`: not said. */
  readonly limit: number | undefined;
  /** How many of them are left; `undefined`: not said. */
  readonly remaining: number | undefined;
  /** The length of the window in seconds; `undefined`: not said. */
  readonly windowSeconds: number | undefined;
  /** Whom the registry counts: an address, or an account's identifier. */
  readonly source: string | undefined;
}

/**
 * Reads `ratelimit-limit` and `ratelimit-remaining` (`100;w=21600`; of a list the first item) and
 * `docker-ratelimit-source`.
 *
 * @param header A header by its lower-case name.
 * @returns `undefined`: neither of the two numbers is there, or can be read. Unlimited accounts have none.
 */
export function parseRateLimit(header: (name: string) => string | undefined): RateLimit | undefined {
  const limit = parseItem(header("ratelimit-limit"));
  const remaining = parseItem(header("ratelimit-remaining"));
  if (limit === undefined && remaining === undefined) {
    return undefined;
  }
  const source = header("docker-ratelimit-source")?.trim() ?? "";
  return {
    limit: limit?.count,
    remaining: remaining?.count,
    windowSeconds: remaining?.windowSeconds ?? limit?.windowSeconds,
    // It goes into logs and metrics.
    source: /^[\x21-\x7e]{1,128}$/.test(source) ? source : undefined,
  };
}

const item = /^[ \t]*([0-9]{1,15})[ \t]*((?:;[^,;]*)*)(?:,|$)/;
const window = /;[ \t]*w=([0-9]{1,9})[ \t]*(?:;|$)/;

function parseItem(text: string | undefined): { count: number; windowSeconds: number | undefined } | undefined {
  const [, count, parameters] = item.exec(text ?? "") ?? [];
  if (count === undefined) {
    return undefined;
  }
  const seconds = Number(window.exec(parameters ?? "")?.[1]);
  return { count: Number(count), windowSeconds: seconds > 0 ? seconds : undefined };
}
