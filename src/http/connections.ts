import type * as http from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createRequire } from "node:module";
import type { Socket } from "node:net";

// An `import` reads all that a built-in module exports; of this one also the WebSocket, with which Node loads its own
// client, its fetch and HTTP/2.
const { createServer } = createRequire(import.meta.url)("node:http") as typeof http;

// Longer than clients (30 s) and the usual load balancer (60 s) keep an idle connection, so that they close it first.
const keepAliveMs = 75_000;
/** How long the rest of a request may take after its answer; until then, who reads its body decides. */
const restMs = 60_000;
/** Requests that wait behind others of their connection, of all connections together; each takes some 4 KiB. */
const maxWaiting = 16_384;
/** How long a client that has ended its side may be left without a byte. One that has gone looks the same. */
const goneMs = 5_000;
/** How long a client that was refused has to read why. */
const lingerMs = 1_000;

/** Who answers what comes over the connections. */
export interface Answering {
  /** Answers a request. It is done when the response is closed. */
  serve(request: IncomingMessage, response: ServerResponse): void;
  /** Whether a connection ends when there is nothing left to answer on it, whatever the answers have promised. */
  readonly isStopping: boolean;
}

/**
 * Makes an HTTP server that bounds what its clients have under way. The requests of a connection are answered one after
 * the other, and while some wait no more are read: Node would begin all that a client has sent ahead ("pipelining") at
 * once. What cannot be read is refused after the answers to what came before it.
 *
 * @param headerMs How long a request's header may take to come.
 */
export function createOrderedServer(answering: Answering, headerMs: number): Server {
  const server = createServer({
    keepAliveTimeout: keepAliveMs,
    headersTimeout: headerMs,
    // An upload takes as long as it takes.
    requestTimeout: 0,
    connectionsCheckingInterval: headerMs / 10,
    noDelay: true,
    // One without is refused in OCI form.
    requireHostHeader: false,
  });
  // A client that has sent all that it wants may end its side, and is answered.
  Object.assign(server, { httpAllowHalfOpen: true });
  const crowd: Crowd = { waiting: 0, connections: new Set() };
  const connections = new WeakMap<Socket, Connection>();
  server.on("connection", (socket) => connections.set(socket, new Connection(socket, answering, crowd)));
  server.on("request", (request, response) => connections.get(request.socket)?.request(request, response));
  server.on("connect", (_request, socket: Socket) => connections.get(socket)?.refuse(noTunnel));
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    if (error.code === "ECONNRESET") socket.destroy();
    else connections.get(socket)?.refuse(describeMalformed(error.code));
  });
  return server;
}

/** The requests that wait, and the connections on which they do. */
interface Crowd {
  waiting: number;
  readonly connections: Set<Connection>;
}

class Connection {
  readonly #socket: Socket;
  readonly #answering: Answering;
  readonly #crowd: Crowd;
  readonly #waiting: { readonly request: IncomingMessage; readonly response: ServerResponse }[] = [];
  /** The request that came last, for as long as its body may not be here yet. */
  #last: IncomingMessage | undefined;
  #isAnswering = false;
  #isHeld = false;
  #refusal: string | undefined;

  constructor(socket: Socket, answering: Answering, crowd: Crowd) {
    this.#socket = socket;
    this.#answering = answering;
    this.#crowd = crowd;
    // Node lets the socket flow again after each request that it has read.
    socket.on("resume", () => this.#hold());
    socket.once("end", () => this.#watch());
    socket.once("close", () => this.#forget());
  }

  request(request: IncomingMessage, response: ServerResponse): void {
    // The rest of what was read together is still parsed.
    if (this.#socket.destroyed || this.#refusal !== undefined) return;
    this.#last = request;
    if (!this.#isAnswering) {
      this.#answer(request, response);
      return;
    }
    if (this.#crowd.waiting >= maxWaiting) this.#cutLongest();
    if (this.#socket.destroyed) return;
    this.#waiting.push({ request, response });
    this.#crowd.waiting++;
    this.#crowd.connections.add(this);
    this.#hold();
  }

  /**
   * Tells the client that what it has sent is not read, after the answers to what it has sent before, and ends the
   * connection.
   *
   * @param answer A whole response, as it is sent.
   */
  refuse(answer: string): void {
    // One that is being ended gets no more.
    if (this.#refusal !== undefined || !this.#socket.writable) return;
    // What cannot be read belongs to a request that is, or was, being answered: there is no place for another answer.
    if (this.#last?.complete === false) {
      this.#socket.destroy();
      return;
    }
    this.#refusal = answer;
    if (this.#isAnswering) this.#hold();
    else this.#end(answer);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    this.#isAnswering = true;
    response.once("close", () => {
      if (!request.complete) this.#bound(request);
      this.#next();
    });
    this.#answering.serve(request, response);
  }

  /** Node reads what is left of a request, so that the next one can be told. */
  #bound(request: IncomingMessage): void {
    const timer = setTimeout(() => this.#socket.destroy(), restMs).unref();
    request.once("close", () => clearTimeout(timer));
  }

  #next(): void {
    this.#isAnswering = false;
    // While the connection is idle, nothing of it is kept.
    if (this.#last?.complete === true) this.#last = undefined;
    if (!this.#socket.writable) return;
    const next = this.#waiting.shift();
    if (next !== undefined) {
      this.#crowd.waiting--;
      if (this.#waiting.length === 0) this.#crowd.connections.delete(this);
      this.#answer(next.request, next.response);
    } else if (this.#refusal !== undefined) {
      this.#end(this.#refusal);
    } else if (this.#answering.isStopping) {
      this.#socket.destroySoon();
    }
    if (this.#isHeld && this.#waiting.length === 0) {
      this.#isHeld = false;
      this.#socket.resume();
    }
  }

  /** Cuts the connection on which most wait: of a client that has left, nothing is heard while it is not read from. */
  #cutLongest(): void {
    const longest = [...this.#crowd.connections].reduce(
      (a, b) => (b.#waiting.length > a.#waiting.length ? b : a),
      this,
    );
    longest.#forget();
    longest.#socket.destroy();
  }

  #forget(): void {
    this.#crowd.waiting -= this.#waiting.splice(0).length;
    this.#crowd.connections.delete(this);
  }

  #hold(): void {
    if (this.#waiting.length === 0 && (this.#refusal === undefined || !this.#isAnswering)) return;
    this.#isHeld = true;
    this.#socket.pause();
  }

  #end(answer: string): void {
    const socket = this.#socket;
    socket.end(answer);
    const timer = setTimeout(() => socket.destroy(), lingerMs);
    socket.once("close", () => clearTimeout(timer));
  }

  #watch(): void {
    const socket = this.#socket;
    let written = socket.bytesWritten;
    const timer = setInterval(() => {
      // What the client has not taken yet is its own matter.
      if (socket.writableLength === 0 && socket.bytesWritten === written) socket.destroy();
      written = socket.bytesWritten;
    }, goneMs);
    socket.once("close", () => clearInterval(timer));
  }
}

/** What the HTTP parser refuses, by the code of its error, gets an answer in OCI form all the same. */
function describeMalformed(code: string | undefined): string {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return formatRefusal("431 Request Header Fields Too Large", "the request's header is too large");
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return formatRefusal("408 Request Timeout", "the request did not come in time");
    case undefined:
    default:
      return formatRefusal("400 Bad Request", "the request is not HTTP");
  }
}

function formatRefusal(status: string, message: string, ...more: readonly string[]): string {
  const body = JSON.stringify({ errors: [{ code: "UNSUPPORTED", message }] });
  const length = `Content-Length: ${Buffer.byteLength(body)}`;
  const fields = ["Content-Type: application/json", length, ...more, "Connection: close"];
  return `HTTP/1.1 ${status}\r\n${fields.join("\r\n")}\r\n\r\n${body}`;
}

const noTunnel = formatRefusal("405 Method Not Allowed", "this is no proxy", "Allow: GET, HEAD");
