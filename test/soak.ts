/*
 * `npm run soak -- kill`: the long runs, of which `npm test` has short ones. Names of test files without their folder;
 * without any, all that have a long run.
 */
import { spawnSync } from "node:child_process";
import { basename } from "node:path";

const long = [
  "flow/kill",
  "flow/hosted-kill",
  "flow/chaos",
  "flow/herd",
  "flow/eviction",
  "flow/space-model",
  "flow/hosted-model",
  "flow/hosted-storm",
  "flow/replica-model",
  "unit/registry/removal",
  "unit/layout/trees",
];
const names = process.argv.slice(2);
const unknown = names.filter((name) => !long.some((each) => basename(each) === name));
if (unknown.length > 0) throw new Error(`${unknown.join(", ")}: there is no such long run`);
const wanted = long.filter((each) => names.length === 0 || names.includes(basename(each)));
const files = wanted.map((each) => `test/${each}.test.ts`);
const options = ["--test", "--test-concurrency=1", "--test-reporter=spec"];
const { status } = spawnSync(process.execPath, [...options, ...files], {
  stdio: "inherit",
  env: { ...process.env, SOAK: "1" },
});
process.exitCode = status ?? 1;
