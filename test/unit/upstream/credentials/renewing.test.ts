import assert from "node:assert/strict";
import { test } from "node:test";
import type { Credentials } from "../../../../src/upstream/credentials.ts";
import { RenewingSource, type Lease, type RenewingOptions } from "../../../../src/upstream/credentials/renewing.ts";
import { CredentialError, type CredentialSource } from "../../../../src/upstream/credentials/source.ts";
import { createClock, never, repository } from "../scripted.ts";

const hour = 3_600_000;
const named = (name: string): Credentials => ({ username: "user", password: name });

/** A source whose questions the test answers. */
function asking(overrides: Partial<RenewingOptions> = {}): {
  readonly source: CredentialSource;
  readonly clock: ReturnType<typeof createClock>;
  readonly questions: {
    answer(name: string, lifetimeMs?: number): void;
    fail(error: unknown): void;
    signal: AbortSignal;
  }[];
  readonly problems: string[];
  /** Asks for the credentials and gives their name. */
  readonly get: (signal?: AbortSignal) => Promise<string | undefined>;
} {
  const clock = createClock();
  const problems: string[] = [];
  const questions: ReturnType<typeof asking>["questions"] = [];
  const source = new RenewingSource({
    name: "test",
    clock,
    random: () => 0,
    onProblem: (problem) => problems.push(problem.message),
    fetch: (signal) => {
      const { promise, resolve, reject } = Promise.withResolvers<Lease>();
      questions.push({
        signal,
        answer: (name, lifetimeMs = hour) => resolve({ credentials: named(name), expiresAt: clock.now() + lifetimeMs }),
        fail: reject,
      });
      return promise;
    },
    ...overrides,
  });
  return {
    source,
    clock,
    questions,
    problems,
    get: async (signal = never()) => (await source.get(repository, signal))?.password,
  };
}

/** Lets everything run that waits for nothing but promises. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Makes the source hold `name`. */
async function fill({ get, questions }: ReturnType<typeof asking>, name: string, lifetimeMs?: number): Promise<void> {
  const got = get();
  await settle();
  questions.at(-1)?.answer(name, lifetimeMs);
  assert.equal(await got, name);
}

test("equal calls at once are one question, and its answer is kept", async () => {
  const { questions, get } = asking();
  const both = Promise.all([get(), get()]);
  await settle();
  assert.equal(questions.length, 1);
  questions[0]?.answer("one");
  assert.deepEqual(await both, ["one", "one"]);
  assert.equal(await get(), "one");
  assert.equal(questions.length, 1);
});

test("that there are no credentials is kept as well", async () => {
  let asked = 0;
  const clock = createClock();
  const source = new RenewingSource({
    name: "test",
    clock,
    fetch: async () => {
      asked += 1;
      return { credentials: undefined, expiresAt: clock.now() + hour };
    },
  });
  assert.equal(await source.get(repository, never()), undefined);
  assert.equal(await source.get(repository, never()), undefined);
  assert.equal(asked, 1);
});

for (const [random, part] of [
  [0, 0.75],
  [1, 0.9],
] as const) {
  test(`with chance ${random}, ${part} of the lifetime goes by before a renewal, which nobody waits for`, async () => {
    const all = asking({ random: () => random });
    const { clock, questions, get } = all;
    await fill(all, "one");
    clock.time += hour * part - 1;
    assert.equal(await get(), "one");
    await settle();
    assert.equal(questions.length, 1);
    clock.time += 1;
    assert.equal(await get(), "one");
    await settle();
    assert.equal(await get(), "one");
    assert.equal(questions.length, 2, "one renewal at a time");
    questions[1]?.answer("two");
    await settle();
    assert.equal(await get(), "two");
  });
}

test("a source may say itself when to renew", async () => {
  const clock = createClock();
  let asked = 0;
  const source = new RenewingSource({
    name: "test",
    clock,
    fetch: async () => {
      asked += 1;
      return { credentials: named("x"), renewAt: clock.now() + 10_000, expiresAt: clock.now() + hour };
    },
  });
  await source.get(repository, never());
  clock.time += 9999;
  await source.get(repository, never());
  await settle();
  assert.equal(asked, 1);
  clock.time += 1;
  await source.get(repository, never());
  await settle();
  assert.equal(asked, 2);
});

test("a failing renewal leaves the old credentials until they expire, is reported, and does not repeat at once", async () => {
  const all = asking();
  const { clock, questions, problems, get } = all;
  await fill(all, "one");
  clock.time += hour * 0.8;
  assert.equal(await get(), "one");
  await settle();
  questions[1]?.fail(new CredentialError("test", "down"));
  await settle();
  assert.deepEqual(problems, ["test: down"]);
  assert.equal(await get(), "one");
  await settle();
  assert.equal(questions.length, 2, "it rests");
  clock.time += 5000;
  assert.equal(await get(), "one");
  await settle();
  assert.equal(questions.length, 3);
  questions[2]?.fail(new CredentialError("test", "still down"));
  await settle();

  clock.time += hour * 0.2;
  const late = assert.rejects(get(), { message: "test: expired and down" });
  await settle();
  questions[3]?.fail(new CredentialError("test", "expired and down"));
  await late;
});

test("a failure with nothing to fall back to is everybody's for a while, then it is tried again", async () => {
  const all = asking();
  const { clock, questions, get } = all;
  const first = assert.rejects(get(), { name: "CredentialError", message: "test: down" });
  await settle();
  questions[0]?.fail(new CredentialError("test", "down"));
  await first;
  clock.time += 4999;
  await assert.rejects(get(), { message: "test: down" });
  assert.equal(questions.length, 1);
  clock.time += 1;
  await fill(all, "one");
});

test("refused credentials are replaced before anybody gets credentials again", async () => {
  const all = asking();
  const { source, questions, get } = all;
  await fill(all, "one");
  source.refused(named("zero"));
  assert.equal(await get(), "one", "not ours");
  source.refused(named("one"));
  const both = Promise.all([get(), get()]);
  await settle();
  assert.equal(questions.length, 2);
  questions[1]?.answer("two");
  assert.deepEqual(await both, ["two", "two"]);
  source.refused(named("one"));
  assert.equal(await get(), "two", "the refusal was late");
});

test("refusals cannot make the source ask more than once a minute", async () => {
  const all = asking();
  const { source, clock, questions, get } = all;
  await fill(all, "one");
  source.refused(named("one"));
  await fill(all, "two");
  clock.time += 59_999;
  source.refused(named("two"));
  assert.equal(await get(), "two");
  assert.equal(questions.length, 2);
  clock.time += 1;
  source.refused(named("two"));
  await fill(all, "three");
});

test("refused credentials are taken after all where there are no others, until they expire", async () => {
  const all = asking();
  const { source, clock, questions, problems, get } = all;
  await fill(all, "one");
  source.refused(named("one"));
  const got = get();
  await settle();
  questions[1]?.fail(new CredentialError("test", "down"));
  assert.equal(await got, "one");
  assert.deepEqual(problems, ["test: down"]);
  assert.equal(await get(), "one", "without a question, for now");
  assert.equal(questions.length, 2);
  clock.time += hour;
  await assert.rejects(
    async () => {
      const late = get();
      await settle();
      questions[2]?.fail(new CredentialError("test", "still down"));
      await late;
    },
    { message: "test: still down" },
  );
});

test("one who leaves does not end the question", async () => {
  const { questions, get } = asking();
  const leaver = new AbortController();
  const left = get(leaver.signal);
  const stayed = get();
  await settle();
  leaver.abort(new Error("gone"));
  await assert.rejects(left, { message: "gone" });
  assert.equal(questions[0]?.signal.aborted, false);
  questions[0]?.answer("one");
  assert.equal(await stayed, "one");
  await assert.rejects(get(leaver.signal), { message: "gone" }, "also where the answer is at hand");
});

test("a question that takes too long is given up, even if it does not listen", { timeout: 10_000 }, async () => {
  // The time limit of a signal is unreferenced, and here nothing else is running.
  const alive = setInterval(() => {}, 1000);
  const { questions, get } = asking({ timeoutMs: 1 });
  await assert.rejects(get(), { message: "test: no answer within 0.001 s" });
  assert.equal(questions[0]?.signal.aborted, true);
  clearInterval(alive);
});

test("closing ends the question", async () => {
  const { source, questions, get } = asking();
  const left = assert.rejects(get(), { message: "test: closed" });
  await settle();
  source.close();
  await left;
  assert.equal(questions[0]?.signal.aborted, true);
  await assert.rejects(get(), { message: "test: closed" });
});

test("what a library throws is told by name, code and status only", async () => {
  const { questions, get } = asking();
  const thrown = Object.assign(new Error("s3cret"), {
    name: "AccessDeniedException",
    code: "E_DENIED",
    $metadata: { httpStatusCode: 400 },
    cause: new Error("s3cret"),
  });
  const rejected = assert.rejects(get(), (error) => {
    assert.ok(error instanceof CredentialError);
    assert.equal(error.message, "test: AccessDeniedException, E_DENIED (status 400)");
    assert.equal(error.cause, undefined);
    return true;
  });
  await settle();
  questions[0]?.fail(thrown);
  await rejected;
});

test("an answer that has expired already is used, and kept for a moment", async () => {
  const all = asking();
  const { clock, questions, get } = all;
  await fill(all, "one", -hour);
  assert.equal(await get(), "one");
  assert.equal(questions.length, 1);
  clock.time += 5000;
  await fill(all, "two");
});
