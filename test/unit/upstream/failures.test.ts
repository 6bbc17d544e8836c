import assert from "node:assert/strict";
import { test } from "node:test";
import { RefusedAddressError } from "../../../src/upstream/addresses.ts";
import { toStatusError, toUpstreamError } from "../../../src/upstream/failures.ts";
import { UpstreamError, type UpstreamFailure } from "../../../src/upstream/upstream.ts";
import { fakeResponse } from "./scripted.ts";

const now = Date.parse("2026-11-21T12:00:00Z");

function coded(code: string): Error {
  return Object.assign(new Error("it failed"), { code });
}

const failureRows: [error: unknown, failure: UpstreamFailure][] = [
  [coded("ECONNREFUSED"), "unreachable"],
  [coded("ENOTFOUND"), "unreachable"],
  [coded("UND_ERR_SOCKET"), "unreachable"],
  [coded("HPE_INVALID_EOF_STATE"), "unreachable"],
  [coded("CERT_HAS_EXPIRED"), "unreachable"],
  [new Error("?"), "unreachable"],
  ["?", "unreachable"],
  [coded("UND_ERR_CONNECT_TIMEOUT"), "timeout"],
  [coded("UND_ERR_HEADERS_TIMEOUT"), "timeout"],
  [coded("UND_ERR_BODY_TIMEOUT"), "timeout"],
  [new AggregateError([coded("ETIMEDOUT"), coded("ECONNREFUSED")]), "timeout"],
  [coded("HPE_INVALID_CONSTANT"), "invalid"],
  [coded("UND_ERR_HEADERS_OVERFLOW"), "invalid"],
  [new RefusedAddressError("no"), "refused"],
  [new Error("outer", { cause: new AggregateError([new RefusedAddressError("no")]) }), "refused"],
  [new UpstreamError("registry.example.com", "token", "as it was"), "token"],
];

for (const [error, failure] of failureRows) {
  const name = error instanceof Error ? `${error.name} ${"code" in error ? String(error.code) : ""}` : String(error);
  test(`${name} is "${failure}"`, () => {
    const made = toUpstreamError("registry.example.com", "GET registry.example.com/v2/", error);
    assert.equal(made.failure, failure);
    assert.match(made.message, /^registry\.example\.com: /);
  });
}

test("what the parser had read is not kept: it may hold a token", () => {
  const error = Object.assign(coded("HPE_INVALID_CONSTANT"), { data: '{"token":"secret"}' });
  const made = toUpstreamError("registry.example.com", "GET auth.example.com/token", error);
  assert.ok(made.cause instanceof Error && !("data" in made.cause));
});

test("a status error has the path and what to wait, and never the query", () => {
  const url = new URL("https://cdn.example.com/blob?signature=secret");
  const limited = toStatusError(
    { ...fakeResponse(url, 429, { "retry-after": "7" }), upstream: "registry.example.com" },
    now,
  );
  assert.equal(limited.failure, "rate-limited");
  assert.equal(limited.status, 429);
  assert.equal(limited.retryAfterSeconds, 7);
  assert.equal(limited.message, "registry.example.com: cdn.example.com/blob: status 429");
  const broken = toStatusError(fakeResponse(url, 502), now);
  assert.equal(broken.failure, "status");
  assert.equal(broken.retryAfterSeconds, undefined);
});
