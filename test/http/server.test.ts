import assert from "node:assert/strict";
import { once } from "node:events";
import { access, link, readFile, writeFile } from "node:fs/promises";
import { Agent, get, type IncomingMessage } from "node:http";
import { connect, createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createMetrics } from "../../src/observe/metrics.ts";
import { createBarrier } from "../support/barrier.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { bodyOf, replyWith, send, start } from "./test-server.ts";

async function textOf(response: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of response) text += String(chunk);
  return text;
}

test(
  "draining ends with the last running answer, also on a connection that is kept alive",
  { timeout: 20_000 },
  async () => {
    const gate = createBarrier();
    const body = bodyOf(async function* () {
      yield Buffer.from("one");
      await gate.wait();
      yield Buffer.from("two");
    });
    await using server = await start(replyWith(body, { "Content-Length": 6 }));
    const agent = new Agent({ keepAlive: true });
    const response = await send(server.port, { agent });
    assert.equal(response.headers.connection, "keep-alive");
    const never = new AbortController();
    const drained = server.drain(never.signal);
    gate.release();
    assert.equal(await textOf(response), "onetwo");
    await drained;
    agent.destroy();
  },
);

test("an answer with a header that cannot be written is a 500, and its body is closed", async () => {
  const agent = new Agent({ keepAlive: true });
  for (const method of ["GET", "HEAD"]) {
    const body = bodyOf(async function* () {
      yield Buffer.from("never sent");
    });
    await using server = await start(replyWith(body, { "X-Broken": "a\nb" }));
    const response = await send(server.port, { agent, method });
    assert.deepEqual([response.statusCode, response.statusMessage], [500, "Internal Server Error"]);
    const text = await textOf(response);
    if (method === "GET") assert.equal(JSON.parse(text).errors[0].code, "UNKNOWN");
    assert.equal(body.closed, 1);
    assert.match(await server.metrics.render(), /entrepot_http_requests_in_flight 0/);
  }
  agent.destroy();
});

test("an error while a request is recorded concerns no client and not the process", async (context) => {
  const metrics = createMetrics("1");
  context.mock.method(metrics.requests, "inc", () => {
    throw new Error("a broken metric");
  });
  await using server = await start(async () => ({ status: 204, headers: {} }), { metrics });
  const agent = new Agent({ keepAlive: true });
  for (let count = 0; count < 2; count++) {
    const response = await send(server.port, { agent });
    assert.equal(response.statusCode, 204);
    assert.equal(await textOf(response), "");
  }
  agent.destroy();
});

test("a body that fails never looks complete to an HTTP/1.0 client", async () => {
  const body = bodyOf(async function* () {
    yield Buffer.from("one");
    throw new Error("wrong digest");
  });
  await using server = await start(replyWith(body));
  const socket = connect(server.port, "127.0.0.1");
  let ended = false;
  socket.on("end", () => {
    ended = true;
  });
  socket.resume();
  const failed = Promise.withResolvers<NodeJS.ErrnoException>();
  socket.once("error", failed.resolve);
  socket.once("close", () => failed.reject(new Error("it was closed in order")));
  socket.write("GET /v2/a/blobs/x HTTP/1.0\r\n\r\n");
  assert.equal((await failed.promise).code, "ECONNRESET");
  assert.equal(ended, false);
  assert.equal(body.closed, 1);
});

test("a socket that a killed process left behind is taken over", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "socket");
  // Closing removes the socket's name; the link stays, as the name does after a SIGKILL.
  const killed = createServer().listen(join(folder.path, "first"));
  await once(killed, "listening");
  await link(join(folder.path, "first"), path);
  killed.close();
  await once(killed, "close");
  await access(path);
  await using server = await start(undefined, { address: { path } });
  assert.equal(server.address, `unix:${path}`);
  const socket = connect(path);
  await once(socket, "connect");
  socket.destroy();
});

test("a socket where somebody answers, and a file that is none, are left alone", async () => {
  await using folder = await createTemporaryDirectory();
  const path = join(folder.path, "socket");
  await using first = await start(undefined, { address: { path } });
  await assert.rejects(start(undefined, { address: { path } }), { code: "EADDRINUSE" });
  const socket = connect(path);
  await once(socket, "connect");
  socket.destroy();
  assert.equal(first.address, `unix:${path}`);
  const file = join(folder.path, "file");
  await writeFile(file, "theirs");
  await assert.rejects(start(undefined, { address: { path: file } }), { code: "EADDRINUSE" });
  assert.equal(await readFile(file, "utf8"), "theirs");
});

test("without a host it listens at all addresses, of both kinds where the machine has both", async () => {
  await using server = await start(async () => ({ status: 200, headers: { "Content-Length": 0 } }), {
    address: { port: 0 },
  });
  const loopbacks = Object.values(networkInterfaces()).flatMap((all = []) => all.filter(({ internal }) => internal));
  assert.ok(loopbacks.some(({ family }) => family === "IPv4"));
  for (const { address: host } of loopbacks.filter(({ scopeid }) => (scopeid ?? 0) === 0)) {
    const [response] = (await once(get({ host, port: server.port, agent: false }), "response")) as [IncomingMessage];
    assert.equal(response.statusCode, 200, host);
    response.resume();
  }
});
