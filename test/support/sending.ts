import { request as startRequest, type ClientRequest, type IncomingMessage } from "node:http";
import type { WholeResponse } from "./http.ts";

/** A request whose body a test sends at its own speed. It is broken off where it has not ended by then. */
export class Sending implements Disposable {
  /** The answer, read whole, whenever it comes. */
  readonly answer: Promise<WholeResponse>;
  readonly #request: ClientRequest;

  constructor(url: string, path: string, method: string, headers: Readonly<Record<string, string | number>> = {}) {
    const { promise, resolve, reject } = Promise.withResolvers<WholeResponse>();
    this.#request = startRequest(url, { method, path, headers, agent: false });
    this.#request.on("error", reject).on("response", (response) => {
      readWhole(response).then(resolve, reject);
    });
    this.#request.flushHeaders();
    this.answer = promise;
    // Who breaks off does not want to know.
    promise.catch(() => undefined);
  }

  /** Sends bytes; resolves when the system has taken them. */
  send(bytes: Buffer | string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#request.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Ends the body; the answer. */
  end(bytes?: Buffer | string): Promise<WholeResponse> {
    this.#request.end(bytes);
    return this.answer;
  }

  /** Breaks the connection. */
  break(): void {
    this.#request.destroy();
  }

  [Symbol.dispose](): void {
    this.break();
  }
}

async function readWhole(response: IncomingMessage): Promise<WholeResponse> {
  const { statusCode = 0, headers, rawHeaders } = response;
  const body = Buffer.concat(await response.toArray());
  return { status: statusCode, headers, rawHeaders, body };
}
