import assert from "node:assert/strict";
import { once } from "node:events";
import { test, type TestContext } from "node:test";
import type { Upstream, UpstreamBlob } from "../../../src/upstream/upstream.ts";
import {
  anyAsk,
  answer,
  collect,
  failure,
  type Handler,
  never,
  repository,
  type ScriptedServer,
  someDigest,
  startServer,
  type StartOptions,
  startUpstream,
} from "./scripted.ts";

const content = "0123456789";

async function start(
  context: TestContext,
  handler: Handler,
  options: StartOptions = {},
): Promise<{ server: ScriptedServer; upstream: Upstream }> {
  const server = await startServer(context, handler);
  return { server, upstream: startUpstream(context, server.host, options).upstream };
}

async function open(
  upstream: Upstream,
  offset: number,
  sizeBytes?: number,
  signal: AbortSignal = never(),
): Promise<UpstreamBlob> {
  const from = sizeBytes === undefined ? { offset } : { offset, sizeBytes };
  const blob = await upstream.blob(repository, someDigest, from, anyAsk(signal));
  assert.ok(blob !== undefined);
  return blob;
}

const whole: Handler = (_request, response) => answer(response, 200, content);
const chunked: Handler = (_request, response) => void response.writeHead(200).end(content);
const part =
  (start: number, end: number, total: string = "10"): Handler =>
  (_request, response) =>
    answer(response, 206, content.slice(start, end), { "content-range": `bytes ${start}-${end - 1}/${total}` });
const unsatisfied =
  (range?: string): Handler =>
  (_request, response) =>
    answer(response, 416, "no", range === undefined ? {} : { "content-range": range });

const readable: [
  name: string,
  handler: Handler,
  offset: number,
  known: number | undefined,
  size?: number | undefined,
  body?: string,
][] = [
  ["the whole blob", whole, 0, undefined],
  ["the whole blob, of known size", whole, 0, 10],
  ["the whole blob in chunks", chunked, 0, undefined, undefined],
  ["the whole blob in chunks, of known size", chunked, 0, 10],
  ["a part", part(4, 10), 4, undefined, 10, "456789"],
  ["a part, of known size", part(4, 10), 4, 10, 10, "456789"],
  ["a part of unknown whole", part(4, 10, "*"), 4, undefined, undefined, "456789"],
  ["a part of unknown whole, of known size", part(4, 10, "*"), 4, 10, 10, "456789"],
  ["the whole blob instead of a part", whole, 4, 10, 10, "456789"],
  ["the whole blob in chunks instead of a part", chunked, 4, undefined, undefined, "456789"],
  ["the whole blob instead of its end", whole, 10, 10, 10, ""],
  ["416 at the end", unsatisfied("bytes */10"), 10, undefined, 10, ""],
  ["416 at the end, of known size", unsatisfied("bytes */10"), 10, 10, 10, ""],
  ["416 without a size at the known end", unsatisfied(), 10, 10, 10, ""],
];

for (const [name, handler, offset, known, ...rest] of readable) {
  test(`from byte ${offset}: ${name}`, async (context) => {
    const { server, upstream } = await start(context, handler);
    const blob = await open(upstream, offset, known);
    assert.equal(blob.sizeBytes, rest.length > 0 ? rest[0] : 10);
    assert.equal(await collect(blob.body), rest[1] ?? content);
    assert.equal(server.requests[0]?.headers.range, offset === 0 ? undefined : `bytes=${offset}-`);
  });
}

const refused: [name: string, handler: Handler, offset: number, known?: number][] = [
  ["the whole blob of another size", whole, 4, 11],
  ["the whole blob of another size, from the start", whole, 0, 11],
  ["a blob that ends before", whole, 11],
];

for (const [name, handler, offset, known] of refused) {
  test(`from byte ${offset}, ${name} is invalid`, async (context) => {
    const { server, upstream } = await start(context, handler);
    await assert.rejects(open(upstream, offset, known), failure("invalid"));
    await upstream.close();
    await server.idle();
  });
}

for (const status of [206, 416]) {
  test(`a ${status} that was not asked for is a failure "status"`, async (context) => {
    const { upstream } = await start(context, (_request, response) => answer(response, status));
    await assert.rejects(open(upstream, 0), failure("status"));
  });
}

const cut: Handler = (_request, response) => {
  response.writeHead(200, { "content-length": "10" });
  response.write("01234", () => response.destroy());
};
const cutChunked: Handler = (_request, response) => {
  response.writeHead(200);
  response.write("01234", () => response.destroy());
};

test("a body that is shorter than announced or known is an error in the iteration", async (context) => {
  for (const [handler, known] of [
    [cut, undefined],
    [cutChunked, undefined],
    [chunked, 11],
    [part(4, 8), undefined],
  ] as [Handler, number | undefined][]) {
    const offset = handler === cut || handler === cutChunked || handler === chunked ? 0 : 4;
    const { upstream } = await start(context, handler);
    const blob = await open(upstream, offset, known);
    await assert.rejects(collect(blob.body), failure("unreachable"));
  }
});

test("a body that is longer than known is an error in the iteration", async (context) => {
  const { server, upstream } = await start(context, chunked);
  const blob = await open(upstream, 0, 9);
  await assert.rejects(collect(blob.body), failure("invalid", /longer/));
  await upstream.close();
  await server.idle();
});

test("a body that stalls is a time-out in the iteration", async (context) => {
  const stall: Handler = (_request, response) => {
    response.writeHead(200, { "content-length": "10" });
    response.write("01234");
  };
  const { upstream } = await start(context, stall, { idleTimeoutMs: 50 });
  const blob = await open(upstream, 0);
  await assert.rejects(collect(blob.body), failure("timeout"));
});

test("headers that do not come are a time-out", async (context) => {
  const { upstream } = await start(context, () => {}, { headerTimeoutMs: 50 });
  await assert.rejects(open(upstream, 0), failure("timeout"));
});

test("an abort during the body rethrows its reason and closes the connection", async (context) => {
  const { server, upstream } = await start(context, (_request, response) => {
    response.writeHead(200, { "content-length": "10" });
    response.write("01234");
  });
  const controller = new AbortController();
  const reason = new Error("gone");
  const blob = await open(upstream, 0, undefined, controller.signal);
  const reading = (async () => {
    for await (const chunk of blob.body) {
      assert.equal(chunk.toString(), "01234");
      controller.abort(reason);
    }
  })();
  await assert.rejects(reading, (error) => error === reason);
  await server.idle();
});

test("leaving the loop and cancelling close the connection", async (context) => {
  const { server, upstream } = await start(context, (_request, response) => {
    response.writeHead(200, { "content-length": "10" });
    response.write("01234");
  });
  for await (const chunk of (await open(upstream, 0)).body) {
    assert.equal(chunk.toString(), "01234");
    break;
  }
  (await open(upstream, 0)).cancel();
  await server.idle();
});

test("a blob that is redirected to a store is fetched there without the token", async (context) => {
  const store = await startServer(context, whole);
  const { server, upstream } = await start(context, (request, response, path) => {
    if (path.startsWith("/token")) {
      answer(response, 200, '{"token":"one"}');
    } else if (request.headers.authorization === undefined) {
      answer(response, 401, "", { "www-authenticate": `Bearer realm="http://${request.headers.host}/token"` });
    } else {
      answer(response, 307, "", { location: `${store.url}/blob?signature=secret` });
    }
  });
  assert.equal(await collect((await open(upstream, 0)).body), content);
  assert.deepEqual(server.authorizations, [undefined, undefined, "Bearer one"]);
  assert.deepEqual([store.asked, store.authorizations], [["GET /blob?signature=secret"], [undefined]]);
});

for (const status of [400, 401, 403]) {
  test(`a ${status} of a store behind a redirect is a failure, and its URL's query no part of the message`, async (context) => {
    const store = await startServer(context, (_request, response) => answer(response, status));
    const { upstream } = await start(context, (_request, response) =>
      answer(response, 307, "", { location: `${store.url}/blob?signature=secret` }),
    );
    await assert.rejects(open(upstream, 0), (error) => {
      assert.doesNotMatch(String(error), /secret/);
      return failure("status", /\/blob/)(error);
    });
  });
}

test("a 404 of a store behind a redirect is absent", async (context) => {
  const store = await startServer(context, (_request, response) => answer(response, 404));
  const { upstream } = await start(context, (_request, response) =>
    answer(response, 307, "", { location: `${store.url}/blob` }),
  );
  assert.equal(await upstream.blob(repository, someDigest, { offset: 0 }, anyAsk()), undefined);
});

const stats: [name: string, handler: Handler, size: number | undefined][] = [
  ["a part", part(0, 1), 10],
  ["a part of unknown whole", part(0, 1, "*"), undefined],
  ["the whole blob", whole, 10],
  ["the whole blob in chunks", chunked, undefined],
];

for (const [name, handler, sizeBytes] of stats) {
  test(`statBlob asks for one byte and reads ${name}`, async (context) => {
    const { server, upstream } = await start(context, handler);
    assert.deepEqual(await upstream.statBlob(repository, someDigest, anyAsk()), { sizeBytes });
    assert.equal(server.requests[0]?.headers.range, "bytes=0-0");
    await upstream.close();
    await server.idle();
  });
}

test("statBlob: absent", async (context) => {
  const { upstream } = await start(context, (_request, response) => answer(response, 404));
  assert.equal(await upstream.statBlob(repository, someDigest, anyAsk()), undefined);
});

const labels: [header: string, value: string, label: string | undefined][] = [
  ["content-type", "text/html; charset=utf-8", "page"],
  ["content-type", "application/xhtml+xml", "page"],
  ["content-type", "application/json", undefined],
  ["content-encoding", "identity", undefined],
  ["content-encoding", "gzip", "encoded"],
  ["content-encoding", "x-gzip", "encoded"],
  ["content-encoding", "aws-chunked", "encoded"],
];

for (const [header, value, label] of labels) {
  test(`${header}: ${value} does not keep the bytes back, and is told as ${label}`, async (context) => {
    const expected = label === undefined ? { sizeBytes: 10 } : { sizeBytes: 10, label };
    const { upstream } = await start(context, (request, response) => {
      const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
      const span = { start: Number(first ?? 0), end: last ? Number(last) + 1 : 10 };
      const range = `bytes ${span.start}-${span.end - 1}/10`;
      answer(response, first === undefined ? 200 : 206, content.slice(span.start, span.end), {
        [header]: value,
        ...(first !== undefined && { "content-range": range }),
      });
    });
    assert.deepEqual(await upstream.statBlob(repository, someDigest, anyAsk()), expected);
    for (const offset of [0, 4]) {
      const { body, sizeBytes, label: told } = await open(upstream, offset);
      assert.deepEqual([sizeBytes, told, await collect(body)], [10, label, content.slice(offset)]);
    }
  });
}

test("statBlob does not read a large blob whose Range is ignored", async (context) => {
  const { server, upstream } = await start(context, (_request, response) => {
    response.writeHead(200, { "content-length": String(1024 * 1024 * 1024) });
    response.write(Buffer.alloc(1024));
  });
  assert.deepEqual(await upstream.statBlob(repository, someDigest, anyAsk()), { sizeBytes: 1024 * 1024 * 1024 });
  const [request] = server.requests;
  assert.ok(request !== undefined);
  if (!request.socket.closed) {
    await once(request.socket, "close");
  }
});
