import assert from "node:assert/strict";
import { test } from "node:test";
import { createRateLimits } from "../../../src/upstream/rate-limits.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import {
  answer,
  answerIndex,
  createClock,
  failure,
  anyAsk,
  repository,
  someDigest,
  startServer,
  startUpstream,
  tag,
} from "./scripted.ts";
import { alice, startRegistry } from "./scripted-registry.ts";

const limit = { limit: 100, remaining: 7, windowSeconds: 60, source: undefined };

test("a hold is for one host and one identity, and ends by itself; the longer one counts", () => {
  const clock = createClock();
  const limits = createRateLimits(clock);
  limits.hold("a.example.com", "alice", 10);
  limits.hold("a.example.com", "alice", 5);
  assert.equal(limits.heldSeconds("a.example.com", "alice"), 10);
  assert.equal(limits.heldSeconds("a.example.com", "bob"), 0);
  assert.equal(limits.heldSeconds("b.example.com", "alice"), 0);
  clock.time += 9500;
  assert.equal(limits.heldSeconds("a.example.com", "alice"), 1);
  clock.time += 500;
  assert.equal(limits.heldSeconds("a.example.com", "alice"), 0);
});

test("the number of holds is bounded", () => {
  const clock = createClock();
  const limits = createRateLimits(clock);
  limits.hold("a.example.com", "alice", 10);
  for (let number = 0; number < 1024; number++) {
    limits.hold(`${number}.example.com`, "alice", 10);
  }
  assert.equal(limits.heldSeconds("a.example.com", "alice"), 0);
});

test("what is left: unknown, as told, nothing while refused, and unknown again after the window", () => {
  const clock = createClock();
  const limits = createRateLimits(clock);
  assert.equal(limits.remaining("alice"), undefined);
  limits.note("alice", limit);
  assert.equal(limits.remaining("alice"), 7);
  assert.equal(limits.remaining("bob"), undefined);
  limits.hold("a.example.com", "alice", 10);
  assert.equal(limits.remaining("alice"), 0);
  clock.time += 10_000;
  assert.equal(limits.remaining("alice"), 7);
  limits.exhaust("alice");
  assert.equal(limits.remaining("alice"), 0);
  clock.time += 60_000;
  assert.equal(limits.remaining("alice"), undefined);
});

test("every answer's limits are told, for the credentials that it was for; those of other origins are not", async (context) => {
  const store = await startServer(context, (_request, response) =>
    answer(response, 200, "blob", { "ratelimit-limit": "1;w=1" }),
  );
  const server = await startServer(context, (_request, response, path) => {
    const headers = { "ratelimit-limit": "100;w=21600", "ratelimit-remaining": "99;w=21600" };
    if (path.includes("/blobs/")) {
      answer(response, 307, "", { location: `${store.url}/blob`, ...headers });
    } else {
      answerIndex(response, headers);
    }
  });
  const { upstream, limits } = startUpstream(context, server.host);
  await upstream.resolve(repository, tag, anyAsk());
  (await upstream.blob(repository, someDigest, { offset: 0 }, anyAsk()))?.cancel();
  const told = { limit: 100, remaining: 99, windowSeconds: 21_600, source: undefined, fingerprint: "anonymous" };
  // A HEAD whose answer lacks the digest, then a GET.
  assert.deepEqual(limits, [told, told, told]);
  const other = startUpstream(context, server.host, { credentials: alice });
  await other.upstream.manifest(repository, tag, anyAsk());
  assert.match(other.limits[0]?.fingerprint ?? "", /^[0-9a-f]{32}$/);
});

for (const status of [429, 503]) {
  for (const retryAfter of ["30", new Date(1_700_000_000_000 + 30_000).toUTCString()]) {
    test(`${status} with Retry-After: ${retryAfter} is obeyed: nothing is sent until it has passed`, async (context) => {
      let refuses = true;
      const server = await startServer(context, (_request, response) =>
        refuses ? answer(response, status, "", { "retry-after": retryAfter }) : answerIndex(response),
      );
      const clock = createClock();
      const { upstream } = startUpstream(context, server.host, { clock, retries: 2 });
      await assert.rejects(
        upstream.manifest(repository, tag, anyAsk()),
        failure(status === 429 ? "rate-limited" : "status"),
      );
      refuses = false;
      clock.time += 10_000;
      for (const ask of [
        () => upstream.manifest(repository, tag, anyAsk()),
        () => upstream.blob(repository, someDigest, { offset: 0 }, anyAsk()),
        () => upstream.tags(repository, "", anyAsk()),
      ]) {
        const error = await ask().catch((reason: unknown) => reason);
        assert.ok(error instanceof UpstreamError);
        assert.deepEqual([error.failure, error.retryAfterSeconds], ["rate-limited", 20]);
      }
      assert.equal(server.asked.length, 1);
      clock.time += 20_000;
      assert.ok(await upstream.manifest(repository, tag, anyAsk()));
    });
  }
}

test("what waits in the queue when the limit bites is not sent either", async (context) => {
  const server = await startServer(context, (_request, response) => answer(response, 429, "", { "retry-after": "60" }));
  const { upstream } = startUpstream(context, server.host, { maxConnections: 1 });
  const asking = Array.from({ length: 5 }, () => upstream.manifest(repository, tag, anyAsk()));
  const results = await Promise.allSettled(asking);
  assert.ok(results.every((result) => result.status === "rejected" && failure("rate-limited")(result.reason)));
  assert.equal(server.asked.length, 1);
});

test("a short pause is waited for, by others as well", async (context) => {
  let count = 0;
  const server = await startServer(context, (_request, response) => {
    count += 1;
    if (count === 1) {
      answer(response, 429, "", { "retry-after": "1" });
    } else {
      answerIndex(response);
    }
  });
  const clock = createClock();
  const { upstream } = startUpstream(context, server.host, { maxConnections: 1, retries: 1, clock });
  const asking = [upstream.manifest(repository, tag, anyAsk()), upstream.manifest(repository, tag, anyAsk())];
  assert.ok((await Promise.all(asking)).every((manifest) => manifest !== undefined));
  assert.equal(server.asked.length, 3);
  assert.ok(clock.waits.every((ms) => ms >= 1000));
});

test("a 429 without a time to wait holds nothing off, but leaves nothing of the budget for a while", async (context) => {
  const server = await startServer(context, (_request, response) => answer(response, 429));
  const clock = createClock();
  const rateLimits = createRateLimits(clock);
  const { upstream } = startUpstream(context, server.host, { clock, rateLimits });
  for (let round = 1; round <= 2; round++) {
    await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("rate-limited"));
    assert.equal(server.asked.length, round);
  }
  assert.equal(rateLimits.remaining("anonymous"), 0);
  clock.time += 60_000;
  assert.equal(rateLimits.remaining("anonymous"), undefined);
});

test("other credentials are not held off by what one was told", async (context) => {
  const server = await startServer(context, (_request, response) => answer(response, 429, "", { "retry-after": "60" }));
  let current = alice;
  const { upstream } = startUpstream(context, server.host, {
    credentials: { get: () => Promise.resolve(current), refused: () => {}, close: () => {} },
  });
  const ask = (): Promise<unknown> => upstream.manifest(repository, tag, anyAsk());
  await assert.rejects(ask(), failure("rate-limited"));
  await assert.rejects(ask(), failure("rate-limited"));
  assert.equal(server.asked.length, 1);
  current = { username: "bob", password: "s3cret" };
  await assert.rejects(ask(), failure("rate-limited"));
  assert.equal(server.asked.length, 2);
});

test("a token server's Retry-After holds off the token server", async (context) => {
  const { server, upstream } = await startRegistry(context, {
    token: (_request, response) => answer(response, 429, "", { "retry-after": "60" }),
  });
  for (let round = 0; round < 2; round++) {
    const error = await upstream.manifest(repository, tag, anyAsk()).catch((reason: unknown) => reason);
    assert.ok(error instanceof UpstreamError);
    assert.equal(error.retryAfterSeconds, 60);
  }
  assert.equal(server.asked.filter((line) => line.includes("/token")).length, 1);
});
