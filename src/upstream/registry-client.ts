import type { Clock } from "../concurrency/clock.ts";
import type { Repository } from "../oci/reference.ts";
import { toStatusError } from "./failures.ts";
import type { Exchange, HttpResponse, RequestKind } from "./transport.ts";
import type { Ask } from "./upstream.ts";

/** A question to a repository of the registry. */
export interface Question {
  readonly kind: Exclude<RequestKind, "token">;
  /** Default: GET. */
  readonly method?: "HEAD";
  readonly repository: Repository;
  /** What follows the repository's name in the path: `manifests/latest`. */
  readonly resource: string;
  /** Without `?`. */
  readonly query?: string;
  readonly accept: string;
  readonly range?: string | undefined;
  /** Answers, besides a 200, that the asker wants to see itself. */
  readonly wants?: (response: HttpResponse) => boolean;
}

/** The registry, as the operations of the client ask it. */
export class RegistryClient {
  readonly clock: Clock;
  /** Until when no HEAD is sent, as they are refused; by `clock.monotonic`. */
  headsSparedUntil = 0;
  readonly #base: URL;
  readonly #prefix: string;
  readonly #exchange: Exchange;

  /** @param prefix What the registry's names of repositories begin with: empty, or with a slash at its end. */
  constructor(base: URL, prefix: string, exchange: Exchange, clock: Clock) {
    this.#base = base;
    this.#prefix = prefix;
    this.#exchange = exchange;
    this.clock = clock;
  }

  /**
   * Asks the registry. `undefined`: it says that there is no such thing, with 404 or 410.
   *
   * Denied is 401 and 403, as authentication is over by now; and 400, ECR's answer to names that it does not like. A
   * store that a blob was redirected to knows of no access rights: there they mean that the signed URL was bad, and say
   * nothing about the blob.
   *
   * @throws {UpstreamError} for all other answers but a 200 and those that the asker wants.
   */
  async ask(question: Question, { signal, interest }: Ask): Promise<HttpResponse | undefined> {
    const { kind, method = "GET", repository, accept, range } = question;
    const url = new URL(`/v2/${this.#prefix}${repository}/${question.resource}`, this.#base);
    url.search = question.query ?? "";
    const response = await this.#exchange({
      kind,
      method,
      repository,
      url,
      headers: { accept, range },
      signal,
      interest,
    });
    const { status } = response;
    if (status === 200 || question.wants?.(response) === true) return response;
    response.body.discard();
    if (status === 404 || status === 410) return undefined;
    const denies = (status === 400 || status === 401 || status === 403) && !(kind === "blob" && response.crossedOrigin);
    throw toStatusError(response, this.clock.now(), denies);
  }
}
