/* How long the server waits for whom, and what it does with a body that nobody takes. */
import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { Agent, ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { createBarrier } from "../support/barrier.ts";
import { turn, until } from "../support/event-loop.ts";
import { bodyOf, connectRaw, replyWith, send, start } from "./test-server.ts";

/** Resolves when the next answer's connection is gone. */
function nextGone(context: TestContext): Promise<unknown> {
  const gone = Promise.withResolvers<unknown>();
  const note = (message: unknown): void => {
    void once((message as { response: ServerResponse }).response, "close").then(gone.resolve);
  };
  subscribe("http.server.request.start", note);
  context.after(() => unsubscribe("http.server.request.start", note));
  return gone.promise;
}

test("a body whose client has left before its answer is closed, and not read", async (context) => {
  const barrier = createBarrier();
  const body = bodyOf(() => assert.fail("it is read for nobody"));
  await using server = await start(async () => {
    await barrier.wait();
    return { status: 200, headers: { "Content-Length": 10 }, body };
  });
  const gone = nextGone(context);
  const client = connect(server.port, "127.0.0.1").on("error", () => undefined);
  client.write("GET /v2/a/blobs/x HTTP/1.1\r\nHost: x\r\n\r\n");
  await barrier.reached;
  // One that ends its side in order may still be there.
  client.resetAndDestroy();
  await gone;
  barrier.release();
  await until(() => body.closed > 0);
  assert.equal(body.closed, 1);
  await until(() => server.log().length > 0);
  assert.deepEqual(
    server.log().map(({ status, bytes, error }) => [status, bytes, error]),
    [[0, 0, "the client left before its answer was ready"]],
  );
});

test("a body that HEAD does not send is closed, and not read", async () => {
  const body = bodyOf(() => assert.fail("it is read for nobody"));
  await using server = await start(replyWith(body, { "Content-Length": 10 }));
  const response = await send(server.port, { method: "HEAD" });
  response.resume();
  await once(response, "end");
  assert.equal(response.headers["content-length"], "10");
  assert.equal(body.closed, 1);
});

test("an idle connection is kept for longer than clients keep it", async () => {
  await using server = await start(async () => ({ status: 204, headers: {} }));
  const agent = new Agent({ keepAlive: true });
  const response = await send(server.port, { agent });
  response.resume();
  assert.equal(response.headers["keep-alive"], "timeout=75");
  agent.destroy();
});

test("a client may take nothing of a body for five minutes", async (context) => {
  const asked = context.mock.method(ServerResponse.prototype, "setTimeout");
  const body = bodyOf(async function* () {
    yield Buffer.from("all");
  });
  await using server = await start(replyWith(body, { "Content-Length": 3 }));
  const response = await send(server.port);
  response.resume();
  await once(response, "end");
  assert.deepEqual(
    asked.mock.calls.map(({ arguments: [ms] }) => ms),
    [300_000],
  );
});

test("a request's body may take half a minute to come", async (context) => {
  const asked = context.mock.method(AbortSignal, "timeout");
  await using server = await start(undefined, {
    admin: async (request) => {
      const body = await request.body?.(100);
      return { status: 200, headers: {}, body: body ?? Buffer.alloc(0) };
    },
  });
  const response = await send(server.port, { method: "POST", path: "/_admin/x", body: "text" });
  response.resume();
  assert.equal(response.statusCode, 200);
  assert.deepEqual(
    asked.mock.calls.map(({ arguments: [ms] }) => ms),
    [30_000],
  );
});

/** A body that has begun and does not end. */
function endless(): ReturnType<typeof bodyOf> {
  return bodyOf(async function* (signal) {
    yield Buffer.from("one");
    await once(signal, "abort");
    throw signal.reason;
  });
}

test("an answer that runs is cut at the deadline, also where that has passed already", async () => {
  for (const isPast of [false, true]) {
    const body = endless();
    await using server = await start(replyWith(body, { "Content-Length": 6 }));
    const response = await send(server.port);
    const failed = once(response, "error");
    response.resume();
    const deadline = new AbortController();
    if (isPast) deadline.abort();
    let isDrained = false;
    const drained = server.drain(deadline.signal).then(() => {
      isDrained = true;
    });
    await turn(20);
    assert.equal(isDrained, isPast);
    deadline.abort();
    await until(() => isDrained);
    await drained;
    await failed;
    assert.equal(response.complete, false);
    await until(() => body.closed === 1);
  }
});

test("an answer that begins while the server drains says that its connection ends", async () => {
  const barrier = createBarrier();
  await using server = await start(async () => {
    await barrier.wait();
    return { status: 204, headers: {} };
  });
  const asked = send(server.port, { agent: new Agent({ keepAlive: true }) });
  await barrier.reached;
  const drained = server.drain(new AbortController().signal);
  barrier.release();
  const response = await asked;
  response.resume();
  assert.equal(response.headers.connection, "close");
  await drained;
});

/** Resolves with the server's end of the next connection. */
function nextConnection(context: TestContext): Promise<Socket> {
  const connected = Promise.withResolvers<Socket>();
  const note = (message: unknown): void => connected.resolve((message as { socket: Socket }).socket);
  subscribe("net.server.socket", note);
  context.after(() => unsubscribe("net.server.socket", note));
  return connected.promise;
}

const ask = "GET /v2/a/blobs/x HTTP/1.1\r\nHost: a\r\n\r\n";

test("while a request of a connection waits no more are read, and then they are", async (context) => {
  const barrier = createBarrier();
  await using server = await start(async () => {
    await barrier.wait();
    return { status: 204, headers: {} };
  });
  const connection = nextConnection(context);
  using client = await connectRaw(server.port);
  const socket = await connection;
  client.socket.write(ask);
  await barrier.reached;
  assert.equal(socket.isPaused(), false);
  client.socket.write(ask);
  await until(() => socket.isPaused());
  barrier.release();
  await client.until(/204[^]*204/);
  assert.equal(socket.isPaused(), false);
});

test("requests of connections that are gone make room for those of others", async () => {
  let barrier = createBarrier();
  await using server = await start(async ({ target }) => {
    if (target !== "/v2/free") await barrier.wait();
    return { status: 204, headers: {} };
  });
  // Together they would be more than may wait.
  for (let round = 0; round < 3; round++) {
    barrier = createBarrier();
    using clients = new DisposableStack();
    const all = await Promise.all(Array.from({ length: 8 }, async () => clients.use(await connectRaw(server.port))));
    for (const { socket } of all) socket.write(ask.repeat(1_000));
    await barrier.arrivals(all.length);
    (await send(server.port, { path: "/v2/free" })).resume();
    assert.ok(
      all.every(({ socket }) => !socket.destroyed && !socket.readableEnded),
      `round ${round}`,
    );
    for (const { socket } of all) socket.resetAndDestroy();
    await Promise.all(all.map(({ closed }) => closed));
    // A connection that is not read is found to be gone by the answer that is written to it.
    barrier.release();
    await until(async () => (await server.metrics.render()).includes("entrepot_http_requests_in_flight 0\n"));
  }
});

test("a client that was refused and does not leave is cut after a second", async (context) => {
  await using server = await start(undefined);
  const connection = nextConnection(context);
  const client = connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true }).on("error", () => undefined);
  const socket = await connection;
  const gone = once(socket, "close");
  context.mock.timers.enable({ apis: ["setTimeout"] });
  client.write("rubbish\r\n\r\n");
  client.resume();
  await once(client, "end");
  assert.equal(socket.destroyed, false);
  context.mock.timers.tick(1_000);
  await gone;
  client.destroy();
});
