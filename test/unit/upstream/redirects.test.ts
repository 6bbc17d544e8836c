import assert from "node:assert/strict";
import { test } from "node:test";
import { followRedirects } from "../../../src/upstream/redirects.ts";
import type { HttpRequest } from "../../../src/upstream/transport.ts";
import { failure, fakeRequest, fakeResponse } from "./scripted.ts";

const start = "https://registry.example.com/v2/library/alpine/manifests/latest";
const sent = { authorization: "Bearer secret", accept: "application/json", range: "bytes=5-" };

/** Answers by URL: `[status, Location]`, or 200 for all others. */
function script(
  answers: Record<string, [status: number, location?: string | undefined]>,
  asked: HttpRequest[],
): ReturnType<typeof followRedirects> {
  return followRedirects((request) => {
    asked.push(request);
    const [status, location] = answers[request.url.href] ?? [200];
    return Promise.resolve(fakeResponse(request.url, status, location === undefined ? {} : { location }));
  });
}

const targets: [name: string, location: string, end: string, keepsAuthorization: boolean][] = [
  ["a relative path", "/v2/other", "https://registry.example.com/v2/other", true],
  ["a relative name", "v1?a=b#c", "https://registry.example.com/v2/library/alpine/manifests/v1?a=b", true],
  ["the default port written out", "https://registry.example.com:443/x", "https://registry.example.com/x", true],
  ["another port", "https://registry.example.com:8443/x", "https://registry.example.com:8443/x", false],
  ["another host", "https://cdn.example.com/x?sig=1", "https://cdn.example.com/x?sig=1", false],
  ["another host without scheme", "//cdn.example.com/x", "https://cdn.example.com/x", false],
  ["another host with a user", "https://u:p@cdn.example.com/x", "https://cdn.example.com/x", false],
];

for (const [name, location, end, keepsAuthorization] of targets) {
  for (const status of [301, 302, 303, 307, 308]) {
    test(`${status} to ${name} is followed ${keepsAuthorization ? "with" : "without"} Authorization`, async () => {
      const asked: HttpRequest[] = [];
      const send = script({ [start]: [status, location] }, asked);
      const response = await send(fakeRequest(start, { method: "HEAD", headers: sent }));
      assert.equal(response.url.href, end);
      assert.equal(response.crossedOrigin, !keepsAuthorization);
      const { authorization, ...rest } = sent;
      assert.deepEqual(asked[1]?.headers, keepsAuthorization ? sent : rest);
      assert.ok(authorization.length > 0);
      assert.equal(asked[1]?.method, "HEAD");
    });
  }
}

test("from http to https of the same host is another origin", async () => {
  const asked: HttpRequest[] = [];
  const send = script({ "http://registry.example.com/": [307, "https://registry.example.com/"] }, asked);
  assert.equal((await send(fakeRequest("http://registry.example.com/", { headers: sent }))).crossedOrigin, true);
  assert.equal(asked[1]?.headers.authorization, undefined);
});

test("Authorization stays behind even when the way leads back", async () => {
  const asked: HttpRequest[] = [];
  const send = script(
    {
      [start]: [307, "https://cdn.example.com/x"],
      "https://cdn.example.com/x": [307, "https://registry.example.com/back"],
      "https://registry.example.com/back": [307, "/again"],
    },
    asked,
  );
  const response = await send(fakeRequest(start, { headers: sent }));
  assert.equal(response.url.href, "https://registry.example.com/again");
  assert.equal(response.crossedOrigin, true);
  assert.deepEqual(
    asked.map(({ headers }) => headers.authorization),
    ["Bearer secret", undefined, undefined, undefined],
  );
});

for (const [name, location] of [
  ["no Location", undefined],
  ["an unreadable Location", "https://[/"],
  ["another scheme", "ftp://registry.example.com/x"],
  ["data", "data:text/plain,x"],
  ["http, down from https", "http://registry.example.com/x"],
  ["itself", start],
] as [string, string | undefined][]) {
  test(`a redirect to ${name} is invalid, and nothing more is asked`, async () => {
    const asked: HttpRequest[] = [];
    const send = script({ [start]: [307, location] }, asked);
    await assert.rejects(send(fakeRequest(start)), failure("invalid"));
    assert.equal(asked.length, 1);
  });
}

test("five hops are followed, six are not; the message has no query", async () => {
  const chain = (hops: number): Record<string, [number, string]> =>
    Object.fromEntries(
      Array.from({ length: hops }, (_, hop) => [
        hop === 0 ? start : `https://cdn.example.com/${hop}?sig=secret`,
        [302, `https://cdn.example.com/${hop + 1}?sig=secret`],
      ]),
    );
  const asked: HttpRequest[] = [];
  const response = await script(chain(5), asked)(fakeRequest(start));
  assert.equal(response.url.pathname, "/5");
  asked.length = 0;
  await assert.rejects(script(chain(6), asked)(fakeRequest(start)), (error) => {
    assert.doesNotMatch(String(error), /secret/);
    return failure("invalid", /do not end/)(error);
  });
  assert.equal(asked.length, 6);
});

test("a loop over two URLs ends", async () => {
  const asked: HttpRequest[] = [];
  const send = script({ [start]: [307, "/b"], "https://registry.example.com/b": [307, start] }, asked);
  await assert.rejects(send(fakeRequest(start)), failure("invalid"));
  assert.equal(asked.length, 2);
});

test("a listing's query is added again where the redirect dropped it, and only there", async () => {
  for (const [kind, location, end] of [
    ["tags", "https://other.example.com/list", "?n=5&last=a"],
    ["referrers", "https://other.example.com/list", "?n=5&last=a"],
    ["tags", "https://other.example.com/list?own=1", "?own=1"],
    ["manifest", "https://other.example.com/list", ""],
  ] as const) {
    const asked: HttpRequest[] = [];
    const url = `${start}?n=5&last=a`;
    const response = await script({ [url]: [307, location] }, asked)(fakeRequest(url, { kind }));
    assert.equal(response.url.search, end, kind);
  }
});

test("a 303 for referrers is not followed, a 307 is", async () => {
  const asked: HttpRequest[] = [];
  const elsewhere = "https://github.example.com/page";
  const seeOther = await script({ [start]: [303, elsewhere] }, asked)(fakeRequest(start, { kind: "referrers" }));
  assert.deepEqual([seeOther.status, asked.length], [303, 1]);
  const moved = await script({ [start]: [307, elsewhere] }, asked)(fakeRequest(start, { kind: "referrers" }));
  assert.equal(moved.url.href, elsewhere);
});
