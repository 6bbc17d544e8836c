import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { ReplicaId } from "../../src/replicas/board.ts";
import { type AdmittedCall, PeerGuard } from "../../src/replicas/peer-guard.ts";
import {
  callHeader,
  epochHeader,
  parseQuestion,
  type PeerQuestion,
  proofHeader,
  sizeHeader,
} from "../../src/replicas/peer-protocol.ts";
import type { SharedSecret } from "../../src/replicas/shared-secret.ts";

/** A call that a fake peer has got, to be answered as a test says. */
export class PeerCall {
  readonly question: PeerQuestion;
  readonly response: ServerResponse;
  readonly #call: AdmittedCall;

  constructor(question: PeerQuestion, call: AdmittedCall, response: ServerResponse) {
    this.question = question;
    this.#call = call;
    this.response = response;
  }

  /** Begins a blob's answer, of a size that is told. */
  begin(size: number | string, proof?: string): void {
    this.response.writeHead(200, {
      [sizeHeader]: String(size),
      [proofHeader]: proof ?? this.#call.prove("200", String(size)),
    });
    this.response.flushHeaders();
  }

  json(document: unknown, status = 200): void {
    const body = Buffer.from(JSON.stringify(document));
    const proof = this.#call.prove(String(status), createHash("sha256").update(body).digest("hex"));
    this.response.writeHead(status, { [proofHeader]: proof }).end(body);
  }

  /** A refusal as a replica signs it. */
  refuse(status = 404): void {
    if (this.question.kind !== "blob") return this.json({}, status);
    this.response.writeHead(status, { [sizeHeader]: "", [proofHeader]: this.#call.prove(String(status), "") }).end();
  }
}

/** Another replica that answers calls as a test says. */
export class FakePeer implements AsyncDisposable {
  readonly id: ReplicaId;
  readonly guard: PeerGuard;
  /** What it was asked, by kind, in order; `stranger` for what it did not admit. */
  readonly asked: string[] = [];
  /** What it says to a question of each kind; silent where nothing is said. */
  readonly on: { [Kind in PeerQuestion["kind"]]?: (call: PeerCall) => void } = { alive: (call) => call.json({}) };
  /** Sees what is not admitted, in place of the usual answer. */
  onStranger: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
  readonly #server = createServer((request, response) => this.#serve(request, response));
  #open = 0;

  constructor(id: string, secret: SharedSecret) {
    this.id = id as ReplicaId;
    this.guard = new PeerGuard(secret, this.id, () => performance.now());
    this.#server.on("connection", (socket) => {
      this.#open++;
      socket.on("close", () => this.#open--);
    });
  }

  static async start(id: string, secret: SharedSecret): Promise<FakePeer> {
    const peer = new FakePeer(id, secret);
    await new Promise<void>((resolve) => peer.#server.listen(0, "127.0.0.1", resolve));
    return peer;
  }

  /** How many connections are open. */
  get connections(): number {
    return this.#open;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const { url = "", headers } = request;
    response.on("error", () => undefined);
    const call = this.guard.admit(url, String(headers[callHeader] ?? ""));
    const question = parseQuestion(url);
    if (call === undefined || question === undefined) {
      this.asked.push("stranger");
      if (this.onStranger !== undefined) return this.onStranger(request, response);
      response.writeHead(401, { [epochHeader]: this.guard.epoch }).end();
      return;
    }
    this.asked.push(question.kind);
    this.on[question.kind]?.(new PeerCall(question, call, response));
  }
}
