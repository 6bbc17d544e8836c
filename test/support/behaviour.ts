import type { IncomingHttpHeaders } from "node:http";
import type { Barrier } from "./barrier.ts";

/** A request as the upstream saw it. */
export interface RecordedRequest {
  readonly method: string;
  /** As it was sent, without the query. */
  readonly path: string;
  /** As it was sent, without `?`. */
  readonly query: string;
  readonly headers: IncomingHttpHeaders;
  /** The request's own body, as text. */
  readonly body: string;
  /** The status that was answered; undefined before that. */
  readonly status: number | undefined;
  /** How many bytes of the response's body were sent so far. */
  readonly bytesSent: number;
  /** Resolves when the response has been sent whole, or the connection is gone. */
  readonly closed: Promise<void>;
}

/** Which requests are meant: all that is given must fit. */
export interface Match {
  readonly method?: string;
  /** The path as it was sent, without the query: a string is the whole path or its end, a RegExp is searched for. */
  readonly path?: string | RegExp;
  /** What is searched for in the query string (without `?`). */
  readonly query?: string | RegExp;
}

/** What an upstream does otherwise than it should. All that is not named stays as in a good answer. */
export interface Behaviour {
  readonly status?: number;
  /** Set on top of the good answer's; `undefined` takes a header away. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
  /** A body in place of the good one; `Content-Length` follows it, `Range` is not applied to it. */
  readonly body?: Buffer | string;
  /** Waits here before it answers at all. */
  readonly pauseAt?: Barrier;
  /** Breaks the connection in place of an answer. */
  readonly hangUp?: boolean;
  /** Breaks the connection after so many bytes of this response's body. */
  readonly cutAfterBytes?: number;
  /**
   * How `hangUp` and `cutAfterBytes` break: "close" (the default) gets all bytes before it across; "reset" sends RST,
   * which may overtake the last of them.
   */
  readonly cutBy?: "close" | "reset";
  /** Sends so many bytes of this response's body, then nothing: until `stallAt` is released, or for ever. */
  readonly stallAfterBytes?: number;
  readonly stallAt?: Barrier;
  /** A `Content-Length` that need not be true (a short body ends with the connection), or false for chunked coding. */
  readonly announceLength?: number | false;
  /** Changes the byte at this offset of the whole content. */
  readonly corruptByteAt?: number;
  /** Answers `Range` with 200 and everything. */
  readonly ignoreRange?: boolean;
  /** Answers `Range` with this status and nothing of the content, and all else as it should. */
  readonly refuseRange?: number;
  /** Compresses the body, and says so in `Content-Encoding`. */
  readonly gzip?: boolean;
  /** Answers 307 with this `Location`. */
  readonly redirectTo?: string;
  /** Answers 401 with this `WWW-Authenticate`. */
  readonly challenge?: string;
  /** Sends the body in pieces of so many bytes, `dripEveryMs` (0: the next turn of the event loop) apart. */
  readonly dripBytes?: number;
  readonly dripEveryMs?: number;
}

/** Whether a request fits. */
export function matches(match: Match, request: Pick<RecordedRequest, "method" | "path" | "query">): boolean {
  return (
    (match.method === undefined || match.method === request.method) &&
    (match.path === undefined || fits(match.path, request.path, "end")) &&
    (match.query === undefined || fits(match.query, request.query, "anywhere"))
  );
}

function fits(pattern: string | RegExp, text: string, where: "end" | "anywhere"): boolean {
  if (pattern instanceof RegExp) {
    return text.search(pattern) >= 0;
  }
  return where === "end" ? text.endsWith(pattern) : text.includes(pattern);
}

/** The misbehaviour that a test has asked for, in the order of asking. */
export interface Script {
  /** Adds an entry; `times` is how often it is used, without it for ever. */
  add(match: Match, behaviour: Behaviour, times: number | undefined): void;
  /** The first entry that fits, which is used up by one; nothing when the upstream should behave well. */
  take(request: Pick<RecordedRequest, "method" | "path" | "query">): Behaviour | undefined;
  /** Forgets all entries. */
  clear(): void;
}

/** Makes an empty script. */
export function createScript(): Script {
  let entries: { match: Match; behaviour: Behaviour; left: number }[] = [];
  return {
    add(match, behaviour, times = Number.POSITIVE_INFINITY) {
      entries.push({ match, behaviour, left: times });
    },
    take(request) {
      const entry = entries.find(({ match, left }) => left > 0 && matches(match, request));
      if (entry !== undefined) {
        entry.left -= 1;
      }
      return entry?.behaviour;
    },
    clear() {
      entries = [];
    },
  };
}
