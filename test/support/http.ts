import { request as startRequest, type Agent, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { createHash } from "node:crypto";

/** How to ask. */
export interface RequestOptions {
  /** GET by default. */
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: Buffer | string;
  readonly signal?: AbortSignal;
  /** The request's target as it is sent, in place of the URL's path and query; nothing is normalised in it. */
  readonly target?: string;
  /** Connections to use again; without one, each request has its own connection. */
  readonly agent?: Agent;
  /** A unix socket to connect to in place of the URL's host. */
  readonly socketPath?: string;
}

/** A response that was read whole. */
export interface WholeResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Names and values in turn, as they were sent. */
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
}

/** A response whose body is read at the test's own speed; nothing is read ahead but what the system buffers. */
export interface OpenResponse extends Disposable {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  /** The next bytes, or undefined at the body's good end. @throws {BrokenBody} */
  next(): Promise<Buffer | undefined>;
  /** Exactly so many bytes. @throws {BrokenBody} also where the body ends before. */
  take(sizeBytes: number): Promise<Buffer>;
  /** All that is left. @throws {BrokenBody} */
  rest(): Promise<Buffer>;
  /** The SHA-256 (hex) and the size of all that is left, without holding it. @throws {BrokenBody} */
  hash(): Promise<{ readonly sha256: string; readonly sizeBytes: number }>;
  /** Leaves: closes the connection. */
  destroy(): void;
}

/** A body that ended before its announced end. */
export class BrokenBody extends Error {
  override readonly name = "BrokenBody";
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** How many bytes of the body were read before it broke. */
  readonly receivedBytes: number;

  constructor(response: IncomingMessage, receivedBytes: number, cause: unknown) {
    super(`the body broke after ${receivedBytes} bytes`, { cause });
    this.status = response.statusCode ?? 0;
    this.headers = response.headers;
    this.receivedBytes = receivedBytes;
  }
}

/**
 * Sends a request and reads the whole response.
 *
 * @throws {BrokenBody} the body ended before its end.
 * @throws {Error} there was no response: the connection failed, or the signal was aborted.
 */
export async function request(url: string | URL, options: RequestOptions = {}): Promise<WholeResponse> {
  using response = await open(url, options);
  const { status, headers, rawHeaders } = response;
  return { status, headers, rawHeaders, body: await response.rest() };
}

/** Sends a request; resolves when the response's headers are here. Who calls it reads to the end or destroys it. */
export function open(url: string | URL, options: RequestOptions = {}): Promise<OpenResponse> {
  const { promise, resolve, reject } = Promise.withResolvers<OpenResponse>();
  const { method = "GET", headers, body, signal, target, agent, socketPath } = options;
  const outgoing = startRequest(url, {
    method,
    agent: agent ?? false,
    ...(headers === undefined ? {} : { headers: headers as Record<string, string | string[]> }),
    ...(signal === undefined ? {} : { signal }),
    ...(target === undefined ? {} : { path: target }),
    ...(socketPath === undefined ? {} : { socketPath }),
  });
  outgoing.on("error", reject);
  outgoing.on("response", (incoming) => resolve(openResponse(incoming)));
  outgoing.end(body);
  return promise;
}

function openResponse(incoming: IncomingMessage): OpenResponse {
  const body = incoming[Symbol.asyncIterator]() as AsyncIterator<Buffer, undefined>;
  let left: Buffer = Buffer.alloc(0);
  let receivedBytes = 0;

  async function next(): Promise<Buffer | undefined> {
    if (left.length > 0) {
      const chunk = left;
      left = Buffer.alloc(0);
      return chunk;
    }
    try {
      const { value } = await body.next();
      receivedBytes += value?.length ?? 0;
      return value;
    } catch (error) {
      throw new BrokenBody(incoming, receivedBytes, error);
    }
  }

  async function rest(): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for (let chunk = await next(); chunk !== undefined; chunk = await next()) {
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }

  return {
    status: incoming.statusCode ?? 0,
    headers: incoming.headers,
    rawHeaders: incoming.rawHeaders,
    next,
    rest,
    async take(sizeBytes) {
      const chunks: Buffer[] = [];
      let missing = sizeBytes;
      while (missing > 0) {
        const chunk = await next();
        if (chunk === undefined) {
          throw new BrokenBody(incoming, receivedBytes, new Error(`${sizeBytes} bytes were expected`));
        }
        chunks.push(chunk.subarray(0, missing));
        left = chunk.subarray(missing);
        missing -= chunk.length - left.length;
      }
      return Buffer.concat(chunks);
    },
    async hash() {
      const hasher = createHash("sha256");
      let sizeBytes = 0;
      for (let chunk = await next(); chunk !== undefined; chunk = await next()) {
        hasher.update(chunk);
        sizeBytes += chunk.length;
      }
      return { sha256: hasher.digest("hex"), sizeBytes };
    },
    destroy: () => incoming.destroy(),
    [Symbol.dispose]: () => incoming.destroy(),
  };
}
