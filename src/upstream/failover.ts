import { LRUCache } from "lru-cache";
import type { Clock } from "../concurrency/clock.ts";
import { restMs, Rests } from "./rest.ts";
import {
  type Ask,
  type DoubtfulLabel,
  type Upstream,
  type UpstreamBlob,
  type UpstreamBlobInfo,
  UpstreamError,
  type UpstreamFailure,
} from "./upstream.ts";

/** How long a mirror that failed is passed over, where it does not ask for more. */
const leastRestMs = 30_000;
/** For this long after a mirror's bytes were of no use, the blob is asked for at the next one first. */
const doubtMs = 600_000;
const maxDoubts = 1024;

/** Failures of the mirror as a whole; the others concern what was asked for. */
const resting: ReadonlySet<UpstreamFailure> = new Set(["unreachable", "timeout", "status", "token", "rate-limited"]);

interface Doubt {
  /** The source to begin with, by its position. */
  readonly start: number;
  readonly until: number;
}

/** What an answer may be that is taken only where no other source has better, and how it is given up. */
interface Makeshift<T> {
  readonly is: (answer: T) => boolean;
  readonly giveUp: (answer: T) => void;
}

const never: Makeshift<unknown> = { is: () => false, giveUp: () => undefined };
const isPage = ({ label }: { readonly label?: DoubtfulLabel }): boolean => label === "page";
const page: Makeshift<UpstreamBlobInfo> = { is: isPage, giveUp: () => undefined };
const bodyOfPage: Makeshift<UpstreamBlob> = { is: isPage, giveUp: (blob) => blob.cancel() };

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
export class Failover implements Upstream {
  readonly #sources: readonly Upstream[];
  /** The upstream itself. */
  readonly #last: Upstream;
  readonly #clock: Clock;
  readonly #rests: Rests<Upstream>;
  readonly #doubts = new LRUCache<string, Doubt>({ max: maxDoubts });

  constructor(mirrors: readonly Upstream[], upstream: Upstream, clock: Clock) {
    this.#sources = [...mirrors, upstream];
    this.#last = upstream;
    this.#clock = clock;
    this.#rests = new Rests(clock);
  }

  readonly resolve: Upstream["resolve"] = (repository, reference, by) =>
    this.#ask(by, (source) => source.resolve(repository, reference, by));

  readonly manifest: Upstream["manifest"] = (repository, reference, by) =>
    this.#ask(by, (source) => source.manifest(repository, reference, by));

  readonly blob: Upstream["blob"] = (repository, digest, from, by) => {
    const key = `${repository}@${digest}`;
    const question = async (source: Upstream): Promise<UpstreamBlob | undefined> => {
      const opened = await source.blob(repository, digest, from, by);
      const distrust = (error?: unknown): void => {
        const start = (this.#sources.indexOf(source) + 1) % this.#sources.length;
        this.#doubts.set(key, { start, until: this.#clock.monotonic() + doubtMs });
        if (error instanceof UpstreamError) this.#rest(source, error);
      };
      return opened && { ...opened, body: { [Symbol.asyncIterator]: () => watch(opened.body, distrust) } };
    };
    const doubt = this.#doubts.get(key);
    const start = doubt !== undefined && doubt.until > this.#clock.monotonic() ? doubt.start : 0;
    return this.#ask(by, question, bodyOfPage, start);
  };

  readonly statBlob: Upstream["statBlob"] = (repository, digest, by) =>
    this.#ask(by, (source) => source.statBlob(repository, digest, by), page);

  readonly tags: Upstream["tags"] = (repository, query, by) =>
    this.#ask(by, (source) => source.tags(repository, query, by));

  readonly referrers: Upstream["referrers"] = (repository, subject, query, by) =>
    this.#ask(by, (source) => source.referrers(repository, subject, query, by));

  async close(): Promise<void> {
    await Promise.all(this.#sources.map((source) => source.close()));
  }

  /** The first content in order; where there is none, a makeshift, or what the upstream itself said. */
  async #ask<T>(
    { signal }: Ask,
    question: (source: Upstream) => Promise<T | undefined>,
    makeshift: Makeshift<T> = never,
    start = 0,
  ): Promise<T | undefined> {
    let verdict: UpstreamError | undefined;
    const kept: T[] = [];
    for (const source of this.#orderFrom(start)) {
      try {
        const answer = await question(source);
        if (answer === undefined) continue;
        if (!makeshift.is(answer)) {
          kept.forEach(makeshift.giveUp);
          return answer;
        }
        if (kept.length === 0) kept.push(answer);
        else makeshift.giveUp(answer);
      } catch (error) {
        if (signal.aborted || !(error instanceof UpstreamError)) {
          kept.forEach(makeshift.giveUp);
          throw signal.aborted ? signal.reason : error;
        }
        this.#rest(source, error);
        if (source === this.#last) verdict = error;
      }
    }
    if (verdict !== undefined && kept.length === 0) throw verdict;
    return kept[0];
  }

  /** The mirrors that do not rest and, at the end or where the order begins with it, the upstream. */
  #orderFrom(start: number): Upstream[] {
    const order = [...this.#sources.slice(start), ...this.#sources.slice(0, start)];
    return order.filter((source) => this.#rests.leftMs(source) === 0);
  }

  #rest(source: Upstream, error: UpstreamError): void {
    if (source !== this.#last && resting.has(error.failure)) this.#rests.begin(source, restMs(error, leastRestMs));
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
