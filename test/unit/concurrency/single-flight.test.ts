import assert from "node:assert/strict";
import { test } from "node:test";
import { SingleFlight } from "../../../src/concurrency/single-flight.ts";
import { Abandoned, Interest } from "../../../src/concurrency/interest.ts";

test("who asks while it is being asked gets that answer; who asks later asks anew", async () => {
  const flight = new SingleFlight<number>();
  const answers: PromiseWithResolvers<number>[] = [];
  const ask = (): Promise<number> => {
    const answer = Promise.withResolvers<number>();
    answers.push(answer);
    return answer.promise;
  };
  const runs = Array.from({ length: 100 }, () => flight.run("a", ask));
  const other = flight.run("b", ask);
  assert.equal(answers.length, 2);
  assert.deepEqual(
    runs.map(({ joined }) => joined),
    [false, ...Array<boolean>(99).fill(true)],
  );
  assert.equal(other.joined, false);
  answers[0]?.resolve(1);
  answers[1]?.resolve(2);
  assert.deepEqual(await Promise.all(runs.map(({ answer }) => answer)), Array<number>(100).fill(1));
  assert.equal(await other.answer, 2);
  const again = flight.run("a", ask);
  assert.equal(again.joined, false);
  answers[2]?.resolve(3);
  assert.equal(await again.answer, 3);
});

test("an error goes to all who wait, and is not kept", async () => {
  const flight = new SingleFlight<number>();
  const error = new Error("failed");
  const failing = Promise.withResolvers<number>();
  const runs = Array.from({ length: 3 }, () => flight.run("a", () => failing.promise));
  failing.reject(error);
  for (const { answer } of runs) await assert.rejects(answer, error);
  assert.equal(await flight.run("a", async () => 4).answer, 4);
});

test("who asks anew as soon as it has the answer does not join what is over", async () => {
  const flight = new SingleFlight<number>();
  let count = 0;
  const ask = async (): Promise<number> => ++count;
  assert.equal(await flight.run("a", ask).answer, 1);
  assert.equal(await flight.run("a", ask).answer, 2);
});

test("what was given up, as all had left, is not joined by who comes in the same tick", async () => {
  const flight = new SingleFlight<number>();
  const waitInQueue = (interest: Interest): Promise<number> =>
    new Promise((_, reject) => {
      interest.queue(reject);
    });
  const clients = [new Interest(), new Interest()];
  const [hangUp, hangUpToo] = clients.map((client) => client.join());
  const [first, second] = clients.map((client) => flight.run("a", waitInQueue, client));
  assert.equal(second?.joined, true);
  hangUp?.();
  const third = flight.run("a", waitInQueue, clients[1]);
  assert.equal(third.joined, true, "one of them still waits");
  hangUpToo?.();
  const answer = Promise.withResolvers<number>();
  const next = flight.run("a", () => answer.promise);
  assert.equal(next.joined, false);
  await assert.rejects(first?.answer ?? Promise.resolve(), Abandoned);
  assert.equal(flight.run("a", async () => 6).joined, true, "the end of what was given up forgets nothing else");
  answer.resolve(5);
  assert.equal(await next.answer, 5);
});
