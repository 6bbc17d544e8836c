import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../../src/oci/digest.ts";
import type { UpstreamFailure } from "../../../src/upstream/upstream.ts";
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
} from "./scripted.ts";

const tags = '{"name":"library/alpine","tags":["a","b"]}';

test("a page of tags: the query goes along as it stands, the next page's query comes back", async (context) => {
  const server = await startServer(context, (_request, response) =>
    answer(response, 200, tags, { link: '</v2/library/alpine/tags/list?n=2&last=b>; rel="next"' }),
  );
  const { upstream, observed } = startUpstream(context, server.host);
  const page = await upstream.tags(repository, "n=2&last=%2B", anyAsk());
  assert.deepEqual(page, {
    document: JSON.parse(tags) as unknown,
    nextQuery: "n=2&last=b",
    filtersApplied: undefined,
  });
  assert.deepEqual(server.asked, ["GET /v2/library/alpine/tags/list?n=2&last=%2B"]);
  assert.equal(observed[0]?.kind, "tags");
});

for (const [link, nextQuery] of [
  ["<?last=b>; rel=next", "last=b"],
  ['<https://evil.example/v2/other/tags/list?last=b#x>; rel="next"', "last=b"],
  ['</v2/library/alpine/tags/list>; rel="next"', undefined],
  ['</x?last=b>; rel="prev"', undefined],
  ["nonsense", undefined],
] as const) {
  test(`of Link: ${link} only the query counts`, async (context) => {
    const server = await startServer(context, (_request, response) => answer(response, 200, tags, { link }));
    const { upstream } = startUpstream(context, server.host);
    assert.equal((await upstream.tags(repository, "", anyAsk()))?.nextQuery, nextQuery);
  });
}

const mebibytes = 4 * 1024 * 1024;
for (const body of [
  "",
  "[]",
  "null",
  "<html>",
  '"tags"',
  "{",
  "[".repeat(100_000),
  "x".repeat(mebibytes + 1),
  `{"tags":["${'","'.repeat(mebibytes / 3 - 10)}"]}`,
]) {
  test(`a page of tags that is ${body.slice(0, 10)} (${body.length} bytes) is invalid`, async (context) => {
    const server = await startServer(context, (_request, response) => answer(response, 200, body));
    const { upstream } = startUpstream(context, server.host);
    await assert.rejects(upstream.tags(repository, "", anyAsk()), failure("invalid"));
  });
}

test("tags of an unknown repository are absent; a 503 is a failure", async (context) => {
  const absent = await startServer(context, (_request, response) => answer(response, 404));
  assert.equal(await startUpstream(context, absent.host).upstream.tags(repository, "", anyAsk()), undefined);
  const broken = await startServer(context, (_request, response) => answer(response, 503));
  await assert.rejects(startUpstream(context, broken.host).upstream.tags(repository, "", anyAsk()), failure("status"));
});

test("a page of referrers", async (context) => {
  const headers = { "oci-filters-applied": "artifactType", link: '<?last=x>; rel="next"' };
  const server = await startServer(context, (_request, response) => answerIndex(response, headers));
  const { upstream } = startUpstream(context, server.host);
  assert.deepEqual(await upstream.referrers(repository, someDigest, "artifactType=a%2Fb", anyAsk()), {
    document: JSON.parse(indexBytes.toString()) as unknown,
    nextQuery: "last=x",
    filtersApplied: "artifactType",
  });
  assert.deepEqual(server.asked, [`GET /v2/library/alpine/referrers/${someDigest}?artifactType=a%2Fb`]);
});

const unsupported: [name: string, handler: Handler][] = [
  ["404", (_request, response) => answer(response, 404)],
  ["400", (_request, response) => answer(response, 400)],
  ["405", (_request, response) => answer(response, 405)],
  ["406", (_request, response) => answer(response, 406)],
  ["410", (_request, response) => answer(response, 410)],
  ["501", (_request, response) => answer(response, 501)],
  ["204", (_request, response) => answer(response, 204)],
  ["HTML", (_request, response) => answer(response, 200, "<html>", { "content-type": "text/html" })],
  ["JSON of another type", (_request, response) => answer(response, 200, "{}", { "content-type": "application/json" })],
  ["303 to a web site", (_request, response) => answer(response, 303, "", { location: "https://github.example.com/" })],
];

for (const [name, handler] of unsupported) {
  test(`referrers: ${name} means that there is no such API`, async (context) => {
    const server = await startServer(context, handler);
    const { upstream } = startUpstream(context, server.host);
    assert.equal(await upstream.referrers(repository, someDigest, "", anyAsk()), undefined);
    assert.equal(server.asked.length, 1);
  });
}

test("referrers: an index that is called plain JSON is one", async (context) => {
  const server = await startServer(context, (_request, response) =>
    answerIndex(response, { "content-type": "application/json" }),
  );
  const { upstream } = startUpstream(context, server.host);
  const page = await upstream.referrers(repository, someDigest, "", anyAsk());
  assert.deepEqual(page?.document, JSON.parse(indexBytes.toString()));
});

test("referrers: the subject itself is no list of what refers to it, whatever the algorithm", async (context) => {
  const server = await startServer(context, (_request, response) => answerIndex(response));
  const { upstream } = startUpstream(context, server.host);
  for (const algorithm of ["sha256", "sha512"] as const) {
    assert.equal(await upstream.referrers(repository, digestOf(indexBytes, algorithm), "", anyAsk()), undefined);
  }
});

test("referrers: a page with too much in it is counted, and not built", async (context) => {
  const body = `{"manifests":[${"{},".repeat(mebibytes / 3 - 10)}{}]}`;
  const server = await startServer(context, (_request, response) =>
    answer(response, 200, body, { "content-type": indexType }),
  );
  const { upstream } = startUpstream(context, server.host);
  await assert.rejects(upstream.referrers(repository, someDigest, "", anyAsk()), failure("invalid"));
});

test("referrers: 401, 403, 429, 5xx and an index that is none are failures", async (context) => {
  for (const [handler, expected] of [
    [(_request, response) => answer(response, 401), "denied"],
    [(_request, response) => answer(response, 403), "denied"],
    [(_request, response) => answer(response, 429), "rate-limited"],
    [(_request, response) => answer(response, 407), "status"],
    [(_request, response) => answer(response, 408), "status"],
    [(_request, response) => answer(response, 500), "status"],
    [(_request, response) => answer(response, 502), "status"],
    [(_request, response) => answer(response, 200, "x", { "content-type": "application/json" }), "invalid"],
    [(_request, response) => answer(response, 200, "x", { "content-type": indexType }), "invalid"],
  ] as [Handler, UpstreamFailure][]) {
    const server = await startServer(context, handler);
    const { upstream } = startUpstream(context, server.host);
    await assert.rejects(upstream.referrers(repository, someDigest, "", anyAsk()), failure(expected));
  }
});
