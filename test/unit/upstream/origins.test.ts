import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { Dispatcher } from "undici";
import { createDispatcher } from "../../../src/upstream/dispatcher.ts";
import { createBarrier } from "../../support/barrier.ts";
import { fiveSeconds, answer, startServer } from "./scripted.ts";
import { toLoopback } from "./world.ts";

function open(context: TestContext): Dispatcher {
  const dispatcher = createDispatcher({ timeouts: fiveSeconds, acceptInvalidCerts: false, lookup: toLoopback });
  context.after(() => dispatcher.destroy());
  return dispatcher;
}

async function get(dispatcher: Dispatcher, origin: string): Promise<string> {
  const { body } = await dispatcher.request({ origin, path: "/", method: "GET" });
  return body.text();
}

test("of the connections to many hosts, the longest unused are closed", async (context) => {
  const server = await startServer(context, (_request, response) => answer(response, 200, "here"));
  const port = server.host.replace(/^.*:/, "");
  const dispatcher = open(context);
  for (let host = 0; host < 200; host++) {
    assert.equal(await get(dispatcher, `http://r${host}.example.com:${port}`), "here");
  }
  assert.ok(server.peak <= 100, String(server.peak));
  // A late one is kept, and closed ones can be had again.
  await get(dispatcher, `http://r190.example.com:${port}`);
  assert.ok(server.requests.at(-1)?.socket === server.requests[190]?.socket);
  assert.equal(await get(dispatcher, `http://r0.example.com:${port}`), "here");
});

test("hosts in use are left alone, however many there are", async (context) => {
  const barrier = createBarrier();
  const server = await startServer(context, (_request, response) => {
    void barrier.wait().then(() => answer(response, 200, "here"));
  });
  const port = server.host.replace(/^.*:/, "");
  const dispatcher = open(context);
  const hosts = Array.from({ length: 100 }, (_, host) => `http://r${host}.example.com:${port}`);
  const asking = Promise.all(hosts.map((origin) => get(dispatcher, origin)));
  await barrier.arrivals(100);
  barrier.release();
  assert.deepEqual(new Set(await asking), new Set(["here"]));
});

test("a host that cannot be reached leaves nothing behind", async (context) => {
  const dispatcher = open(context);
  for (let round = 0; round < 2; round++) {
    await assert.rejects(get(dispatcher, "http://r1.example.com:1"));
  }
});

test("a host whose connection was closed is reached again", async (context) => {
  const server = await startServer(context, (_request, response) => {
    response.shouldKeepAlive = false;
    answer(response, 200, "here");
  });
  const dispatcher = open(context);
  for (let round = 0; round < 3; round++) {
    assert.equal(await get(dispatcher, server.url), "here");
    await server.idle();
  }
});
