import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { describe, test } from "node:test";
import type { Handler } from "../../src/http/request.ts";
import type { Asker } from "../../src/concurrency/interest.ts";
import { Unsent } from "../../src/http/unsent.ts";
import { until } from "../support/event-loop.ts";
import { request } from "../support/http.ts";
import { start, type TestServer } from "./test-server.ts";

/** More than the kernel takes of what nobody reads. */
const largeBytes = 20 * 1024 * 1024;

/** Answers with what `bodyOf` gives for each request, and keeps the clients that it was for. */
function answerWith(bodyOf: () => Buffer): { readonly handler: Handler; readonly askers: Asker[] } {
  const askers: Asker[] = [];
  const handler: Handler = async ({ asker }) => {
    if (asker !== undefined) askers.push(asker);
    const body = bodyOf();
    return { status: 200, headers: { "Content-Length": body.length }, body };
  };
  return { handler, askers };
}

/** Clients that ask, one after the other, and read nothing. */
async function ask(server: TestServer, askers: readonly Asker[], count: number): Promise<Disposable> {
  const clients = new DisposableStack();
  for (const all = askers.length + count; askers.length < all;) {
    const before = askers.length;
    const socket = clients.adopt(connect(server.port, "127.0.0.1"), (each) => each.destroy());
    socket.on("error", () => undefined).pause();
    socket.write("GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n");
    await until(() => askers.length > before);
  }
  return clients;
}

describe("answers that are not read", () => {
  test("take a bounded room in memory: those that wait longest are cut, and others are answered", async () => {
    const { handler, askers } = answerWith(() => Buffer.alloc(largeBytes));
    await using server = await start(handler);
    using _clients = await ask(server, askers, 5);
    await until(() => askers.filter(({ isWaiting }) => !isWaiting).length >= 2);
    assert.deepEqual(
      askers.map(({ isWaiting }) => isWaiting),
      [false, false, true, true, true],
    );
    assert.equal((await request(`${server.address}/v2/`)).body.length, largeBytes);
  });

  test("take the room once that they share", async () => {
    const shared = Buffer.alloc(largeBytes);
    const { handler, askers } = answerWith(() => shared);
    await using server = await start(handler);
    using _clients = await ask(server, askers, 5);
    assert.equal((await request(`${server.address}/v2/`)).body.length, largeBytes);
    assert.ok(askers.slice(0, 5).every(({ isWaiting }) => isWaiting));
  });

  test("take the room that they share until the last of them is gone", async () => {
    const shared = Buffer.alloc(largeBytes);
    const bodies = [shared, shared].values();
    const { handler, askers } = answerWith(() => bodies.next().value ?? Buffer.alloc(largeBytes));
    await using server = await start(handler);
    const first = await ask(server, askers, 1);
    using _second = await ask(server, askers, 1);
    first[Symbol.dispose]();
    await until(() => askers[0]?.isWaiting === false);
    using _others = await ask(server, askers, 4);
    // With the others it is too much: who is left of the two has waited longest, and goes before the first of them.
    await until(() => askers[2]?.isWaiting === false);
    assert.deepEqual(
      askers.map(({ isWaiting }) => isWaiting),
      [false, false, false, true, true, true],
    );
  });

  test("are cut when nothing of them is taken for too long", async () => {
    const asked = Promise.withResolvers<ServerResponse>();
    const server = createServer((_request, response) => asked.resolve(response)).listen(0, "127.0.0.1");
    await once(server, "listening");
    const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
    client.on("error", () => undefined).pause();
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const response = await asked.promise;
    const closed = once(response, "close");
    new Unsent().end(response, Buffer.alloc(largeBytes), 10);
    await closed;
    assert.equal(response.writableFinished, false);
    client.destroy();
    await once(server.close(), "close");
  });
});
