/*
 * `npm run soak -- kill`: the long runs, of which `npm test` has short ones. Names of test files in `test/flow`; without
 * any, all that have a long run.
 */
import { spawnSync } from "node:child_process";

const long = ["kill", "chaos", "herd"];
const names = process.argv.slice(2);
const files = (names.length > 0 ? names : long).map((name) => `test/flow/${name}.test.ts`);
const options = ["--test", "--test-concurrency=1", "--test-reporter=spec"];
const { status } = spawnSync(process.execPath, [...options, ...files], {
  stdio: "inherit",
  env: { ...process.env, SOAK: "1" },
});
process.exitCode = status ?? 1;
