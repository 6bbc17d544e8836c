import assert from "node:assert/strict";
import { test } from "node:test";
import type { Body } from "../../../src/upstream/body.ts";
import { Limiter } from "../../../src/concurrency/limiter.ts";
import { until } from "../../support/event-loop.ts";
import { anyAsk, answer, failure, fakeBody, never, repository, startServer, startUpstream, tag } from "./scripted.ts";

/** A response whose body gives the same chunk object again and again, as a parser that keeps nothing might. */
function respond(sizeBytes: number): Body {
  async function* chunks(): AsyncGenerator<Buffer> {
    const chunk = Buffer.alloc(1);
    for (let index = 0; index < sizeBytes; index++) {
      chunk[0] = index % 251;
      yield chunk;
    }
  }
  return fakeBody(chunks());
}

test("a body of many small chunks is gathered, and no chunk is kept", async () => {
  for (const sizeBytes of [0, 1, 16 * 1024, 16 * 1024 + 1, 100_000]) {
    const bytes = await respond(sizeBytes).read(100_000);
    assert.ok(bytes.equals(Buffer.from(Array.from({ length: sizeBytes }, (_, index) => index % 251))));
  }
});

test("a body is not longer than allowed, whatever its chunks", async () => {
  for (const maxBytes of [0, 10, 20_000]) {
    await assert.rejects(respond(maxBytes + 1).read(maxBytes), failure("invalid", /is over/));
  }
});

test("a body that nobody wants and that drips is cut after a while", async (context) => {
  const deadlines: { readonly ms: number; readonly controller: AbortController }[] = [];
  context.mock.method(AbortSignal, "timeout", (ms: number) => {
    const controller = new AbortController();
    deadlines.push({ ms, controller });
    return controller.signal;
  });
  const closed = Promise.withResolvers<void>();
  const server = await startServer(context, (_request, response) => {
    response.writeHead(404, { "content-length": "60000" });
    response.write("x");
    response.once("close", closed.resolve);
  });
  const { upstream } = startUpstream(context, server.host);
  assert.equal(await upstream.manifest(repository, tag, anyAsk()), undefined);
  assert.deepEqual(
    deadlines.map(({ ms }) => ms),
    [5_000],
  );
  deadlines[0]?.controller.abort();
  await closed.promise;
});

test("to close an upstream cuts what still drips", async (context) => {
  context.mock.method(AbortSignal, "timeout", never);
  let cut = false;
  const server = await startServer(context, (_request, response) => {
    response.writeHead(404, { "content-length": "60000" });
    response.write("x");
    response.once("close", () => (cut = true));
  });
  const { upstream } = startUpstream(context, server.host, { idleTimeoutMs: 600_000 });
  assert.equal(await upstream.manifest(repository, tag, anyAsk()), undefined);
  const closing = upstream.close();
  await until(() => cut);
  await closing;
});

test("upstreams that share a limiter share its slots", async (context) => {
  const waiting: (() => void)[] = [];
  let arrived = Promise.withResolvers<void>();
  const server = await startServer(context, (_request, response) => {
    waiting.push(() => answer(response, 404));
    arrived.resolve();
  });
  const limiter = new Limiter(1);
  const [first, second] = [0, 1].map(() => startUpstream(context, server.host, { limiter }).upstream);
  assert.ok(first !== undefined && second !== undefined);
  const one = first.manifest(repository, tag, anyAsk());
  await arrived.promise;
  arrived = Promise.withResolvers();
  const other = second.manifest(repository, tag, anyAsk());
  await until(() => limiter.waiting === 1);
  assert.deepEqual([limiter.running, waiting.length], [1, 1]);
  waiting.shift()?.();
  await arrived.promise;
  waiting.shift()?.();
  assert.deepEqual(await Promise.all([one, other]), [undefined, undefined]);
});
