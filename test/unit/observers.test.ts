import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { test } from "node:test";
import { createLogger } from "../../src/observe/log.ts";
import { createMetrics } from "../../src/observe/metrics.ts";
import { createObservers, type Observers } from "../../src/observers.ts";
import { UpstreamError, type UpstreamFailure } from "../../src/upstream/upstream.ts";

async function setUp(): Promise<{ readonly observers: Observers; readonly levels: () => unknown[] }> {
  let text = "";
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  const log = await createLogger({ level: "debug", format: "json", destination });
  const reserves = new Map([["docker.io", 0]]);
  const observers = createObservers({ metrics: createMetrics("0.0.0-test"), log, now: () => 0, reserves });
  const levels = (): unknown[] => {
    const lines = text.split("\n").filter(Boolean);
    text = "";
    return lines.map((line) => (JSON.parse(line) as { level: number }).level);
  };
  return { observers, levels };
}

function failed(failure: UpstreamFailure, options: { status?: number; cause?: unknown } = {}): UpstreamError {
  return new UpstreamError("registry.example.com", failure, "it failed", { retryAfterSeconds: 60, ...options });
}

const [debug, info, warn] = [20, 30, 40];

test("that an upstream wants to be left alone is a warning once, not with every question until then", async () => {
  const { observers, levels } = await setUp();
  const breaker = observers.breaker("docker.io");
  breaker.failed(failed("rate-limited", { status: 429 }));
  assert.deepEqual(levels(), [warn]);
  breaker.failed(failed("rate-limited"));
  breaker.failed(failed("token", { cause: failed("rate-limited") }));
  assert.deepEqual(levels(), [debug, debug]);
  breaker.failed(failed("token", { status: 429, cause: failed("rate-limited", { status: 429 }) }));
  assert.deepEqual(levels(), [warn]);
});

test("what was under way when an upstream was given a rest is no warning any more", async () => {
  const { observers, levels } = await setUp();
  const breaker = observers.breaker("docker.io");
  breaker.failed(failed("status", { status: 503 }));
  breaker.changed("open");
  assert.deepEqual(levels(), [warn, warn]);
  breaker.failed(failed("status", { status: 503 }));
  assert.deepEqual(levels(), [debug]);
  breaker.changed("half-open");
  breaker.failed(failed("status", { status: 503 }));
  breaker.changed("closed");
  assert.deepEqual(levels(), [warn, info]);
});
