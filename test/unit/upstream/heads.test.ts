/** What becomes of a HEAD for a manifest that fails, or does not tell all. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { digestOf } from "../../../src/oci/digest.ts";
import type { Upstream } from "../../../src/upstream/upstream.ts";
import { manifestContent } from "../../support/image.ts";
import {
  answer,
  answerIndex,
  createClock,
  failure,
  type Handler,
  indexBytes,
  indexType,
  anyAsk,
  repository,
  type ScriptedServer,
  someDigest,
  startServer,
  type StartOptions,
  startUpstream,
  tag,
} from "./scripted.ts";

const digest = digestOf(indexBytes);
const manifest = manifestContent(indexBytes, indexType);
const good = { "content-type": indexType, "docker-content-digest": digest };

/** A registry that answers HEAD so, and GET well. */
async function start(
  context: TestContext,
  head: Handler,
  options: StartOptions = {},
): Promise<{ server: ScriptedServer; upstream: Upstream; asked: () => string[] }> {
  const server = await startServer(context, (request, response, path) => {
    if (request.method === "HEAD") {
      head(request, response, path);
    } else {
      answerIndex(response);
    }
  });
  const asked = (): string[] => server.requests.filter(({ url }) => url !== "/v2/").map(({ method }) => method ?? "");
  return { server, asked, ...startUpstream(context, server.host, options) };
}

const headers =
  (sent: Record<string, string>, status: number = 200): Handler =>
  (_request, response) =>
    void response.writeHead(status, { "content-length": indexBytes.length, ...sent }).end();

const failing: [name: string, handler: Handler][] = [
  ...[204, 400, 401, 403, 404, 405, 406, 410, 500, 501, 502, 503, 504].map((status): [string, Handler] => [
    String(status),
    (_request, response) => void response.writeHead(status).end(),
  ]),
  ["without a digest", headers({ "content-type": indexType })],
  ["with a malformed digest", headers({ ...good, "docker-content-digest": "sha256:abc" })],
  ["without a type", headers({ "docker-content-digest": digest })],
  ["with a type that is not served", headers({ ...good, "content-type": "text/html" })],
  ["that is cut off", (request) => request.socket.destroy()],
  ["that is reset", (request) => request.socket.resetAndDestroy()],
  ["that makes no sense", (request) => request.socket.end("HTP/1.1 200 OK\r\n\r\n")],
  ["that redirects to nowhere", (_request, response) => answer(response, 307)],
];

for (const [name, head] of failing) {
  test(`a HEAD ${name} is followed by a GET, without further tries`, async (context) => {
    const { upstream, asked } = await start(context, head, { retries: 3 });
    assert.deepEqual(await upstream.resolve(repository, tag, anyAsk()), manifest);
    assert.deepEqual(asked(), ["HEAD", "GET"]);
  });
}

test("a HEAD of a digest that tells of another is followed by a GET", async (context) => {
  const { upstream, asked } = await start(context, headers({ ...good, "docker-content-digest": someDigest }));
  assert.deepEqual(await upstream.resolve(repository, digest, anyAsk()), manifest);
  assert.deepEqual(asked(), ["HEAD", "GET"]);
});

test("a HEAD that a store behind a redirect refuses is followed by a GET", async (context) => {
  const store = await start(context, (_request, response) => answer(response, 403));
  const server = await startServer(context, (_request, response, path) =>
    answer(response, 307, "", { location: `${store.server.url}${path}` }),
  );
  const { upstream } = startUpstream(context, server.host);
  assert.deepEqual(await upstream.resolve(repository, tag, anyAsk()), manifest);
  assert.deepEqual(store.asked(), ["HEAD", "GET"]);
});

const withoutSize: [name: string, head: Handler][] = [
  ["length", (_request, response) => void response.writeHead(200, { ...good, "transfer-encoding": "chunked" }).end()],
  ["more than length 0", headers({ ...good, "content-length": "0" })],
  ["the length of the encoded form", headers({ ...good, "content-encoding": "gzip" })],
];

for (const [name, head] of withoutSize) {
  test(`a HEAD without ${name} tells the digest, and no GET is made of it`, async (context) => {
    const { upstream, asked } = await start(context, head);
    assert.deepEqual(await upstream.resolve(repository, tag, anyAsk()), { digest });
    assert.deepEqual(asked(), ["HEAD"]);
  });
}

test("a HEAD that announces too large a manifest is invalid", async (context) => {
  const { upstream } = await start(context, headers({ ...good, "content-length": String(4 * 1024 * 1024 + 1) }));
  await assert.rejects(upstream.resolve(repository, tag, anyAsk()), failure("invalid", /over/));
});

test("a HEAD is not followed by a GET where that would only double the load or the wait", async (context) => {
  const limited = await start(context, (_request, response) => answer(response, 429));
  await assert.rejects(limited.upstream.resolve(repository, tag, anyAsk()), failure("rate-limited"));
  assert.deepEqual(limited.asked(), ["HEAD"]);
  const slow = await start(context, () => undefined, { headerTimeoutMs: 50 });
  await assert.rejects(slow.upstream.resolve(repository, tag, anyAsk()), failure("timeout"));
  assert.deepEqual(slow.asked(), ["HEAD"]);
  const { upstream, observed } = startUpstream(context, "127.0.0.1:1");
  await assert.rejects(upstream.resolve(repository, tag, anyAsk()), failure("unreachable"));
  assert.deepEqual(
    observed.map(({ method }) => method),
    ["HEAD"],
  );
});

test("what HEAD and GET do not find is absent; what both refuse is denied", async (context) => {
  for (const status of [404, 410]) {
    const server = await startServer(context, (_request, response) => answer(response, status));
    const { upstream } = startUpstream(context, server.host);
    assert.equal(await upstream.resolve(repository, tag, anyAsk()), undefined);
    assert.equal(server.asked.length, 2);
  }
  const server = await startServer(context, (_request, response) => answer(response, 403));
  const { upstream } = startUpstream(context, server.host);
  await assert.rejects(upstream.resolve(repository, tag, anyAsk()), failure("denied"));
});

test("a registry that refuses HEAD is asked by GET at once for five minutes", async (context) => {
  const clock = createClock();
  const { upstream, asked } = await start(context, (_request, response) => answer(response, 403), { clock });
  const resolve = async (): Promise<string[]> => {
    const before = asked().length;
    assert.deepEqual(await upstream.resolve(repository, tag, anyAsk()), manifest);
    return asked().slice(before);
  };
  assert.deepEqual(await resolve(), ["HEAD", "GET"]);
  assert.deepEqual(await resolve(), ["GET"]);
  clock.time += 300_000 - 1;
  assert.deepEqual(await resolve(), ["GET"]);
  clock.time += 1;
  assert.deepEqual(await resolve(), ["HEAD", "GET"]);
});

test("a HEAD is tried again where it failed this time, or where the GET was of no use", async (context) => {
  for (const head of [
    headers({}, 503),
    headers({}, 500),
    headers({ "content-type": indexType }),
    (request) => request.socket.destroy(),
  ] as Handler[]) {
    const { upstream, asked } = await start(context, head);
    await upstream.resolve(repository, tag, anyAsk());
    await upstream.resolve(repository, tag, anyAsk());
    assert.deepEqual(asked(), ["HEAD", "GET", "HEAD", "GET"]);
  }
  const server = await startServer(context, (_request, response) => answer(response, 404));
  const { upstream } = startUpstream(context, server.host);
  await upstream.resolve(repository, tag, anyAsk());
  await upstream.resolve(repository, tag, anyAsk());
  assert.deepEqual(
    server.requests.map(({ method }) => method),
    ["HEAD", "GET", "HEAD", "GET"],
  );
});
