import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { describe, test } from "node:test";
import { Worker } from "node:worker_threads";
import { Relay, type RelayLimits } from "../../../src/nodes/relay.ts";
import { turn } from "../../support/event-loop.ts";

const local = "127.0.0.1";

/** A server at the far end. */
class Target implements AsyncDisposable {
  readonly server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(onConnection: (socket: Socket) => void) {
    this.server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
      onConnection(socket);
    });
  }

  static async start(onConnection: (socket: Socket) => void, port = 0): Promise<Target> {
    const target = new Target(onConnection);
    target.server.listen(port, local);
    await once(target.server, "listening");
    return target;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    if (!this.server.listening) return;
    this.server.close();
    await once(this.server, "close");
  }
}

class World implements AsyncDisposable {
  readonly failures: string[] = [];
  readonly relay: Relay;
  readonly #stack: AsyncDisposableStack;

  private constructor(relay: Relay, stack: AsyncDisposableStack) {
    this.relay = relay;
    this.#stack = stack;
  }

  static async start(
    { port, host = local }: { readonly port: number; readonly host?: string },
    limits: Partial<RelayLimits> = {},
  ): Promise<World> {
    const stack = new AsyncDisposableStack();
    const onFailure = (error: Error): unknown => world.failures.push(error.message);
    const relay = await Relay.open({ host: local, port: 0 }, { host, port }, onFailure, limits);
    stack.defer(() => relay.close(0));
    const world = new World(relay, stack);
    return world;
  }

  connect(): Socket {
    const socket = connect({ host: local, port: this.relay.port, allowHalfOpen: true });
    socket.on("error", () => undefined);
    this.#stack.defer(() => void socket.destroy());
    return socket;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

const megabytes = Buffer.alloc(8 * 1024 * 1024, "x");

describe("the relay", () => {
  test("passes on what both sides send, and the end of each side", async () => {
    await using target = await Target.start((socket) => {
      void buffer(socket).then((sent) => socket.end(Buffer.concat([Buffer.from(`${sent.length} `), megabytes])));
    });
    await using world = await World.start(target);
    const client = world.connect();
    client.end(megabytes);
    const answer = await buffer(client);
    assert.equal(answer.toString("latin1", 0, 8), "8388608 ");
    assert.equal(answer.length, megabytes.length + 8);
    assert.deepEqual(world.failures, []);
  });

  test("passes on the end of the target's side alone", async () => {
    const received = Promise.withResolvers<Buffer>();
    await using target = await Target.start((socket) => {
      socket.end("bye");
      received.resolve(buffer(socket));
    });
    await using world = await World.start(target);
    const client = world.connect();
    assert.equal((await buffer(client)).toString(), "bye");
    client.end("and now");
    assert.equal((await received.promise).toString(), "and now");
  });

  test("reads no more than the other side takes", async () => {
    const paused = Promise.withResolvers<Socket>();
    await using target = await Target.start((socket) => paused.resolve(socket.pause()));
    await using world = await World.start(target);
    const client = world.connect();
    const far = await paused.promise;
    // More than the system keeps for the four sockets.
    client.end(Buffer.alloc(128 * 1024 * 1024));
    await still(client);
    assert.ok(client.writableLength > 0, "the relay has taken all that nobody reads");
    far.resume();
    await once(far, "end");
  });

  test("a connection that breaks on one side breaks on the other", async () => {
    const reached = Promise.withResolvers<Socket>();
    await using target = await Target.start((socket) => reached.resolve(socket));
    await using world = await World.start(target);
    const client = world.connect();
    const far = await reached.promise;
    client.resetAndDestroy();
    await gone(far);
    const next = Promise.withResolvers<Socket>();
    target.server.once("connection", next.resolve);
    const second = world.connect();
    (await next.promise).resetAndDestroy();
    await gone(second);
    await until(world, 0);
  });

  test("where the target is away the client knows at once, and is served when it is back", async () => {
    const target = await Target.start((socket) => socket.end("one"));
    const { port } = target;
    await using world = await World.start(target);
    assert.equal((await buffer(world.connect())).toString(), "one");
    await target[Symbol.asyncDispose]();
    await gone(world.connect());
    assert.equal(world.failures.length, 1);
    assert.match(world.failures[0] ?? "", /ECONNREFUSED/);
    await using _back = await Target.start((socket) => socket.end("two"), port);
    assert.equal((await buffer(world.connect())).toString(), "two");
    assert.equal(world.failures.length, 1);
  });

  test("a name is looked up for each connection", async () => {
    await using target = await Target.start((socket) => socket.end("here"));
    await using world = await World.start({ host: "localhost", port: target.port });
    assert.equal((await buffer(world.connect())).toString(), "here");
    await using nowhere = await World.start({ host: "no-such-name.invalid", port: 1 });
    await gone(nowhere.connect());
    assert.match(nowhere.failures[0] ?? "", /no-such-name\.invalid|no connection within/);
  });

  test("a target that does not accept is given up", async () => {
    // It listens, and its thread stands still: what its queue has no room for waits.
    const worker = new Worker(
      `const { createServer } = require("node:net");
       const { parentPort } = require("node:worker_threads");
       const server = createServer().listen({ port: 0, host: "${local}", backlog: 1 }, () => {
         parentPort.postMessage(server.address().port);
         setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
       });`,
      { eval: true },
    );
    try {
      const [port] = (await once(worker, "message")) as [number];
      await using world = await World.start({ port }, { connectMs: 50 });
      while (world.failures.length === 0) await Promise.race([gone(world.connect()), turn(50)]);
      assert.equal(world.failures[0], "no connection within 0.05 s");
    } finally {
      await worker.terminate();
    }
  });

  test("one more connection than it may have is closed, and then there is room again", async () => {
    await using target = await Target.start((socket) => socket.write("hello"));
    await using world = await World.start(target, { connections: 1 });
    const first = world.connect();
    await once(first, "data");
    await gone(world.connect());
    assert.deepEqual(world.failures, ["more than 1 connections at a time"]);
    first.resetAndDestroy();
    await until(world, 0);
    await once(world.connect(), "data");
  });

  test("at the end it lets transfers end, closes what is idle, and takes no more", async () => {
    const reached = Promise.withResolvers<Socket>();
    await using target = await Target.start((socket) => reached.resolve(socket));
    await using world = await World.start(target, { idleMs: 50 });
    const { port } = world.relay;
    const client = world.connect();
    const far = await reached.promise;
    far.write("begun");
    await once(client, "data");
    const ended = world.relay.close(60_000);
    const refused = connect(port, local);
    assert.match(String(await once(refused, "connect").catch((error: Error) => error)), /ECONNREFUSED/);
    const all = buffer(client);
    far.end(megabytes);
    assert.equal((await all).length, megabytes.length);
    // The client's side stays open, and idle.
    await ended;
  });

  test("at the end, what does not end is cut", async () => {
    await using target = await Target.start((socket) => {
      const timer = setInterval(() => socket.write("x"), 5);
      socket.on("close", () => clearInterval(timer));
    });
    await using world = await World.start(target, { idleMs: 10_000 });
    const client = world.connect();
    await once(client, "data");
    await world.relay.close(20);
    await until(world, 0);
  });

  test("an address that is taken is an error", async () => {
    await using target = await Target.start(() => undefined);
    const opening = Relay.open({ host: local, port: target.port }, { host: local, port: 1 }, () => undefined);
    await assert.rejects(opening, { code: "EADDRINUSE" });
  });
});

/** All that a socket's other side sends. Reading it in a loop, as Node's own does, would close this side too. */
async function buffer(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(socket, "end");
  return Buffer.concat(chunks);
}

/** Waits until a socket's other side has gone, in whatever way. */
async function gone(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (socket.closed) return;
  socket.resume().once("end", resolve).once("close", resolve);
  await promise;
}

/** Waits until no more is written for many turns of the event loop. */
async function still(socket: Socket): Promise<void> {
  for (let turns = 0, before = -1; turns < 2_000; turns += 1) {
    if (socket.bytesWritten - socket.writableLength !== before) turns = 0;
    before = socket.bytesWritten - socket.writableLength;
    await turn(1);
  }
}

/** Waits until a relay has so many connections. */
async function until({ relay }: World, count: number): Promise<void> {
  while (relay.connections !== count) await turn(1);
}
