import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import type { BodyStream } from "../../src/http/reply.ts";
import { ClientGone, sendBody } from "../../src/http/send.ts";
import { turn } from "../support/event-loop.ts";

type Written = (error?: Error | null) => void;

/** A response without a socket: the test says when the kernel has taken a chunk, and when the client leaves. */
class FakeResponse extends EventEmitter {
  destroyed = false;
  ended = false;
  readonly written: Buffer[] = [];
  /** What waits for the kernel. */
  taking: Written | undefined;
  onIdle: (() => void) | undefined;
  resets = 0;
  /** Whether the connection is one that can be reset; a Unix socket throws. */
  tcp = true;
  readonly socket = {
    resetAndDestroy: (): void => {
      if (!this.tcp) throw new TypeError("this handle type cannot be reset");
      this.resets++;
    },
  };

  write(chunk: Uint8Array, done: Written): boolean {
    assert.equal(this.taking, undefined, "a chunk was written before the last one was taken");
    this.written.push(Buffer.from(chunk));
    this.taking = done;
    return false;
  }

  /** The kernel takes the chunk, or the write fails. */
  take(error?: Error): void {
    const done = this.taking;
    this.taking = undefined;
    done?.(error);
  }

  end(): void {
    this.ended = true;
  }

  destroy(): void {
    this.destroyed = true;
  }

  setTimeout(_ms: number, onIdle: () => void): void {
    this.onIdle = onIdle;
  }
}

interface FakeBody extends BodyStream {
  asked: number;
  closed: number;
  signal: AbortSignal | undefined;
}

/** A body of these chunks; where it ends with an error, that is thrown. */
function bodyOf(...chunks: readonly (string | Error)[]): FakeBody {
  const body: FakeBody = {
    asked: 0,
    closed: 0,
    signal: undefined,
    async *read(signal) {
      body.signal = signal;
      for (const chunk of chunks) {
        body.asked++;
        if (chunk instanceof Error) throw chunk;
        yield Buffer.from(chunk);
      }
    },
    async close() {
      body.closed++;
    },
  };
  return body;
}

function send(response: FakeResponse, body: BodyStream, delimited = true): Promise<number> {
  return sendBody(response as unknown as ServerResponse, body, 1_000, delimited);
}

test("the next chunk is asked for when the last one was taken; then the response ends", async () => {
  const response = new FakeResponse();
  const body = bodyOf("one", "two", "three");
  const sending = send(response, body);
  for (let count = 1; count <= 3; count++) {
    await turn(3);
    assert.equal(body.asked, count);
    assert.equal(response.written.length, count);
    response.take();
  }
  assert.equal(await sending, 11);
  assert.equal(Buffer.concat(response.written).toString(), "onetwothree");
  assert.deepEqual([response.ended, response.destroyed, body.closed], [true, false, 1]);
  assert.equal(response.listenerCount("close"), 0);
});

test("a body that fails destroys the connection: it must not look complete", async () => {
  for (const chunks of [[new Error("wrong digest")], ["one", new Error("wrong digest")]]) {
    const response = new FakeResponse();
    const body = bodyOf(...chunks);
    const failing = assert.rejects(send(response, body), /wrong digest/);
    await turn(3);
    response.take();
    await failing;
    assert.deepEqual([response.ended, response.destroyed, body.closed], [false, true, 1]);
    assert.equal(response.listenerCount("close"), 0);
  }
});

test("a body that fails, of a response whose end is the connection's, resets it", async () => {
  for (const [delimited, tcp, resets] of [
    [true, true, 0],
    [false, true, 1],
    [false, false, 0],
  ] as const) {
    const response = new FakeResponse();
    response.tcp = tcp;
    const body = bodyOf(new Error("wrong digest"));
    await assert.rejects(send(response, body, delimited), /wrong digest/);
    assert.deepEqual([response.resets, response.destroyed, body.closed], [resets, true, 1]);
  }
});

test("a client that leaves ends the reading, while it is written and while the body waits", async () => {
  for (const writing of [true, false]) {
    const response = new FakeResponse();
    const body = bodyOf("one", "two");
    const waits = bodyOf();
    waits.read = async function* (signal) {
      waits.signal = signal;
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
      yield Buffer.alloc(0);
    };
    const used = writing ? body : waits;
    const sending = send(response, used);
    await turn(3);
    response.emit("close");
    await assert.rejects(sending, ClientGone);
    assert.equal(used.signal?.aborted, true);
    assert.ok(used.asked <= 1);
    assert.deepEqual([response.ended, response.destroyed, used.closed], [false, true, 1]);
  }
});

test("a client that was gone before is told so, and nothing is read", async () => {
  const response = new FakeResponse();
  response.destroyed = true;
  const body = bodyOf("one");
  await assert.rejects(send(response, body), ClientGone);
  assert.equal(response.written.length, 0);
  assert.equal(body.closed, 1);
});

test("a write that fails is a client that has gone", async () => {
  const response = new FakeResponse();
  const body = bodyOf("one", "two");
  const sending = send(response, body);
  await turn(3);
  response.take(new Error("EPIPE"));
  await assert.rejects(sending, (error: unknown) => error instanceof ClientGone && error.message === "EPIPE");
  assert.deepEqual([body.asked, body.closed, response.ended], [1, 1, false]);
});

test("a client that takes nothing is cut; an upstream that is slow is not the client's fault", async () => {
  const response = new FakeResponse();
  const gate = Promise.withResolvers<void>();
  const body = bodyOf();
  body.read = async function* () {
    await gate.promise;
    yield Buffer.from("late");
  };
  const sending = send(response, body);
  await turn(3);
  response.onIdle?.();
  await turn(3);
  assert.equal(response.destroyed, false);
  gate.resolve();
  await turn(3);
  assert.equal(response.written.length, 1);
  response.onIdle?.();
  await assert.rejects(sending, /took nothing for 1000 ms/);
  assert.deepEqual([response.destroyed, body.closed], [true, 1]);
});
