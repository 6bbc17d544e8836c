import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { test } from "node:test";
import { createLogger, describeError } from "../../../src/observe/log.ts";
import { StoreError } from "../../../src/store/object-store.ts";
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
