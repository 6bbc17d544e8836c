import assert from "node:assert/strict";
import { test } from "node:test";
import { streamJob } from "../../src/http/admin-events.ts";
import type { Administration } from "../../src/jobs/administration.ts";
import { never, turn } from "../support/event-loop.ts";
import { createManualClock } from "../unit/jobs/manual-clock.ts";

const quietMs = 20_000;

test("a state is told when it comes, the last one again when all is quiet, and no timer is left of either", async () => {
  const clock = createManualClock();
  const told: PromiseWithResolvers<number | undefined>[] = [1, 2, 3].map(() => Promise.withResolvers());
  const administration = {
    async *follow() {
      for (const { promise } of told) {
        const state = await promise;
        if (state === undefined) return;
        yield { state };
      }
    },
  } as unknown as Administration;
  const lines: string[] = [];
  let ended = false;
  const reading = (async () => {
    for await (const line of streamJob(administration, "job", clock).read(never())) {
      lines.push(String(line));
      if (lines.length > 5) break;
    }
    ended = true;
  })();
  await clock.pass(quietMs);
  assert.deepEqual(lines, [], "there is nothing to say again");
  told[0]?.resolve(1);
  await turn(5);
  assert.deepEqual(lines.splice(0), ['{"state":1}\n']);
  assert.deepEqual(clock.waits, [quietMs]);
  await clock.pass(quietMs);
  assert.deepEqual(lines.splice(0), ['{"state":1}\n']);
  await clock.pass(quietMs / 2);
  told[1]?.resolve(2);
  await turn(5);
  assert.deepEqual(lines.splice(0), ['{"state":2}\n']);
  assert.deepEqual(clock.waits, [quietMs]);
  told[2]?.resolve(undefined);
  await reading;
  assert.equal(ended, true);
  assert.deepEqual(lines, []);
  assert.deepEqual(clock.waits, []);
});
