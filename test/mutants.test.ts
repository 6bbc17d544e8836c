/* The faults of `npm run mutants` are faults of the source as it is now. */
import assert from "node:assert/strict";
import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { type Fault, putIn } from "./mutants/fault.ts";
import { faults } from "./mutants/faults.ts";

const root = join(import.meta.dirname, "..");

test("each fault's text is in the source once, and its tests are there", async () => {
  const problems: string[] = [];
  for (const fault of faults) {
    try {
      putIn(fault, await readFile(join(root, fault.file), "utf8"));
      for (const file of fault.tests) await access(join(root, file));
    } catch (error) {
      problems.push(`${fault.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  assert.deepEqual(problems, []);
});

test("each fault has a name of its own", () => {
  const names = faults.map(({ name }) => name);
  assert.deepEqual(names, [...new Set(names)]);
});

test("a fault whose text is not there, or twice, is none", () => {
  const fault: Fault = { name: "a/b", file: "src/a.ts", find: "x", replace: "y", breaks: "", tests: [] };
  assert.equal(putIn(fault, "a x b"), "a y b");
  assert.throws(() => putIn(fault, "a b"), /src\/a\.ts 0 times/);
  assert.throws(() => putIn(fault, "x x"), /2 times/);
});
