import { once } from "node:events";
import { Agent, type IncomingMessage, request } from "node:http";
import { connect, type Socket } from "node:net";
import { Writable } from "node:stream";
import type { Handler } from "../../src/http/request.ts";
import type { Address } from "../../src/http/listening.ts";
import type { BodyStream, Headers } from "../../src/http/reply.ts";
import { listen, type RunningServer, type ServerOptions } from "../../src/http/server.ts";
import { createLogger } from "../../src/observe/log.ts";
import { createMetrics, type Metrics } from "../../src/observe/metrics.ts";

/** A listening server of a handler that is the test's. */
export interface TestServer extends AsyncDisposable, RunningServer {
  readonly port: number;
  readonly metrics: Metrics;
  /** The log's lines so far, parsed. */
  readonly log: () => Record<string, unknown>[];
}

/** Serves on a free port, or at another address. */
export async function start(
  handler: Handler | undefined,
  options: Partial<ServerOptions> & { readonly address?: Address } = {},
): Promise<TestServer> {
  const { address = { host: "127.0.0.1", port: 0 }, metrics = createMetrics("1"), ...others } = options;
  const lines: string[] = [];
  const destination = new Writable({
    write: (chunk, _encoding, done) => {
      lines.push(String(chunk));
      done();
    },
  });
  const log = await createLogger({ level: "info", format: "json", destination });
  const health = { reasonsAgainst: () => [], details: async () => ({ version: "1", fills: 0 }) };
  const server = await listen(address, { handler, probes: { admin: false, metrics, health }, log, metrics, ...others });
  return {
    ...server,
    metrics,
    log: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>),
    port: Number(server.address.split(":").at(-1)),
    [Symbol.asyncDispose]: () => server.drain(AbortSignal.abort()),
  };
}

/** Sends a request; resolves when the answer's header is here. */
export function send(
  port: number,
  options: { readonly agent?: Agent; readonly method?: string; readonly path?: string; readonly body?: string } = {},
): Promise<IncomingMessage> {
  const { agent = new Agent(), method = "GET", path = "/v2/a/blobs/x", body } = options;
  return new Promise((resolve, reject) => {
    request({ host: "127.0.0.1", port, path, method, agent }, resolve).on("error", reject).end(body);
  });
}

/** A handler whose answers all have this body. */
export function replyWith(body: BodyStream, headers: Headers = {}): Handler {
  return async () => ({ status: 200, headers, body });
}

/** A body that knows how often it was closed. */
export interface CountedBody extends BodyStream {
  closed: number;
}

/** A body of these chunks. */
export function bodyOf(read: BodyStream["read"]): CountedBody {
  const body: CountedBody = {
    closed: 0,
    read,
    async close() {
      body.closed++;
    },
  };
  return body;
}

/** A connection on which a test says every byte. */
export interface RawClient extends Disposable {
  readonly socket: Socket;
  /** All that has come. */
  readonly received: string;
  /** Resolves with all that has come as soon as that matches; rejects where the connection closes without. */
  until(pattern: RegExp): Promise<string>;
  /** Resolves with all that came when the connection is closed, in order or by a reset. */
  readonly closed: Promise<string>;
}

/** Connects to a port of this machine, and keeps its own side open until the test ends it. */
export async function connectRaw(port: number): Promise<RawClient> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.on("error", () => undefined);
  await once(socket, "connect");
  let received = "";
  let look = (): void => undefined;
  const closed = Promise.withResolvers<string>();
  socket.on("data", (chunk: Buffer) => {
    received += chunk.toString("latin1");
    look();
  });
  socket.once("end", () => socket.end());
  socket.once("close", () => closed.resolve(received));
  return {
    socket,
    get received() {
      return received;
    },
    closed: closed.promise,
    async until(pattern) {
      const { promise, resolve } = Promise.withResolvers<void>();
      look = () => {
        if (pattern.test(received)) resolve();
      };
      look();
      await Promise.race([promise, closed.promise]);
      if (!pattern.test(received)) throw new Error(`closed without ${pattern}: ${received}`);
      return received;
    },
    [Symbol.dispose]: () => socket.destroy(),
  };
}
