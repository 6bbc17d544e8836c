import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { TestContext } from "node:test";
import { parseDigest, type Digest } from "../../../src/oci/digest.ts";
import { parseRepository, parseTag, type Repository, type Tag } from "../../../src/oci/reference.ts";
import type { Clock } from "../../../src/upstream/clock.ts";
import { createUpstream, type UpstreamOptions } from "../../../src/upstream/client.ts";
import { createDispatcher } from "../../../src/upstream/dispatcher.ts";
import type { HttpRequest, HttpResponse } from "../../../src/upstream/transport.ts";
import { UpstreamError, type Upstream, type UpstreamFailure } from "../../../src/upstream/upstream.ts";

export const repository: Repository = parseRepository("library/alpine");
export const tag: Tag = parseTag("latest");
export const someDigest: Digest = parseDigest(`sha256:${"a".repeat(64)}`);
export const indexType = "application/vnd.oci.image.index.v1+json";
export const indexBytes: Buffer = Buffer.from(
  JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests: [] }),
);

/** A server that answers as the test says, and remembers what it was asked. */
export interface ScriptedServer {
  readonly host: string;
  readonly url: string;
  /** `METHOD path?query`, in order. */
  readonly asked: string[];
  /** The Authorization headers that came, in order; `undefined` for a request without. */
  readonly authorizations: (string | undefined)[];
  readonly requests: IncomingMessage[];
  /** Resolves when no connection is open. */
  idle(): Promise<void>;
}

export type Handler = (request: IncomingMessage, response: ServerResponse, path: string) => void;

/** Starts a server on a free port of 127.0.0.1; it is stopped after the test. */
export async function startServer(
  context: TestContext,
  handler: Handler,
  tls?: { readonly key: string; readonly cert: string },
): Promise<ScriptedServer> {
  const asked: string[] = [];
  const authorizations: (string | undefined)[] = [];
  const requests: IncomingMessage[] = [];
  const sockets = new Set<Socket>();
  const listener: RequestListener = (request, response) => {
    asked.push(`${request.method} ${request.url}`);
    authorizations.push(request.headers.authorization);
    requests.push(request);
    handler(request, response, request.url ?? "");
  };
  const server: Server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    host,
    url: `${tls === undefined ? "http" : "https"}://${host}`,
    asked,
    authorizations,
    requests,
    idle: async () => {
      await Promise.all([...sockets].map((socket) => once(socket, "close")));
    },
  };
}

export interface ObservedRequest {
  readonly host: string;
  readonly kind: string;
  readonly method: string;
  readonly status: number | undefined;
  readonly durationMs: number;
}

/** A client of a scripted server. Its connections are cut after the test. */
export function startUpstream(
  context: TestContext,
  host: string,
  overrides: Partial<UpstreamOptions> = {},
): { readonly upstream: Upstream; readonly observed: ObservedRequest[] } {
  const observed: ObservedRequest[] = [];
  const timeouts = { connectTimeoutMs: 5000, headerTimeoutMs: 5000, idleTimeoutMs: 5000 };
  const dispatcher =
    overrides.dispatcher ??
    createDispatcher({ ...timeouts, ...overrides, acceptInvalidCerts: false, onlyPublic: false });
  context.after(() => dispatcher.destroy());
  const upstream = createUpstream({
    host,
    tls: false,
    acceptInvalidCerts: false,
    userAgent: "entrepot/test",
    credentials: undefined,
    maxConnections: 4,
    ...timeouts,
    retries: 0,
    observer: { request: (event) => observed.push(event) },
    clock: createClock(),
    ...overrides,
    dispatcher,
  });
  return { upstream, observed };
}

/** A clock that stands still; waiting moves it on at once and is written down. */
export function createClock(): Clock & { time: number; readonly waits: number[] } {
  const waits: number[] = [];
  return {
    time: 1_700_000_000_000,
    waits,
    now() {
      return this.time;
    },
    wait(ms, signal) {
      signal.throwIfAborted();
      waits.push(ms);
      this.time += ms;
      return Promise.resolve();
    },
  };
}

export function never(): AbortSignal {
  return new AbortController().signal;
}

/** Checks an `UpstreamError`, for `assert.rejects`. */
export function failure(expected: UpstreamFailure, message?: RegExp): (error: unknown) => boolean {
  return (error) => {
    if (!(error instanceof UpstreamError) || error.failure !== expected || message?.test(error.message) === false) {
      throw new Error(`expected a failure "${expected}" ${message ?? ""}, got: ${String(error)}`, { cause: error });
    }
    return true;
  };
}

/** Answers with a body of known length. */
export function answer(
  response: ServerResponse,
  status: number,
  body: string | Buffer = "",
  headers: Record<string, string | string[]> = {},
): void {
  response.writeHead(status, { "content-length": String(Buffer.byteLength(body)), ...headers });
  response.end(body);
}

export function answerIndex(response: ServerResponse, headers: Record<string, string> = {}): void {
  answer(response, 200, indexBytes, { "content-type": indexType, ...headers });
}

/** A request and a response without a network, for the layers above the transport. */
export function fakeRequest(url: string, overrides: Partial<HttpRequest> = {}): HttpRequest {
  return { kind: "manifest", method: "GET", repository, url: new URL(url), headers: {}, ...overrides };
}

export function fakeResponse(url: URL, status: number, headers: Record<string, string> = {}): HttpResponse {
  const body = { dump: () => Promise.resolve() } as unknown as HttpResponse["body"];
  return { status, url, crossedOrigin: false, body, header: (name) => headers[name] };
}

/** Reads a body to its end. */
export async function collect(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
