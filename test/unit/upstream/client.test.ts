import assert from "node:assert/strict";
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { limiting } from "../../../src/upstream/client.ts";
import { createDispatcher } from "../../../src/upstream/dispatcher.ts";
import { Limiter } from "../../../src/concurrency/limiter.ts";
import {
  fiveSeconds,
  anyAsk,
  answer,
  answerIndex,
  collect,
  createClock,
  failure,
  fakeBody,
  fakeRequest,
  fakeResponse,
  repository,
  someDigest,
  startServer,
  startUpstream,
  tag,
} from "./scripted.ts";

for (const host of ["", "a/b", "user@host", "host?x", "host:99999", "a b", "host#x", "a\\b"]) {
  test(`"${host}" is no host`, (context) => {
    assert.throws(() => startUpstream(context, host), failure("refused"));
  });
}

test("nothing but the allowed headers is sent", async (context) => {
  const server = await startServer(context, (_request, response) => answerIndex(response));
  const { upstream } = startUpstream(context, server.host);
  await upstream.manifest(repository, tag, anyAsk());
  const names = Object.keys(server.requests[0]?.headers ?? {}).toSorted();
  assert.deepEqual(names, ["accept", "accept-encoding", "connection", "host", "user-agent"]);
});

test("connections are used again, after HEAD and after errors too, and closed with the client", async (context) => {
  const server = await startServer(context, (request, response) =>
    request.method === "HEAD" ? answer(response, 404) : answer(response, 404, "x".repeat(60_000)),
  );
  const { upstream } = startUpstream(context, server.host, { maxConnections: 1 });
  for (let round = 0; round < 3; round++) {
    assert.equal(await upstream.resolve(repository, tag, anyAsk()), undefined);
    assert.equal(await upstream.manifest(repository, tag, anyAsk()), undefined);
  }
  // A second one, as a slot is free some ticks before the connection that used it.
  const sockets = new Set(server.requests.map(({ socket }) => socket));
  assert.ok(server.requests.length === 9 && sockets.size <= 2);
  await upstream.close();
  await server.idle();
});

test("a shared dispatcher outlives its upstreams", async (context) => {
  const server = await startServer(context, (_request, response) => answerIndex(response));
  const dispatcher = createDispatcher({
    acceptInvalidCerts: false,
    timeouts: fiveSeconds,
  });
  const shared = { dispatcher, sharedDispatcher: true };
  await startUpstream(context, server.host, shared).upstream.close();
  assert.ok(await startUpstream(context, server.host, shared).upstream.manifest(repository, tag, anyAsk()));
});

test("a closed client is unreachable", async (context) => {
  const server = await startServer(context, (_request, response) => answerIndex(response));
  const { upstream } = startUpstream(context, server.host);
  await upstream.close();
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("unreachable"));
});

test("a slot is held until the body has ended, or the request has failed", async () => {
  const limiter = new Limiter(2);
  const body = new PassThrough();
  const url = new URL("http://registry.example.com/");
  const response = fakeResponse(url, 200, {}, fakeBody(body));
  const send = limiting(() => Promise.resolve(response), limiter, new URL("http://registry.example.com/"));
  await send(fakeRequest(url.href));
  assert.equal(limiter.running, 1);
  body.resume().end();
  await once(body, "close");
  assert.equal(limiter.running, 0);
  await send(fakeRequest(url.href));
  assert.equal(limiter.running, 0, "a body that has ended already holds nothing");
  const failing = limiting(() => Promise.reject(new Error("reset")), limiter, new URL("http://registry.example.com/"));
  await assert.rejects(failing(fakeRequest(url.href)), { message: "reset" });
  assert.equal(limiter.running, 0);
});

test("a manifest passes the blobs of its own repository", async (context) => {
  const open: ServerResponse[] = [];
  const opened = Promise.withResolvers<void>();
  const server = await startServer(context, (_request, response, path) => {
    if (path.includes("/manifests/")) {
      answerIndex(response);
      return;
    }
    response.writeHead(200, { "content-length": "4" }).write("01");
    open.push(response);
    if (open.length === 3) {
      opened.resolve();
    }
  });
  const { upstream } = startUpstream(context, server.host, { maxConnections: 3 });
  const fetch = async (): Promise<string> => {
    const blob = await upstream.blob(repository, someDigest, { offset: 0 }, anyAsk());
    return blob === undefined ? "absent" : collect(blob.body);
  };
  const blobs = [fetch(), fetch(), fetch()];
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.equal(open.length, 2, "the third waits");
  for (const response of open) {
    response.end("23");
  }
  await opened.promise;
  open[2]?.end("23");
  assert.deepEqual(await Promise.all(blobs), ["0123", "0123", "0123"]);
});

test("an abort while queued leaves the queue; one while running ends the request", async (context) => {
  const arrived = Promise.withResolvers<void>();
  const server = await startServer(context, () => arrived.resolve());
  const { upstream } = startUpstream(context, server.host, { maxConnections: 1 });
  const first = new AbortController();
  const second = new AbortController();
  const running = upstream.manifest(repository, tag, anyAsk(first.signal));
  const queued = upstream.manifest(repository, tag, anyAsk(second.signal));
  await arrived.promise;
  const reasons = [new Error("one"), new Error("two")];
  second.abort(reasons[1]);
  await assert.rejects(queued, (error) => error === reasons[1]);
  first.abort(reasons[0]);
  await assert.rejects(running, (error) => error === reasons[0]);
  await assert.rejects(upstream.manifest(repository, tag, anyAsk(first.signal)), (error) => error === reasons[0]);
  assert.equal(server.asked.length, 1);
  await server.idle();
});

test("a failed request gives its slot back", async (context) => {
  let count = 0;
  const server = await startServer(context, (_request, response) => {
    count += 1;
    if (count === 1) {
      response.destroy();
    } else {
      answerIndex(response);
    }
  });
  const { upstream } = startUpstream(context, server.host, { maxConnections: 1 });
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("unreachable"));
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
});

test("what may pass is tried again: each try is observed", async (context) => {
  let count = 0;
  const server = await startServer(context, (_request, response) => {
    count += 1;
    if (count === 1) {
      response.destroy();
    } else if (count === 2) {
      answer(response, 503);
    } else {
      answerIndex(response);
    }
  });
  const clock = createClock();
  const { upstream, observed } = startUpstream(context, server.host, { retries: 2, clock });
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.equal(clock.waits.length, 2);
  assert.deepEqual(
    observed.map(({ status }) => status),
    [undefined, 503, 200],
  );
  assert.ok(observed.every(({ durationMs, host }) => durationMs >= 0 && host === server.host));
});

test("nobody listens: unreachable, with the system's code", async (context) => {
  // Port 1 is never given to a server that asks for any free port.
  const { upstream, observed } = startUpstream(context, "127.0.0.1:1");
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("unreachable", /ECONNREFUSED/));
  assert.deepEqual(
    observed.map(({ status }) => status),
    [undefined],
  );
});

test("an answer that is not HTTP is invalid", async (context) => {
  const server = await startServer(context, (request) => {
    request.socket.end("SSH-2.0-OpenSSH_9.9\r\n");
  });
  const { upstream } = startUpstream(context, server.host);
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("invalid"));
});

test("a redirect's long body is not read", async (context) => {
  const server = await startServer(context, (_request, response, path) => {
    if (path.endsWith("/latest")) {
      response.writeHead(307, { location: "/v2/other/manifests/x", "content-length": String(1024 * 1024) });
      response.write("x".repeat(1024));
    } else {
      answerIndex(response);
    }
  });
  const { upstream } = startUpstream(context, server.host);
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  const socket = server.requests[0]?.socket;
  assert.ok(socket !== undefined);
  if (!socket.closed) {
    await once(socket, "close");
  }
  await upstream.close();
  await server.idle();
});
