import type { S3Keys, S3Options } from "./s3-options.ts";

/** New keys are asked for when so much of their life is left; and so long before their end nobody trusts the old ones. */
const renewalMs = 5 * 60_000;
const lastMs = 30_000;
/** After keys that end soon, or none, nobody asks again for so long while the old ones are good. */
const restMs = 30_000;
const urgentRestMs = 1000;

/**
 * The keys that requests are signed with. Those that end are renewed in the background before they do; where that
 * fails, the old ones are used until their end.
 */
export class KeptKeys {
  readonly #provide: () => Promise<S3Keys>;
  #held: S3Keys | undefined;
  #asking: Promise<S3Keys> | undefined;
  /** On the clock of `performance.now`. */
  #askedAt = -Infinity;

  constructor(provide: () => Promise<S3Keys>) {
    this.#provide = provide;
  }

  /**
   * Keys that are good now.
   *
   * @param fresh Whether those that are held will not do.
   * @throws whatever the provider throws.
   */
  async get(fresh = false): Promise<S3Keys> {
    const held = this.#held;
    if (held === undefined || fresh) return this.#ask();
    const left = msLeft(held);
    if (left > renewalMs) return held;
    const isUrgent = left <= lastMs;
    if (left > 0 && performance.now() - this.#askedAt < (isUrgent ? urgentRestMs : restMs)) return held;
    if (isUrgent) return this.#ask();
    this.#ask().catch(() => {}); // Who needs them when the old ones have ended hears of it.
    return held;
  }

  /** Asks once for all who want to know. */
  #ask(): Promise<S3Keys> {
    this.#askedAt = performance.now();
    this.#asking ??= this.#provide()
      .then((keys) => (this.#held = keys))
      .finally(() => (this.#asking = undefined));
    return this.#asking;
  }
}

/** How long keys are good still; for ever where they do not end. */
export function msLeft({ expiration }: S3Keys): number {
  return expiration === undefined ? Infinity : expiration.getTime() - Date.now();
}

/**
 * Who gives the keys: those of the settings, or AWS's default chain, which is gone through anew each time, as its files
 * may have changed. It is given nothing of the client's settings: the endpoint and the trust are for S3, not for STS.
 */
export async function keyProvider(options: S3Options): Promise<() => Promise<S3Keys>> {
  const { credentials, endpoint, region } = options;
  if (typeof credentials === "function") return credentials;
  if (credentials !== undefined) return async () => credentials;
  const { fromNodeProviderChain } = await import("@aws-sdk/credential-providers");
  const chain = fromNodeProviderChain({
    ignoreCache: true,
    // The name of a region at an endpoint of one's own says nothing about AWS.
    ...(endpoint === undefined && region !== undefined ? { clientConfig: { region } } : {}),
  });
  return () => chain({ forceRefresh: true });
}
