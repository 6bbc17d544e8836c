import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

const source = new URL("../../../src/", import.meta.url);
const script = `
  import { createRequire } from "node:module";
  for (const file of ["cli/process.ts", "config/load.ts", "app/app.ts"]) await import(new URL(file, "${source.href}"));
  const packages = Object.keys(createRequire("${source.href}").cache);
  console.log([...packages, ...process.moduleLoadList].join("\\n"));
`;
/** Parts that most mirrors never use; each of them takes megabytes. */
const unused =
  /undici\/(?:index|lib\/(?:web|mock|cache|interceptor))|@aws-sdk|@azure|google-auth-library|pino-pretty|cli-table3|internal\/deps\/undici/;

test("at the start nothing is loaded that only some mirrors use", async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script]);
  const loaded = stdout.split("\n");
  assert.ok(loaded.some((name) => name.endsWith("undici/lib/dispatcher/pool.js")));
  assert.ok(loaded.includes("NativeModule http"));
  assert.deepEqual(
    loaded.filter((name) => unused.test(name)),
    [],
  );
});
