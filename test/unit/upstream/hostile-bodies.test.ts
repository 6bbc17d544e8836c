/*
 * A hostile registry that wants our memory, our time, or a request of its own making: endless and compressed bodies,
 * endless redirects, broken framing.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { createServer, type AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { gzipSync } from "node:zlib";
import { type Upstream, UpstreamError, type UpstreamFailure } from "../../../src/upstream/upstream.ts";
import { challenge } from "./quirk.ts";
import {
  anyAsk,
  answer,
  failure,
  type Handler,
  indexBytes,
  indexType,
  repository,
  type ScriptedServer,
  someDigest,
  startServer,
  startUpstream,
  tag,
} from "./scripted.ts";

/** Writes until the connection is gone. */
function flood(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  const chunk = Buffer.alloc(64 * 1024, 0x20);
  response.writeHead(status, headers);
  const write = (): void => {
    while (!response.destroyed && response.write(chunk)) {
      // Until its buffer is full.
    }
  };
  response.on("drain", write);
  write();
}

const json = { "content-type": "application/json" };
const bomb = gzipSync(Buffer.alloc(16 * 1024 * 1024));
const gzipped = { "content-encoding": "gzip", "content-type": indexType };
const token =
  (then: Handler): Handler =>
  (request, response, path) =>
    path.startsWith("/token")
      ? then(request, response, path)
      : challenge(response, `Bearer realm="http://${request.headers.host}/token"`);

const manifest = (upstream: Upstream): Promise<unknown> => upstream.manifest(repository, tag, anyAsk());
const tags = (upstream: Upstream): Promise<unknown> => upstream.tags(repository, "", anyAsk());
const referrers = (upstream: Upstream): Promise<unknown> => upstream.referrers(repository, someDigest, "", anyAsk());

const floods: [
  name: string,
  handler: Handler,
  ask: (upstream: Upstream) => Promise<unknown>,
  expected: UpstreamFailure,
][] = [
  ["manifest", (_request, response) => flood(response, 200, { "content-type": indexType }), manifest, "invalid"],
  ["page of tags", (_request, response) => flood(response, 200, json), tags, "invalid"],
  [
    "page of referrers",
    (_request, response) => flood(response, 200, { "content-type": indexType }),
    referrers,
    "invalid",
  ],
  ["token", token((_request, response) => flood(response, 200, json)), manifest, "token"],
  ["denial of the token server", token((_request, response) => flood(response, 403, json)), manifest, "denied"],
  ["error", (_request, response) => flood(response, 500), manifest, "status"],
  ["absence", (_request, response) => flood(response, 403), manifest, "denied"],
  [
    "challenge",
    (_request, response) => flood(response, 401, { "www-authenticate": "Basic realm=x" }),
    manifest,
    "denied",
  ],
  ["redirect", (_request, response) => flood(response, 307, { location: "/x" }), manifest, "invalid"],
];

for (const [name, handler, ask, expected] of floods) {
  test(`an endless ${name} is cut off after a few MiB`, async (context) => {
    const server = await startServer(context, handler);
    const { upstream } = startUpstream(context, server.host);
    await assert.rejects(ask(upstream), failure(expected));
    // It would wait for what still reads.
    await upstream.close();
    await server.idle();
    const written = server.requests.reduce((total, { socket }) => total + socket.bytesWritten, 0);
    assert.ok(written < 32 * 1024 * 1024, `${written} bytes`);
  });
}

const compressed: [name: string, handler: Handler, ask: (upstream: Upstream) => Promise<unknown>][] = [
  ["manifest", (_request, response) => answer(response, 200, bomb, gzipped), manifest],
  ["page of tags", (_request, response) => answer(response, 200, bomb, gzipped), tags],
  ["token", token((_request, response) => answer(response, 200, bomb, gzipped)), manifest],
];

for (const [name, handler, ask] of compressed) {
  test(`a ${name} that is a gzip bomb is never unpacked`, async (context) => {
    const server = await startServer(context, handler);
    const { upstream } = startUpstream(context, server.host);
    await assert.rejects(ask(upstream), failure(name === "token" ? "token" : "invalid"));
  });
}

test("a blob that is a gzip bomb is passed on as it is, whatever its digest is then", async (context) => {
  const server = await startServer(context, (_request, response) => answer(response, 200, bomb, gzipped));
  const { upstream } = startUpstream(context, server.host);
  const opened = await upstream.blob(repository, someDigest, { offset: 0 }, anyAsk());
  assert.deepEqual([opened?.sizeBytes, opened?.label], [bomb.length, "encoded"]);
  const chunks: Buffer[] = [];
  for await (const chunk of opened?.body ?? []) {
    chunks.push(chunk);
  }
  assert.ok(Buffer.concat(chunks).equals(bomb));
});

test("endless redirects, in circles or not, end after a few hops, those of a token server too", async (context) => {
  let count = 0;
  const next: Handler = (_request, response, path) => {
    count += 1;
    answer(response, 307, "", { location: `${path.replace(/\?.*$/, "")}?${count}` });
  };
  for (const [handler, expected] of [
    [next, "invalid"],
    [token(next), "token"],
    [(_request, response, path) => answer(response, 307, "", { location: path }), "invalid"],
  ] as [Handler, UpstreamFailure][]) {
    const server = await startServer(context, handler);
    const { upstream } = startUpstream(context, server.host);
    await assert.rejects(manifest(upstream), failure(expected));
    assert.ok(server.asked.length <= 7);
  }
});

test("pages that link to each other for ever are one request each: who asks decides whether to go on", async (context) => {
  const server = await startServer(context, (_request, response, path) =>
    answer(response, 200, '{"tags":[]}', { link: `<${path}>; rel="next"` }),
  );
  const { upstream } = startUpstream(context, server.host);
  const page = await upstream.tags(repository, "last=a", anyAsk());
  assert.deepEqual([page?.nextQuery, server.asked.length], ["last=a", 1]);
});

/** A server that sends these bytes for every request, and closes where that is said. */
async function startRaw(context: TestContext, text: string, closes: boolean): Promise<Pick<ScriptedServer, "host">> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", () => {
      socket.write(text, "latin1");
      if (closes) {
        socket.end();
      }
    });
    context.after(() => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => server.close());
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

const body = indexBytes.toString();
const head = `HTTP/1.1 200 OK\r\ncontent-type: ${indexType}\r\n`;
const second = `HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}`;

const broken: [name: string, text: string, closes?: boolean][] = [
  [
    "both Content-Length and chunks",
    `${head}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${second}`,
  ],
  ["two lengths", `${head}content-length: 5\r\ncontent-length: 50\r\n\r\n${body}`],
  ["a length that is no number", `${head}content-length: 5x\r\n\r\n${body}`],
  ["a lone carriage return in a header", `${head}x: a\rcontent-length: 0\r\n\r\n`],
  ["a null in a header", `${head}x: a\0b\r\ncontent-length: 0\r\n\r\n`],
  ["a chunk of a size that is none", `${head}transfer-encoding: chunked\r\n\r\nzz\r\n${body}\r\n0\r\n\r\n`],
  ["headers without end", `${head}${"x: ".padEnd(1000, "y")}\r\n`.repeat(200)],
  ["a body that is short", `${head}content-length: ${body.length + 1}\r\n\r\n${body}`, true],
  ["chunks without the last one", `${head}transfer-encoding: chunked\r\n\r\n5\r\n${body.slice(0, 5)}\r\n`, true],
];

for (const [name, text, closes = false] of broken) {
  test(`an answer with ${name} is a failure, and no answer to another request`, async (context) => {
    const { host } = await startRaw(context, text, closes);
    const { upstream } = startUpstream(context, host, { headerTimeoutMs: 2000, idleTimeoutMs: 2000 });
    const error = await manifest(upstream).catch((reason: unknown) => reason);
    assert.ok(error instanceof UpstreamError, String(error));
    assert.ok(["invalid", "unreachable"].includes(error.failure), error.message);
  });
}

test("an answer that comes with a second one is read alone; the next request does not get the rest", async (context) => {
  const first = `${head}content-length: ${body.length}\r\n\r\n${body}`;
  const { host } = await startRaw(context, first + second, false);
  const { upstream } = startUpstream(context, host);
  for (let round = 0; round < 3; round++) {
    const answered = await upstream.manifest(repository, tag, anyAsk()).catch((reason: unknown) => reason);
    if (answered instanceof UpstreamError) {
      assert.ok(["invalid", "unreachable"].includes(answered.failure));
    } else {
      assert.deepEqual((answered as { bytes: Buffer } | undefined)?.bytes, indexBytes);
    }
  }
});

for (const location of ["/x\u0000y", "/\u00e9", "/x y", `/${"x".repeat(10_000)}`]) {
  test(`a Location with ${JSON.stringify(location.slice(0, 10))} is sent on in a clean form or not at all`, async (context) => {
    const { host } = await startRaw(
      context,
      `HTTP/1.1 307 No\r\nlocation: ${location}\r\ncontent-length: 0\r\n\r\n`,
      false,
    );
    const { upstream } = startUpstream(context, host);
    await assert.rejects(manifest(upstream), failure("invalid"));
  });
}
