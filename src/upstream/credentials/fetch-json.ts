import type { Dispatcher } from "undici";

/** A request to a cloud's API. */
export interface JsonRequest {
  readonly method: "POST";
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What came back. */
export interface JsonAnswer {
  readonly status: number;
  /** `undefined`: the body is no JSON. */
  readonly body: unknown;
}

/**
 * Asks an API that speaks JSON. It follows no redirect, as what it sends is secret, and rejects where there is no
 * answer; any status is one.
 */
export type FetchJson = (request: JsonRequest, signal: AbortSignal) => Promise<JsonAnswer>;

const maxBytes = 1024 * 1024;

/** An answer that is too large to be one. */
export class AnswerTooLargeError extends Error {
  override readonly name = "AnswerTooLargeError";
}

/**
 * Asks over a dispatcher's connections.
 *
 * @param dispatcher The caller's, who closes it; without it, the process's own.
 */
export function createFetchJson(dispatcher?: Dispatcher): FetchJson {
  return async ({ method, url, headers, body }, signal) => {
    // Loaded only where a cloud is asked, as it takes 11 MiB.
    const { request } = await import("undici");
    const response = await request(url, { method, headers, body, signal, ...(dispatcher && { dispatcher }) });
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > maxBytes) throw new AnswerTooLargeError(`the answer is larger than ${maxBytes} bytes`);
      chunks.push(chunk);
    }
    return { status: response.statusCode, body: parse(Buffer.concat(chunks).toString("utf8")) };
  };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // An error page, of a proxy perhaps: the status says enough.
    return undefined;
  }
}
