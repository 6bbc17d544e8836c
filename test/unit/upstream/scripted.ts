import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { Readable } from "node:stream";
import type { TestContext } from "node:test";
import type { TlsOptions } from "node:tls";
import { parseDigest, type Digest } from "../../../src/oci/digest.ts";
import { parseRepository, parseTag, type Repository, type Tag } from "../../../src/oci/reference.ts";
import type { Clock } from "../../../src/concurrency/clock.ts";
import { Limiter } from "../../../src/concurrency/limiter.ts";
import { Body } from "../../../src/upstream/body.ts";
import { createUpstream, maxWaiting, type UpstreamOptions } from "../../../src/upstream/client.ts";
import { type ConnectionOptions, createConnections } from "../../../src/upstream/connection-pools.ts";
import { createFixed } from "../../../src/upstream/credentials/fixed.ts";
import type { Credentials } from "../../../src/upstream/credentials.ts";
import type { CredentialSource } from "../../../src/upstream/credentials/source.ts";
import { createDispatcher, type Timeouts } from "../../../src/upstream/dispatcher.ts";
import { publicGuard } from "../../../src/upstream/guard.ts";
import type { HttpRequest, HttpResponse } from "../../../src/upstream/transport.ts";
import { type Ask, UpstreamError, type Upstream, type UpstreamFailure } from "../../../src/upstream/upstream.ts";

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
  /** Answers in another way from now on. */
  handle(handler: Handler): void;
  /** How many connections were open at once at most. */
  readonly peak: number;
  /** Resolves when no connection is open. */
  idle(): Promise<void>;
}

export type Handler = (request: IncomingMessage, response: ServerResponse, path: string) => void;

/** Starts a server on a free port of 127.0.0.1; it is stopped after the test. */
export async function startServer(
  context: TestContext,
  handler: Handler,
  tls?: Readonly<TlsOptions>,
): Promise<ScriptedServer> {
  const asked: string[] = [];
  const authorizations: (string | undefined)[] = [];
  const requests: IncomingMessage[] = [];
  const sockets = new Set<Socket>();
  let handling = handler;
  let peak = 0;
  const listener: RequestListener = (request, response) => {
    asked.push(`${request.method} ${request.url}`);
    authorizations.push(request.headers.authorization);
    requests.push(request);
    handling(request, response, request.url ?? "");
  };
  const limits = { maxHeaderSize: 256 * 1024 };
  const server: Server =
    tls === undefined ? createServer(limits, listener) : createTlsServer({ ...limits, ...tls }, listener);
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    peak = Math.max(peak, sockets.size);
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
    get peak() {
      return peak;
    },
    handle: (next) => {
      handling = next;
    },
    idle: async () => {
      // `once` of node:events would reject when a connection is reset.
      await Promise.all([...sockets].map((socket) => new Promise((resolve) => socket.once("close", resolve))));
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

/** For servers that answer at once. */
export const fiveSeconds: Timeouts = { connectTimeoutMs: 5000, headerTimeoutMs: 5000, idleTimeoutMs: 5000 };

/** How a client of a scripted server differs from the usual one. */
export interface StartOptions
  extends
    Partial<Timeouts>,
    Partial<Omit<UpstreamOptions, "credentials" | "host">>,
    Partial<Omit<ConnectionOptions, "host" | "tls">> {
  readonly credentials?: Credentials | CredentialSource | undefined;
  readonly maxConnections?: number;
}

/** A client of a scripted server. Its connections are cut after the test. */
export function startUpstream(
  context: TestContext,
  host: string,
  overrides: StartOptions = {},
): { readonly upstream: Upstream; readonly observed: ObservedRequest[] } {
  const observed: ObservedRequest[] = [];
  const { credentials, ...rest } = overrides;
  const timeouts = { ...fiveSeconds, ...rest };
  const options = { host, tls: false, acceptInvalidCerts: false, timeouts, ...rest };
  // One that is given stands for both, as it does for unlisted namespaces.
  const { dispatcher, redirectDispatcher } =
    rest.dispatcher === undefined
      ? createConnections(options)
      : { dispatcher: rest.dispatcher, redirectDispatcher: rest.redirectDispatcher ?? rest.dispatcher };
  const publicDispatcher = rest.publicDispatcher ?? createDispatcher({ ...options, guard: publicGuard });
  context.after(() => Promise.all([dispatcher, redirectDispatcher, publicDispatcher].map((made) => made.destroy())));
  const upstream = createUpstream({
    userAgent: "entrepot/test",
    limiter: new Limiter(rest.maxConnections ?? 4, { maxWaiting }),
    retries: 0,
    observer: { request: (event) => observed.push(event) },
    clock: createClock(),
    ...options,
    credentials: credentials === undefined || "get" in credentials ? credentials : createFixed(credentials),
    dispatcher,
    redirectDispatcher,
    publicDispatcher,
  });
  return { upstream, observed };
}

/**
 * A clock that stands still; waiting moves it on at once and is written down. `setMs` is by how much somebody has set it
 * since, forward or back.
 */
export function createClock(): Clock & { time: number; setMs: number; readonly waits: number[] } {
  const waits: number[] = [];
  return {
    time: 1_700_000_000_000,
    setMs: 0,
    waits,
    now() {
      return this.time + this.setMs;
    },
    monotonic() {
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

/** What is asked on behalf of nobody in particular. */
export function anyAsk(signal: AbortSignal = never()): Ask {
  return { signal };
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
  return { kind: "manifest", method: "GET", repository, url: new URL(url), headers: {}, signal: never(), ...overrides };
}

export function fakeResponse(
  url: URL,
  status: number,
  headers: Record<string, string> = {},
  body: Body = fakeBody([]),
): HttpResponse {
  return { upstream: url.host, status, url, crossedOrigin: false, body, header: (name) => headers[name] };
}

/** The body of such a response, of these chunks, or of a stream. */
export function fakeBody(chunks: Iterable<Buffer> | AsyncIterable<Buffer>, monotonic: () => number = () => 0): Body {
  const pieces = {
    on: () => undefined,
    async *[Symbol.asyncIterator]() {
      yield* chunks;
    },
  };
  const bytes = chunks instanceof Readable ? chunks : pieces;
  const raw = Object.assign(bytes, { dump: () => Promise.resolve() }) as unknown as ConstructorParameters<
    typeof Body
  >[0];
  const url = new URL("https://registry.example.com/v2/");
  return new Body(raw, { upstream: url.host, url, announcedBytes: undefined, signal: never(), clock: { monotonic } });
}

/** Reads a body to its end. */
export async function collect(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
