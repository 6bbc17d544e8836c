import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf, parseDigest } from "../../../src/oci/digest.ts";
import { OciError } from "../../../src/oci/errors.ts";
import { acceptManifests } from "../../../src/oci/manifest.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import {
  answer,
  answerIndex,
  failure,
  type Handler,
  indexBytes,
  indexType,
  never,
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
const head = "HEAD /v2/library/alpine/manifests/latest";
const get = "GET /v2/library/alpine/manifests/latest";

test("resolve is one HEAD, with the whole Accept list, identity and a user agent", async (context) => {
  const server = await startServer(context, (_request, response) => answerIndex(response, good));
  const { upstream, observed } = startUpstream(context, server.host);
  assert.deepEqual(await upstream.resolve(repository, tag, never()), descriptor);
  assert.deepEqual(await upstream.resolve(repository, digest, never()), descriptor);
  assert.deepEqual(server.asked, [head, `HEAD /v2/library/alpine/manifests/${digest}`]);
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

const weakHeads: [name: string, headers: Record<string, string>, status?: number][] = [
  ["without a digest", { "content-type": indexType }],
  ["with a malformed digest", { ...good, "docker-content-digest": "sha256:abc" }],
  ["without a type", { "docker-content-digest": digest }],
  ["with a type that is not served", { ...good, "content-type": "text/html" }],
  ["with length 0", { ...good, "content-length": "0" }],
  ["405", {}, 405],
  ["501", {}, 501],
];

for (const [name, headers, status = 200] of weakHeads) {
  test(`a HEAD ${name} is followed by a GET`, async (context) => {
    const server = await startServer(context, (request, response) => {
      if (request.method === "HEAD") {
        response.writeHead(status, { "content-length": indexBytes.length, ...headers }).end();
      } else {
        answerIndex(response);
      }
    });
    const { upstream } = startUpstream(context, server.host);
    assert.deepEqual(await upstream.resolve(repository, tag, never()), descriptor);
    assert.deepEqual(server.asked, [head, get]);
  });
}

test("a HEAD without a length is followed by a GET", async (context) => {
  const server = await startServer(context, (request, response) => {
    if (request.method === "HEAD") {
      response.writeHead(200, { ...good, "transfer-encoding": "chunked" }).end();
    } else {
      answerIndex(response);
    }
  });
  const { upstream } = startUpstream(context, server.host);
  assert.deepEqual(await upstream.resolve(repository, tag, never()), descriptor);
  assert.deepEqual(server.asked, [head, get]);
});

test("a HEAD that a store behind a redirect refuses is followed by a GET", async (context) => {
  const store = await startServer(context, (request, response) => {
    if (request.method === "HEAD") {
      answer(response, 403);
    } else {
      answerIndex(response);
    }
  });
  const server = await startServer(context, (_request, response, path) =>
    answer(response, 307, "", { location: `${store.url}${path}` }),
  );
  const { upstream } = startUpstream(context, server.host);
  assert.deepEqual(await upstream.resolve(repository, tag, never()), descriptor);
  assert.deepEqual(server.asked, [head, get]);
});

test("what a HEAD announces is checked: another digest, or too large a manifest", async (context) => {
  const server = await startServer(context, (_request, response, path) => {
    const size = path.endsWith("latest") ? 4 * 1024 * 1024 + 1 : indexBytes.length;
    response.writeHead(200, { ...good, "content-length": size }).end();
  });
  const { upstream } = startUpstream(context, server.host);
  await assert.rejects(upstream.resolve(repository, someDigest, never()), failure("invalid", /announced/));
  await assert.rejects(upstream.resolve(repository, tag, never()), failure("invalid", /over/));
});

for (const status of [400, 401, 403]) {
  test(`${status} is denied, for tags, listings and blobs too`, async (context) => {
    const server = await startServer(context, (_request, response) => answer(response, status));
    const { upstream } = startUpstream(context, server.host);
    for (const ask of [
      () => upstream.resolve(repository, tag, never()),
      () => upstream.manifest(repository, digest, never()),
      () => upstream.blob(repository, someDigest, { offset: 0 }, never()),
      () => upstream.blob(repository, someDigest, { offset: 5 }, never()),
      () => upstream.statBlob(repository, someDigest, never()),
      () => upstream.tags(repository, "", never()),
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
    assert.equal(await upstream.resolve(repository, tag, never()), undefined);
    assert.equal(await upstream.manifest(repository, tag, never()), undefined);
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
    const error = await upstream.manifest(repository, tag, never()).catch((reason: unknown) => reason);
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
  ] as const) {
    const headers: Record<string, string> = announced === undefined ? {} : { "docker-content-digest": announced };
    const server = await startServer(context, (_request, response) => answerIndex(response, headers));
    const { upstream } = startUpstream(context, server.host);
    const manifest = await upstream.manifest(repository, reference, never());
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
    [digest, someDigest],
    [digest, other512],
  ] as const) {
    const headers: Record<string, string> = announced === undefined ? {} : { "docker-content-digest": announced };
    const server = await startServer(context, (_request, response) => answerIndex(response, headers));
    const { upstream } = startUpstream(context, server.host);
    await assert.rejects(upstream.manifest(repository, reference, never()), failure("invalid", /digest/));
  }
});

const tooMuch = Buffer.alloc(4 * 1024 * 1024 + 1, 0x20);
const invalidAnswers: [name: string, handler: Handler, message: RegExp][] = [
  ["over 4 MiB", (_request, response) => answer(response, 200, tooMuch, { "content-type": indexType }), /over/],
  [
    "over 4 MiB, in chunks",
    (_request, response) => void response.writeHead(200, { "content-type": indexType }).end(tooMuch),
    /over/,
  ],
  ["compressed", (_request, response) => answerIndex(response, { "content-encoding": "gzip" }), /compressed/],
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
    await assert.rejects(upstream.manifest(repository, tag, never()), failure("invalid", message));
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
  for (const asking of [upstream.manifest(repository, tag, never()), upstream.resolve(repository, tag, never())]) {
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
  await assert.rejects(upstream.manifest(repository, tag, never()), failure("unreachable"));
});
