/* The program as the container image has it: bundled, in a folder with no packages beside it. */
import assert from "node:assert/strict";
import { copyFile, readFile } from "node:fs/promises";
import { isBuiltin } from "node:module";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { bundle, type BundledFile } from "../../image/bundle.ts";
import { digestOf } from "../../src/oci/digest.ts";
import "../support/network.ts";
import { until } from "../support/event-loop.ts";
import { FakeS3 } from "../support/fake-s3.ts";
import { request } from "../support/http.ts";
import { startProcess } from "../support/process.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../support/temporary.ts";
import { createUpstream } from "../support/upstream.ts";

const project = join(import.meta.dirname, "../..");

describe("the bundled program", () => {
  let directory: TemporaryDirectory;
  let folder: string;
  let files: readonly BundledFile[];

  before(async () => {
    directory = await createTemporaryDirectory();
    folder = join(directory.path, "dist/bundle");
    files = await bundle(folder);
    await copyFile(join(project, "package.json"), join(directory.path, "package.json"));
  });
  after(() => directory[Symbol.asyncDispose]());

  const launcher = (): [string, ...string[]] => [process.execPath, join(folder, "main.js")];

  test("a plain mirror stores what it pulls, in its threads", async () => {
    await using upstream = await createUpstream();
    await using mirror = await startProcess({
      root: join(directory.path, "plain"),
      upstream: upstream.host,
      launcher: launcher(),
    });
    await pull(await mirror.listening, upstream);
    mirror.kill("SIGTERM");
    assert.deepEqual(await mirror.ended, { code: 0, signal: null, stderr: "" });
    assert.deepEqual(
      mirror.log().filter(({ level }) => Number(level) > 30),
      [],
    );
  });

  test("one with a bucket copies it there", async () => {
    await using s3 = await FakeS3.start();
    await using upstream = await createUpstream();
    const root = join(directory.path, "bucket");
    const [keys] = s3.keys;
    const bucket = {
      bucket: s3.bucketName,
      endpoint: s3.endpoint,
      prefix: "some/prefix",
      access_key: keys?.accessKeyId,
      secret_key: keys?.secretAccessKey,
    };
    const config = { storage: { type: "s3", root, s3: bucket } };
    await using mirror = await startProcess({ root, upstream: upstream.host, config, launcher: launcher() });
    const digests = await pull(await mirror.listening, upstream);
    const { objects } = s3.bucket;
    const copied = (): string[] => [...objects.values()].map(({ bytes }) => digestOf(bytes));
    await until(() => digests.every((digest) => copied().includes(digest)));
    mirror.kill("SIGTERM");
    assert.equal((await mirror.ended).code, 0);
  });

  test("the clients of clouds have what they are asked for", async () => {
    const wanted = {
      "@aws-sdk/client-ecr": ["ECRClient", "GetAuthorizationTokenCommand"],
      "@aws-sdk/client-s3": ["S3", "GetObjectCommand"],
      "@aws-sdk/credential-providers": ["fromNodeProviderChain", "fromTemporaryCredentials"],
      "@aws-sdk/s3-request-presigner": ["getSignedUrl"],
      "@azure/identity": ["DefaultAzureCredential"],
      "google-auth-library": ["GoogleAuth", "AwsClient", "IdentityPoolClient", "JWT"],
      "pino-pretty": ["prettyFactory"],
    };
    for (const [name, exports] of Object.entries(wanted)) {
      const file = files.find(({ entry }) => entry?.startsWith(`node_modules/${name}/`) === true);
      assert.ok(file, name);
      const module = (await import(join(folder, file.name))) as Record<string, unknown>;
      // What is no module itself is a module's default there, as in Node.
      const found = { ...(module["default"] as object | undefined), ...module } as Record<string, unknown>;
      for (const each of exports) assert.equal(typeof found[each], "function", `${each} of ${name}`);
    }
  });

  test("the log for people is written", async () => {
    await using upstream = await createUpstream();
    const config = { log: { format: "pretty", level: "info" } };
    const root = join(directory.path, "pretty");
    await using mirror = await startProcess({ root, upstream: upstream.host, config, launcher: launcher() });
    await until(() => mirror.log().some((line) => String(line["unreadable"]).includes("listening")));
  });

  test("nothing is left out but Node's modules", () => {
    const names = new Set(files.map(({ name }) => name));
    const left = files.flatMap(({ imports, late }) => [...imports, ...late]).filter((name) => !names.has(name));
    assert.deepEqual(
      left.filter((name) => !isBuiltin(name)),
      [],
    );
  });

  test("what a plain mirror does not need is not loaded at its start", () => {
    const late = /^node_modules\/(?:@aws-sdk|@smithy|@azure|google-auth-library|pino-pretty|cli-table3|cli-progress)\//;
    const loaded = loadedBy(files, ["src/main.ts", "src/cli/process.ts", "src/app/app.ts", "src/config/load.ts"]);
    assert.ok(loaded.has("src/http/server.ts"));
    assert.deepEqual(
      [...loaded].filter((path) => late.test(path)),
      [],
    );
    assert.ok(files.some(({ sources }) => sources.some((path) => late.test(path))));
    for (const path of ["node_modules/undici/index.js", "src/http/admin-schema.ts", "src/nodes/reconcile.ts"]) {
      assert.ok(files.some(({ sources }) => sources.includes(path)) && !loaded.has(path), path);
    }
  });

  test("a node's process has little of the server", () => {
    // What the commands load late, too.
    const more = ["src/observe/log.ts", "src/concurrency/clock.ts", "src/nodes/reconcile.ts", "src/nodes/probe.ts"];
    const loaded = loadedBy(files, ["src/cli/process.ts", "src/nodes/watch.ts", "src/nodes/daemonset.ts", ...more]);
    assert.ok(loaded.has("src/nodes/relay.ts"));
    const ofServer = /^(?:node_modules\/(?:undici|prom-client|tldts|yaml)|src\/(?:app|registry|upstream|ledger))\//;
    assert.deepEqual(
      [...loaded].filter((path) => ofServer.test(path)),
      [],
    );
  });

  test("the same sources are the same bytes", async () => {
    const again = join(directory.path, "again");
    await bundle(again);
    for (const name of [...files.map((file) => file.name), "licenses.txt"]) {
      assert.ok((await readFile(join(again, name))).equals(await readFile(join(folder, name))), name);
    }
  });

  test("a start loads few files, the first of them alone, and takes of Node's modules what it uses", async () => {
    const fileOf = (entry: string): BundledFile | undefined => files.find((file) => file.entry === entry);
    // The compile cache is in use from there on.
    assert.deepEqual(
      fileOf("src/main.ts")?.imports.filter((name) => !isBuiltin(name)),
      [],
    );
    const server = files.filter(({ sources }) => sources.some((path) => path === "src/app/app.ts"));
    assert.equal(server.length, 1);
    assert.ok(Number(server[0]?.imports.length) <= 3, String(server[0]?.imports));
    for (const name of ["thread.js", "hash-worker.js"]) {
      assert.deepEqual(files.find((file) => file.name === name)?.imports, [], name);
    }
    const { name = "" } = server[0] ?? {};
    assert.match(await readFile(join(folder, name), "utf8"), /getBuiltinModule/);
  });

  test("the code is ASCII, which takes half of the memory", async () => {
    for (const { name } of files) {
      const bytes = await readFile(join(folder, name));
      assert.ok(
        bytes.every((byte) => byte < 0x80),
        name,
      );
    }
  });

  test("the licenses of what is in it are there", async () => {
    const licenses = await readFile(join(folder, "licenses.txt"), "utf8");
    assert.match(licenses, /^undici \d+\.\d+\.\d+ \(MIT\)\n\nMIT License\n/m);
    assert.match(licenses, /^@azure\/identity /m);
  });
});

/** Pulls an image whole; resolves with the digests of all that is in it. */
async function pull(url: string, upstream: Awaited<ReturnType<typeof createUpstream>>): Promise<string[]> {
  const { digest, blobs } = upstream.addImage("library/test", "1", { layerBytes: 300_000 });
  const manifest = await request(`${url}/v2/library/test/manifests/1`);
  assert.equal(manifest.headers["docker-content-digest"], digest);
  for (const blob of blobs) assert.equal((await request(`${url}/v2/library/test/blobs/${blob}`)).status, 200);
  return [digest, ...blobs];
}

/** The sources that are loaded with some: those of the program and of what it imports by name in any case. */
function loadedBy(files: readonly BundledFile[], always: readonly string[]): Set<string> {
  const byName = new Map(files.map((file) => [file.name, file]));
  const loaded = new Set<BundledFile>();
  const visit = (file: BundledFile | undefined): void => {
    if (file === undefined || loaded.has(file)) return;
    loaded.add(file);
    for (const name of file.imports) visit(byName.get(name));
  };
  for (const file of files) if (always.includes(file.entry ?? "")) visit(file);
  return new Set([...loaded].flatMap(({ sources }) => sources));
}
