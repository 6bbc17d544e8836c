import assert from "node:assert/strict";
import { test } from "node:test";
import { retrying } from "../../../src/upstream/retry.ts";
import type { Exchange } from "../../../src/upstream/transport.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { createClock, failure, fakeRequest, fakeResponse } from "./scripted.ts";

type Answer = number | string | [status: number, retryAfter: string];

function script(answers: Answer[]): { exchange: Exchange; count: () => number } {
  let count = 0;
  const exchange: Exchange = ({ url }) => {
    const next = answers[Math.min(count, answers.length - 1)] ?? 200;
    count += 1;
    if (typeof next === "string") {
      const cause = Object.assign(new Error(next), { code: next });
      const failure = next.includes("TIMEOUT") ? "timeout" : "unreachable";
      return Promise.reject(new UpstreamError("registry.example.com", failure, next, { cause }));
    }
    const [status, retryAfter] = typeof next === "number" ? [next] : next;
    return Promise.resolve(fakeResponse(url, status, retryAfter === undefined ? {} : { "retry-after": retryAfter }));
  };
  return { exchange, count: () => count };
}

const rows: [name: string, answers: Answer[], tries: number, end: number | string][] = [
  ["a success", [200], 1, 200],
  ["a 404", [404], 1, 404],
  ["a 400", [400], 1, 400],
  ["a 503 that passes", [503, 200], 2, 200],
  ["502, 504, then a success", [502, 504, 200], 3, 200],
  ["a 500 that stays", [500], 4, 500],
  ["a 408 that stays", [408], 4, 408],
  ["a 501", [501], 1, 501],
  ["a reset connection", ["ECONNRESET", 200], 2, 200],
  ["a closed connection", ["UND_ERR_SOCKET", 200], 2, 200],
  ["a refused connection that stays", ["ECONNREFUSED"], 4, "ECONNREFUSED"],
  ["a name that does not exist", ["ENOTFOUND"], 1, "ENOTFOUND"],
  ["a name server that is busy", ["EAI_AGAIN", 200], 2, 200],
  ["a bad certificate", ["DEPTH_ZERO_SELF_SIGNED_CERT"], 1, "DEPTH_ZERO_SELF_SIGNED_CERT"],
  ["a header time-out", ["UND_ERR_HEADERS_TIMEOUT"], 1, "UND_ERR_HEADERS_TIMEOUT"],
  ["a 429 without a time", [429], 1, 429],
  ["a 429 with a short time", [[429, "1"], 200], 2, 200],
  ["a 429 with a long time", [[429, "3"], 200], 1, 429],
  ["a 503 with a long time", [[503, "60"], 200], 1, 503],
];

/** A GET decides of a HEAD that was answered badly. */
const headRows: typeof rows = [
  ["a 503", [503, 200], 1, 503],
  ["a 408", [408, 200], 1, 408],
  ["a reset connection", ["ECONNRESET", 200], 1, "ECONNRESET"],
  ["a closed connection", ["UND_ERR_SOCKET", 200], 1, "UND_ERR_SOCKET"],
  ["a refused connection", ["ECONNREFUSED", 200], 2, 200],
  ["a 429 with a short time", [[429, "1"], 200], 2, 200],
];

for (const [method, table] of [
  ["GET", rows],
  ["HEAD", headRows],
] as const) {
  for (const [name, answers, tries, end] of table) {
    test(`${method}, ${name}: ${tries} tries`, async () => {
      const { exchange, count } = script(answers);
      const send = retrying(exchange, { retries: 3, clock: createClock() });
      const result = send(fakeRequest("http://registry.example.com/", { method }));
      if (typeof end === "string") {
        await assert.rejects(result, { message: `registry.example.com: ${end}` });
      } else {
        assert.equal((await result).status, end);
      }
      assert.equal(count(), tries);
    });
  }
}

test("the pauses double, with jitter, and a time that the upstream asks for is kept", async () => {
  for (const [random, answers, waits] of [
    [0, [503, "ECONNRESET", 503, 200], [50, 100, 200]],
    [1, [503, "ECONNRESET", 503, 200], [100, 200, 400]],
    [1, [[429, "2"], 503, 200], [2000, 200]],
  ] as [number, Answer[], number[]][]) {
    const clock = createClock();
    await retrying(script(answers).exchange, { retries: 3, clock, random: () => random })(
      fakeRequest("http://registry.example.com/"),
    );
    assert.deepEqual(clock.waits, waits);
  }
});

test("an abort ends the pause with the signal's reason", async () => {
  const controller = new AbortController();
  const { exchange, count } = script([503]);
  const send = retrying(exchange, {
    retries: 3,
    clock: {
      now: () => 0,
      monotonic: () => 0,
      wait: () => {
        controller.abort(new Error("gone"));
        return Promise.reject(new DOMException("aborted", "AbortError"));
      },
    },
  });
  await assert.rejects(send(fakeRequest("http://registry.example.com/", { signal: controller.signal })), {
    message: "gone",
  });
  assert.equal(count(), 1);
});

test("a hold from another's answer is waited for when it is short, and given back when it is not", async () => {
  for (const [seconds, waits] of [
    [2, [2000]],
    [3, []],
  ] as const) {
    const clock = createClock();
    let count = 0;
    const exchange: Exchange = ({ url }) => {
      count += 1;
      return count === 1
        ? Promise.reject(new UpstreamError("x", "rate-limited", "held", { retryAfterSeconds: seconds }))
        : Promise.resolve(fakeResponse(url, 200));
    };
    const asking = retrying(exchange, { retries: 1, clock })(fakeRequest("https://registry.example.com/"));
    await (seconds === 2 ? assert.doesNotReject(asking) : assert.rejects(asking, failure("rate-limited")));
    assert.deepEqual(clock.waits, waits);
  }
});
