import { parseChallenges, type Challenge } from "../oci/challenge.ts";
import type { Clock } from "../concurrency/clock.ts";
import { fingerprint } from "./credentials.ts";
import { isPassingStatus, toStatusError } from "./failures.ts";
import { TextCache } from "./text-cache.ts";
import type { Exchange, HttpRequest, HttpResponse } from "./transport.ts";

/** How many credentials' challenges are remembered for a registry, and for how long. */
const maxRemembered = 16;
const rememberedSeconds = 600;

/** What a registry as a whole, by its `/v2/`, wants of whoever logs in. */
export interface RegistryChallenge {
  /**
   * Asked for once for all who ask at the same time with the same credentials, and remembered for some minutes.
   *
   * @returns nothing where `/v2/` is open to everybody, or is not there.
   * @throws {UpstreamError} It could not be told; that is not remembered.
   */
  get(request: HttpRequest): Promise<readonly Challenge[]>;
  /** Forgets what was said to these credentials: they met it, and were refused. */
  forget(identity: string | undefined): void;
}

/** A 401 of the registry itself; one of a redirect's target gets nothing of ours. */
export function isChallenge(response: HttpResponse): boolean {
  return response.status === 401 && !response.crossedOrigin;
}

/** The challenges of a response, whatever its status (RFC 9110 §11.6.1). */
export function challengesOf(response: HttpResponse): Challenge[] {
  return parseChallenges(headerOf(response));
}

/**
 * The challenge of a registry, which is asked for when somebody wants it.
 *
 * @param exchange To the registry without the limiter: whoever asks may hold a slot.
 */
export function createRegistryChallenge(upstream: URL, exchange: Exchange, clock: Clock): RegistryChallenge {
  const headers = new TextCache(clock, maxRemembered);
  return {
    async get({ repository, identity, signal }) {
      const ask = async (own: AbortSignal): Promise<{ value: string; lifetimeSeconds: number }> => {
        const url = new URL("/v2/", upstream);
        const question: HttpRequest = { kind: "token", method: "GET", repository, url, headers: {}, signal: own };
        const response = await exchange(identity === undefined ? question : { ...question, identity });
        response.body.discard();
        if (isPassingStatus(response.status) || response.status === 429) throw toStatusError(response, clock.now());
        return { value: isChallenge(response) ? headerOf(response) : "", lifetimeSeconds: rememberedSeconds };
      };
      return parseChallenges((await headers.get(identity ?? fingerprint(undefined), ask, signal)) ?? "");
    },
    forget(identity = fingerprint(undefined)) {
      headers.drop(identity, headers.peek(identity) ?? "");
    },
  };
}

function headerOf(response: HttpResponse): string {
  return response.header("www-authenticate") ?? "";
}
