import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRepository, type Repository } from "../../../src/oci/reference.ts";
import { Breaker, type BreakerState } from "../../../src/upstream/breaker.ts";
import { type Upstream, UpstreamError, type UpstreamFailure } from "../../../src/upstream/upstream.ts";
import { createBarrier } from "../../support/barrier.ts";
import { anyAsk } from "./scripted.ts";

const repository = parseRepository("library/test");

interface Subject {
  now: number;
  /** What the upstream's tags answer; each call takes the first. */
  readonly answers: (() => Promise<undefined>)[];
  asked: number;
  readonly failures: UpstreamError[];
  readonly states: BreakerState[];
  readonly breaker: Breaker;
  /** Asks about a repository; by default it is always the same. */
  ask(about?: Repository): Promise<undefined>;
}

function setUp(): Subject {
  const failures: UpstreamError[] = [];
  const states: BreakerState[] = [];
  const subject: Subject = {
    now: 1_000_000,
    answers: [],
    asked: 0,
    failures,
    states,
    breaker: new Breaker(() => subject.now, {
      failed: (error) => failures.push(error),
      changed: (state) => states.push(state),
    }),
    ask: (about = repository) => guarded.tags(about, "", anyAsk()) as Promise<undefined>,
  };
  const upstream: Partial<Upstream> = {
    tags: async () => {
      subject.asked++;
      return subject.answers.shift()?.();
    },
  };
  const guarded = subject.breaker.guard(upstream as Upstream);
  return subject;
}

function failed(
  failure: UpstreamFailure,
  options: { status?: number; retryAfterSeconds?: number; cause?: unknown } = {},
): UpstreamError {
  return new UpstreamError("registry.example.com", failure, "it failed", options);
}

/** Every question is about another repository, so that what fails is not the trouble of one. */
async function failTimes(subject: Subject, times: number, failure: UpstreamFailure = "unreachable"): Promise<void> {
  for (let count = 0; count < times; count++) {
    subject.answers.push(() => Promise.reject(failed(failure)));
    await assert.rejects(subject.ask(named(count)), UpstreamError);
  }
}

function named(number: number): Repository {
  return number === 0 ? repository : parseRepository(`library/test-${number}`);
}

test("after one failure the upstream is spared for five seconds, and an answer ends that", async () => {
  const subject = setUp();
  assert.equal(subject.breaker.failing(repository), undefined);
  await failTimes(subject, 1);
  assert.equal(subject.breaker.failing(repository), subject.failures[0]);
  subject.now += 4_999;
  assert.equal(subject.breaker.failing(repository), subject.failures[0]);
  subject.now += 1;
  assert.equal(subject.breaker.failing(repository), undefined);
  await failTimes(subject, 1);
  await subject.ask();
  assert.equal(subject.breaker.failing(repository), undefined);
  assert.equal(subject.breaker.state, "closed");
});

test("an upstream that says when to come back is spared until then, within reason", async () => {
  for (const [retryAfterSeconds, sparedMs] of [
    [1, 5_000],
    [60, 60_000],
    [86_400, 3_600_000],
  ] as const) {
    const subject = setUp();
    subject.answers.push(() => Promise.reject(failed("rate-limited", { status: 429, retryAfterSeconds })));
    await assert.rejects(subject.ask());
    subject.now += sparedMs - 1;
    assert.notEqual(subject.breaker.failing(repository), undefined, `${retryAfterSeconds} s`);
    subject.now += 1;
    assert.equal(subject.breaker.failing(repository), undefined, `${retryAfterSeconds} s`);
  }
});

test("five failures in a row open it: nothing is sent until its rest is over", async () => {
  const subject = setUp();
  await failTimes(subject, 5);
  assert.equal(subject.breaker.state, "open");
  assert.equal(subject.asked, 5);
  await assert.rejects(subject.ask(), { failure: "unreachable", message: /given a rest/ });
  assert.equal(subject.asked, 5);
  assert.equal(subject.failures.length, 5, "what is not sent is not told as a failure");
  subject.now += 1_000;
  await subject.ask();
  assert.equal(subject.asked, 6);
  assert.deepEqual(subject.states, ["open", "half-open", "closed"]);
});

test("an answer between failures starts the count anew", async () => {
  const subject = setUp();
  await failTimes(subject, 4);
  await subject.ask();
  await failTimes(subject, 4);
  assert.equal(subject.breaker.state, "closed");
});

test("while one question tries whether it is back, the others fail at once", async () => {
  const subject = setUp();
  await failTimes(subject, 5);
  subject.now += 1_000;
  const barrier = createBarrier();
  subject.answers.push(async () => {
    await barrier.wait();
    return undefined;
  });
  const probe = subject.ask();
  await barrier.reached;
  await assert.rejects(subject.ask(), { message: /given a rest/ });
  assert.equal(subject.asked, 6);
  barrier.release();
  await probe;
  await subject.ask();
  assert.equal(subject.asked, 7);
});

test("each failed try doubles the rest, up to thirty seconds", async () => {
  const subject = setUp();
  await failTimes(subject, 5);
  for (const rest of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
    subject.now += rest - 1;
    await assert.rejects(subject.ask(), { message: /given a rest/ }, `${rest} ms`);
    subject.now += 1;
    await failTimes(subject, 1);
    assert.equal(subject.breaker.state, "open");
  }
});

test("a try that is aborted lets the next one try", async () => {
  const subject = setUp();
  await failTimes(subject, 5);
  subject.now += 1_000;
  const reason = new Error("the process is stopping");
  subject.answers.push(() => Promise.reject(reason));
  await assert.rejects(subject.ask(), reason);
  await subject.ask();
  assert.equal(subject.breaker.state, "closed");
});

test("which failures spare an upstream, and which open it", async () => {
  const rows: [failure: UpstreamFailure, spares: boolean, opens: boolean][] = [
    ["unreachable", true, true],
    ["timeout", true, true],
    ["status", true, true],
    ["token", false, false],
    ["rate-limited", true, false],
    ["invalid", false, false],
    ["denied", false, false],
    ["refused", false, false],
    ["offline", false, false],
  ];
  for (const [failure, spares, opens] of rows) {
    const subject = setUp();
    await failTimes(subject, 1, failure);
    assert.equal(subject.breaker.failing(repository) !== undefined, spares, failure);
    await failTimes(subject, 5, failure).catch(() => undefined);
    assert.equal(subject.breaker.state === "open", opens, failure);
  }
});

test("a status below 500 is an answer, and a token's failure is what caused it", async () => {
  const rows: [error: () => UpstreamError, opens: boolean][] = [
    [() => failed("status", { status: 503 }), true],
    [() => failed("status", { status: 451 }), false],
    [() => failed("status", { status: 406 }), false],
    [() => failed("token", { cause: failed("unreachable") }), true],
    [() => failed("token", { cause: failed("token", { cause: failed("status", { status: 500 }) }) }), true],
    [() => failed("token", { status: 451, cause: failed("status", { status: 451 }) }), false],
    [() => failed("token", { cause: new Error("no credentials") }), false],
  ];
  for (const [index, [makeError, opens]] of rows.entries()) {
    const subject = setUp();
    for (let count = 0; count < 5; count++) {
      subject.answers.push(() => Promise.reject(makeError()));
      await assert.rejects(subject.ask(named(count)));
    }
    assert.equal(subject.breaker.state === "open", opens, `row ${index}`);
  }
});

test("many questions at once that fail are one failure: the rest stays short", async () => {
  const subject = setUp();
  const barrier = createBarrier();
  for (let count = 0; count < 12; count++) {
    subject.answers.push(async () => {
      await barrier.wait();
      throw failed("status", { status: 503 });
    });
  }
  const questions = Array.from({ length: 12 }, (_, number) => subject.ask(named(number)));
  await barrier.reached;
  barrier.release();
  await Promise.allSettled(questions);
  assert.equal(subject.breaker.state, "open");
  subject.now += 1_000;
  await subject.ask();
  assert.equal(subject.breaker.state, "closed");
});

test("a try that takes too long lets the next one try, and its own end tells nothing any more", async () => {
  const subject = setUp();
  await failTimes(subject, 5);
  subject.now += 1_000;
  const slow = Promise.withResolvers<undefined>();
  subject.answers.push(() => slow.promise);
  const first = subject.ask();
  subject.now += 9_999;
  await assert.rejects(subject.ask(), { message: /given a rest/ });
  subject.now += 1;
  const held = Promise.withResolvers<undefined>();
  subject.answers.push(() => held.promise);
  const second = subject.ask();
  assert.equal(subject.asked, 7);
  slow.reject(failed("timeout"));
  await assert.rejects(first);
  assert.equal(subject.breaker.state, "half-open");
  await assert.rejects(subject.ask(), { message: /given a rest/ }, "the second one still tries");
  held.resolve(undefined);
  await second;
  assert.equal(subject.breaker.state, "closed");
});

test("an upstream that is late is spared too, until it answers", async () => {
  const subject = setUp();
  const error = failed("timeout");
  subject.breaker.late(repository, error);
  assert.equal(subject.breaker.failing(repository), error);
  assert.equal(subject.breaker.state, "closed");
  await subject.ask();
  assert.equal(subject.breaker.failing(repository), undefined);
});

test("one image that is broken spares its own repository, and opens nothing however often it is asked for", async () => {
  for (const failure of [failed("status", { status: 500 }), failed("token", { cause: failed("status") })]) {
    const subject = setUp();
    for (let count = 0; count < 50; count++) {
      subject.answers.push(() => Promise.reject(failure));
      await assert.rejects(subject.ask());
      assert.equal(subject.breaker.state, "closed");
    }
    assert.equal(subject.breaker.failing(repository), failure);
    assert.equal(subject.breaker.failing(named(1)), undefined);
    assert.equal(subject.breaker.failing(), undefined);
    await subject.ask(named(1));
    assert.equal(subject.breaker.failing(repository), failure, "another one's answer is not its own");
    await subject.ask();
    assert.equal(subject.breaker.failing(repository), undefined);
  }
});

test("an answer that is late spares its own repository", () => {
  const { breaker } = setUp();
  breaker.late(repository, failed("timeout"));
  assert.notEqual(breaker.failing(repository), undefined);
  assert.equal(breaker.failing(named(1)), undefined);
});

test("five repositories that fail are the upstream's failure, as is one with what cannot be reached besides", async () => {
  const many = setUp();
  await failTimes(many, 4, "status");
  await failTimes(many, 4, "status");
  assert.equal(many.breaker.state, "closed");
  many.answers.push(() => Promise.reject(failed("status")));
  await assert.rejects(many.ask(named(4)));
  assert.equal(many.breaker.state, "open");
  assert.notEqual(many.breaker.failing(named(9)), undefined);
  const mixed = setUp();
  await failTimes(mixed, 1, "status");
  await failTimes(mixed, 4);
  assert.equal(mixed.breaker.state, "open");
});

test("an upstream that says when to come back speaks for all of its repositories", async () => {
  const subject = setUp();
  subject.answers.push(() => Promise.reject(failed("status", { status: 503, retryAfterSeconds: 60 })));
  await assert.rejects(subject.ask());
  assert.notEqual(subject.breaker.failing(named(1)), undefined);
});

test("an upstream that fails for another process is spared for five seconds, and asked all the same", async () => {
  const subject = setUp();
  subject.breaker.hearFailure(failed("unreachable"));
  assert.equal(subject.breaker.failing()?.failure, "unreachable");
  assert.deepEqual([subject.breaker.state, subject.failures], ["closed", []]);
  subject.answers.push(async () => undefined);
  await subject.ask();
  assert.equal(subject.asked, 1);
  assert.equal(subject.breaker.failing(), undefined, "its own answer counts for more");
  subject.breaker.hearFailure(failed("unreachable"));
  subject.now += 5_000;
  assert.equal(subject.breaker.failing(), undefined);
});
