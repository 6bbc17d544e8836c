import type { IncomingHttpHeaders } from "node:http";
import type { Asker } from "../concurrency/interest.ts";
import type { Facts, Reply } from "./reply.ts";

/** A request, as far as an answer depends on it. */
export interface Request {
  readonly method: string;
  /** Path and query, as they came. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  /** The client, until it leaves; without it, it stays. */
  readonly asker?: Asker;
  /**
   * Reads the body whole. Called once at most; where it is not, nobody reads the body.
   *
   * @throws {OciError} CONTENT_TOO_LARGE where it has more than `maxBytes`; what the client's connection fails with.
   */
  readonly body?: (maxBytes: number) => Promise<Buffer>;
  /**
   * The body as it comes, in place of `body`. Throws what the client's connection fails with, also where nothing comes for
   * minutes.
   */
  readonly stream?: () => AsyncIterable<Uint8Array>;
}

/** Answers one request. Never rejects: what fails becomes a reply, and `facts.error` says why. */
export type Handler = (request: Request, facts: Facts) => Promise<Reply>;
