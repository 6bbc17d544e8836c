import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const source = new URL("../../../src/", import.meta.url);
const listing = `
  const packages = Object.keys(createRequire("${source.href}").cache);
  console.log([...packages, ...process.moduleLoadList].join("\\n"));
`;
const script = `
  import { createRequire, registerHooks } from "node:module";
  registerHooks({ load: (url, context, next) => (console.log(url), next(url, context)) });
  for (const file of ["cli/process.ts", "config/load.ts", "app/app.ts"]) await import(new URL(file, "${source.href}"));
  ${listing}
`;
/** Runs a mirror with these flags from its start to its end. */
const runMirror = (command: string, flags: object): string => `
  import { createRequire } from "node:module";
  import { loadConfig } from "${source.href}config/load.ts";
  import { startApp } from "${source.href}app/app.ts";
  const flags = ${JSON.stringify({ listen: "127.0.0.1:0", logLevel: "silent", ...flags })};
  const app = await startApp(loadConfig({ flags, command: "${command}", env: {} }), { version: "0.0.0-test" });
  await app.close();
  ${listing}
`;

async function loadedBy(program: string): Promise<string[]> {
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", program]);
  return stdout.split("\n");
}

/** Parts that most mirrors never use; each of them takes megabytes. */
const unused =
  /smol-toml|src\/(?:nodes|nginx|layout)\/|node_modules\/tar\/|undici\/(?:index|lib\/(?:web|mock|cache|interceptor))|@aws-sdk|@azure|google-auth-library|pino-pretty|cli-table3|internal\/deps\/undici/;

test("at the start nothing is loaded that only some mirrors use", async () => {
  const loaded = await loadedBy(script);
  assert.ok(loaded.some((name) => name.endsWith("undici/lib/dispatcher/pool.js")));
  assert.ok(loaded.includes("NativeModule http"));
  assert.ok(loaded.some((name) => name.endsWith("src/cli/commands/node.ts")));
  assert.deepEqual(
    loaded.filter((name) => unused.test(name)),
    [],
  );
});

test("a mirror with a folder alone loads nothing of AWS, one with a bucket loads its client", async () => {
  await using folder = await createTemporaryDirectory();
  const root = `${folder.path}/root`;
  const isOfAws = (name: string): boolean => /node_modules\/@(?:aws-sdk|smithy)/.test(name);
  assert.deepEqual((await loadedBy(runMirror("filesystem", { root }))).filter(isOfAws), []);
  const host = "http://127.0.0.1:1";
  const withBucket = { root, bucket: "cache", host, accessKey: "id", secretKey: "key" };
  const loaded = (await loadedBy(runMirror("s3", withBucket))).filter(isOfAws);
  assert.ok(loaded.some((name) => name.includes("@aws-sdk/client-s3/")));
});
