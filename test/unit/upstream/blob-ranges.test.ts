/** Stores, and what stands before them, that refuse `Range` or answer it wrongly; and blobs of no bytes. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import {
  answer,
  collect,
  failure,
  type Handler,
  anyAsk,
  repository,
  type ScriptedServer,
  someDigest,
  startServer,
  startUpstream,
} from "./scripted.ts";

const content = "0123456789";
const nothing = (["sha256", "sha512"] as const).map((algorithm) => digestOf(Buffer.alloc(0), algorithm));

const to = (status: number, headers: Record<string, string> = {}, body: string = "<Error/>"): Handler => {
  return (_request, response) => answer(response, status, body, headers);
};
const multipart = "--x\r\nContent-Range: bytes 4-9/10\r\n\r\n456789\r\n--x--";

/** Answers to `Range` that bring nothing of what was asked for: `bytes=4-` or `bytes=0-0`. */
const refusals: [name: string, handler: Handler][] = [
  ...[400, 401, 403, 405, 406, 412, 413, 416, 417, 500, 501].map((status): [string, Handler] => [
    String(status),
    to(status),
  ]),
  ["416 with another size", to(416, { "content-range": "bytes */3" })],
  ["416 with its own size", to(416, { "content-range": "bytes */10" })],
  ["416 as if it were empty", to(416, { "content-range": "bytes */0" })],
  ["a part that starts elsewhere", to(206, { "content-range": "bytes 2-9/10" }, "23456789")],
  ["a part without Content-Range", to(206, {}, "456789")],
  ["a part of another unit", to(206, { "content-range": "pages 4-9/10" }, "456789")],
  ["several parts", to(206, { "content-type": "multipart/byteranges; boundary=x" }, multipart)],
  [
    "several parts with a Content-Range",
    to(206, { "content-type": "multipart/byteranges; boundary=x", "content-range": "bytes 4-9/10" }, multipart),
  ],
];

/** What was asked for of blobs, and not of how to log in. */
const rangesOf = ({ requests }: ScriptedServer): (string | undefined)[] =>
  requests.filter(({ url }) => url !== "/v2/").map(({ headers }) => headers.range);

/** A store that gives everything to whoever asks for everything. */
const refusing =
  (refusal: Handler): Handler =>
  (request, response, path) => {
    if (request.headers.range === undefined) {
      answer(response, 200, content);
    } else {
      refusal(request, response, path);
    }
  };

for (const [name, refusal] of refusals) {
  test(`a Range that is answered with ${name} is followed by a question without it`, async (context) => {
    const server = await startServer(context, refusing(refusal));
    const { upstream } = startUpstream(context, server.host, { maxConnections: 1 });
    assert.deepEqual(await upstream.statBlob(repository, someDigest, anyAsk()), { sizeBytes: 10 });
    const blob = await upstream.blob(repository, someDigest, { offset: 4, sizeBytes: 10 }, anyAsk());
    assert.ok(blob !== undefined);
    assert.deepEqual([blob.sizeBytes, await collect(blob.body)], [10, "456789"]);
    assert.deepEqual(rangesOf(server), ["bytes=0-0", undefined, "bytes=4-", undefined]);
  });

  test(`so it is where a store behind a redirect answers with ${name}: the registry is asked anew`, async (context) => {
    const store = await startServer(context, refusing(refusal));
    const server = await startServer(context, (_request, response) =>
      answer(response, 307, "", { location: `${store.url}/blob?signature=${server.asked.length}` }),
    );
    const { upstream } = startUpstream(context, server.host);
    assert.deepEqual(await upstream.statBlob(repository, someDigest, anyAsk()), { sizeBytes: 10 });
    const blob = await upstream.blob(repository, someDigest, { offset: 4 }, anyAsk());
    assert.equal(blob && (await collect(blob.body)), "456789");
    assert.deepEqual(
      store.asked,
      [1, 2, 3, 4].map((signature) => `GET /blob?signature=${signature}`),
    );
  });
}

test("a part of another total is followed by a question without Range", async (context) => {
  const server = await startServer(context, refusing(to(206, { "content-range": "bytes 4-8/9" }, "45678")));
  const { upstream } = startUpstream(context, server.host);
  const blob = await upstream.blob(repository, someDigest, { offset: 4, sizeBytes: 10 }, anyAsk());
  assert.equal(blob && (await collect(blob.body)), "456789");
});

test("what is refused without Range too stays what it is, after one question more", async (context) => {
  for (const [status, expected] of [
    [400, "denied"],
    [401, "denied"],
    [403, "denied"],
    [416, "status"],
    [501, "status"],
  ] as const) {
    const server = await startServer(context, to(status));
    const { upstream } = startUpstream(context, server.host);
    for (const ask of [
      () => upstream.statBlob(repository, someDigest, anyAsk()),
      () => upstream.blob(repository, someDigest, { offset: 4 }, anyAsk()),
    ]) {
      const error = await ask().catch((reason: unknown) => reason);
      assert.ok(error instanceof UpstreamError);
      assert.deepEqual([error.failure, error.status], [expected, status]);
    }
    assert.deepEqual(rangesOf(server), ["bytes=0-0", undefined, "bytes=4-", undefined]);
  }
});

test("what has nothing to do with Range is asked for once: absent, limited, in trouble", async (context) => {
  for (const status of [404, 408, 410, 429, 502, 503, 504]) {
    const server = await startServer(context, to(status));
    const { upstream } = startUpstream(context, server.host);
    for (const ask of [
      () => upstream.statBlob(repository, someDigest, anyAsk()),
      () => upstream.blob(repository, someDigest, { offset: 4 }, anyAsk()),
    ]) {
      const outcome = await ask().catch((reason: unknown) => reason);
      assert.equal(outcome === undefined, status === 404 || status === 410);
    }
    assert.deepEqual(rangesOf(server), ["bytes=0-0", "bytes=4-"]);
  }
});

test("the whole blob is given up at its headers where only its size is asked for", async (context) => {
  const server = await startServer(context, (request, response) => {
    if (request.headers.range !== undefined) {
      answer(response, 416);
      return;
    }
    response.writeHead(200, { "content-length": String(1024 * 1024 * 1024) });
    response.write(Buffer.alloc(1024));
  });
  const { upstream } = startUpstream(context, server.host);
  assert.deepEqual(await upstream.statBlob(repository, someDigest, anyAsk()), { sizeBytes: 1024 * 1024 * 1024 });
  const [, request] = server.requests;
  assert.ok(request !== undefined);
  if (!request.socket.closed) {
    await once(request.socket, "close");
  }
});

const empties: [name: string, handler: Handler][] = [
  ["200", to(200, {}, "")],
  ["200 in chunks", (_request, response) => void response.writeHead(200).end()],
  ["204", (_request, response) => void response.writeHead(204).end()],
  ["416", to(416)],
  ["416 with its size", to(416, { "content-range": "bytes */0" })],
];

for (const [name, handler] of empties) {
  test(`the blob of no bytes, answered with ${name}, is there, and is asked for without Range`, async (context) => {
    const server = await startServer(context, handler);
    const { upstream } = startUpstream(context, server.host);
    for (const digest of nothing) {
      assert.deepEqual(await upstream.statBlob(repository, digest, anyAsk()), { sizeBytes: 0 });
      const blob = await upstream.blob(repository, digest, { offset: 0 }, anyAsk());
      assert.equal(blob && (await collect(blob.body)), "");
    }
    assert.ok(server.requests.length === 4 && server.requests.every(({ headers }) => headers.range === undefined));
  });
}

test("the blob of no bytes can be absent and denied, and has no bytes", async (context) => {
  const stat = async (handler: Handler, digest: Digest): Promise<unknown> => {
    const server = await startServer(context, handler);
    return startUpstream(context, server.host).upstream.statBlob(repository, digest, anyAsk());
  };
  for (const digest of nothing) {
    assert.equal(await stat(to(404), digest), undefined);
    await assert.rejects(stat(to(403), digest), failure("denied"));
    await assert.rejects(stat(to(200), digest), failure("invalid", /8 bytes/));
  }
  await assert.rejects(stat(to(200, {}, ""), someDigest), failure("invalid", /0 bytes/));
});
