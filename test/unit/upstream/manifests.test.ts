import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { digestOf, parseDigest } from "../../../src/oci/digest.ts";
import { OciError } from "../../../src/oci/errors.ts";
import { acceptManifests } from "../../../src/oci/manifest.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { manifestContent } from "../../support/image.ts";
import {
  answer,
  answerIndex,
  failure,
  type Handler,
  indexBytes,
  indexType,
  anyAsk,
  repository,
  someDigest,
  startServer,
  startUpstream,
  tag,
} from "./scripted.ts";

const digest = digestOf(indexBytes);
const digest512 = digestOf(indexBytes, "sha512");
const other512 = parseDigest(`sha512:${"a".repeat(128)}`);
const descriptor = { mediaType: indexType, digest, size: indexBytes.length };
const good = { "content-type": indexType, "docker-content-digest": digest };

test("resolve is one HEAD, with the whole Accept list, identity and a user agent", async (context) => {
  const server = await startServer(context, (_request, response) => answerIndex(response, good));
  const { upstream, observed } = startUpstream(context, server.host);
  assert.deepEqual(await upstream.resolve(repository, tag, anyAsk()), descriptor);
  assert.deepEqual(await upstream.resolve(repository, digest, anyAsk()), descriptor);
  assert.deepEqual(server.asked, [
    "HEAD /v2/library/alpine/manifests/latest",
    `HEAD /v2/library/alpine/manifests/${digest}`,
  ]);
  const { accept, "accept-encoding": coding, "user-agent": agent } = server.requests[0]?.headers ?? {};
  assert.deepEqual([accept, coding, agent], [acceptManifests, "identity", "entrepot/test"]);
  assert.deepEqual(
    observed.map(({ method, status, kind }) => [method, status, kind]),
    [
      ["HEAD", 200, "manifest"],
      ["HEAD", 200, "manifest"],
    ],
  );
});

for (const status of [400, 401, 403]) {
  test(`${status} is denied, for tags, listings and blobs too`, async (context) => {
    const server = await startServer(context, (_request, response) => answer(response, status));
    const { upstream } = startUpstream(context, server.host);
    for (const ask of [
      () => upstream.resolve(repository, tag, anyAsk()),
      () => upstream.manifest(repository, digest, anyAsk()),
      () => upstream.blob(repository, someDigest, { offset: 0 }, anyAsk()),
      () => upstream.blob(repository, someDigest, { offset: 5 }, anyAsk()),
      () => upstream.statBlob(repository, someDigest, anyAsk()),
      () => upstream.tags(repository, "", anyAsk()),
    ]) {
      const error = await ask().catch((reason: unknown) => reason);
      assert.ok(error instanceof UpstreamError);
      assert.deepEqual([error.failure, error.status], ["denied", status]);
    }
  });
}

for (const status of [404, 410]) {
  test(`${status} is absent`, async (context) => {
    const server = await startServer(context, (_request, response) => answer(response, status));
    const { upstream } = startUpstream(context, server.host);
    assert.equal(await upstream.resolve(repository, tag, anyAsk()), undefined);
    assert.equal(await upstream.manifest(repository, tag, anyAsk()), undefined);
  });
}

for (const [status, expected] of [
  [405, "status"],
  [406, "status"],
  [204, "status"],
  [206, "status"],
  [304, "status"],
  [429, "rate-limited"],
  [500, "status"],
  [503, "status"],
] as const) {
  test(`${status} is a failure "${expected}"`, async (context) => {
    const server = await startServer(context, (_request, response) =>
      answer(response, status, "", { "retry-after": "9" }),
    );
    const { upstream } = startUpstream(context, server.host);
    const error = await upstream.manifest(repository, tag, anyAsk()).catch((reason: unknown) => reason);
    assert.ok(error instanceof UpstreamError);
    assert.deepEqual([error.failure, error.status, error.retryAfterSeconds], [expected, status, 9]);
  });
}

test("a manifest by tag and by digest, with and without the digest header, sha512 too", async (context) => {
  for (const [reference, announced, expected] of [
    [tag, undefined, digest],
    [tag, digest, digest],
    [tag, digest512, digest512],
    [tag, "md5:abc", digest],
    [digest, undefined, digest],
    [digest, digest512, digest],
    [digest512, digest, digest512],
    // The bytes have the digest that was asked for, whatever else is said of them.
    [digest, someDigest, digest],
    [digest, other512, digest],
  ] as const) {
    const headers: Record<string, string> = announced === undefined ? {} : { "docker-content-digest": announced };
    const server = await startServer(context, (_request, response) => answerIndex(response, headers));
    const { upstream } = startUpstream(context, server.host);
    const manifest = await upstream.manifest(repository, reference, anyAsk());
    assert.deepEqual(manifest?.descriptor, { ...descriptor, digest: expected });
    assert.deepEqual(manifest.bytes, indexBytes);
  }
});

test("a manifest with another digest than asked for, or than announced, is invalid", async (context) => {
  for (const [reference, announced] of [
    [someDigest, undefined],
    [someDigest, someDigest],
    [other512, digest],
    [tag, someDigest],
  ] as const) {
    const headers: Record<string, string> = announced === undefined ? {} : { "docker-content-digest": announced };
    const server = await startServer(context, (_request, response) => answerIndex(response, headers));
    const { upstream } = startUpstream(context, server.host);
    await assert.rejects(upstream.manifest(repository, reference, anyAsk()), failure("invalid", /digest/));
  }
});

const labels: Record<string, string>[] = [
  ...["gzip", "x-gzip", "aws-chunked", "br"].map((coding) => ({ ...good, "content-encoding": coding })),
  ...["", "text/html", "text/html; charset=utf-8", "application/xml", "binary/octet-stream", "image/png", "*/*"].map(
    (type) => ({ ...good, "content-type": type }),
  ),
];

for (const headers of labels) {
  const { "content-encoding": coding = "identity", "content-type": type } = headers;
  test(`a manifest that is right is taken, though it is sent as ${coding} and ${type}`, async (context) => {
    const server = await startServer(context, (_request, response) => answer(response, 200, indexBytes, headers));
    const { upstream } = startUpstream(context, server.host);
    for (const reference of [tag, digest]) {
      assert.deepEqual(
        await upstream.manifest(repository, reference, anyAsk()),
        manifestContent(indexBytes, indexType),
      );
    }
  });
}

const tooMuch = Buffer.alloc(4 * 1024 * 1024 + 1, 0x20);
const invalidAnswers: [name: string, handler: Handler, message: RegExp][] = [
  ["over 4 MiB", (_request, response) => answer(response, 200, tooMuch, { "content-type": indexType }), /over/],
  [
    "over 4 MiB, in chunks",
    (_request, response) => void response.writeHead(200, { "content-type": indexType }).end(tooMuch),
    /over/,
  ],
  [
    "compressed",
    (_request, response) =>
      answer(response, 200, gzipSync(indexBytes), { "content-type": indexType, "content-encoding": "gzip" }),
    /JSON/,
  ],
  [
    "compressed, and not what was announced",
    (_request, response) => answer(response, 200, gzipSync(indexBytes), { ...good, "content-encoding": "gzip" }),
    /does not have the digest/,
  ],
  ["HTML", (_request, response) => answer(response, 200, "<html>", { "content-type": "text/html" }), /manifest/],
  [
    "of another kind than its type",
    (_request, response) => answerIndex(response, { "content-type": "application/vnd.oci.image.manifest.v1+json" }),
    /manifest/,
  ],
];

for (const [name, handler, message] of invalidAnswers) {
  test(`a manifest that is ${name} is invalid`, async (context) => {
    const server = await startServer(context, handler);
    const { upstream } = startUpstream(context, server.host);
    await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("invalid", message));
  });
}

test("schema 1 is invalid, with the error for the client as its cause, also when a HEAD finds it", async (context) => {
  const type = "application/vnd.docker.distribution.manifest.v1+prettyjws";
  const server = await startServer(context, (_request, response) =>
    answer(response, 200, '{"schemaVersion":1}', {
      "content-type": type,
      "docker-content-digest": digestOf(Buffer.from('{"schemaVersion":1}')),
    }),
  );
  const { upstream } = startUpstream(context, server.host);
  for (const asking of [upstream.manifest(repository, tag, anyAsk()), upstream.resolve(repository, tag, anyAsk())]) {
    const error = await asking.catch((reason: unknown) => reason);
    assert.ok(error instanceof UpstreamError && error.cause instanceof OciError);
    assert.equal(error.cause.code, "MANIFEST_INVALID");
    assert.match(error.cause.message, /schema/i);
  }
});

test("a manifest that is cut off is unreachable", async (context) => {
  const server = await startServer(context, (_request, response) => {
    response.writeHead(200, { "content-type": indexType, "content-length": indexBytes.length });
    response.write(indexBytes.subarray(0, 10), () => response.destroy());
  });
  const { upstream } = startUpstream(context, server.host);
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("unreachable"));
});
