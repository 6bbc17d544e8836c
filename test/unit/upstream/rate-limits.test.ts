import assert from "node:assert/strict";
import { test } from "node:test";
import { Budget } from "../../../src/upstream/budget.ts";
import { fingerprint } from "../../../src/upstream/credentials.ts";
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
  const budget = new Budget(createClock());
  const { mock } = context.mock.method(budget, "note");
  const { upstream } = startUpstream(context, server.host, { budget });
  await upstream.resolve(repository, tag, anyAsk());
  (await upstream.blob(repository, someDigest, { offset: 0 }, anyAsk()))?.cancel();
  const told = { limit: 100, remaining: 99, windowSeconds: 21_600 };
  // A HEAD whose answer lacks the digest, then a GET.
  assert.deepEqual(
    mock.calls.map(({ arguments: noted }) => noted),
    [told, told, told].map((limit) => ["anonymous", limit]),
  );
  const other = startUpstream(context, server.host, { credentials: alice, budget });
  await other.upstream.manifest(repository, tag, anyAsk());
  assert.equal(mock.calls.at(-1)?.arguments[0], fingerprint(alice));
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
  const budget = new Budget(clock);
  const { upstream } = startUpstream(context, server.host, { clock, budget });
  for (let round = 1; round <= 2; round++) {
    await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("rate-limited"));
    assert.equal(server.asked.length, round);
  }
  assert.equal(budget.remaining("anonymous"), 0);
  clock.time += 60_000;
  assert.equal(budget.remaining("anonymous"), undefined);
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
