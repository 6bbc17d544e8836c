import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Writable } from "node:stream";
import { test } from "node:test";
import { createLogger, describeError } from "../../../src/observe/log.ts";
import { StoreError } from "../../../src/store/object-store.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";

/** A destination, and the lines that it got, parsed. */
function collect(): { readonly destination: Writable; readonly lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().split("\n").filter(Boolean)) {
        lines.push(JSON.parse(line) as Record<string, unknown>);
      }
      done();
    },
  });
  return { destination, lines };
}

test("a line is one JSON object with a time that people can read, and nothing of the machine", async () => {
  const { destination, lines } = collect();
  const log = await createLogger({ level: "info", format: "json", destination });
  log.info({ namespace: "docker.io", status: 200 }, "request\nwith a line break");
  log.debug("not shown");
  assert.equal(lines.length, 1);
  const [line = {}] = lines;
  assert.deepEqual(Object.keys(line), ["level", "time", "namespace", "status", "msg"]);
  assert.equal(line["msg"], "request\nwith a line break");
  assert.match(String(line["time"]), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
});

test("an error is told with its causes; a stack only where somebody made a mistake", async () => {
  const { destination, lines } = collect();
  const log = await createLogger({ level: "warn", format: "json", destination });
  const system = Object.assign(new Error("connect ECONNREFUSED 127.0.0.1:1"), { code: "ECONNREFUSED" });
  const error = new UpstreamError("registry.example.com", "unreachable", "no connection", { cause: system });
  log.warn({ err: error }, "the upstream failed");
  assert.deepEqual(lines[0]?.["err"], {
    type: "UpstreamError",
    message: "registry.example.com: no connection",
    cause: { type: "Error", message: "connect ECONNREFUSED 127.0.0.1:1", code: "ECONNREFUSED" },
  });
  const full = Object.assign(new Error("no space left"), { code: "ENOSPC" });
  assert.deepEqual(describeError(new StoreError("it could not be stored", full)), {
    type: "StoreError",
    message: "it could not be stored",
    code: "ENOSPC",
    cause: { type: "Error", message: "no space left", code: "ENOSPC" },
  });
  const bug = describeError(new TypeError("x is undefined"));
  assert.match(String(bug["stack"]), /TypeError: x is undefined\n\s+at /);
  assert.deepEqual(describeError("text"), { message: "text" });
  assert.deepEqual(describeError(undefined), { message: "undefined" });
});

test("of an error's message no more is told than is of use: an upstream may have chosen it", () => {
  const location = `http://cdn.example.com/${"x".repeat(100_000)}`;
  const refusal = new UpstreamError("registry.example.com", "refused", location, { cause: new Error(location) });
  const line = JSON.stringify(describeError(new StoreError("it could not be stored", refusal)));
  assert.match(line, /registry\.example\.com: http:\/\/cdn\.example\.com\/x+…/);
  assert.ok(line.length < 5_000, `${line.length} characters`);
});

test("a full disk is told once, and drops lines without an error to who logs", async () => {
  for (const format of ["json", "pretty"] as const) {
    const full = openSync("/dev/full", "w");
    const failed = Promise.withResolvers<Error>();
    const failures: Error[] = [];
    const onFailure = (error: Error): void => {
      failures.push(error);
      failed.resolve(error);
    };
    const log = await createLogger({ level: "info", format, fileDescriptor: full, onFailure });
    log.error("begins a write at once");
    assert.equal(((await failed.promise) as NodeJS.ErrnoException).code, "ENOSPC");
    for (let count = 0; count < 200; count++) log.info({ count }, "x".repeat(100));
    log.flush();
    log.fatal("the last one");
    assert.equal(failures.length, 1, format);
    closeSync(full);
  }
});

test("a process whose log is full ends when it wants to", async () => {
  const logModule = new URL("../../../src/observe/log.ts", import.meta.url).href;
  const script = `
    const { createLogger } = await import(${JSON.stringify(logModule)});
    const log = await createLogger({ level: "info", format: "json" });
    for (let count = 0; count < 500; count++) log.info({ count }, "x".repeat(100));
    await new Promise((resolve) => setImmediate(resolve));
    log.info("stopped");
    log.flush();
    process.exit(7);
  `;
  const full = openSync("/dev/full", "w");
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", full, "pipe"] });
  closeSync(full);
  const timeout = AbortSignal.timeout(20_000);
  timeout.addEventListener("abort", () => child.kill("SIGKILL"));
  const [code] = (await once(child, "exit")) as [number | null];
  assert.equal(code, 7);
});

test("lines are written in order, and flush leaves none behind", async () => {
  await using folder = await createTemporaryDirectory();
  for (const format of ["json", "pretty"] as const) {
    const path = join(folder.path, format);
    const file = openSync(path, "w");
    const log = await createLogger({ level: "info", format, fileDescriptor: file });
    log.info("one");
    log.info("two");
    log.flush();
    assert.match(readFileSync(path, "utf8"), /one.*\n.*two.*\n$/);
    log.info("three");
    log.fatal("four");
    const text = readFileSync(path, "utf8");
    closeSync(file);
    assert.match(text, /two.*\n.*three.*\n.*four.*\n$/, "a fatal line waits for no flush");
    assert.equal(text.includes('"msg"'), format === "json");
  }
});
