/** How long answers about tags hold, in milliseconds (RFC 9111 §4.2, RFC 5861). */
export interface FreshnessPolicy {
  /** How long a tag is fresh after it was last checked. 0: it is asked for every time. */
  readonly ttlMs: number;
  /** How long past its freshness a tag is served at once while it is checked in the background. 0: never. */
  readonly staleWhileRevalidateMs: number;
  /** How long past its freshness a tag may be served when the upstream fails. `Infinity`: for ever. */
  readonly staleIfErrorMs: number;
  /** Whether a tag that the upstream no longer has goes on being served, within `staleIfErrorMs`. */
  readonly keepDeleted: boolean;
}

/** Whether what was checked at `checkedAt` needs no question to the upstream. A clock that went back makes it stale. */
export function isFresh(checkedAt: number, now: number, policy: Pick<FreshnessPolicy, "ttlMs">): boolean {
  const age = now - checkedAt;
  return age >= 0 && age < policy.ttlMs;
}

/** Whether it may be served at once although it is stale, while the upstream is asked (RFC 5861 §3). */
export function mayServeWhileRevalidating(
  checkedAt: number,
  now: number,
  policy: Pick<FreshnessPolicy, "ttlMs" | "staleWhileRevalidateMs">,
): boolean {
  const age = now - checkedAt;
  return age >= 0 && age - policy.ttlMs < policy.staleWhileRevalidateMs;
}

/** Whether it may stand in for an upstream that fails (RFC 5861 §4). */
export function mayServeStale(
  checkedAt: number,
  now: number,
  policy: Pick<FreshnessPolicy, "ttlMs" | "staleIfErrorMs">,
): boolean {
  return now - checkedAt - policy.ttlMs <= policy.staleIfErrorMs;
}
