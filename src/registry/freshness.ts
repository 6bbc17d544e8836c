/** How long answers about tags hold, in milliseconds (RFC 9111 §4.2, RFC 5861). */
export interface FreshnessPolicy {
  /** How long a tag is fresh after it was last checked. 0: it is asked for every time. */
  readonly ttlMs: number;
  /** How long past its freshness a tag may be served when the upstream fails. `Infinity`: for ever. */
  readonly staleIfErrorMs: number;
}

/** Whether what was checked at `checkedAt` needs no question to the upstream. A clock that went back makes it stale. */
export function isFresh(checkedAt: number, now: number, policy: FreshnessPolicy): boolean {
  const age = now - checkedAt;
  return age >= 0 && age < policy.ttlMs;
}

/** Whether it may stand in for an upstream that fails. */
export function mayServeStale(checkedAt: number, now: number, policy: FreshnessPolicy): boolean {
  return now - checkedAt - policy.ttlMs <= policy.staleIfErrorMs;
}
