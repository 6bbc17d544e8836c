import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { entriesBelow } from "../support/cache-folder.ts";
import "../support/network.ts";
import { startProcess } from "../support/process.ts";
import { PushingClient } from "../support/pushing-client.ts";
import { chooseSeed, createRandom } from "../support/random.ts";
import { soaks } from "../support/soak.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";

const rounds = soaks ? 200 : 16;
const lanes = 2;
const clientsOfLane = 4;

/** Kills a program again and again while clients push to it; how many answers they got, and what was looked at. */
async function runLane(root: string, seed: number): Promise<{ answers: number; seen: number }> {
  const random = createRandom(seed);
  const options = { root, upstream: "127.0.0.1:1", config: { hosted: [{ namespace: "apps" }] } };
  const killed = { at: Infinity, resolve: (): void => undefined };
  let answers = 0;
  let seen = 0;
  const onAnswer = (): void => {
    answers += 1;
    if (answers >= killed.at) killed.resolve();
  };
  const clients = Array.from(
    { length: clientsOfLane },
    (_, index) => new PushingClient(`team${index}`, createRandom(seed * 100 + index), onAnswer),
  );
  const verify = async (url: string, most: number): Promise<void> => {
    for (const count of await Promise.all(clients.map((client) => client.verify(url, most)))) seen += count;
  };
  for (let round = 0; round < rounds / lanes; round++) {
    await using server = await startProcess(options);
    const url = await server.listening;
    killed.at = Infinity;
    await verify(url, 5);
    const { promise, resolve } = Promise.withResolvers<void>();
    killed.resolve = resolve;
    killed.at = answers + 1 + Math.floor(random() * 50);
    const turns = Math.floor(random() * 200);
    const pushes = Promise.all(clients.map((client) => client.push(url)));
    await Promise.race([promise, pushes]);
    for (let turn = 0; turn < turns; turn++) await setImmediate();
    server.kill("SIGKILL");
    await server.ended;
    await pushes;
  }
  await using server = await startProcess(options);
  killed.at = Infinity;
  await verify(await server.listening, Infinity);
  // What is left are those of single requests, which nobody can go on with.
  const nameless = clients.reduce((sum, client) => sum + client.nameless, 0);
  const left = entriesBelow(`${root}/hosted/uploads`);
  assert.ok(left.length <= nameless, `${left.length} uploads are left`);
  return { answers, seen };
}

test(
  `killed ${rounds} times during pushes, all that was answered is as it was`,
  { timeout: 1_800_000 },
  async (context) => {
    const seed = chooseSeed(context);
    await using folder = await createTemporaryDirectory();
    const tallies = await Promise.all(
      Array.from({ length: lanes }, (_, lane) => runLane(`${folder.path}/lane${lane}`, seed + lane)),
    );
    context.diagnostic(JSON.stringify(tallies));
  },
);
