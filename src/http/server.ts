import { randomUUID } from "node:crypto";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { OciError } from "../oci/errors.ts";
import { describeError, describeMessage, type Logger } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { CacheStatus } from "../registry/registry.ts";
import type { Asker } from "../concurrency/interest.ts";
import { settleOrAbort } from "../concurrency/settle-or-abort.ts";
import { UpstreamError } from "../upstream/upstream.ts";
import { isAdminTarget } from "./admin-target.ts";
import { BodyGarbage } from "./body-garbage.ts";
import { type Answering, createOrderedServer } from "./connections.ts";
import type { Handler } from "./request.ts";
import { type Address, listenAt } from "./listening.ts";
import { probe, type ProbeOptions } from "./probes.ts";
import { errorReply, type Facts, registryHeaders, type Reply } from "./reply.ts";
import { ClientGone, sendBody } from "./send.ts";
import { readTarget } from "./target.ts";
import { Unsent } from "./unsent.ts";

const clientIdleMs = 5 * 60_000;
const headerMs = 30_000;
const bodyMs = 30_000;
/** How long a client that was answered before it had sent its request whole has to stop. */
const lingerMs = 2_000;

/** What a server serves. */
export interface ServerOptions {
  /** The registry; none on a listener that is only for administration. */
  readonly handler: Handler | undefined;
  /** What answers below `/_admin/`; none where the administration is not served. */
  readonly admin?: Handler | undefined;
  readonly probes: ProbeOptions;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** How long a request's header and its body may take to come; for tests. */
  readonly headerMs?: number;
  readonly bodyMs?: number;
}

/** A listening server. */
export interface RunningServer {
  /** `http://host:port` or `unix:/path`. */
  readonly address: string;
  /** From now on each answer ends its connection, so that the client's next one can go elsewhere. */
  leave(): void;
  /** Takes no new connections; resolves when the running answers are complete, or have been cut at `deadline`. */
  drain(deadline: AbortSignal): Promise<void>;
}

/** Listens at `address`. Rejects with the system's error where that is not possible. */
export async function listen(address: Address, options: ServerOptions): Promise<RunningServer> {
  const serving = new Serving(options);
  const server = createOrderedServer(serving, options.headerMs ?? headerMs);
  return {
    address: await listenAt(server, address),
    leave: () => serving.leave(),
    drain: (deadline) => serving.drain(server, deadline),
  };
}

class Serving implements Answering {
  readonly #options: ServerOptions;
  #isLeaving = false;
  #isStopping = false;
  /** Aborts when draining begins. */
  readonly #stop = new AbortController();
  /** Requests whose body was not read to its end: their connection ends with the answer. */
  readonly #unread = new WeakSet<IncomingMessage>();
  readonly #unsent = new Unsent();
  readonly #garbage = new BodyGarbage();

  constructor(options: ServerOptions) {
    this.#options = options;
  }

  get isStopping(): boolean {
    return this.#isStopping;
  }

  serve(request: IncomingMessage, response: ServerResponse): void {
    // Its errors are handled there; what is left would be an error of the log itself, and must not end the process.
    this.#serve(request, response).catch(() => response.destroy());
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const started = performance.now();
    const { metrics } = this.#options;
    const facts: Facts = { endpoint: "other" };
    // A write that fails is told to its callback; the event must not end the process.
    response.on("error", () => undefined);
    metrics.requestsInFlight.inc();
    let sentBytes = 0;
    try {
      const reply = await this.#answer(request, response, facts);
      sentBytes = await this.#send(request, response, reply);
    } catch (error) {
      facts.error = error;
      sentBytes = this.#fail(response, error);
    }
    metrics.requestsInFlight.dec();
    try {
      this.#record(request, response, facts, sentBytes, performance.now() - started);
    } catch (error) {
      this.#options.log.error({ err: error }, "a request could not be recorded");
    }
  }

  leave(): void {
    this.#isLeaving = true;
  }

  async drain(server: Server, deadline: AbortSignal): Promise<void> {
    this.#isStopping = true;
    this.#stop.abort();
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeIdleConnections();
    const cut = (): void => server.closeAllConnections();
    if (deadline.aborted) cut();
    deadline.addEventListener("abort", cut, { once: true });
    await closed;
    deadline.removeEventListener("abort", cut);
  }

  async #answer(request: IncomingMessage, response: ServerResponse, facts: Facts): Promise<Reply> {
    const { handler, admin, probes } = this.#options;
    const { method = "GET" } = request;
    const { target, host } = readTarget(request);
    // Whatever is decided by the host is decided by the one that is meant.
    const headers = host === request.headers.host ? request.headers : { ...request.headers, host };
    if (target === "*") return { status: 204, headers: { ...registryHeaders, Allow: "GET, HEAD" } };
    if (method === "GET" || method === "HEAD") {
      const found = await probe(target, probes);
      if (found !== undefined) {
        facts.endpoint = found.endpoint;
        return found.reply;
      }
    }
    if (isAdminTarget(target)) {
      facts.endpoint = "admin";
      if (admin === undefined) return errorReply(new OciError("NOT_FOUND", noAdministration));
      return admin({ method, target, headers, body: (maxBytes) => this.#readBody(request, maxBytes) }, facts);
    }
    if (handler === undefined) return errorReply(new OciError("NOT_FOUND"));
    const body = (maxBytes: number): Promise<Buffer> => this.#readBody(request, maxBytes);
    const stream = (): AsyncIterable<Uint8Array> => this.#streamBody(request);
    return handler({ method, target, headers, asker: new Client(response), body, stream }, facts);
  }

  /** The body as it comes, for as long as the client goes on sending. */
  async *#streamBody(request: IncomingMessage): AsyncGenerator<Uint8Array> {
    // Until it has been read to its end.
    this.#unread.add(request);
    let isWaiting = true;
    // Who does not ask for more is slow itself.
    const timer = setTimeout(() => {
      if (isWaiting) request.destroy(new ClientGone(`the client sent nothing for ${clientIdleMs} ms`));
      else timer.refresh();
    }, clientIdleMs);
    try {
      for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        isWaiting = false;
        this.#garbage.note(chunk.length);
        yield chunk;
        isWaiting = true;
        timer.refresh();
      }
      this.#unread.delete(request);
    } catch (error) {
      throw error instanceof ClientGone ? error : new ClientGone("the client left before its request was complete");
    } finally {
      clearTimeout(timer);
    }
  }

  async #readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
    const late = AbortSignal.timeout(this.#options.bodyMs ?? bodyMs);
    try {
      return await settleOrAbort(collect(request, maxBytes), AbortSignal.any([late, this.#stop.signal]));
    } catch (error) {
      this.#unread.add(request);
      if (late.aborted) throw new OciError("REQUEST_INVALID", "the request's body did not come in time");
      if (this.#isStopping) throw new OciError("UNAVAILABLE", "the mirror is stopping");
      throw error;
    }
  }

  /** Tells the client of a failure where its answer has not begun, else cuts it; returns the body's bytes. */
  #fail(response: ServerResponse, error: unknown): number {
    if (response.destroyed || response.headersSent) {
      response.destroy();
      return 0;
    }
    // The answer that could not be written has left its reason phrase.
    response.statusMessage = "";
    const { status, headers, body } = errorReply(error);
    response.writeHead(status, { ...headers, Connection: "close" });
    response.end(body);
    return response.req.method === "HEAD" ? 0 : Number(headers["Content-Length"]);
  }

  /** Writes a reply; resolves to the body's bytes that were sent. */
  async #send(request: IncomingMessage, response: ServerResponse, reply: Reply): Promise<number> {
    const { status, headers, body } = reply;
    const stream = body !== undefined && "read" in body ? body : undefined;
    if (response.destroyed) {
      await stream?.close();
      throw new ClientGone("the client left before its answer was ready");
    }
    try {
      const isLast = this.#isLeaving || this.#isStopping || this.#unread.has(request);
      response.writeHead(status, isLast ? { ...headers, Connection: "close" } : headers);
    } catch (error) {
      await stream?.close();
      throw error;
    }
    if (this.#unread.has(request) && stream === undefined) return sendBeforeAll(request, response, body as Uint8Array);
    if (request.method === "HEAD" || body === undefined) {
      await stream?.close();
      response.end();
      return 0;
    }
    if (stream !== undefined) {
      response.flushHeaders();
      const delimited = response.chunkedEncoding || "Content-Length" in headers;
      return sendBody(response, stream, clientIdleMs, delimited);
    }
    const bytes = body as Uint8Array;
    this.#unsent.end(response, bytes, clientIdleMs);
    return bytes.length;
  }

  #record(request: IncomingMessage, response: ServerResponse, facts: Facts, sentBytes: number, ms: number): void {
    const { metrics, log } = this.#options;
    const method = knownMethods.has(request.method ?? "") ? (request.method ?? "") : "other";
    const status = response.headersSent ? response.statusCode : 0;
    metrics.requests.inc({ endpoint: facts.endpoint, method, status });
    metrics.requestSeconds.observe({ endpoint: facts.endpoint }, ms / 1000);
    if (sentBytes > 0) metrics.responseBytes.inc({ endpoint: facts.endpoint }, sentBytes);
    if (facts.cache !== undefined && facts.label !== undefined) {
      metrics.cacheRequests.inc({ namespace: facts.label, kind: facts.endpoint, result: cacheResult(facts.cache) });
    }
    if (quietEndpoints.has(facts.endpoint) && status < 400) return;
    const level = status >= 500 || isFault(facts.error) ? "warn" : "info";
    if (!log.isLevelEnabled(level)) return;
    log[level](
      {
        request: randomUUID(),
        method: request.method,
        endpoint: facts.endpoint,
        namespace: facts.namespace,
        repository: facts.repository,
        reference: facts.reference,
        status,
        bytes: sentBytes,
        ms: Math.round(ms * 10) / 10,
        cache: facts.cache && cacheResult(facts.cache),
        ...(facts.error !== undefined && { error: explain(facts.error) }),
      },
      "request",
    );
  }
}

/** A client as one who asks. Nothing is listened to before somebody has to know whether it has left. */
class Client implements Asker {
  readonly #response: ServerResponse;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  get isWaiting(): boolean {
    return !this.#response.closed;
  }

  watch(look: () => void): () => void {
    this.#response.once("close", look);
    return () => this.#response.off("close", look);
  }
}

const noAdministration =
  "the administration is not served here; admin_listen gives it an address of its own, admin_token serves it here, too";

async function collect(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  // The connection is still needed for the answer.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > maxBytes) break;
    chunks.push(chunk);
  }
  if (sizeBytes <= maxBytes) return Buffer.concat(chunks);
  throw new OciError("CONTENT_TOO_LARGE", `a request's body has at most ${maxBytes} bytes`);
}

/**
 * Answers a request that is still being sent, and reads on for a while: a client that goes on sending would else see its
 * connection break, in place of the answer.
 */
async function sendBeforeAll(
  request: IncomingMessage,
  response: ServerResponse,
  body: Uint8Array | undefined,
): Promise<number> {
  if (body === undefined) response.flushHeaders();
  else response.write(body);
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, lingerMs);
  for (const event of ["end", "error", "close"]) request.once(event, () => resolve());
  request.resume();
  if (request.readableEnded || request.destroyed) resolve();
  await promise;
  clearTimeout(timer);
  response.end();
  return body?.length ?? 0;
}

const knownMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
const quietEndpoints: ReadonlySet<string> = new Set(["base", "root", "healthz", "readyz", "metrics", "peer"]);

/** One word for what the cache did. */
function cacheResult(cache: CacheStatus): string {
  if (cache.staleReason !== undefined) return "stale";
  if (cache.hit) return "hit";
  if (cache.forward === "bypass") return "bypass";
  if (cache.collapsed === true) return "joined";
  return cache.forward === "stale" ? "revalidated" : "miss";
}

function isFault(error: unknown): boolean {
  return error !== undefined && !(error instanceof OciError) && !(error instanceof ClientGone);
}

/** An error for the log line; an upstream's causes are told where they happened, once for all who waited. */
function explain(error: unknown): unknown {
  const isToldElsewhere = error instanceof OciError || error instanceof ClientGone || error instanceof UpstreamError;
  return isToldElsewhere ? describeMessage(error) : describeError(error);
}
