import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { Endpoint } from "./settings.ts";

/** How a relay is bounded; the tests need less. */
export interface RelayLimits {
  /** Connections at a time; more are closed at once. */
  readonly connections: number;
  /** How long the target has to accept a connection, its name's look-up included. */
  readonly connectMs: number;
  /** At the end, a connection that moves no byte for so long is done. */
  readonly idleMs: number;
}

const usualLimits: RelayLimits = { connections: 512, connectMs: 3_000, idleMs: 2_000 };
/** How long a peer may be silent before the system asks whether it is still there. */
const keepAliveMs = 30_000;

/**
 * Listens at an address of this machine and passes each connection on to a target, whose name is looked up anew for
 * each. Where the target is not there the connection is closed at once: the runtime turns to the registry then.
 */
export class Relay {
  readonly #server: Server;
  readonly #target: Endpoint;
  readonly #limits: RelayLimits;
  readonly #pairs = new Map<Socket, Socket>();
  readonly #onFailure: (error: Error) => void;

  private constructor(target: Endpoint, onFailure: (error: Error) => void, limits: RelayLimits) {
    this.#target = target;
    this.#onFailure = onFailure;
    this.#limits = limits;
    this.#server = createServer({
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: keepAliveMs,
    });
    this.#server.on("connection", (client: Socket) => this.#pass(client));
  }

  /**
   * Begins to listen; rejects with the system's error where that is not possible.
   *
   * @param onFailure Told of each connection that could not be passed on.
   */
  static async open(
    listen: Endpoint,
    target: Endpoint,
    onFailure: (error: Error) => void,
    limits: Partial<RelayLimits> = {},
  ): Promise<Relay> {
    const relay = new Relay(target, onFailure, { ...usualLimits, ...limits });
    relay.#server.listen(listen);
    await once(relay.#server, "listening");
    // Of the system, when it has no more room for a connection.
    relay.#server.on("error", onFailure);
    return relay;
  }

  /** How many connections are open. */
  get connections(): number {
    return this.#pairs.size;
  }

  /** Where it listens. */
  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" ? (address?.port ?? 0) : 0;
  }

  /** Stops listening. What is under way goes on while bytes move, and ends after `patienceMs` in any case. */
  async close(patienceMs: number): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const pair of this.#pairs) endWhenIdle(pair, this.#limits.idleMs);
    const timer = setTimeout(() => {
      for (const client of this.#pairs.keys()) client.destroy();
    }, patienceMs);
    await closed;
    clearTimeout(timer);
  }

  #pass(client: Socket): void {
    // Its loss is the end of both; there is nothing to be said about it.
    client.on("error", () => undefined);
    if (this.#pairs.size >= this.#limits.connections) {
      client.resetAndDestroy();
      this.#onFailure(new Error(`more than ${this.#limits.connections} connections at a time`));
      return;
    }
    const { connectMs } = this.#limits;
    const target = connect({
      ...this.#target,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: keepAliveMs,
    });
    this.#pairs.set(client, target);
    const timer = setTimeout(() => target.destroy(new Error(`no connection within ${connectMs / 1_000} s`)), connectMs);
    let isConnected = false;
    target.once("connect", () => {
      isConnected = true;
      clearTimeout(timer);
      passOn(client, target);
      passOn(target, client);
    });
    target.on("error", (error) => {
      if (!isConnected) this.#onFailure(describe(error));
    });
    target.once("close", () => {
      clearTimeout(timer);
      if (!isConnected) client.resetAndDestroy();
    });
    client.once("close", () => {
      this.#pairs.delete(client);
      if (!isConnected) target.destroy();
    });
  }
}

/** An error with a message: that of several addresses that all fail has none. */
function describe(error: NodeJS.ErrnoException): Error {
  return error.message === "" ? new Error(error.code, { cause: error }) : error;
}

/** Passes on what comes, no faster than it is taken, and its end. What breaks on one side breaks on the other. */
function passOn(from: Socket, to: Socket): void {
  from.pipe(to);
  from.once("close", () => {
    if (!from.readableEnded || !from.writableFinished) to.destroy();
  });
}

/** Ends a pair of connections when neither moves a byte for a while. */
function endWhenIdle([client, target]: readonly [Socket, Socket], idleMs: number): void {
  let moved = -1;
  const timer = setInterval(() => {
    const now = client.bytesRead + client.bytesWritten + target.bytesRead + target.bytesWritten;
    if (now === moved) {
      client.destroy();
      target.destroy();
    }
    moved = now;
  }, idleMs);
  client.once("close", () => clearInterval(timer));
}
