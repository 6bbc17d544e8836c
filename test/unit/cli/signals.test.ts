import assert from "node:assert/strict";
import { test } from "node:test";
import { onceAsked } from "../../../src/cli/signals.ts";

test("signals that come at once are one, those of a second later are another", () => {
  const heard: string[] = [];
  let now = 5;
  const listener = onceAsked(
    (signal) => heard.push(signal),
    () => now,
  );
  listener("SIGINT");
  listener("SIGINT");
  now += 999;
  listener("SIGTERM");
  assert.deepEqual(heard, ["SIGINT"]);
  now += 1;
  listener("SIGTERM");
  listener("SIGTERM");
  assert.deepEqual(heard, ["SIGINT", "SIGTERM"]);
});
