import assert from "node:assert/strict";
import { connect } from "node:net";
import { describe, test } from "node:test";
import type { Handler } from "../../src/http/request.ts";
import { type Barrier, createBarrier } from "../support/barrier.ts";
import { turn, until } from "../support/event-loop.ts";
import { request } from "../support/http.ts";
import { bodyOf, connectRaw, replyWith, start } from "./test-server.ts";

const get = (target: string, fields = ""): string => `GET ${target} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;
const malformed = "GET / nonsense\r\n\r\n";

/** A handler that answers with the request's target, after the barrier; `/v2/free` at once. */
function createSlow(barrier: Barrier): Handler & { running: number; most: number } {
  const handler = Object.assign(
    async ({ target }: { readonly target: string }) => {
      handler.running++;
      handler.most = Math.max(handler.most, handler.running);
      if (target !== "/v2/free") await barrier.wait();
      handler.running--;
      return { status: 200, headers: { "Content-Length": target.length }, body: Buffer.from(target) };
    },
    { running: 0, most: 0 },
  );
  return handler;
}

/** A handler whose body comes in two parts, the second after the barrier. */
function inTwo(barrier: Barrier): Handler {
  const read = async function* (): AsyncGenerator<Buffer> {
    yield Buffer.from("one");
    await barrier.wait();
    yield Buffer.from("two");
  };
  return async () => ({ status: 200, headers: { "Content-Length": 6 }, body: bodyOf(read) });
}

describe("requests that are sent ahead", () => {
  test("are answered one after the other, all of them, in order", async () => {
    const barrier = createBarrier();
    const slow = createSlow(barrier);
    await using server = await start(slow);
    using client = await connectRaw(server.port);
    const targets = Array.from({ length: 3_000 }, (_, index) => `/v2/${index}`);
    client.socket.write(targets.map((target) => get(target)).join(""));
    await barrier.reached;
    // Another connection is answered meanwhile, and what was sent has been read, as far as it is.
    for (let count = 0; count < 3; count++) assert.equal((await request(`${server.address}/v2/free`)).status, 200);
    assert.equal(slow.running, 1);
    barrier.release();
    const answers = await client.until(/\/v2\/2999$/);
    assert.deepEqual(answers.match(/(?<=\r\n\r\n)\/v2\/\d+/g), targets);
  });

  test("by many clients take nothing from others, and each client has one under way", async () => {
    const barrier = createBarrier();
    const slow = createSlow(barrier);
    await using server = await start(slow);
    using clients = new DisposableStack();
    const all = await Promise.all(Array.from({ length: 40 }, async () => clients.use(await connectRaw(server.port))));
    for (const { socket } of all) socket.write(get("/v2/x").repeat(199) + get("/v2/last"));
    await barrier.arrivals(40);
    assert.equal((await request(`${server.address}/v2/free`)).status, 200);
    barrier.release();
    for (const each of all) assert.equal((await each.until(/last$/)).split("/v2/x").length, 200);
    assert.ok(slow.most <= 41, `${slow.most} at once`);
  });

  test("wait in a bounded number, beyond it who has most of them is cut", async () => {
    const barrier = createBarrier();
    const slow = createSlow(barrier);
    await using server = await start(slow);
    using clients = new DisposableStack();
    const all = await Promise.all(Array.from({ length: 16 }, async () => clients.use(await connectRaw(server.port))));
    for (const { socket } of all) socket.write(get("/v2/x") + get("/").repeat(2_200));
    await Promise.race(all.map((each) => each.closed));
    assert.equal((await request(`${server.address}/v2/free`)).status, 200);
    barrier.release();
  });

  test("of clients that have left take no place from others", async () => {
    const barrier = createBarrier();
    await using server = await start(createSlow(barrier));
    using clients = new DisposableStack();
    const all = await Promise.all(Array.from({ length: 16 }, async () => clients.use(await connectRaw(server.port))));
    for (const { socket } of all) socket.write(get("/v2/x") + get("/").repeat(1_024));
    await barrier.arrivals(16);
    for (const { socket } of all) socket.destroy();
    using other = await connectRaw(server.port);
    other.socket.write(get("/v2/free").repeat(2));
    await other.until(/free[^]*free$/);
    barrier.release();
  });

  test("of clients that turn out to have left are not counted any more, however few each has sent", async () => {
    const barrier = createBarrier();
    const left: boolean[] = [];
    await using server = await start(async ({ target, asker }) => {
      if (target === "/v2/x") await barrier.wait();
      asker?.watch(() => left.push(true));
      return { status: 200, headers: { "Content-Length": target.length }, body: Buffer.from(target) };
    });
    using clients = new DisposableStack();
    const all = await Promise.all(Array.from({ length: 256 }, async () => clients.use(await connectRaw(server.port))));
    for (const { socket } of all) socket.write(get("/v2/x") + get("/v2/x").repeat(64));
    await barrier.arrivals(256);
    for (const { socket } of all) socket.resetAndDestroy();
    barrier.release();
    await until(() => left.length >= 256);
    using other = await connectRaw(server.port);
    other.socket.write(get("/v2/free").repeat(100) + get("/v2/last"));
    assert.equal((await other.until(/last$/)).split("/v2/free").length, 101);
  });

  test("are dropped with their connection", async () => {
    const barrier = createBarrier();
    const slow = createSlow(barrier);
    await using server = await start(slow);
    using client = await connectRaw(server.port);
    client.socket.write(get("/v2/first") + get("/v2/second"));
    await barrier.reached;
    client.socket.resetAndDestroy();
    await client.closed;
    barrier.release();
    await until(() => slow.running === 0);
    assert.equal((await request(`${server.address}/v2/free`)).status, 200);
    await turn(5);
    assert.equal(await server.metrics.render().then((text) => /in_flight (\d+)/.exec(text)?.[1]), "0");
    assert.equal(slow.most, 1);
  });
});

describe("what is no request, behind one that is being answered,", () => {
  test("is refused after that answer, which is whole", async () => {
    const barrier = createBarrier();
    await using server = await start(inTwo(barrier));
    using client = await connectRaw(server.port);
    client.socket.write(get("/v2/a") + get("/v2/b") + malformed);
    await client.until(/one$/);
    barrier.release();
    const all = await client.closed;
    assert.match(all, /^HTTP\/1\.1 200 [^]*\r\n\r\nonetwoHTTP\/1\.1 200 [^]*\r\n\r\nonetwoHTTP\/1\.1 400 [^]*\}$/);
  });

  test("does not keep an answer that fails from ending early", async () => {
    const barrier = createBarrier();
    const failing = bodyOf(async function* () {
      yield Buffer.from("one");
      await barrier.wait();
      throw new Error("wrong digest");
    });
    await using server = await start(replyWith(failing, { "Content-Length": 1_000 }));
    using client = await connectRaw(server.port);
    client.socket.write(get("/v2/a") + malformed);
    await client.until(/one$/);
    barrier.release();
    assert.match(await client.closed, /\r\n\r\none$/);
  });

  test("is no matter of one who said that it was his last", async () => {
    const barrier = createBarrier();
    await using server = await start(inTwo(barrier));
    using client = await connectRaw(server.port);
    client.socket.write(get("/v2/a", "Connection: close\r\n") + malformed);
    await client.until(/one$/);
    barrier.release();
    assert.match(await client.closed, /^HTTP\/1\.1 200 [^]*\r\n\r\nonetwo$/);
  });

  test("as a part of its own body, ends the connection", async () => {
    const barrier = createBarrier();
    await using server = await start(inTwo(barrier));
    using client = await connectRaw(server.port);
    client.socket.write("POST /v2/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    await client.until(/one$/);
    client.socket.write("nonsense\r\n");
    assert.match(await client.closed, /\r\n\r\none$/);
    barrier.release();
  });

  test("CONNECT, too", async () => {
    const barrier = createBarrier();
    await using server = await start(inTwo(barrier));
    using client = await connectRaw(server.port);
    client.socket.write(`${get("/v2/a")}CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n`);
    await client.until(/one$/);
    barrier.release();
    assert.match(await client.closed, /^HTTP\/1\.1 200 [^]*\r\n\r\nonetwoHTTP\/1\.1 405 [^]*Allow: GET, HEAD[^]*\}$/);
  });
});

describe("a request that does not come", () => {
  test("in time is answered 408", async () => {
    await using server = await start(undefined, { headerMs: 50 });
    using client = await connectRaw(server.port);
    client.socket.write("GET /v2/ HTTP/1.1\r\nHo");
    assert.match(await client.closed, /^HTTP\/1\.1 408 Request Timeout\r\n[^]*"errors"/);
  });

  test("in time, behind one that is being answered, is answered after that", async () => {
    const barrier = createBarrier();
    await using server = await start(inTwo(barrier), { headerMs: 50 });
    using client = await connectRaw(server.port);
    using other = await connectRaw(server.port);
    client.socket.write(`${get("/v2/a")}GET /v2/ HTTP/1.1\r\nHo`);
    other.socket.write("GET /v2/ HTTP/1.1\r\nHo");
    await client.until(/one$/);
    // By then the first one is overdue, too.
    await other.closed;
    barrier.release();
    assert.match(await client.closed, /\r\n\r\nonetwoHTTP\/1\.1 408 /);
  });
});

describe("a client that has ended its side", () => {
  test("gets its answers, whole, and then the connection ends", async () => {
    const barrier = createBarrier();
    await using server = await start(inTwo(barrier));
    using client = await connectRaw(server.port);
    client.socket.end(get("/v2/a") + get("/v2/b"));
    await client.until(/one$/);
    barrier.release();
    assert.equal((await client.closed).match(/onetwo/g)?.length, 2);
  });

  test("counts as gone when nothing has come for five seconds", async (context) => {
    const barrier = createBarrier();
    await using server = await start(createSlow(barrier));
    context.mock.timers.enable({ apis: ["setInterval"] });
    using client = await connectRaw(server.port);
    client.socket.end(get("/v2/a"));
    await barrier.reached;
    assert.equal((await request(`${server.address}/v2/free`)).status, 200);
    context.mock.timers.tick(4_999);
    assert.equal((await request(`${server.address}/v2/free`)).status, 200);
    assert.equal(client.socket.closed, false);
    context.mock.timers.tick(1);
    assert.equal(await client.closed, "");
    barrier.release();
  });

  test("is not looked after any more when its connection is closed", async (context) => {
    const barrier = createBarrier();
    await using server = await start(inTwo(barrier));
    const begun = context.mock.method(globalThis, "setInterval");
    const ended = context.mock.method(globalThis, "clearInterval");
    using client = await connectRaw(server.port);
    client.socket.end(get("/v2/a"));
    const looking = (): unknown[] =>
      begun.mock.calls.filter((call) => call.arguments[1] === 5_000).map(({ result }) => result);
    await until(() => looking().length === 1);
    barrier.release();
    await client.closed;
    await until(() => ended.mock.calls.some((call) => call.arguments[0] === looking()[0]));
  });

  test("is waited for while it takes what has come", async (context) => {
    // More than the kernel takes for a client that does not read.
    const chunk = Buffer.alloc(32 * 1024 * 1024, "x");
    const barrier = createBarrier();
    const read = async function* (): AsyncGenerator<Buffer> {
      yield chunk;
      await barrier.wait();
      yield chunk;
    };
    await using server = await start(replyWith(bodyOf(read), { "Content-Length": 2 * chunk.length }));
    context.mock.timers.enable({ apis: ["setInterval"] });
    const socket = connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
    socket.end(get("/v2/a"));
    await until(() => socket.readableLength > 0);
    assert.equal((await request(`${server.address}/healthz`)).status, 200);
    for (let count = 0; count < 5; count++) context.mock.timers.tick(5_000);
    barrier.release();
    let sizeBytes = 0;
    for await (const each of socket) sizeBytes += (each as Buffer).length;
    assert.ok(sizeBytes > 2 * chunk.length, String(sizeBytes));
  });
});
