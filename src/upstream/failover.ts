import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/reference.ts";
import type { Clock } from "../concurrency/clock.ts";
import { type Ask, type Upstream, type UpstreamBlob, UpstreamError, type UpstreamFailure } from "./upstream.ts";

/** How long a mirror that failed is passed over, where it does not ask for more. */
const restSeconds = 30;
const maxRestSeconds = 300;
/** For this long after a mirror's bytes were of no use, the blob is asked for at the next one first. */
const doubtMs = 600_000;
const maxDoubts = 1024;

/** Failures of the mirror as a whole; the others concern what was asked for. */
const resting: ReadonlySet<UpstreamFailure> = new Set(["unreachable", "timeout", "status", "token", "rate-limited"]);

interface Doubt {
  /** The position of the source to begin with. */
  readonly start: number;
  readonly until: number;
}

/**
 * One upstream that is made of several: mirrors of it, in the order in which they are tried, and behind them the
 * upstream itself, whose word is final.
 *
 * Whatever a mirror answers that is no content (absent, denied, failed) leads to the next. A mirror that failed is
 * passed over for a while. What a mirror says of tags and listings is believed; of all else the digest is checked.
 *
 * A blob's bytes are checked only after they were delivered, so whoever asks for the same blob again shortly after it
 * was delivered, or after it broke off, is taken to be unhappy with its source, and begins with the next one.
 *
 * Each source has credentials, connections and retries of its own. `close` closes all of them.
 */
export function createFailover(mirrors: readonly Upstream[], upstream: Upstream, clock: Clock): Upstream {
  const sources = [...mirrors, upstream];
  const last = mirrors.length;
  const restUntil = sources.map(() => 0);
  const doubts = new LRUCache<string, Doubt>({ max: maxDoubts });

  /** The mirrors that do not rest and, at the end or where the order begins with it, the upstream. */
  const orderFrom = (start: number): number[] => {
    const now = clock.monotonic();
    const order = sources.map((_, index) => (start + index) % sources.length);
    return order.filter((index) => index === last || (restUntil[index] ?? 0) <= now);
  };

  const rest = (index: number, error: UpstreamError): void => {
    if (index !== last && resting.has(error.failure)) {
      const seconds = Math.min(maxRestSeconds, Math.max(restSeconds, error.retryAfterSeconds ?? 0));
      restUntil[index] = clock.monotonic() + seconds * 1000;
    }
  };

  /**
   * The first content in order; where there is none, what the upstream itself said. A web page is content only where no
   * other source has better.
   */
  const ask = async <T extends object>(
    start: number,
    question: (source: Upstream, index: number) => Promise<T | undefined>,
    { signal }: Ask,
  ): Promise<T | undefined> => {
    let verdict: UpstreamError | undefined;
    let page: T | undefined;
    for (const index of orderFrom(start)) {
      const source = sources[index] ?? upstream;
      try {
        const answer = await question(source, index);
        if (answer !== undefined && !isPage(answer)) {
          giveUp(page);
          return answer;
        }
        giveUp(page && answer);
        page ??= answer;
      } catch (error) {
        if (signal.aborted || !(error instanceof UpstreamError)) {
          giveUp(page);
          throw signal.aborted ? signal.reason : error;
        }
        rest(index, error);
        verdict = index === last ? error : verdict;
      }
    }
    if (verdict !== undefined && page === undefined) {
      throw verdict;
    }
    return page;
  };

  const blob = (
    repository: Repository,
    digest: Digest,
    from: { readonly offset: number; readonly sizeBytes?: number },
    by: Ask,
  ): Promise<UpstreamBlob | undefined> => {
    const key = `${repository}@${digest}`;
    const doubt = doubts.get(key);
    const start = doubt !== undefined && doubt.until > clock.monotonic() ? doubt.start : 0;
    const question = async (source: Upstream, index: number): Promise<UpstreamBlob | undefined> => {
      const opened = await source.blob(repository, digest, from, by);
      const distrust = (error?: unknown): void => {
        doubts.set(key, { start: (index + 1) % sources.length, until: clock.monotonic() + doubtMs });
        if (error instanceof UpstreamError) {
          rest(index, error);
        }
      };
      return opened && { ...opened, body: { [Symbol.asyncIterator]: () => watch(opened.body, distrust) } };
    };
    return ask(start, question, by);
  };

  return {
    blob,
    resolve: (repository, reference, by) => ask(0, (source) => source.resolve(repository, reference, by), by),
    manifest: (repository, reference, by) => ask(0, (source) => source.manifest(repository, reference, by), by),
    statBlob: (repository, digest, by) => ask(0, (source) => source.statBlob(repository, digest, by), by),
    tags: (repository, query, by) => ask(0, (source) => source.tags(repository, query, by), by),
    referrers: (repository, subject, query, by) =>
      ask(0, (source) => source.referrers(repository, subject, query, by), by),
    close: async () => {
      await Promise.all(sources.map((source) => source.close()));
    },
  };
}

/** Whether an answer may be the page of a login. */
function isPage(answer: object): boolean {
  return "label" in answer && answer.label === "page";
}

function giveUp(answer: object | undefined): void {
  if (answer !== undefined && "cancel" in answer && typeof answer.cancel === "function") {
    answer.cancel();
  }
}

/** The same bytes; tells when they have ended or broken off, and nothing when their reader leaves early. */
async function* watch(
  body: AsyncIterable<Buffer>,
  over: (error?: unknown) => void,
): AsyncGenerator<Buffer, void, undefined> {
  try {
    yield* body;
  } catch (error) {
    over(error);
    throw error;
  }
  over();
}
