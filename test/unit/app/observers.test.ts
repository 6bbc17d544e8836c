import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { test } from "node:test";
import { createLogger } from "../../../src/observe/log.ts";
import { createMetrics } from "../../../src/observe/metrics.ts";
import { createObservers, type Observers } from "../../../src/app/observers.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository } from "../../../src/oci/reference.ts";
import { limitReached } from "../../../src/registry/bookkeeping.ts";
import type { FillOutcome } from "../../../src/registry/fill-tools.ts";
import { StoreError } from "../../../src/store/object-store.ts";
import { UpstreamError, type UpstreamFailure } from "../../../src/upstream/upstream.ts";

interface Line {
  readonly level: number;
  readonly msg: string;
  readonly operation?: string;
  readonly code?: string;
  readonly failures?: number;
}

interface Subject {
  readonly observers: Observers;
  readonly clock: { now: number };
  /** The log's lines since the last call. */
  readonly lines: () => Line[];
  readonly levels: () => number[];
  readonly metrics: () => Promise<string>;
}

async function setUp(): Promise<Subject> {
  let text = "";
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  const log = await createLogger({ level: "debug", format: "json", destination });
  const namespaces = new Set(["docker.io"]);
  const clock = { now: 1_000_000 };
  const metrics = createMetrics("0.0.0-test");
  const observers = createObservers({ metrics, log, monotonic: () => clock.now, namespaces });
  const lines = (): Line[] => {
    const found = text.split("\n").filter(Boolean);
    text = "";
    return found.map((line) => JSON.parse(line) as Line);
  };
  return { observers, clock, lines, levels: () => lines().map(({ level }) => level), metrics: () => metrics.render() };
}

function storeError(code?: string): StoreError {
  return new StoreError("it failed", code === undefined ? undefined : Object.assign(new Error(code), { code }));
}

const id = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/a") };
const digest = digestOf(Buffer.from("blob"));

function end({ observers }: Subject, outcome: FillOutcome, error?: Error): void {
  observers.fills.ended(id, digest, outcome, error);
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

const passedOn = "the storage fails: content is passed on but not cached";
const fetched = "the storage fails: content is fetched although it is cached";
const written = "the storage can be written again";

test("a storage that fails is told once a minute for each operation and code, with how often it did", async () => {
  const subject = await setUp();
  const { observers, clock, lines, metrics } = subject;
  for (let count = 0; count < 5; count++) observers.store("put", storeError("ENOSPC"));
  observers.store("put", storeError("EIO"));
  observers.store("get", storeError("EIO"));
  const told = lines().map(({ level, msg, operation, code, failures }) => [level, msg, operation, code, failures]);
  assert.deepEqual(told, [
    [warn, passedOn, "put", "ENOSPC", 1],
    [warn, passedOn, "put", "EIO", 1],
    [warn, fetched, "get", "EIO", 1],
  ]);
  clock.now += 59_999;
  observers.store("put", storeError("ENOSPC"));
  assert.deepEqual(lines(), []);
  clock.now += 1;
  observers.store("put", storeError("ENOSPC"));
  assert.deepEqual(
    lines().map(({ failures }) => failures),
    [6],
  );
  assert.match(await metrics(), /entrepot_storage_errors_total\{operation="put",code="ENOSPC"\} 7\n/);
  observers.store("delete", storeError());
  assert.deepEqual(
    lines().map(({ code }) => code),
    ["other"],
  );
});

test("a staging file that fails counts as the storage's failure; what the store told is counted once", async () => {
  const subject = await setUp();
  const { observers, lines, metrics } = subject;
  end(subject, "unstored", storeError("ENOSPC"));
  end(subject, "failed", storeError("EMFILE"));
  const put = storeError("EROFS");
  observers.store("put", put);
  end(subject, "unstored", put);
  const told = lines().map(({ level, operation, code }) => [level, operation, code]);
  assert.deepEqual(told, [
    [warn, "spool", "ENOSPC"],
    [debug, undefined, undefined],
    [warn, "spool", "EMFILE"],
    [debug, undefined, undefined],
    [warn, "put", "EROFS"],
    [debug, undefined, undefined],
  ]);
  const counted = (await metrics()).matchAll(/^entrepot_storage_errors_total\{(.*)\} (\d+)$/gm);
  assert.deepEqual(
    Array.from(counted, ([, labels, count]) => [labels, count]),
    [
      ['operation="spool",code="ENOSPC"', "1"],
      ['operation="spool",code="EMFILE"', "1"],
      ['operation="put",code="EROFS"', "1"],
    ],
  );
});

test("what the limit does not let in is no failure of the storage", async () => {
  const subject = await setUp();
  end(subject, "unstored", storeError(limitReached));
  subject.observers.uncached(storeError(limitReached));
  assert.deepEqual(subject.levels(), [debug, debug]);
  assert.doesNotMatch(await subject.metrics(), /entrepot_storage_errors_total\{/);
});

test("that it can be written again is told once, and that it could all along is not", async () => {
  const subject = await setUp();
  const { observers, lines } = subject;
  end(subject, "committed");
  observers.store("get", storeError("EIO"));
  end(subject, "committed");
  assert.deepEqual(
    lines().map(({ msg }) => msg),
    [fetched],
  );
  observers.store("put", storeError("ENOSPC"));
  for (let count = 0; count < 3; count++) end(subject, "committed");
  assert.deepEqual(
    lines().map(({ level, msg }) => [level, msg]),
    [
      [warn, passedOn],
      [info, written],
    ],
  );
});

test("an answer that is not cached for another reason than the storage is an error of ours", async () => {
  const subject = await setUp();
  subject.observers.uncached(new TypeError("a mistake"));
  subject.observers.uncached(storeError("ENOSPC"));
  assert.deepEqual(subject.levels(), [50, debug]);
});

test("a bucket to which nobody can say what is used is told of every six hours", async () => {
  const { observers, clock, levels } = await setUp();
  for (const hours of [0, 5, 2]) {
    clock.now += hours * 3_600_000;
    observers.retention.unretained(new Error("SlowDown"));
  }
  assert.deepEqual(levels(), [40, 40]);
});
