/* What is left of connections when their clients have gone, or should have. */
import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { createBarrier } from "../support/barrier.ts";
import { until } from "../support/event-loop.ts";
import { connectRaw, start } from "./test-server.ts";

const get = (target: string): string => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;

/** The server's side of connections: those that were made since. */
function watchAccepted(): Disposable & { readonly sockets: readonly Socket[] } {
  const sockets: Socket[] = [];
  const note = (message: unknown): void => void sockets.push((message as { socket: Socket }).socket);
  subscribe("net.server.socket", note);
  return { sockets, [Symbol.dispose]: () => unsubscribe("net.server.socket", note) };
}

test("what they had sent ahead does not count any more among the requests that may wait", async () => {
  const barrier = createBarrier();
  await using server = await start(async ({ target }) => {
    await barrier.wait();
    return { status: 200, headers: { "Content-Length": target.length }, body: Buffer.from(target) };
  });
  using accepted = watchAccepted();
  using clients = new DisposableStack();
  const all = await Promise.all(Array.from({ length: 16 }, async () => clients.use(await connectRaw(server.port))));
  for (const { socket } of all) socket.write(get("/v2/x").repeat(2_200));
  // More than may wait: somebody is cut.
  await Promise.race(all.map((each) => each.closed));
  for (const { socket } of all) socket.resetAndDestroy();
  // A connection of which nothing more is read is known to have ended when it is answered.
  barrier.release();
  await until(() => accepted.sockets.length === all.length && accepted.sockets.every(({ closed }) => closed));
  using other = await connectRaw(server.port);
  other.socket.write(get("/v2/x").repeat(2_000) + get("/v2/last"));
  await other.until(/last$/);
});

test("one that was refused, and keeps its side open, is cut after a second", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  await using server = await start(undefined);
  using accepted = watchAccepted();
  const client = connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
  client.on("error", () => undefined);
  client.write("GET / nonsense\r\n\r\n");
  let answer = "";
  for await (const chunk of client.iterator({ destroyOnReturn: false })) answer += String(chunk);
  assert.match(answer, /^HTTP\/1\.1 400 /);
  const [socket] = accepted.sockets;
  assert.ok(socket !== undefined);
  context.mock.timers.tick(999);
  assert.equal(socket.destroyed, false);
  context.mock.timers.tick(1);
  assert.equal(socket.destroyed, true);
  client.destroy();
});
