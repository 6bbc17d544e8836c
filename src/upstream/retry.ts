import type { Clock } from "../concurrency/clock.ts";
import { isFailedAnswer, isPassingStatus, mayPass } from "./failures.ts";
import { askedRestSeconds } from "./rest.ts";
import type { Exchange, HttpResponse } from "./transport.ts";
import { UpstreamError } from "./upstream.ts";

/** A pause that the upstream asks for is made here up to this length; a longer one is for the caller to plan. */
const maxPauseSeconds = 2;
const firstPauseMs = 100;

/**
 * Tries again, up to `retries` times, what may pass: a connection that failed or was reset before the headers, 408,
 * 500, 502, 503, 504, and a 429 that asks for a short pause, whether it is this request's answer or
 * still holds from another's. The last answer is given back as it is. The pauses double
 * from about 100 ms, each between half and all of that. What a HEAD was answered is not tried again, as a GET decides
 * then, and an upstream in trouble is not to have both.
 *
 * @param random Numbers from 0 up to 1, for the jitter.
 */
export function retrying(
  exchange: Exchange,
  options: { readonly retries: number; readonly clock: Clock; readonly random?: () => number },
): Exchange {
  const { retries, clock, random = Math.random } = options;
  return async (request) => {
    const { signal } = request;
    const isHead = request.method === "HEAD";
    for (let attempt = 0; ; attempt++) {
      let pauseMs = firstPauseMs * 2 ** attempt * (0.5 + random() / 2);
      try {
        const response = await exchange(request);
        const isDecided = isHead && response.status !== 429;
        const ownPauseMs = isDecided ? undefined : pauseAfter(response, pauseMs, clock.now());
        if (ownPauseMs === undefined || attempt >= retries) return response;
        pauseMs = ownPauseMs;
        response.body.discard();
      } catch (error) {
        const heldSeconds = shortHold(error);
        const mayBeOver = (mayPass(error) && !(isHead && isFailedAnswer(error))) || heldSeconds !== undefined;
        if (signal.aborted || !mayBeOver || attempt >= retries) throw error;
        pauseMs = Math.max(pauseMs, (heldSeconds ?? 0) * 1000);
      }
      try {
        await clock.wait(pauseMs, signal);
      } catch (error) {
        signal.throwIfAborted();
        throw error;
      }
    }
  };
}

function pauseAfter(response: HttpResponse, pauseMs: number, now: number): number | undefined {
  const askedSeconds = askedRestSeconds(response, now);
  if (!isPassingStatus(response.status) && !(response.status === 429 && askedSeconds !== undefined)) return undefined;
  if (askedSeconds === undefined) return pauseMs;
  return askedSeconds <= maxPauseSeconds ? Math.max(pauseMs, askedSeconds * 1000) : undefined;
}

/** The seconds that are left of a short pause that somebody else's answer asked for. */
function shortHold(error: unknown): number | undefined {
  const seconds =
    error instanceof UpstreamError && error.failure === "rate-limited" ? error.retryAfterSeconds : undefined;
  return seconds !== undefined && seconds <= maxPauseSeconds ? seconds : undefined;
}
