import { parseChallenges, type Challenge } from "../oci/challenge.ts";
import type { Clock } from "../concurrency/clock.ts";
import { fingerprint } from "./credentials.ts";
import { isPassingStatus, toStatusError } from "./failures.ts";
import { type PassingText, TextCache } from "./text-cache.ts";
import type { Exchange, HttpRequest, HttpResponse } from "./transport.ts";

/** How many credentials' challenges are remembered for a registry, and for how long. */
const maxRemembered = 16;
const rememberedSeconds = 600;

/** A 401 of the registry itself; one of a redirect's target gets nothing of ours. */
export function isChallenge(response: HttpResponse): boolean {
  return response.status === 401 && !response.crossedOrigin;
}

/** The challenges of a response, whatever its status (RFC 9110 §11.6.1). */
export function challengesOf(response: HttpResponse): Challenge[] {
  return parseChallenges(headerOf(response));
}

/** What a registry as a whole, by its `/v2/`, wants of whoever logs in. */
export class RegistryChallenge {
  readonly #upstream: URL;
  readonly #exchange: Exchange;
  readonly #clock: Clock;
  readonly #headers: TextCache;

  /** @param exchange To the registry without the limiter: whoever asks may hold a slot. */
  constructor(upstream: URL, exchange: Exchange, clock: Clock) {
    this.#upstream = upstream;
    this.#exchange = exchange;
    this.#clock = clock;
    this.#headers = new TextCache(clock, maxRemembered);
  }

  /**
   * Asked for once for all who ask at the same time with the same credentials, and remembered for some minutes.
   *
   * @returns nothing where `/v2/` is open to everybody, or is not there.
   * @throws {UpstreamError} It could not be told; that is not remembered.
   */
  async get(request: HttpRequest): Promise<readonly Challenge[]> {
    const { identity = fingerprint(undefined), signal } = request;
    return parseChallenges((await this.#headers.get(identity, (own) => this.#ask(request, own), signal)) ?? "");
  }

  /** Forgets what was said to these credentials: they met it, and were refused. */
  forget(identity: string = fingerprint(undefined)): void {
    this.#headers.drop(identity, this.#headers.peek(identity) ?? "");
  }

  async #ask({ repository, identity }: HttpRequest, signal: AbortSignal): Promise<PassingText> {
    const url = new URL("/v2/", this.#upstream);
    const about = { kind: "token", repository, identity } as const;
    const response = await this.#exchange({ ...about, method: "GET", url, headers: {}, signal });
    response.body.discard();
    if (isPassingStatus(response.status) || response.status === 429) throw toStatusError(response, this.#clock.now());
    return { value: isChallenge(response) ? headerOf(response) : "", lifetimeSeconds: rememberedSeconds };
  }
}

function headerOf(response: HttpResponse): string {
  return response.header("www-authenticate") ?? "";
}
